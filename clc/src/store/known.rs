//! Rows that every launch looks up and that hardly ever change, kept in memory: images, key pairs, networks.
//!
//! On SQLite only, where this process alone writes. Whoever changes or removes such rows commits by
//! `Store::commit_and_forget`. That something is not there is never remembered, so new rows need nothing.

use super::memory::Memory;
use super::network::Network;
use super::{Engine, Store, StoreError, Tx};
use crate::app::image::Image;
use crate::app::key_pair::KeyPair;
use std::sync::Arc;

/// Of each kind.
const REMEMBERED_MAX: usize = 5_000;

#[derive(Debug)]
pub struct Known {
    pub images: Memory<Image>,
    pub key_pairs: Memory<KeyPair>,
    pub networks: Memory<Arc<Network>>,
}

impl Default for Known {
    fn default() -> Self {
        let (images, key_pairs) = (Memory::new(REMEMBERED_MAX), Memory::new(REMEMBERED_MAX));
        Self { images, key_pairs, networks: Memory::new(REMEMBERED_MAX) }
    }
}

impl Known {
    fn forget(&self) {
        self.images.forget();
        self.key_pairs.forget();
        self.networks.forget();
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

    /// Commits a change to rows that may be remembered.
    pub async fn commit_and_forget(&self, tx: Tx) -> Result<(), StoreError> {
        self.commit_and_forget_with(tx, || ()).await
    }

    /// The same, and others forget with it. In a task of its own: a caller that gives up must not come between
    /// the commit and the forgetting.
    pub async fn commit_and_forget_with(
        &self,
        tx: Tx,
        forget: impl FnOnce() + Send + 'static,
    ) -> Result<(), StoreError> {
        let known = self.known.clone();
        let task = tokio::spawn(async move {
            let committed = tx.commit().await;
            known.forget();
            forget();
            committed
        });
        Ok(task.await.map_err(|_| sqlx::Error::WorkerCrashed)??)
    }
}
