//! Blobs as files: `blobs/<13 hex>/<16 hex>`, a directory for each 4,096 names, so that blobs which are
//! written together share one. What is being written lies in `incoming/`, which every start empties.
//!
//! Only std's file functions change anything here, so that a shim of the C library sees all of it.

mod append;
mod directories;
mod file;
mod straight;

use super::{Append, Blob, BlobId, Keeper, StoreFacts};
use append::LocalAppend;
use directories::Directories;
use file::LocalBlob;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use straight::Straight;
use tokio::task::spawn_blocking;

const PRIVATE: u32 = 0o700;
const BLOB_MODE: u32 = 0o600;
/// What is smaller is likely to be read soon, and takes little room in the page cache until then.
const PAST_CACHE_BYTES_MIN: u64 = 4 << 20;

#[derive(Debug, Clone)]
pub struct LocalKeeper {
    root: PathBuf,
    incoming: PathBuf,
    directories: Arc<Directories>,
    hard_link: fn(&Path, &Path) -> io::Result<()>,
}

fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)
}

impl LocalKeeper {
    /// Removes what interrupted writers have left. Blocking.
    pub fn open(root: &Path) -> io::Result<Self> {
        let (blobs, incoming) = (root.join("blobs"), root.join("incoming"));
        if incoming.exists() {
            fs::remove_dir_all(&incoming)?;
        }
        for directory in [&blobs, &incoming] {
            DirBuilder::new().recursive(true).mode(PRIVATE).create(directory)?;
        }
        for directory in [root, &blobs] {
            File::open(directory)?.sync_all()?;
        }
        Ok(Self { incoming, ..Self::open_as_is(root) })
    }

    /// Changes nothing: for looking at what nobody uses. Nothing can be created with it where there is no
    /// `incoming/`.
    pub fn open_as_is(root: &Path) -> Self {
        let directories = Arc::new(Directories::new(root.join("blobs")));
        Self { root: root.to_owned(), incoming: root.join("incoming"), directories, hard_link }
    }
}

/// Runs what waits for the disk where waiting does no harm.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The file system has no more links for this file, or none at all: what is copied is shared no longer.
fn cannot_link(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), TooManyLinks | CrossesDevices | PermissionDenied | Unsupported)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[async_trait::async_trait]
impl Keeper for LocalKeeper {
    async fn create(&self, id: BlobId, expected_bytes: Option<u64>) -> io::Result<Box<dyn Append>> {
        let (incoming, directories) = (self.incoming.join(id.to_string()), self.directories.clone());
        let past_cache = expected_bytes.is_some_and(|bytes| bytes >= PAST_CACHE_BYTES_MIN);
        let append = blocking(move || {
            let file = Straight::create(&incoming, BLOB_MODE, past_cache)?;
            Ok(LocalAppend::new(file, incoming, id, directories))
        });
        Ok(Box::new(append.await?))
    }

    async fn open(&self, id: BlobId) -> io::Result<Arc<dyn Blob>> {
        let path = self.directories.path(id);
        let blob = blocking(move || LocalBlob::open(&path)).await?;
        Ok(Arc::new(blob))
    }

    async fn link(&self, from: BlobId, to: BlobId) -> io::Result<()> {
        let (directories, incoming) = (self.directories.clone(), self.incoming.join(to.to_string()));
        let (source, hard_link) = (self.directories.path(from), self.hard_link);
        blocking(move || {
            match directories.place(to, |path| hard_link(&source, path)) {
                Err(error) if cannot_link(&error) => {}
                linked => return linked,
            }
            let copied = fs::copy(&source, &incoming).and_then(|_| File::open(&incoming)?.sync_all());
            let placed = copied.and_then(|()| directories.place(to, |path| fs::rename(&incoming, path)));
            if placed.is_err() {
                let _ = remove_if_there(&incoming); // the next start does
            }
            placed
        })
        .await?;
        self.directories.sync(to).await
    }

    async fn remove(&self, id: BlobId) -> io::Result<()> {
        let directories = self.directories.clone();
        blocking(move || directories.remove(id)).await
    }

    async fn list(&self, after: Option<BlobId>, limit: usize) -> io::Result<Vec<BlobId>> {
        let directories = self.directories.clone();
        blocking(move || directories.list(after, limit)).await
    }

    async fn newest(&self) -> io::Result<Option<BlobId>> {
        let directories = self.directories.clone();
        blocking(move || directories.newest()).await
    }

    fn bytes_free(&self) -> io::Result<u64> {
        bytes_free(&self.root)
    }

    async fn copy_out(&self, id: BlobId, directory: &Path) -> io::Result<()> {
        let source = self.directories.path(id);
        let target = Directories::new(directory.join("blobs"));
        let copy = move |path: &Path| {
            if fs::hard_link(&source, path).is_err() {
                fs::copy(&source, path)?;
                File::open(path)?.sync_all()?;
            }
            Ok(())
        };
        blocking(move || target.place(id, copy)).await
    }

    async fn begin(&self, store: StoreFacts) -> io::Result<()> {
        // One whose blobs have always been here may have lost its disk; that is told object by object.
        if store.mark != 0 && store.has_blobs && self.newest().await?.is_none() {
            return Err(io::Error::other(
                "store.backend = \"local\": this store's larger objects were with another engine, and are not here; copy \
                 them first, or set store.backend as it was",
            ));
        }
        Ok(())
    }
}

/// A file for its owner only. Blocking.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).mode(BLOB_MODE).open(path)
}

/// Puts a file that is whole and durable where a keeper of `directory` looks for the blob. Blocking.
pub(super) fn take_in(directory: &Path, id: BlobId, file: &Path) -> io::Result<()> {
    Directories::new(directory.join("blobs")).place(id, |path| fs::rename(file, path))
}

/// What an ordinary user may still write to the file system of `path`.
pub fn bytes_free(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests;
