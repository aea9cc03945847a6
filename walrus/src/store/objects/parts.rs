//! What parts an object consists of, and one object's bytes for another.

use super::Objects;
use super::bytes::{Fresh, FreshBlob, FreshPiece, FreshPlace, Stored};
use super::error::StoreError;
use super::facts::Checksum;
use super::manifest::Place;
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
        let manifest = self.manifest(object).await?;
        if !manifest.has_parts {
            return Ok(Vec::new());
        }
        let (mut parts, mut offset): (Vec<PartFacts>, _) = (Vec::new(), 0);
        for piece in &manifest.pieces {
            match parts.last_mut() {
                // A part that was copied from an object of several blobs.
                Some(last) if last.number == piece.number => last.size += piece.size,
                _ => parts.push(PartFacts {
                    number: piece.number,
                    offset,
                    size: piece.size,
                    checksum: piece.checksum.clone(),
                }),
            }
            offset += piece.size;
        }
        Ok(parts)
    }

    /// The bytes of `object` once more, without reading them: for a copy that is sealed as it is.
    pub async fn content_share(&self, object: &Arc<Object>) -> Result<Stored, StoreError> {
        let fresh = match &object.content {
            Content::Empty => Fresh::Empty,
            Content::Inline(Some(bytes)) => Fresh::Inline(bytes.clone()),
            Content::Inline(None) => return Err(StoreError::NoSuchVersion),
            Content::Blob(id, _) => Fresh::Blob(self.blob_share(object, *id).await?),
            Content::Manifest(..) => {
                let manifest = self.manifest(object).await?;
                let mut pieces = Vec::with_capacity(manifest.pieces.len());
                for piece in &manifest.pieces {
                    let place = match &piece.place {
                        Place::Here(bytes) => FreshPlace::Here(bytes.clone()),
                        Place::Blob(id) => FreshPlace::Blob(self.blob_share(object, *id).await?),
                    };
                    pieces.push(FreshPiece { size: piece.size, place });
                }
                Fresh::Pieces(pieces)
            }
        };
        Ok(Stored::new(object.size, object.seal, fresh))
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
