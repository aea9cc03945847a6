//! A bounded memory of what the database said, emptied whenever that may have changed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub struct Memory<V> {
    /// A full memory is emptied.
    rows_max: usize,
    rows: Mutex<Rows<V>>,
}

#[derive(Debug)]
struct Rows<V> {
    /// Grows at every forgetting, so that what was read before it is not put in after it.
    age: u64,
    by_key: HashMap<String, V>,
}

impl<V: Clone> Memory<V> {
    pub fn new(rows_max: usize) -> Self {
        Self { rows_max, rows: Mutex::new(Rows { age: 0, by_key: HashMap::new() }) }
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.rows().by_key.len()
    }

    fn rows(&self) -> MutexGuard<'_, Rows<V>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn forget(&self) {
        let mut rows = self.rows();
        rows.age += 1;
        rows.by_key.clear();
    }

    /// What is remembered of `key`, or what `read` finds.
    pub async fn get<E>(
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
            if rows.by_key.len() >= self.rows_max {
                rows.by_key.clear();
            }
            rows.by_key.insert(key.to_owned(), found.clone());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::future::ready;

    const REMEMBERED_MAX: usize = 5;

    fn found(value: Option<u32>) -> impl Future<Output = Result<Option<u32>, Infallible>> {
        ready(Ok(value))
    }

    #[tokio::test]
    async fn what_was_found_is_remembered_until_it_is_to_be_forgotten() {
        let memory = Memory::new(REMEMBERED_MAX);
        assert_eq!(memory.get("a", found(Some(1))).await, Ok(Some(1)));
        assert_eq!(memory.get("a", found(Some(2))).await, Ok(Some(1)));
        memory.forget();
        assert_eq!(memory.get("a", found(Some(2))).await, Ok(Some(2)));
    }

    #[tokio::test]
    async fn what_is_not_there_is_looked_for_again() {
        let memory = Memory::new(REMEMBERED_MAX);
        assert_eq!(memory.get("a", found(None)).await, Ok(None));
        assert_eq!(memory.get("a", found(Some(1))).await, Ok(Some(1)));
    }

    #[tokio::test]
    async fn what_was_read_before_the_forgetting_is_not_remembered_after_it() {
        let memory = Memory::new(REMEMBERED_MAX);
        let slow = async {
            memory.forget();
            found(Some(1)).await
        };
        assert_eq!(memory.get("a", slow).await, Ok(Some(1)));
        assert_eq!(memory.get("a", found(Some(2))).await, Ok(Some(2)));
    }

    #[tokio::test]
    async fn a_full_memory_is_emptied() {
        let memory = Memory::new(REMEMBERED_MAX);
        for n in 0..2 * REMEMBERED_MAX {
            memory.get(&n.to_string(), found(Some(0))).await.unwrap();
            assert!(memory.rows().by_key.len() <= REMEMBERED_MAX);
        }
    }
}
