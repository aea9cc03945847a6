//! The bytes of larger objects: immutable blobs with generated names, behind the trait [`Keeper`].
//!
//! ```text
//!   mod.rs     the trait: what an engine must do with named, unchanging runs of bytes
//!   local/     files: the embedded default
//!   s3/        objects of another store that speaks S3
//!   format.rs  what is in a blob: payload, checks of its blocks, trailer
//!   write.rs   payload in, checked (and encrypted) blob out
//!   read.rs    blob in, verified payload out, in bounded pieces and ahead of the reader
//!   seal.rs    keys and the encryption of blocks
//!   pace.rs    how fast work in the background may go
//!   buffer.rs  the buffers that all of that passes along
//! ```
//!
//! An engine knows nothing of objects, checks or keys, so that all of them hold whatever it is. It must
//! not change or reorder a byte, and what `finish` has answered must survive a loss of power.

pub mod buffer;
#[cfg(test)]
mod conformance;
pub mod format;
pub mod local;
pub mod pace;
pub mod read;
pub mod s3;
pub mod seal;
pub mod write;

use buffer::Buffer;
use futures_util::future::BoxFuture;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A blob's name. Grows with every blob, and none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub u64);

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl BlobId {
    pub fn parse(name: &str) -> Option<Self> {
        let plain =
            name.len() == 16 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        plain.then(|| u64::from_str_radix(name, 16).ok().map(Self)).flatten()
    }
}

/// An engine that keeps blobs.
#[async_trait::async_trait]
pub trait Keeper: fmt::Debug + Send + Sync + 'static {
    /// Begins a blob that is not there yet; `expected_bytes` is a hint.
    async fn create(&self, id: BlobId, expected_bytes: Option<u64>) -> io::Result<Box<dyn Append>>;

    async fn open(&self, id: BlobId) -> io::Result<Arc<dyn Blob>>;

    /// The blob `from` once more under the name `to`, durable, without copying its bytes if that can be.
    async fn link(&self, from: BlobId, to: BlobId) -> io::Result<()>;

    /// Harmless when it is not there.
    async fn remove(&self, id: BlobId) -> io::Result<()>;

    /// In the order of names.
    async fn list(&self, after: Option<BlobId>, limit: usize) -> io::Result<Vec<BlobId>>;

    /// The greatest name that was ever used, as far as what is kept tells.
    async fn newest(&self) -> io::Result<Option<BlobId>>;

    /// Bytes that can still be written.
    fn bytes_free(&self) -> io::Result<u64>;

    /// The blob as a file of a directory that a [`local`] keeper can be opened on.
    async fn copy_out(&self, id: BlobId, directory: &Path) -> io::Result<()>;

    /// Whether blobs leave this machine. Then all of them are encrypted.
    fn is_elsewhere(&self) -> bool {
        false
    }

    /// The first name that a start may give, when `newest` is the greatest that may have been given.
    fn first_name(&self, newest: u64) -> u64 {
        newest + 1
    }

    /// Whose blobs these are; called once, before anything is created or removed.
    ///
    /// # Errors
    /// They are not. An engine that is away looks when it is there again.
    async fn begin(&self, store: StoreFacts) -> io::Result<()>;

    /// Whether the engine answers.
    async fn probe(&self) -> io::Result<()> {
        Ok(())
    }

    /// Removes what interrupted writers have left besides blobs. Called every few seconds.
    async fn collect(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What an engine is told of the store that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreFacts {
    /// Tells the store from others; 0: its blobs have never been elsewhere.
    pub mark: u64,
    /// Its rows name blobs.
    pub has_blobs: bool,
}

/// The engine does not do what it is there for, for the time being. It is no sign of a lost blob.
pub fn is_away(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotConnected
}

/// A blob that is being written. One that is dropped before `finish` leaves nothing.
#[async_trait::async_trait]
pub trait Append: Send {
    /// Returns when the engine has room for more, which may be before these bytes are written.
    async fn append(&mut self, bytes: Buffer) -> io::Result<()>;

    /// The blob exists and is durable, or it does not exist.
    async fn finish(self: Box<Self>) -> io::Result<()>;
}

/// A blob that is being read. Stays readable when it is removed meanwhile, where the engine can do that.
pub trait Blob: Send + Sync {
    fn bytes(&self) -> u64;

    /// Reads `count` bytes at `offset` if that needs no waiting; false when it would, or cannot be told.
    fn read_now(&self, offset: u64, count: usize, into: &mut Buffer) -> io::Result<bool>;

    /// Begins at once, not when it is first polled.
    fn read(&self, offset: u64, count: usize, into: Buffer) -> BoxFuture<'static, io::Result<Buffer>>;

    /// Drops what is remembered of these bytes, so that the next read asks the medium.
    fn forget(&self, offset: u64, count: u64);

    /// These bytes will be read, in order: a hint.
    fn expect(&self, _range: Range<u64>) {}
}
