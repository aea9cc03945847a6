//! Tasks that are to last as long as the controller does.
//!
//! A controller one of whose loops is gone still answers, and does half of its work: worse than one that is
//! gone and is started again. So the end of such a task, asked for by nobody, ends the process.

use crate::runtime::server::Shutdown;
use futures_util::FutureExt as _;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::watch;

/// Says why the controller cannot go on. Cheap to clone; all clones speak of the same.
#[derive(Debug, Clone)]
pub struct Fatal(Arc<watch::Sender<Option<String>>>);

impl Default for Fatal {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Fatal {
    /// The first word counts.
    fn tell(&self, why: String) {
        tracing::error!(why, "a task has ended that was to last: the process ends");
        self.0.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(why);
            first
        });
    }

    /// Waits until there is a reason to end.
    pub async fn told(&self) -> String {
        let mut heard = self.0.subscribe();
        match heard.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await, // the sender is ours
        }
    }

    /// `task`, whose end before `shutdown` is told, however it comes.
    pub async fn watch(self, name: String, shutdown: Shutdown, task: impl Future<Output = ()>) {
        let ended = AssertUnwindSafe(task).catch_unwind().await;
        match ended {
            Err(panic) => self.tell(format!("{name} has panicked: {}", words(&*panic))),
            Ok(()) if !shutdown.is_stopping() => self.tell(format!("{name} has ended by itself")),
            Ok(()) => {}
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::server::shutdown_pair;

    #[tokio::test]
    async fn a_task_that_panics_or_ends_unasked_is_told_by_name() {
        let (_trigger, shutdown) = shutdown_pair();
        let fatal = Fatal::default();
        fatal.clone().watch("keeper".into(), shutdown.clone(), async { panic!("no {}", "room") }).await;
        fatal.clone().watch("push".into(), shutdown.clone(), async {}).await;
        assert_eq!(fatal.told().await, "keeper has panicked: no room", "the first counts");
        let fatal = Fatal::default();
        fatal.clone().watch("push".into(), shutdown, async {}).await;
        assert_eq!(fatal.told().await, "push has ended by itself");
    }

    #[tokio::test]
    async fn a_task_that_was_asked_to_end_may() {
        for dropped in [false, true] {
            let (trigger, mut shutdown) = shutdown_pair();
            let fatal = Fatal::default();
            let watched = fatal.clone().watch("push".into(), shutdown.clone(), async move {
                shutdown.wait().await;
            });
            if dropped {
                drop(trigger)
            } else {
                trigger.fire()
            }
            watched.await;
            assert_eq!(fatal.told().now_or_never(), None);
        }
    }
}
