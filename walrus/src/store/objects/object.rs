//! One version of an object: its facts, and where its bytes lie.

use super::error::StoreError;
use super::facts::{Facts, UnixMs};
use super::ids::{BucketId, ETag, VersionId};
use super::lease::Lease;
use super::manifest::Manifest;
use crate::store::keeper::BlobId;
use crate::store::keeper::seal::Seal;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Whoever holds it can read its bytes, whatever becomes of the key.
#[derive(Debug)]
pub struct Object {
    pub bucket: BucketId,
    pub key: Arc<str>,
    pub version: VersionId,
    /// Orders the versions of a key.
    pub seq: u64,
    pub is_marker: bool,
    pub modified: UnixMs,
    pub size: u64,
    pub etag: ETag,
    pub owner: Arc<str>,
    pub seal: Seal,
    pub facts: Facts,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// No bytes, or a delete marker.
    Empty,
    /// As they lie in the row; absent where only the facts were read.
    Inline(Option<Bytes>),
    /// Without a lease where only the facts were read.
    Blob(BlobId, Option<Lease>),
    Manifest(Option<Lease>, OnceCell<Arc<Manifest>>),
}

impl Object {
    pub(super) fn is_null(&self) -> bool {
        self.version == VersionId::Null
    }

    /// Whether its bytes can be read from this value.
    pub(super) fn is_readable(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Inline(bytes) => bytes.is_some(),
            Content::Blob(_, lease) | Content::Manifest(lease, _) => lease.is_some(),
        }
    }

    /// The same version with other facts; only for the row, not for reading.
    pub(super) fn with_facts(&self, facts: Facts) -> Self {
        let content = match &self.content {
            Content::Empty => Content::Empty,
            Content::Inline(bytes) => Content::Inline(bytes.clone()),
            Content::Blob(id, _) => Content::Blob(*id, None),
            Content::Manifest(..) => Content::Manifest(None, OnceCell::new()),
        };
        Self { key: self.key.clone(), owner: self.owner.clone(), facts, content, ..*self }
    }

    /// About what it takes in memory.
    pub(super) fn weight(&self) -> usize {
        const OBJECT_BYTES: usize = 768;
        let content = match &self.content {
            Content::Inline(Some(bytes)) => bytes.len(),
            Content::Manifest(_, known) => known.get().map_or(0, |manifest| manifest.weight()),
            _ => 0,
        };
        OBJECT_BYTES + self.key.len() + self.facts.weight() + content
    }

    pub(super) fn corrupt(&self) -> StoreError {
        StoreError::Corrupt(format!("{} of bucket {}, version {}", self.key, self.bucket.0, self.version))
    }
}
