//! Calls under way at once, each about one instance. One that panics says nothing, so it is known here what it
//! was about.

use karri_proto::ids::InstanceId;
use std::collections::HashMap;
use tokio::task::{Id, JoinError, JoinSet};

pub struct Calls<T> {
    tasks: JoinSet<T>,
    about: HashMap<Id, InstanceId>,
}

/// A call that panicked.
#[derive(Debug)]
pub struct Broken {
    pub id: InstanceId,
    pub error: JoinError,
}

impl<T: Send + 'static> Calls<T> {
    pub fn new() -> Self {
        Self { tasks: JoinSet::new(), about: HashMap::new() }
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn begin(&mut self, id: InstanceId, call: impl Future<Output = T> + Send + 'static) {
        let task = self.tasks.spawn(call).id();
        self.about.insert(task, id);
    }

    /// The next that ends; waits for ever when none is under way.
    pub async fn next(&mut self) -> Result<T, Broken> {
        loop {
            match self.tasks.join_next_with_id().await.and_then(|ended| self.told(ended)) {
                Some(ended) => return ended,
                None if self.tasks.is_empty() => std::future::pending().await,
                None => {}
            }
        }
    }

    /// One that has ended already.
    pub fn try_next(&mut self) -> Option<Result<T, Broken>> {
        let ended = self.tasks.try_join_next_with_id()?;
        self.told(ended)
    }

    fn told(&mut self, ended: Result<(Id, T), JoinError>) -> Option<Result<T, Broken>> {
        match ended {
            Ok((task, answer)) => {
                self.about.remove(&task);
                Some(Ok(answer))
            }
            Err(error) => self.about.remove(&error.id()).map(|id| Err(Broken { id, error })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_panics_is_told_with_what_it_was_about() {
        let (well, ill): (InstanceId, InstanceId) =
            ("i-00000001".parse().unwrap(), "i-00000002".parse().unwrap());
        let mut calls = Calls::new();
        calls.begin(well.clone(), async { "answer" });
        assert_eq!(calls.next().await.unwrap(), "answer");
        calls.begin(ill.clone(), async { panic!("broke off") });
        let broken = calls.next().await.unwrap_err();
        assert_eq!(broken.id, ill);
        assert!(broken.error.is_panic() && calls.about.is_empty());
        assert!(calls.try_next().is_none());
    }
}
