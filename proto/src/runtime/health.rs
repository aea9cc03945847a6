//! What `/healthz` answers: each part of a controller that others depend on is looked at.
//!
//! A *check* looks when somebody asks. A *pulse* is told by a loop after each of its rounds, how it went;
//! a loop that tells nothing for too long has stopped.

use axum::http::StatusCode;
use futures_util::future::{BoxFuture, join_all};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

#[derive(Clone)]
enum Part {
    Check(Check),
    Pulse(Beat),
}

#[derive(Debug, Clone)]
struct Beat {
    at: Instant,
    within: Duration,
    ill: Option<String>,
}

/// Cheap to clone; all clones know the same parts.
#[derive(Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, Part>>>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

/// A loop's way to say that it goes round.
#[derive(Debug, Clone)]
pub struct Pulse {
    health: Health,
    name: String,
    within: Duration,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `look` answers within a few seconds, or counts as silent.
    pub fn check<F>(&self, name: &str, look: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(look()));
        self.lock().insert(name.to_owned(), Part::Check(check));
    }

    /// Well until told otherwise, or until nothing is told `within` the time.
    pub fn pulse(&self, name: &str, within: Duration) -> Pulse {
        let pulse = Pulse { health: self.clone(), name: name.to_owned(), within };
        pulse.told(Ok::<(), &str>(()));
        pulse
    }

    /// What is wrong, a line for each part; nothing if all is well.
    pub async fn wrong(&self) -> Vec<String> {
        self.wrong_within(CHECK_TIMEOUT).await
    }

    async fn wrong_within(&self, patience: Duration) -> Vec<String> {
        let parts: Vec<(String, Part)> =
            self.lock().iter().map(|(name, part)| (name.clone(), part.clone())).collect();
        let looks = parts.into_iter().map(|(name, part)| async move {
            let why = match part {
                Part::Pulse(beat) => beat.wrong(),
                Part::Check(look) => match tokio::time::timeout(patience, look()).await {
                    Ok(result) => result.err(),
                    Err(_) => Some(format!("no answer within {} ms", patience.as_millis())),
                },
            };
            why.map(|why| format!("{name}: {why}"))
        });
        join_all(looks).await.into_iter().flatten().collect()
    }

    pub(crate) async fn answer(&self) -> (StatusCode, String) {
        match self.wrong().await.as_slice() {
            [] => (StatusCode::OK, "ok\n".to_owned()),
            wrong => (StatusCode::SERVICE_UNAVAILABLE, wrong.join("\n") + "\n"),
        }
    }
}

impl Beat {
    fn wrong(&self) -> Option<String> {
        let silent = self.at.elapsed();
        if silent > self.within {
            return Some(format!("its loop has stood still for {} s", silent.as_secs()));
        }
        self.ill.clone()
    }
}

impl Pulse {
    /// A round is over; this is how it went.
    pub fn told<T, E: Display>(&self, outcome: Result<T, E>) {
        let ill = outcome.err().map(|error| error.to_string());
        let beat = Beat { at: Instant::now(), within: self.within, ill };
        self.health.lock().insert(self.name.clone(), Part::Pulse(beat));
    }

    /// The loop is not to run any more.
    pub fn end(self) {
        self.health.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_wrong_is_told_by_name_and_gone_when_mended() {
        let health = Health::default();
        assert_eq!(health.answer().await, (StatusCode::OK, "ok\n".to_owned()));
        health.check("database", || async { Err("no such file".to_owned()) });
        let pulse = health.pulse("loop", Duration::from_secs(600));
        pulse.told(Err::<(), _>("it fails"));
        let (status, text) = health.answer().await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "database: no such file\nloop: it fails\n");
        health.check("database", || async { Ok(()) });
        pulse.told(Ok::<_, &str>(5));
        assert_eq!(health.wrong().await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_loop_that_stands_still_is_ill_until_it_ends() {
        let health = Health::default();
        let pulse = health.pulse("loop", Duration::ZERO);
        assert_eq!(health.wrong().await, ["loop: its loop has stood still for 0 s"]);
        pulse.end();
        assert_eq!(health.wrong().await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_check_that_does_not_answer_is_ill() {
        let health = Health::default();
        health.check("database", std::future::pending);
        let wrong = health.wrong_within(Duration::from_millis(5)).await;
        assert_eq!(wrong, ["database: no answer within 5 ms"]);
    }
}
