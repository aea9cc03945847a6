//! Requests that carry the same client token take turns. A fixed number of locks, chosen by hash: two
//! tokens that share one only wait for each other.

use std::hash::{DefaultHasher, Hash, Hasher};
use tokio::sync::{Mutex, MutexGuard};

const LOCKS: usize = 256;

pub struct Turns(Vec<Mutex<()>>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..LOCKS).map(|_| Mutex::new(())).collect())
    }
}

impl Turns {
    pub async fn take(&self, account: &str, token: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (account, token).hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or(0);
        self.0[at].lock().await
    }
}
