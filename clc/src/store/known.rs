//! Rows that every launch looks up and that hardly ever change, kept in memory: images, key pairs, networks.
//!
//! On SQLite only, where this process alone writes. Whoever changes or removes such rows commits by
//! `Store::commit_and_forget`. That something is not there is never remembered, so new rows need nothing.

use super::network::Network;
use super::{Engine, Store, StoreError, Tx};
use crate::app::image::Image;
use crate::app::key_pair::KeyPair;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of each kind. A full memory is emptied.
const REMEMBERED_MAX: usize = 5_000;

#[derive(Debug, Default)]
pub struct Known {
    pub images: Memory<Image>,
    pub key_pairs: Memory<KeyPair>,
    pub networks: Memory<Network>,
}

impl Known {
    fn forget(&self) {
        self.images.forget();
        self.key_pairs.forget();
        self.networks.forget();
    }
}

#[derive(Debug)]
pub struct Memory<V>(Mutex<Rows<V>>);

#[derive(Debug)]
struct Rows<V> {
    /// Grows at every forgetting, so that what was read before it is not put in after it.
    age: u64,
    by_key: HashMap<String, V>,
}

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self(Mutex::new(Rows { age: 0, by_key: HashMap::new() }))
    }
}

impl<V: Clone> Memory<V> {
    fn rows(&self) -> MutexGuard<'_, Rows<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        let mut rows = self.rows();
        rows.age += 1;
        rows.by_key.clear();
    }

    /// What is remembered of `key`, or what `read` finds.
    async fn get<E>(
        &self,
        key: &str,
        read: impl Future<Output = Result<Option<V>, E>>,
    ) -> Result<Option<V>, E> {
        let age = {
            let rows = self.rows();
            if let Some(known) = rows.by_key.get(key) {
                return Ok(Some(known.clone()));
            }
            rows.age
        };
        let found = read.await?;
        let mut rows = self.rows();
        if let Some(found) = &found
            && rows.age == age
        {
            if rows.by_key.len() >= REMEMBERED_MAX {
                rows.by_key.clear();
            }
            rows.by_key.insert(key.to_owned(), found.clone());
        }
        Ok(found)
    }
}

impl Store {
    /// What is remembered of `key`, or what `read` finds.
    pub(super) async fn known<V: Clone>(
        &self,
        memory: &Memory<V>,
        key: &str,
        read: impl Future<Output = Result<Option<V>, StoreError>>,
    ) -> Result<Option<V>, StoreError> {
        match self.engine {
            Engine::Sqlite => memory.get(key, read).await,
            Engine::Postgres => read.await,
        }
    }

    /// Commits a change to rows that may be remembered. In a task of its own: a caller that gives up must
    /// not come between the commit and the forgetting.
    pub async fn commit_and_forget(&self, tx: Tx) -> Result<(), StoreError> {
        let known = self.known.clone();
        let task = tokio::spawn(async move {
            let committed = tx.commit().await;
            known.forget();
            committed
        });
        Ok(task.await.map_err(|_| sqlx::Error::WorkerCrashed)??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::future::ready;

    fn found(value: Option<u32>) -> impl Future<Output = Result<Option<u32>, Infallible>> {
        ready(Ok(value))
    }

    #[tokio::test]
    async fn what_was_found_is_remembered_until_it_is_to_be_forgotten() {
        let memory = Memory::default();
        assert_eq!(memory.get("a", found(Some(1))).await, Ok(Some(1)));
        assert_eq!(memory.get("a", found(Some(2))).await, Ok(Some(1)));
        memory.forget();
        assert_eq!(memory.get("a", found(Some(2))).await, Ok(Some(2)));
    }

    #[tokio::test]
    async fn what_is_not_there_is_looked_for_again() {
        let memory = Memory::default();
        assert_eq!(memory.get("a", found(None)).await, Ok(None));
        assert_eq!(memory.get("a", found(Some(1))).await, Ok(Some(1)));
    }

    #[tokio::test]
    async fn what_was_read_before_the_forgetting_is_not_remembered_after_it() {
        let memory = Memory::default();
        let slow = async {
            memory.forget();
            found(Some(1)).await
        };
        assert_eq!(memory.get("a", slow).await, Ok(Some(1)));
        assert_eq!(memory.get("a", found(Some(2))).await, Ok(Some(2)));
    }

    #[tokio::test]
    async fn a_full_memory_is_emptied() {
        let memory = Memory::default();
        for n in 0..2 * REMEMBERED_MAX {
            memory.get(&n.to_string(), found(Some(0))).await.unwrap();
            assert!(memory.rows().by_key.len() <= REMEMBERED_MAX);
        }
    }
}
