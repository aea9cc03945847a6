//! Who still reads which bytes. The sweeper removes nothing that is leased.
//!
//! Between reading a row and leasing what it names there is a moment in which the sweeper could strike; so
//! whoever reads a row to lease from it is in a fetch ([`Leases::fetch`]), and the sweeper, once it has
//! read what is garbage, waits until every fetch that began before has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Bytes {
    Blob(u64),
    Manifest(u64),
}

#[derive(Debug, Default)]
pub(super) struct Leases {
    held: Mutex<HashMap<Bytes, u32>>,
    fetches: Mutex<Fetches>,
}

/// Each counts the fetches that began between two rounds of the sweeper.
#[derive(Debug, Default)]
struct Fetches {
    current: Arc<()>,
    /// Of rounds before, as long as any of their fetches has not ended.
    before: Vec<Arc<()>>,
}

/// Holds bytes until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    leases: Arc<Leases>,
    bytes: Bytes,
}

/// A row is being read.
#[derive(Debug)]
pub(super) struct Fetch(#[allow(dead_code, reason = "counted, not read")] Arc<()>);

const STEP: Duration = Duration::from_millis(1);

impl Leases {
    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, u32>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(self: &Arc<Self>, bytes: Bytes) -> Lease {
        *self.lock().entry(bytes).or_default() += 1;
        Lease { leases: self.clone(), bytes }
    }

    pub fn is_held(&self, bytes: Bytes) -> bool {
        self.lock().contains_key(&bytes)
    }

    fn fetches(&self) -> MutexGuard<'_, Fetches> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn before_ended(&self) -> bool {
        let mut fetches = self.fetches();
        fetches.before.retain(|counter| Arc::strong_count(counter) > 1);
        fetches.before.is_empty()
    }

    pub fn fetch(&self) -> Fetch {
        Fetch(self.fetches().current.clone())
    }

    /// Waits for every fetch that has begun; false when that takes longer than `patience`.
    pub async fn fetches_ended(&self, patience: Duration) -> bool {
        {
            let mut fetches = self.fetches();
            let begun = std::mem::take(&mut fetches.current);
            fetches.before.push(begun);
        }
        let began = Instant::now();
        while !self.before_ended() {
            if began.elapsed() > patience {
                return false;
            }
            tokio::time::sleep(STEP).await;
        }
        true
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.lock();
        if let Some(count) = held.get_mut(&self.bytes) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_are_held_until_the_last_lease_and_fetch_end() {
        let leases = Arc::new(Leases::default());
        let (one, two) = (leases.take(Bytes::Blob(7)), leases.take(Bytes::Blob(7)));
        drop(one);
        assert!(leases.is_held(Bytes::Blob(7)) && !leases.is_held(Bytes::Manifest(7)));
        drop(two);
        assert!(!leases.is_held(Bytes::Blob(7)));
        let fetch = leases.fetch();
        assert!(!leases.fetches_ended(Duration::from_millis(5)).await);
        assert!(!leases.fetches_ended(Duration::from_millis(5)).await, "it has not ended since");
        let later = leases.fetch();
        drop(fetch);
        assert!(!leases.fetches_ended(Duration::from_millis(5)).await, "the later one has begun, too");
        drop(later);
        assert!(leases.fetches_ended(Duration::from_millis(5)).await);
    }
}
