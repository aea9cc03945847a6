//! One import's own directory and the space it may fill; both are given back when it is dropped.

use super::blobs::BlobStore;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Space that is set aside.
#[derive(Debug)]
pub struct Room {
    store: Arc<BlobStore>,
    bytes: u64,
}

impl Room {
    /// `bytes` are set aside already.
    pub(super) fn of(store: Arc<BlobStore>, bytes: u64) -> Self {
        Self { store, bytes }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.store.release(self.bytes);
    }
}

#[derive(Debug)]
pub struct Scratch {
    directory: PathBuf,
    /// Dropped after the files: space is free when they are gone.
    room: Room,
}

impl Scratch {
    pub(super) fn new(store: Arc<BlobStore>, directory: PathBuf) -> io::Result<Self> {
        std::fs::create_dir(&directory)?;
        Ok(Self { directory, room: Room::of(store, 0) })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Sets `bytes` more aside if they are free. What is not can be had from [`BlobStore::room`].
    pub fn reserve(&mut self, bytes: u64) -> bool {
        let granted = self.room.store.reserve(bytes);
        self.room.bytes += if granted { bytes } else { 0 };
        granted
    }

    /// From now on `room` goes with this directory.
    pub fn give(&mut self, mut room: Room) {
        self.room.bytes += std::mem::take(&mut room.bytes);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            let path = self.directory.display();
            tracing::warn!(%path, %error, "cannot remove an import's files; the next start will");
        }
    }
}
