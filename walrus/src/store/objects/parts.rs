//! What parts an object consists of, and one object's bytes for another.

use super::Objects;
use super::bytes::{Fresh, FreshBlob, Stored};
use super::error::StoreError;
use super::facts::Checksum;
use super::object::{Content, Object};
use crate::store::keeper::BlobId;
use std::sync::Arc;

/// A part of an object that was uploaded in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartFacts {
    pub number: u16,
    /// Where it begins in the object.
    pub offset: u64,
    pub size: u64,
    pub checksum: Option<Checksum>,
}

impl Objects {
    /// None for an object that was not uploaded in parts.
    pub async fn object_parts(&self, object: &Arc<Object>) -> Result<Vec<PartFacts>, StoreError> {
        let Content::Manifest(..) = &object.content else { return Ok(Vec::new()) };
        let (manifest, mut offset) = (self.manifest(object).await?, 0);
        let parts = manifest.pieces.iter().map(|piece| {
            let part = PartFacts {
                number: piece.number,
                offset,
                size: piece.size,
                checksum: piece.checksum.clone(),
            };
            offset += piece.size;
            part
        });
        Ok(parts.collect())
    }

    /// The bytes of `object` once more, without reading them: for a copy that is sealed as it is. None for an
    /// object in parts: what a copy of it says of itself is found by reading it.
    pub async fn content_share(&self, object: &Arc<Object>) -> Result<Option<Stored>, StoreError> {
        self.0.room_for(0)?;
        let fresh = match &object.content {
            Content::Empty => Fresh::Empty,
            Content::Inline(Some(bytes)) => Fresh::Inline(bytes.clone()),
            Content::Inline(None) => return Err(StoreError::NoSuchVersion),
            Content::Blob(id, _) => Fresh::Blob(self.blob_share(object, *id).await?),
            Content::Manifest(..) => return Ok(None),
        };
        Ok(Some(Stored::new(object.size, object.seal, fresh)))
    }

    async fn blob_share(&self, object: &Object, from: BlobId) -> Result<FreshBlob, StoreError> {
        if self.0.is_damaged(from) {
            return Err(object.corrupt());
        }
        let (keeper, to) = (self.0.keeper.clone(), self.0.blob_id());
        // A task of its own: when the caller goes away meanwhile, what it made is handed to nobody, and so
        // removed.
        let shared = tokio::spawn(async move {
            let fresh = FreshBlob::new(keeper.clone(), to);
            keeper.link(from, to).await.map(|()| fresh)
        });
        Ok(shared.await.map_err(std::io::Error::other)??)
    }
}
