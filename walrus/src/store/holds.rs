//! Who wants a blob to stay, and what happens to blobs that nobody does.
//!
//! ```text
//!              import               keep (an image is registered)
//!   Imported ◄─────────── any    Cached ───────────────────────────► Registered
//!                                       ◄───────────────────────────
//!                                       release (its last image is gone)
//! ```
//!
//! - *Imported*: somebody sent it. It stays until somebody deletes it. Nothing weakens this.
//! - *Registered*: it was made from a bundle and an image is registered on it, or it is the copy of a disk that is being
//!   bundled. It stays.
//! - *Cached*: it was made from a bundle and can be made from it again, or it is a copy of a disk that nobody has asked for
//!   yet. It may go at any time: the least recently used ones go when cached blobs take more than they may, or when an
//!   import needs the room.
//!
//! A hold stands in the blob's info file. The time of last use is that file's modification time, so that the
//! order outlives the process; a crash may lose some of it.

use super::blobs::{BlobInfo, BlobStore, Known, Turn};
use karri_proto::instance::Digest;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::time::SystemTime;

/// In the order of their strength.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    Cached,
    Registered,
    /// Info files of before say nothing: their blobs were imported.
    #[default]
    Imported,
}

impl BlobStore {
    /// The blob, held from now on at least by `hold`; None when there is none. Durable; blocking.
    pub fn blob_hold(&self, digest: &Digest, hold: Hold) -> io::Result<Option<BlobInfo>> {
        self.hold_more(&mut self.turn(), digest, hold)
    }

    pub(super) fn hold_more(
        &self,
        turn: &mut Turn,
        digest: &Digest,
        hold: Hold,
    ) -> io::Result<Option<BlobInfo>> {
        let Some(info) = self.blob_info(digest) else { return Ok(None) };
        if info.hold >= hold {
            return Ok(Some(info));
        }
        self.hold_set(turn, digest, BlobInfo { hold, ..info }).map(Some)
    }

    fn hold_set(&self, turn: &mut Turn, digest: &Digest, info: BlobInfo) -> io::Result<BlobInfo> {
        self.info_write(turn, digest, &info)?;
        self.lock().blobs.insert(digest.clone(), info.clone());
        Ok(info)
    }

    /// No image is registered on it any more: a blob from a bundle is a copy again. Others stay as they
    /// are. Blocking.
    pub fn blob_release(&self, digest: &Digest) -> io::Result<()> {
        let mut turn = self.turn();
        match self.blob_info(digest) {
            Some(info) if info.hold == Hold::Registered => {
                self.hold_set(&mut turn, digest, BlobInfo { hold: Hold::Cached, ..info }).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Removes the blob if nobody wants it to stay. Blocking.
    pub fn blob_drop_cached(&self, digest: &Digest) -> io::Result<bool> {
        let mut turn = self.turn();
        match self.blob_info(digest) {
            Some(info) if info.hold == Hold::Cached => self.remove(&mut turn, digest),
            _ => Ok(false),
        }
    }

    /// Removes cached blobs, the least recently used first, until they take no more than `bytes_max`.
    /// Blocking.
    pub fn cache_trim(&self, bytes_max: u64) {
        self.make_room(&mut self.turn(), || self.cached_bytes() <= bytes_max);
    }

    /// What cached blobs take.
    pub fn cached_bytes(&self) -> u64 {
        cached_bytes(&self.lock())
    }

    /// Removes one cached blob after the other until there is `enough` room; false when even without all of
    /// them there is not. The turn keeps them as they were listed: none is held or gone meanwhile.
    pub(super) fn make_room(&self, turn: &mut Turn, mut enough: impl FnMut() -> bool) -> bool {
        if enough() {
            return true;
        }
        let listed: Vec<(Digest, u64)> =
            cached(&self.lock()).map(|(digest, bytes)| (digest.clone(), bytes)).collect();
        let mut candidates: Vec<(SystemTime, Digest, u64)> =
            listed.into_iter().map(|(digest, bytes)| (self.last_use(&digest), digest, bytes)).collect();
        candidates.sort();
        for (_, digest, bytes) in candidates {
            match self.remove(turn, &digest) {
                Ok(_) => tracing::info!(%digest, bytes, "a bundle's image made room"),
                Err(error) => tracing::warn!(%digest, %error, "a bundle's image cannot be removed"),
            }
            if enough() {
                return true;
            }
        }
        false
    }

    /// A blob that is not on disk as it should be counts as not used for long.
    fn last_use(&self, digest: &Digest) -> SystemTime {
        let metadata = std::fs::metadata(self.path(digest).with_extension("json"));
        metadata.and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Remembers that a cached blob was of use. Blocking.
    pub fn blob_used(&self, digest: &Digest) {
        let is_cached = self.blob_info(digest).is_some_and(|info| info.hold == Hold::Cached);
        if is_cached && let Ok(file) = File::open(self.path(digest).with_extension("json")) {
            let _ = file.set_modified(SystemTime::now()); // at worst it goes too early
        }
    }
}

pub(super) fn cached_bytes(known: &Known) -> u64 {
    cached(known).map(|(_, bytes)| bytes).sum()
}

fn cached(known: &Known) -> impl Iterator<Item = (&Digest, u64)> {
    let cached = known.blobs.iter().filter(|(_, info)| info.hold == Hold::Cached);
    cached.map(|(digest, info)| (digest, info.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::instance::BlobFormat;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    const BYTES: usize = 1000;

    fn open(state: &Path) -> Arc<BlobStore> {
        Arc::new(BlobStore::open(state, 5 * BYTES as u64, Arc::default()).unwrap())
    }

    /// A blob that was last used `age` seconds ago.
    fn blob(store: &Arc<BlobStore>, number: u8, hold: Hold, age: u64) -> Digest {
        let digest = insert(store, number, hold);
        let file = File::open(store.path(&digest).with_extension("json")).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        digest
    }

    fn insert(store: &Arc<BlobStore>, number: u8, hold: Hold) -> Digest {
        let digest = Digest::from_sha256([number; 32]);
        let scratch = store.scratch().unwrap();
        std::fs::write(scratch.path("image"), [number; BYTES]).unwrap();
        let info = BlobInfo {
            format: BlobFormat::Raw,
            bytes: BYTES as u64,
            virtual_bytes: BYTES as u64,
            source_format: "raw".into(),
            content: None,
            hold,
            imported_at_unix_ms: 1,
        };
        store.blob_insert(&scratch, "image", &digest, info).unwrap();
        digest
    }

    fn there(store: &BlobStore, digests: &[&Digest]) -> Vec<bool> {
        digests.iter().map(|digest| store.blob_info(digest).is_some()).collect()
    }

    #[test]
    fn the_least_recently_used_copies_go_first_and_nothing_else_goes() {
        let state = tempfile::tempdir().unwrap();
        let store = open(state.path());
        let imported = blob(&store, 1, Hold::Imported, 900);
        let registered = blob(&store, 2, Hold::Registered, 900);
        let (old, new) = (blob(&store, 3, Hold::Cached, 60), blob(&store, 4, Hold::Cached, 30));
        assert_eq!(store.cached_bytes(), 2 * BYTES as u64);
        store.blob_open(&old).unwrap(); // now the newer one
        store.cache_trim(BYTES as u64);
        assert_eq!(there(&store, &[&imported, &registered, &old, &new]), [true, true, true, false]);
        store.cache_trim(0);
        assert_eq!(there(&store, &[&imported, &registered, &old]), [true, true, false]);
        assert!(!store.blob_drop_cached(&registered).unwrap());
    }

    #[test]
    fn copies_make_room_for_an_import() {
        let state = tempfile::tempdir().unwrap();
        let store = open(state.path());
        let kept = blob(&store, 1, Hold::Registered, 900);
        let (old, new) = (blob(&store, 2, Hold::Cached, 60), blob(&store, 3, Hold::Cached, 30));
        let mut scratch = store.scratch().unwrap();
        assert!(scratch.reserve(2 * BYTES as u64));
        assert_eq!(there(&store, &[&kept, &old, &new]), [true, true, true]);
        assert!(!scratch.reserve(BYTES as u64), "it is taken by a copy");
        scratch.give(store.room(BYTES as u64).unwrap());
        assert_eq!(there(&store, &[&kept, &old, &new]), [true, false, true]);
        assert!(store.room(2 * BYTES as u64).is_none(), "what is registered stays");
        assert_eq!(there(&store, &[&kept]), [true]);
        drop(scratch);
        assert!(store.room(4 * BYTES as u64).is_some(), "all but what is registered");
        assert_eq!(store.bytes_free(), 4 * BYTES as u64, "given back");
    }

    #[test]
    fn holds_grow_stronger_and_survive_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let digest = blob(&open(state.path()), 1, Hold::Cached, 0);
        let hold = |store: &BlobStore| store.blob_info(&digest).unwrap().hold;
        let store = open(state.path());
        assert_eq!(hold(&store), Hold::Cached);
        store.blob_hold(&digest, Hold::Registered).unwrap().unwrap();
        store.blob_hold(&digest, Hold::Cached).unwrap().unwrap();
        assert_eq!(hold(&open(state.path())), Hold::Registered);
        let store = open(state.path());
        store.blob_release(&digest).unwrap();
        assert_eq!(hold(&open(state.path())), Hold::Cached);
        let store = open(state.path());
        blob(&store, 1, Hold::Imported, 0); // somebody sends the same bytes
        store.blob_release(&digest).unwrap();
        assert_eq!(hold(&open(state.path())), Hold::Imported);
        assert!(store.blob_hold(&Digest::from_sha256([9; 32]), Hold::Registered).unwrap().is_none());
    }

    #[test]
    fn who_asks_does_not_wait_for_who_changes() {
        let state = tempfile::tempdir().unwrap();
        let store = open(state.path());
        let digest = blob(&store, 1, Hold::Imported, 0);
        let turn = store.turn(); // as while a disk is slow
        let changing = std::thread::spawn({
            let (store, digest) = (store.clone(), digest.clone());
            move || store.blob_delete(&digest).unwrap()
        });
        let mut scratch = store.scratch().unwrap();
        assert!(scratch.reserve(BYTES as u64));
        assert_eq!(store.bytes_free(), 3 * BYTES as u64);
        assert_eq!(store.blob_list().len(), 1);
        store.blob_open(&digest).unwrap();
        drop(turn);
        assert!(changing.join().unwrap());
        assert_eq!(there(&store, &[&digest]), [false]);
    }

    #[test]
    fn many_who_change_the_same_blobs_leave_memory_and_disk_agreeing() {
        let state = tempfile::tempdir().unwrap();
        let store = open(state.path());
        let change = &|round: usize, number: u8| {
            let digest = Digest::from_sha256([number; 32]);
            match round % 5 {
                0 => drop(insert(&store, number, Hold::Cached)),
                1 => drop(store.blob_hold(&digest, Hold::Registered).unwrap()),
                2 => store.blob_release(&digest).unwrap(),
                3 => drop(store.room(4 * BYTES as u64)),
                _ => drop(store.blob_delete(&digest).unwrap()),
            }
        };
        std::thread::scope(|scope| {
            let changes = move |thread: usize| (0..60).for_each(|n| change(n * 7 + thread, (n % 3) as u8));
            let changing: Vec<_> = (0..4).map(|thread| scope.spawn(move || changes(thread))).collect();
            while !changing.iter().all(|thread| thread.is_finished()) {
                let known = store.lock();
                let gone = known.blobs.keys().find(|digest| !store.path(digest).exists());
                assert_eq!(gone, None, "an entry without a file");
            }
        });
        let (blobs, free) = (store.blob_list(), store.bytes_free());
        let cached = store.cached_bytes();
        assert_eq!(free, 5 * BYTES as u64 - (blobs.len() * BYTES) as u64 + cached);
        let again = open(state.path());
        assert_eq!((again.blob_list(), again.cached_bytes()), (blobs, cached));
    }
}
