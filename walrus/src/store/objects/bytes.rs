//! Bytes on their way in: up to 32 KiB in memory, for a row; more to a blob, in bounded pieces. What is dropped
//! before it belongs to a version leaves nothing.

use super::error::StoreError;
use super::lease;
use super::manifest::{Manifest, Piece, Place};
use super::object::Content;
use super::writer::batch::Batch;
use super::writer::changes::{BlobChange, ManifestChange};
use super::{Objects, Shared};
use crate::store::keeper::seal::{Seal, SealWith, WrappingKey, seal_small};
use crate::store::keeper::write::BlobWriter;
use crate::store::keeper::{BlobId, Keeper};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::OnceCell;

pub const INLINE_BYTES_MAX: usize = 32 * 1024;
/// How often a long stream looks whether there is still room.
const ROOM_EVERY_BYTES: u64 = 16 << 20;

/// A blob that no version names yet.
#[derive(Debug)]
pub(super) struct FreshBlob {
    keeper: Arc<dyn Keeper>,
    pub id: BlobId,
    kept: bool,
}

impl FreshBlob {
    pub fn new(keeper: Arc<dyn Keeper>, id: BlobId) -> Self {
        Self { keeper, id, kept: false }
    }
}

impl Drop for FreshBlob {
    fn drop(&mut self) {
        // Without a runtime the process is ending; the next one removes what no row names.
        if let (false, Ok(runtime)) = (self.kept, tokio::runtime::Handle::try_current()) {
            let (keeper, id) = (self.keeper.clone(), self.id);
            runtime.spawn(async move {
                if let Err(error) = keeper.remove(id).await {
                    tracing::warn!(blob = %id, %error, "a blob that nobody wants cannot be removed");
                }
            });
        }
    }
}

#[derive(Debug)]
pub(super) enum Fresh {
    Empty,
    Inline(Bytes),
    Blob(FreshBlob),
    Pieces(Vec<FreshPiece>),
    /// Blobs that the store has already.
    Assembled(Arc<Manifest>),
}

#[derive(Debug)]
pub(super) struct FreshPiece {
    pub size: u64,
    pub place: FreshPlace,
}

#[derive(Debug)]
pub(super) enum FreshPlace {
    Blob(FreshBlob),
    Here(Bytes),
}

/// Durable bytes (those for a row are durable with it) that wait to become a version or a part.
#[derive(Debug)]
pub struct Stored {
    len: u64,
    seal: Seal,
    fresh: Fresh,
}

impl Stored {
    pub fn empty() -> Self {
        Self { len: 0, seal: Seal::Plain, fresh: Fresh::Empty }
    }

    pub(super) fn new(len: u64, seal: Seal, fresh: Fresh) -> Self {
        Self { len, seal, fresh }
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn seal(&self) -> Seal {
        self.seal
    }

    /// Adds to the transaction what makes these bytes those of version `seq`.
    pub(super) fn keep_in(&self, batch: &mut Batch<'_>, seq: u64) -> Content {
        match &self.fresh {
            Fresh::Empty => Content::Empty,
            Fresh::Inline(bytes) => {
                batch.changes.inline.insert(seq, Some(bytes.clone()));
                Content::Inline(Some(bytes.clone()))
            }
            Fresh::Blob(blob) => {
                batch.changes.blobs.insert(blob.id.0, BlobChange::New(self.len));
                Content::Blob(blob.id, Some(batch.shared.leases.take(lease::Bytes::Blob(blob.id.0))))
            }
            Fresh::Pieces(pieces) => {
                let manifest =
                    Manifest { has_parts: false, pieces: pieces.iter().map(FreshPiece::piece).collect() };
                for (blob, bytes) in manifest.blobs() {
                    batch.changes.blobs.insert(blob.0, BlobChange::New(bytes));
                }
                keep_manifest(batch, seq, Arc::new(manifest))
            }
            Fresh::Assembled(manifest) => keep_manifest(batch, seq, manifest.clone()),
        }
    }

    /// They belong to the store now.
    pub(super) fn kept(&mut self) {
        match &mut self.fresh {
            Fresh::Empty | Fresh::Inline(_) | Fresh::Assembled(_) => {}
            Fresh::Blob(blob) => blob.kept = true,
            Fresh::Pieces(pieces) => {
                for piece in pieces {
                    if let FreshPlace::Blob(blob) = &mut piece.place {
                        blob.kept = true;
                    }
                }
            }
        }
    }
}

fn keep_manifest(batch: &mut Batch<'_>, seq: u64, manifest: Arc<Manifest>) -> Content {
    let body = manifest.encode();
    batch.changes.manifests.insert(seq, ManifestChange::New { body, garbage: false });
    let lease = batch.shared.leases.take(lease::Bytes::Manifest(seq));
    Content::Manifest(Some(lease), OnceCell::new_with(Some(manifest)))
}

impl FreshPiece {
    fn piece(&self) -> Piece {
        let place = match &self.place {
            FreshPlace::Blob(blob) => Place::Blob(blob.id),
            FreshPlace::Here(bytes) => Place::Here(bytes.clone()),
        };
        Piece { number: 0, size: self.size, place, checksum: None }
    }
}

/// Takes the bytes of one object or part.
pub struct ByteWriter {
    shared: Arc<Shared>,
    seal: SealWith,
    expected_bytes: Option<u64>,
    len: u64,
    state: State,
}

enum State {
    Small(Vec<u8>),
    Large(Box<BlobWriter>, BlobId),
}

impl ByteWriter {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Waits while the disk is behind.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        let before = self.len;
        self.len += chunk.len() as u64;
        if before / ROOM_EVERY_BYTES != self.len / ROOM_EVERY_BYTES {
            self.shared.room_for(0)?;
        }
        if let State::Small(bytes) = &mut self.state {
            if bytes.len() + chunk.len() <= INLINE_BYTES_MAX {
                bytes.extend_from_slice(chunk);
                return Ok(());
            }
            let bytes = std::mem::take(bytes);
            let id = self.shared.blob_id();
            let wrapping = self.shared.blob_wrapping(&self.seal)?;
            let keeper = &*self.shared.keeper;
            let mut blob = BlobWriter::create(keeper, id, self.expected_bytes, wrapping.as_ref()).await?;
            blob.write(&bytes).await?;
            self.state = State::Large(Box::new(blob), id);
        }
        if let State::Large(blob, _) = &mut self.state {
            blob.write(chunk).await?;
        }
        Ok(())
    }

    pub async fn finish(self) -> Result<Stored, StoreError> {
        let (len, seal) = (self.len, self.seal.seal());
        let fresh = match self.state {
            State::Small(bytes) if bytes.is_empty() => Fresh::Empty,
            State::Small(bytes) => Fresh::Inline(match self.shared.wrapping(&self.seal)? {
                Some(wrapping) => seal_small(&wrapping, &bytes)?.into(),
                None => bytes.into(),
            }),
            State::Large(blob, id) => {
                let keeper = self.shared.keeper.clone();
                // A task of its own: when the caller goes away meanwhile, the blob is finished, handed
                // to nobody, and so removed.
                let finished = tokio::spawn(async move {
                    let finished = blob.finish().await;
                    finished.map(|_| FreshBlob::new(keeper, id))
                });
                Fresh::Blob(finished.await.map_err(std::io::Error::other)??)
            }
        };
        Ok(Stored { len, seal, fresh })
    }
}

impl Shared {
    /// What leaves this machine is encrypted, asked for or not.
    fn blob_wrapping(&self, seal: &SealWith) -> Result<Option<WrappingKey>, StoreError> {
        match seal {
            SealWith::Plain if self.keeper.is_elsewhere() => self.wrapping(&SealWith::Master),
            seal => self.wrapping(seal),
        }
    }

    pub(super) fn wrapping(&self, seal: &SealWith) -> Result<Option<WrappingKey>, StoreError> {
        match seal {
            SealWith::Plain => Ok(None),
            SealWith::Master => {
                self.config.master_keys.current(None).map(Some).ok_or(StoreError::NoMasterKey)
            }
            SealWith::Named(name) => {
                self.config.master_keys.current(Some(name)).map(Some).ok_or(StoreError::NoMasterKey)
            }
            SealWith::Customer(key) => Ok(Some(key.wrapping().clone())),
        }
    }
}

impl Objects {
    /// Begins to take bytes; refused at once when so many are known not to fit.
    pub fn begin_write(&self, expected_bytes: Option<u64>, seal: SealWith) -> Result<ByteWriter, StoreError> {
        let shared = self.0.shared.clone();
        shared.room_for(expected_bytes.unwrap_or(0))?;
        let small = expected_bytes.map_or(0, |bytes| (bytes as usize).min(INLINE_BYTES_MAX));
        let state = State::Small(Vec::with_capacity(small));
        Ok(ByteWriter { shared, seal, expected_bytes, len: 0, state })
    }
}
