//! Where a blob's file lies, and the syncing of directories: those who wait for the same directory while it
//! is being synced share the next sync.

use super::super::BlobId;
use super::{PRIVATE, blocking, remove_if_there};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// 4,096 names share a directory.
const NAMES_LOG2: u32 = 12;
/// Directories whose syncing is remembered; blobs are written to the newest one or two.
const REMEMBERED_MAX: usize = 16;

#[derive(Debug)]
pub struct Directories {
    blobs: PathBuf,
    syncing: Mutex<BTreeMap<u64, Arc<Syncing>>>,
}

#[derive(Debug, Default)]
struct Syncing {
    asked: AtomicU64,
    done: AtomicU64,
    turn: tokio::sync::Mutex<()>,
}

fn directory_name(id: BlobId) -> String {
    format!("{:013x}", id.0 >> NAMES_LOG2)
}

impl Directories {
    pub fn new(blobs: PathBuf) -> Self {
        Self { blobs, syncing: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Syncing>>> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self, id: BlobId) -> PathBuf {
        self.blobs.join(directory_name(id))
    }

    pub fn path(&self, id: BlobId) -> PathBuf {
        self.directory(id).join(id.to_string())
    }

    /// The path, in a directory that is there. Blocking.
    pub fn path_made(&self, id: BlobId) -> io::Result<PathBuf> {
        let directory = self.directory(id);
        if !directory.exists() {
            match DirBuilder::new().recursive(true).mode(PRIVATE).create(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => File::open(&self.blobs)?.sync_all()?,
            }
        }
        Ok(directory.join(id.to_string()))
    }

    /// The names in the directory of `id` that are there now are durable when it returns.
    pub async fn sync(&self, id: BlobId) -> io::Result<()> {
        let syncing = self.remembered(id);
        let mine = syncing.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let _turn = syncing.turn.lock().await;
        if syncing.done.load(Ordering::SeqCst) >= mine {
            return Ok(());
        }
        let all = syncing.asked.load(Ordering::SeqCst);
        let directory = self.directory(id);
        blocking(move || File::open(directory)?.sync_all()).await?;
        syncing.done.store(all, Ordering::SeqCst);
        Ok(())
    }

    fn remembered(&self, id: BlobId) -> Arc<Syncing> {
        let mut syncing = self.lock();
        if syncing.len() > REMEMBERED_MAX {
            // Only those that nobody waits for: two syncs of one directory side by side would be harmless.
            syncing.retain(|_, one| Arc::strong_count(one) > 1);
        }
        syncing.entry(id.0 >> NAMES_LOG2).or_default().clone()
    }

    /// Blocking.
    pub fn remove(&self, id: BlobId) -> io::Result<()> {
        remove_if_there(&self.path(id))?;
        let newest = self.lock().last_key_value().map(|(number, _)| *number);
        if newest.is_some_and(|newest| id.0 >> NAMES_LOG2 < newest) {
            let _ = fs::remove_dir(self.directory(id)); // refused while others are in it
        }
        Ok(())
    }

    /// Blocking.
    pub fn list(&self, after: Option<BlobId>, limit: usize) -> io::Result<Vec<BlobId>> {
        let from = after.map(directory_name).unwrap_or_default();
        let mut found = Vec::new();
        for directory in names(&self.blobs)?.into_iter().filter(|name| *name >= from) {
            let mut ids: Vec<BlobId> =
                names(&self.blobs.join(directory))?.iter().filter_map(|name| BlobId::parse(name)).collect();
            ids.sort_unstable();
            found.extend(ids.into_iter().filter(|id| after.is_none_or(|after| *id > after)));
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Blocking.
    pub fn newest(&self) -> io::Result<Option<BlobId>> {
        for directory in names(&self.blobs)?.iter().rev() {
            let files = names(&self.blobs.join(directory))?;
            if let Some(id) = files.iter().filter_map(|name| BlobId::parse(name)).max() {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

/// The names in a directory, in order; none in one that is not there.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries?,
    };
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}
