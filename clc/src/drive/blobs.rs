//! The image store as this controller needs it: is there such a blob, and what is it?
//!
//! `Walrus` asks the real one. `BlobsInMemory` is for tests.

use async_trait::async_trait;
use karri_proto::instance::Digest;
use karri_proto::internal::blobs::BlobFacts;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::{ApiError, Caller};
use karri_proto::runtime::client::InternalClient;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// None: there is no such blob.
    async fn blob_info(&self, caller: &Caller, digest: &Digest) -> Result<Option<BlobFacts>, ApiError>;
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
}

#[derive(Debug, Default)]
pub struct BlobsInMemory(Mutex<HashMap<Digest, BlobFacts>>);

impl BlobsInMemory {
    pub fn remove(&self, digest: &Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    pub fn put(&self, facts: BlobFacts) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(facts.blob.digest.clone(), facts);
    }
}

#[async_trait]
impl Blobs for BlobsInMemory {
    async fn blob_info(&self, _: &Caller, digest: &Digest) -> Result<Option<BlobFacts>, ApiError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned())
    }
}
