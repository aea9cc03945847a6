//! Where a blob's file lies, and the syncing of directories: those who wait for the same directory while it
//! is being synced share the next sync. A directory's own name is durable before anything is put into it.

use super::super::BlobId;
use super::{PRIVATE, blocking, remove_if_there};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// 4,096 names share a directory.
const NAMES_LOG2: u32 = 12;
/// A directory that is removed at the wrong moment is made anew so often.
const PLACE_TRIES: usize = 3;
/// Directories whose syncing is remembered; blobs are written to the newest one or two.
const REMEMBERED_MAX: usize = 16;

#[derive(Debug)]
pub struct Directories {
    blobs: PathBuf,
    syncing: Mutex<BTreeMap<u64, Arc<Syncing>>>,
    /// Directories that are there, durably, as far as is remembered. Making and removing directories are
    /// done under its lock.
    made: Mutex<BTreeSet<u64>>,
    sync_names: fn(&Path) -> io::Result<()>,
}

/// What is in the directory by name is durable when it returns.
fn sync_names(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
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
        Self { blobs, syncing: Mutex::default(), made: Mutex::default(), sync_names }
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

    fn made(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file where the blob's is to be. Blocking.
    pub fn place(&self, id: BlobId, put: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut tries = 0..PLACE_TRIES;
        loop {
            match put(&self.path_made(id)?) {
                // The directory was empty for a moment, and has been removed.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries.next().is_some() => {
                    self.made().remove(&(id.0 >> NAMES_LOG2));
                }
                done => return done,
            }
        }
    }

    /// The path, in a directory that is there. Blocking.
    fn path_made(&self, id: BlobId) -> io::Result<PathBuf> {
        let (directory, number) = (self.directory(id), id.0 >> NAMES_LOG2);
        let mut made = self.made();
        if !made.contains(&number) {
            match DirBuilder::new().recursive(true).mode(PRIVATE).create(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                // Who made it, a process before this one perhaps, may not have come to syncing it.
                _ => (self.sync_names)(&self.blobs)?,
            }
            made.insert(number);
            if made.len() > REMEMBERED_MAX {
                made.pop_first();
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
            let mut made = self.made();
            made.remove(&(id.0 >> NAMES_LOG2));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static SYNCS: Cell<(u32, bool)> = const { Cell::new((0, false)) };
    }

    fn counted(_: &Path) -> io::Result<()> {
        let (count, fails) = SYNCS.get();
        SYNCS.set((count + 1, fails));
        if fails { Err(io::Error::other("the disk")) } else { Ok(()) }
    }

    fn directories() -> (tempfile::TempDir, Directories) {
        let root = tempfile::tempdir().unwrap();
        let blobs = root.path().join("blobs");
        (root, Directories { sync_names: counted, ..Directories::new(blobs) })
    }

    fn write(path: &Path) -> io::Result<()> {
        fs::write(path, "x")
    }

    #[test]
    fn nothing_is_put_into_a_directory_whose_name_may_be_lost() {
        let (_root, directories) = directories();
        SYNCS.set((0, true));
        assert!(directories.place(BlobId(1), write).is_err());
        assert!(directories.directory(BlobId(1)).exists(), "made, and not synced");
        assert!(directories.place(BlobId(2), write).is_err(), "nobody relies on another's sync that failed");
        SYNCS.set((0, false));
        directories.place(BlobId(2), write).unwrap();
        directories.place(BlobId(3), write).unwrap();
        assert_eq!(SYNCS.get().0, 1, "once is enough");
        fs::create_dir(directories.directory(BlobId(1 << NAMES_LOG2))).unwrap();
        directories.place(BlobId(1 << NAMES_LOG2), write).unwrap();
        assert_eq!(SYNCS.get().0, 2, "of a run before, which may have been cut short");
    }

    #[test]
    fn a_directory_that_is_removed_meanwhile_is_made_anew() {
        let (_root, directories) = directories();
        let strikes = Cell::new(1);
        let put = |path: &Path| {
            if strikes.replace(0) == 1 {
                fs::remove_dir(path.parent().unwrap()).unwrap();
            }
            write(path)
        };
        directories.place(BlobId(1), put).unwrap();
        assert!(directories.path(BlobId(1)).exists());
        let never = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(directories.place(BlobId(2), never).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
