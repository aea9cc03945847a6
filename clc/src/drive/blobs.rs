//! The image store as this controller needs it: is there such a blob, what is it, and may it go?
//!
//! `Walrus` asks the real one. `BlobsInMemory` is for tests.

use async_trait::async_trait;
use karri_proto::instance::Digest;
use karri_proto::internal::blobs::BlobFacts;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::{ApiError, Caller};
use karri_proto::runtime::client::InternalClient;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// None: there is no such blob.
    async fn blob_info(&self, caller: &Caller, digest: &Digest) -> Result<Option<BlobFacts>, ApiError>;
    /// Idempotent. Nothing may need it any more.
    async fn blob_delete(&self, caller: &Caller, digest: &Digest) -> Result<(), ApiError>;
}

pub struct Walrus(pub InternalClient);

#[async_trait]
impl Blobs for Walrus {
    async fn blob_info(&self, caller: &Caller, digest: &Digest) -> Result<Option<BlobFacts>, ApiError> {
        match self.0.blob_info(caller, digest).await {
            Ok(facts) => Ok(Some(facts)),
            Err(error) if error.kind == ApiErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn blob_delete(&self, caller: &Caller, digest: &Digest) -> Result<(), ApiError> {
        self.0.blob_delete(caller, digest).await
    }
}

#[derive(Debug, Default)]
pub struct BlobsInMemory(Mutex<HashMap<Digest, BlobFacts>>);

impl BlobsInMemory {
    fn known(&self) -> MutexGuard<'_, HashMap<Digest, BlobFacts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn remove(&self, digest: &Digest) {
        self.known().remove(digest);
    }

    pub fn put(&self, facts: BlobFacts) {
        self.known().insert(facts.blob.digest.clone(), facts);
    }
}

#[async_trait]
impl Blobs for BlobsInMemory {
    async fn blob_info(&self, _: &Caller, digest: &Digest) -> Result<Option<BlobFacts>, ApiError> {
        Ok(self.known().get(digest).cloned())
    }

    async fn blob_delete(&self, _: &Caller, digest: &Digest) -> Result<(), ApiError> {
        self.known().remove(digest);
        Ok(())
    }
}
