//! One import's own directory and the space it may fill; both are given back when it is dropped.

use super::blobs::BlobStore;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub struct Scratch {
    store: Arc<BlobStore>,
    directory: PathBuf,
    reserved_bytes: u64,
}

impl Scratch {
    pub(super) fn new(store: Arc<BlobStore>, directory: PathBuf) -> io::Result<Self> {
        std::fs::create_dir(&directory)?;
        Ok(Self { store, directory, reserved_bytes: 0 })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Sets `bytes` more aside; false when the store would hold more than it may.
    pub fn reserve(&mut self, bytes: u64) -> bool {
        let granted = self.store.reserve(bytes);
        self.reserved_bytes += if granted { bytes } else { 0 };
        granted
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.store.release(self.reserved_bytes);
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            let path = self.directory.display();
            tracing::warn!(%path, %error, "cannot remove an import's files; the next start will");
        }
    }
}
