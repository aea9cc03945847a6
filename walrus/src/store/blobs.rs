//! Blobs on disk: `blobs/<2 hex>/<64 hex>`, beside each its info file `<64 hex>.json`.
//!
//! A blob exists when its file exists under its digest's name. Its info file is durable before that, and
//! is removed after it, so a crash leaves either both or an info file alone, which the next start removes.
//! Imports under way live in `incoming/`, which every start empties. The bytes are not read at start:
//! whoever reads a blob verifies its digest.
//!
//! Two locks. [`Known`] is what callers ask for, on threads that must not wait for a disk: it is held for memory
//! only. [`Turn`] is for who changes blobs, one at a time, and is held over their IO; it is taken before `Known`
//! and never after. What holds because of that:
//!
//! - Only who has the turn adds, changes or removes an entry of `Known::blobs`, or a file below `blobs/`. So what
//!   it has read of them is true until it ends its turn.
//! - An entry's file is there: a blob gets its entry when it is durable, and loses it before its file goes.
//! - A blob's bytes are counted until its file is gone.

use super::holds::{self, Hold};
use super::scratch::{Room, Scratch};
use crate::app::content;
use crate::app::sniff::{self, Kind};
use karri_proto::instance::{BlobFormat, BlobRef, Digest};
use karri_proto::internal::blobs::{BlobFacts, Content};
use karri_proto::runtime::endpoint::write_durably;
use karri_proto::runtime::metrics::Metrics;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PRIVATE: u32 = 0o700;
const BLOB_MODE: u32 = 0o600;
/// More than a file system keeps in an inode: writing it takes room.
const PROBE: &[u8] = &[0x6b; 4096];

/// What is known of a blob besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobInfo {
    pub format: BlobFormat,
    pub bytes: u64,
    pub virtual_bytes: u64,
    pub source_format: String,
    /// Absent where an older version wrote it; looked up again when the store is opened.
    #[serde(default)]
    pub content: Option<Content>,
    #[serde(default)]
    pub hold: Hold,
    pub imported_at_unix_ms: i64,
}

impl BlobInfo {
    pub fn as_ref(&self, digest: &Digest) -> BlobRef {
        BlobRef {
            digest: digest.clone(),
            format: self.format,
            bytes: self.bytes,
            virtual_bytes: self.virtual_bytes,
        }
    }

    pub fn content(&self) -> Content {
        self.content.unwrap_or_default()
    }

    pub fn facts(&self, digest: &Digest) -> BlobFacts {
        BlobFacts { blob: self.as_ref(digest), content: self.content() }
    }
}

#[derive(Debug)]
pub struct BlobStore {
    root: PathBuf,
    incoming: PathBuf,
    pub(super) bytes_max: u64,
    known: Mutex<Known>,
    turn: Mutex<Turn>,
    metrics: Arc<Metrics>,
}

/// Who has it may change blobs.
#[derive(Debug, Default)]
pub(super) struct Turn(());

#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) blobs: BTreeMap<Digest, BlobInfo>,
    pub(super) bytes: u64,
    pub(super) reserved_bytes: u64,
    imports: u64,
}

impl BlobStore {
    /// Reads what is there and removes what interrupted imports have left.
    pub fn open(state_dir: &Path, bytes_max: u64, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (root, incoming) = (state_dir.join("blobs"), state_dir.join("incoming"));
        if incoming.exists() {
            std::fs::remove_dir_all(&incoming)?;
        }
        for directory in [&root, &incoming] {
            std::fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(directory)?;
        }
        let known = Known { blobs: scan(&root)?, ..Known::default() };
        let store =
            Self { root, incoming, bytes_max, known: Mutex::new(known), turn: Mutex::default(), metrics };
        let mut known = store.lock();
        known.bytes = known.blobs.values().map(|info| info.bytes).sum();
        let (blobs, bytes) = (known.blobs.len(), known.bytes);
        store.show(&known);
        drop(known);
        tracing::info!(blobs, bytes, "blobs are there");
        Ok(store)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until whoever changes blobs is done with the disk. Blocking.
    pub(super) fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn show(&self, known: &Known) {
        self.metrics.gauge("karri_walrus_blobs", &[], known.blobs.len() as f64);
        self.metrics.gauge("karri_walrus_blob_bytes", &[], known.bytes as f64);
        self.metrics.gauge("karri_walrus_incoming_bytes", &[], known.reserved_bytes as f64);
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join(&digest.hex()[..2]).join(digest.hex())
    }

    pub fn blob_info(&self, digest: &Digest) -> Option<BlobInfo> {
        self.lock().blobs.get(digest).cloned()
    }

    pub fn blob_list(&self) -> Vec<BlobRef> {
        self.lock().blobs.iter().map(|(digest, info)| info.as_ref(digest)).collect()
    }

    /// Whether blobs can be found and new ones written. Blocking.
    pub fn probe(&self) -> io::Result<()> {
        let named = |path: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        std::fs::read_dir(&self.root).map_err(|error| named(&self.root, error))?;
        let path = self.incoming.join(format!("probe-{}", self.next_number()));
        let written = std::fs::write(&path, PROBE).and_then(|()| std::fs::remove_file(&path));
        written.map_err(|error| named(&path, error))
    }

    fn next_number(&self) -> u64 {
        let mut known = self.lock();
        known.imports += 1;
        known.imports
    }

    /// Blocking.
    pub fn blob_open(&self, digest: &Digest) -> io::Result<File> {
        let file = File::open(self.path(digest))?;
        self.blob_used(digest);
        Ok(file)
    }

    /// The blob under another name of the same file system: it is there as long as that name is. Blocking.
    pub fn blob_link(&self, digest: &Digest, to: &Path) -> io::Result<()> {
        std::fs::hard_link(self.path(digest), to)?;
        self.blob_used(digest);
        Ok(())
    }

    /// A directory for one import. Blocking.
    pub fn scratch(self: &Arc<Self>) -> io::Result<Scratch> {
        Scratch::new(self.clone(), self.incoming.join(self.next_number().to_string()))
    }

    /// Sets `bytes` aside; copies that nobody needs make room for them. Blocking.
    pub fn room(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        let fits = self.reserve(bytes) || self.make_room(&mut self.turn(), || self.reserve(bytes));
        fits.then(|| Room::of(self.clone(), bytes))
    }

    /// Whether `bytes` were free; they are set aside now.
    pub(super) fn reserve(&self, bytes: u64) -> bool {
        let mut known = self.lock();
        let after = known.bytes.saturating_add(known.reserved_bytes).saturating_add(bytes);
        let fits = after <= self.bytes_max;
        if fits {
            known.reserved_bytes += bytes;
        }
        fits
    }

    pub(super) fn release(&self, bytes: u64) {
        let mut known = self.lock();
        known.reserved_bytes = known.reserved_bytes.saturating_sub(bytes);
        self.show(&known);
    }

    /// What [`room`](Self::room) could still grant.
    pub fn bytes_free(&self) -> u64 {
        let known = self.lock();
        let needed = known.bytes.saturating_sub(holds::cached_bytes(&known));
        self.bytes_max.saturating_sub(needed).saturating_sub(known.reserved_bytes)
    }

    /// Keeps the finished file `name` of `scratch` as the blob `digest`. A blob that is there already
    /// stays as it is, and is held by the stronger hold. Durable when it returns; blocking.
    pub fn blob_insert(
        &self,
        scratch: &Scratch,
        name: &str,
        digest: &Digest,
        info: BlobInfo,
    ) -> io::Result<BlobInfo> {
        let file = File::open(scratch.path(name))?;
        file.set_permissions(std::fs::Permissions::from_mode(BLOB_MODE))?;
        file.sync_all()?; // before the turn: it may take long
        let mut turn = self.turn();
        if let Some(present) = self.hold_more(&mut turn, digest, info.hold)? {
            return Ok(present);
        }
        let (from, to) = (scratch.path(name), self.path(digest));
        let directory = to.parent().ok_or_else(|| io::Error::other("a blob lies in a directory"))?;
        if !directory.exists() {
            std::fs::DirBuilder::new().mode(PRIVATE).create(directory)?;
            File::open(&self.root)?.sync_all()?;
        }
        self.info_write(&mut turn, digest, &info)?;
        std::fs::rename(&from, &to)?;
        File::open(directory)?.sync_all()?;
        let mut known = self.lock();
        known.bytes += info.bytes;
        known.blobs.insert(digest.clone(), info.clone());
        self.show(&known);
        Ok(info)
    }

    pub(super) fn info_write(&self, _: &mut Turn, digest: &Digest, info: &BlobInfo) -> io::Result<()> {
        let json = serde_json::to_vec(info).map_err(io::Error::other)?;
        write_durably(&self.path(digest).with_extension("json"), &json)
    }

    /// Forgets the blob and removes its files; false when there was none. Blocking.
    pub fn blob_delete(&self, digest: &Digest) -> io::Result<bool> {
        self.remove(&mut self.turn(), digest)
    }

    pub(super) fn remove(&self, _: &mut Turn, digest: &Digest) -> io::Result<bool> {
        let removed = self.lock().blobs.remove(digest);
        let path = self.path(digest);
        let gone = remove_if_there(&path);
        let mut known = self.lock();
        match (&removed, &gone) {
            (Some(info), Ok(())) => known.bytes -= info.bytes,
            (Some(info), Err(_)) => drop(known.blobs.insert(digest.clone(), info.clone())), // it is there still
            (None, _) => {}
        }
        self.show(&known);
        drop(known);
        gone?;
        remove_if_there(&path.with_extension("json"))?; // alone it is no blob: the next start removes it
        Ok(removed.is_some())
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn scan(root: &Path) -> io::Result<BTreeMap<Digest, BlobInfo>> {
    let mut blobs = BTreeMap::new();
    for directory in std::fs::read_dir(root)? {
        let directory = directory?.path();
        if !directory.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if let Some((digest, info)) = recover(&path)? {
                blobs.insert(digest, info);
            }
        }
    }
    Ok(blobs)
}

/// The blob whose file this is. Leftovers are removed; what cannot be explained is left for a look.
fn recover(path: &Path) -> io::Result<Option<(Digest, BlobInfo)>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let hex = name.trim_start_matches('.').split('.').next().unwrap_or_default();
    let Ok(digest) = format!("sha256:{hex}").parse::<Digest>() else {
        tracing::warn!(path = %path.display(), "a file that is not ours lies among the blobs");
        return Ok(None);
    };
    if name != hex {
        if name.starts_with('.') || !path.with_file_name(hex).exists() {
            std::fs::remove_file(path)?;
        }
        return Ok(None);
    }
    let info = std::fs::read(path.with_extension("json")).ok();
    let info: Option<BlobInfo> = info.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match info {
        Some(mut info) if info.bytes == std::fs::metadata(path)?.len() => {
            if info.content.is_none() {
                info.content = Some(look(path, info.format)?);
            }
            Ok(Some((digest, info)))
        }
        _ => {
            tracing::warn!(path = %path.display(), "a blob without a matching info file is not served");
            Ok(None)
        }
    }
}

fn look(path: &Path, format: BlobFormat) -> io::Result<Content> {
    let mut head = Vec::new();
    File::open(path)?.take(sniff::HEAD_BYTES as u64).read_to_end(&mut head)?;
    let kind = if format == BlobFormat::Raw { Kind::Raw } else { Kind::Qcow2 };
    Ok(content::content(kind, &head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(bytes: u64) -> BlobInfo {
        BlobInfo {
            format: BlobFormat::Raw,
            bytes,
            virtual_bytes: bytes,
            source_format: "raw".into(),
            content: None,
            hold: Hold::Imported,
            imported_at_unix_ms: 1,
        }
    }

    fn open(state: &Path) -> Arc<BlobStore> {
        Arc::new(BlobStore::open(state, 10_000, Arc::default()).unwrap())
    }

    fn insert(store: &Arc<BlobStore>, content: &[u8], digest: &Digest) {
        let scratch = store.scratch().unwrap();
        std::fs::write(scratch.path("image"), content).unwrap();
        store.blob_insert(&scratch, "image", digest, info(content.len() as u64)).unwrap();
    }

    #[test]
    fn blobs_survive_a_restart_and_leftovers_do_not() {
        let state = tempfile::tempdir().unwrap();
        let (kept, lost) = (Digest::from_sha256([7; 32]), Digest::from_sha256([8; 32]));
        let store = open(state.path());
        insert(&store, b"content", &kept);
        std::mem::forget(store.scratch().unwrap()); // a crash in the middle of an import
        let alone = store.path(&lost).with_extension("json");
        std::fs::create_dir(alone.parent().unwrap()).unwrap();
        std::fs::write(&alone, "{}").unwrap(); // a crash between info and blob
        let torn = alone.with_file_name(format!(".{}.json.new", lost.hex()));
        std::fs::write(&torn, "{").unwrap();

        let store = open(state.path());
        assert_eq!(store.blob_list(), vec![info(7).as_ref(&kept)]);
        assert_eq!(
            store.blob_info(&kept).unwrap().content,
            Some(Content::Text),
            "an older store's blob is looked at"
        );
        assert!(!alone.exists() && !torn.exists());
        assert_eq!(std::fs::read_dir(state.path().join("incoming")).unwrap().count(), 0);
        assert_eq!(store.bytes_free(), 9_993);
    }

    #[test]
    fn a_blob_whose_length_or_info_is_wrong_is_not_served_and_not_destroyed() {
        let state = tempfile::tempdir().unwrap();
        let digest = Digest::from_sha256([7; 32]);
        let store = open(state.path());
        insert(&store, b"content", &digest);
        let path = store.path(&digest);
        std::fs::write(&path, "cut").unwrap();
        assert_eq!(open(state.path()).blob_list(), vec![]);
        assert!(path.exists());
    }

    #[test]
    fn space_is_set_aside_and_given_back() {
        let state = tempfile::tempdir().unwrap();
        let store = open(state.path());
        let (mut one, mut two) = (store.scratch().unwrap(), store.scratch().unwrap());
        assert!(one.reserve(6_000));
        assert!(!two.reserve(6_000));
        drop(one);
        assert!(two.reserve(6_000));
        drop(two);
        assert_eq!(store.bytes_free(), 10_000);
    }

    #[test]
    fn deleting_twice_is_harmless() {
        let state = tempfile::tempdir().unwrap();
        let digest = Digest::from_sha256([7; 32]);
        let store = open(state.path());
        insert(&store, b"content", &digest);
        assert!(store.blob_delete(&digest).unwrap());
        assert!(!store.blob_delete(&digest).unwrap());
        assert!(store.blob_info(&digest).is_none());
        assert_eq!(open(state.path()).blob_list(), vec![]);
    }
}
