//! Blobs as objects of another store that speaks S3, in one bucket under a prefix.
//!
//! ```text
//!   engine.rs     a request: signed, tried again, and whether the engine is away
//!   requests.rs   what is asked, as S3 spells it
//!   sign.rs       the signature of a request
//!   documents.rs  the XML of its answers that is read
//!   names.rs      which object is which blob
//!   fault.rs      how it fails
//!   claim.rs      whose objects these are
//!   append.rs     a blob on its way to the engine: one PUT, or an upload in parts
//!   spool.rs      a part until the engine has it: a file without a name
//!   blob.rs       a blob on its way back, in ranges and ahead of its reader
//!   copy.rs       a blob once more, without its bytes passing through here
//!   collect.rs    removing what interrupted writers have left
//! ```
//!
//! The engine is believed that it keeps what it has answered with 200, and nothing else: bytes are checked on
//! the way in by their SHA-256, which is signed, and on the way out by the blob's own checks. What it does not
//! answer is tried again, then told as [`io::ErrorKind::NotConnected`], which is never taken for a lost blob.
//!
//! Names lie in blocks, a new one for each start: what a killed process had sent may still arrive, and must not
//! land on a name that was given since.

mod append;
mod blob;
mod claim;
mod collect;
mod copy;
mod documents;
mod engine;
mod fault;
mod names;
mod requests;
mod sign;
mod spool;

#[cfg(test)]
mod tests;

pub use engine::{EngineKeys, EngineOptions};

use super::{Append, Blob, BlobId, Keeper, StoreFacts, local};
use append::S3Append;
use blob::S3Blob;
use claim::Claim;
use collect::Leftovers;
use engine::{Call, Engine};
use fault::EngineError;
use karri_proto::runtime::metrics::Metrics;
use names::Names;
use spool::Spool;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

/// A start's names begin at a multiple of this.
const NAMES_PER_START_LOG2: u32 = 32;
/// The most that a listing answers at once.
const PAGE_MAX: usize = 1000;

#[derive(Debug, Clone)]
pub struct S3Keeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    names: Names,
    spool: Spool,
    claim: Claim,
    leftovers: Leftovers,
}

impl S3Keeper {
    /// `spool` is a directory for parts on their way, which is emptied. Nothing is asked of the engine yet.
    ///
    /// # Errors
    /// The options cannot be used, or the directory cannot be made.
    pub fn open(options: EngineOptions, spool: &Path, metrics: Arc<Metrics>) -> io::Result<Self> {
        Self::with_spool(options, Spool::open(spool)?, metrics)
    }

    /// For looking at what nobody uses: nothing can be created with it, and nothing is claimed.
    ///
    /// # Errors
    /// The options cannot be used.
    pub fn open_as_is(options: EngineOptions) -> io::Result<Self> {
        Self::with_spool(options, Spool::default(), Arc::default())
    }

    fn with_spool(options: EngineOptions, spool: Spool, metrics: Arc<Metrics>) -> io::Result<Self> {
        let names = Names::new(&options.prefix);
        let engine = Engine::new(options, metrics).map_err(io::Error::other)?;
        let (claim, leftovers) = (Claim::default(), Leftovers::default());
        Ok(Self(Arc::new(Inner { engine, names, spool, claim, leftovers })))
    }
}

impl Inner {
    /// The engine, once it is certain that what is there is ours.
    async fn ours(&self) -> io::Result<&Engine> {
        self.claim.settled(&self.engine, &self.names).await?;
        Ok(&self.engine)
    }
}

#[async_trait::async_trait]
impl Keeper for S3Keeper {
    async fn create(&self, id: BlobId, _expected_bytes: Option<u64>) -> io::Result<Box<dyn Append>> {
        self.0.ours().await?;
        Ok(Box::new(S3Append::new(self.0.clone(), id)))
    }

    async fn open(&self, id: BlobId) -> io::Result<Arc<dyn Blob>> {
        self.0.ours().await?;
        Ok(Arc::new(S3Blob::open(self.0.clone(), id).await?))
    }

    async fn link(&self, from: BlobId, to: BlobId) -> io::Result<()> {
        self.0.ours().await?;
        let bytes = S3Blob::open(self.0.clone(), from).await?.bytes();
        copy::copy(&self.0, from, to, bytes).await
    }

    async fn remove(&self, id: BlobId) -> io::Result<()> {
        let engine = self.0.ours().await?;
        match engine.call(&Call::new("DELETE", self.0.names.key(id))).await {
            Ok(_) | Err(EngineError::NoSuchKey) => {
                self.0.leftovers.removed(id);
                Ok(())
            }
            Err(error) => {
                self.0.leftovers.remains(id);
                Err(error.into())
            }
        }
    }

    async fn list(&self, after: Option<BlobId>, limit: usize) -> io::Result<Vec<BlobId>> {
        let (engine, names) = (self.0.ours().await?, &self.0.names);
        let (mut found, mut after) = (Vec::new(), after.map(|id| names.key(id)));
        while found.len() < limit {
            let count = PAGE_MAX.min(limit - found.len());
            let (keys, more) = engine.list(names.prefix(), after.as_deref(), count).await?;
            found.extend(keys.iter().filter_map(|key| names.parse(key)));
            after = keys.into_iter().next_back();
            if !more || after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Nothing: the engine may be away, and [`Keeper::first_name`] needs no help of it.
    async fn newest(&self) -> io::Result<Option<BlobId>> {
        Ok(None)
    }

    /// As far as is known; it says so itself when it is full.
    fn bytes_free(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    async fn copy_out(&self, id: BlobId, directory: &Path) -> io::Result<()> {
        self.0.ours().await?;
        let blob = S3Blob::open(self.0.clone(), id).await?;
        let unfinished = directory.join(format!("{id}.unfinished"));
        let copied = copy_to(blob, &unfinished).await;
        let (directory, path) = (directory.to_owned(), unfinished.clone());
        let placed = match copied {
            Ok(()) => local::blocking(move || local::take_in(&directory, id, &path)).await,
            Err(error) => Err(error),
        };
        if placed.is_err() {
            let _ = fs::remove_file(&unfinished); // it is no part of the copy, whatever it is
        }
        placed
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    fn first_name(&self, newest: u64) -> u64 {
        ((newest >> NAMES_PER_START_LOG2) + 1) << NAMES_PER_START_LOG2
    }

    async fn begin(&self, store: StoreFacts) -> io::Result<()> {
        self.0.claim.begin(store);
        match self.0.ours().await {
            Err(error) if super::is_away(&error) => {
                tracing::warn!(%error, "objects above 32 KiB cannot be read or written until the engine answers");
                Ok(())
            }
            begun => begun.map(drop),
        }
    }

    async fn probe(&self) -> io::Result<()> {
        self.0.claim.probe(&self.0.engine, &self.0.names).await
    }

    async fn collect(&self) -> io::Result<()> {
        self.0.ours().await?;
        collect::collect(&self.0).await
    }
}

/// The blob as a file that is whole and durable.
async fn copy_to(blob: S3Blob, path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    let mut file = local::blocking(move || local::create_private(&path)).await?;
    let bytes = blob.bytes();
    blob.expect(0..bytes);
    let mut at = 0;
    while at < bytes {
        let count = (bytes - at).min(super::buffer::BUFFER_BYTES as u64) as usize;
        let buffer = blob.read(at, count, super::Buffer::new()).await?;
        at += count as u64;
        file = local::blocking(move || file.write_all(&buffer).map(|()| file)).await?;
    }
    local::blocking(move || File::sync_all(&file)).await
}
