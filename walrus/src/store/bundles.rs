//! Which image a bundle's manifest stands for: so that a bundle is decrypted once.
//!
//! One file for each manifest, `bundles/<SHA-256 of bucket and key>.json`, with the manifest's ETag and the
//! digest of the blob. The blob is the cache, this is its index: an entry counts only while its ETag is that
//! of the manifest and its blob is there, so it may be lost, late or left over without harm. Who wants a
//! blob to stay is said beside the blob (`holds`): an overwritten manifest drops its entry and a copy that
//! nobody needs, never the blob of an image that is registered.
//!
//! As with blobs, who changes entries takes a turn, which is held over the disk's work; the entries' own lock is
//! for memory only. An entry is added or removed by who has the turn, so "no other manifest leads there" stays
//! true until the copy is gone.

use super::blobs::BlobStore;
use karri_proto::instance::Digest;
use karri_proto::runtime::endpoint::write_durably;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A manifest as an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BundleName {
    pub bucket: String,
    pub key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    name: BundleName,
    etag: String,
    digest: Digest,
}

#[derive(Debug)]
pub struct BundleIndex {
    directory: PathBuf,
    blobs: Arc<BlobStore>,
    entries: Mutex<HashMap<BundleName, Entry>>,
    turn: Mutex<Turn>,
}

/// Who has it may change entries.
#[derive(Debug, Default)]
struct Turn(());

impl BundleIndex {
    /// Reads what is there; entries whose blob has gone are removed. Blocking.
    pub fn open(state_dir: &Path, blobs: Arc<BlobStore>) -> io::Result<Self> {
        let directory = state_dir.join("bundles");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let mut entries = HashMap::new();
        for file in std::fs::read_dir(&directory)? {
            let path = file?.path();
            let entry: Option<Entry> =
                std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            match entry {
                Some(entry) if blobs.blob_info(&entry.digest).is_some() => {
                    entries.insert(entry.name.clone(), entry);
                }
                _ => std::fs::remove_file(&path)?,
            }
        }
        Ok(Self { directory, blobs, entries: Mutex::new(entries), turn: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BundleName, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Neither name can hold a NUL, so no two pairs have the same file.
    fn path(&self, name: &BundleName) -> PathBuf {
        let sum = Sha256::new().chain_update(&name.bucket).chain_update([0]).chain_update(&name.key);
        self.directory.join(format!("{}.json", hex::encode(sum.finalize())))
    }

    /// The image of the manifest that has this ETag now, if it was made and is still there.
    pub fn bundle_fetch(&self, name: &BundleName, etag: &str) -> Option<Digest> {
        let digest = self.lock().get(name).filter(|entry| entry.etag == etag)?.digest.clone();
        self.blobs.blob_info(&digest).map(|_| digest)
    }

    /// Each manifest with the ETag that it had.
    pub fn bundle_list(&self) -> Vec<(BundleName, String)> {
        self.lock().values().map(|entry| (entry.name.clone(), entry.etag.clone())).collect()
    }

    /// Whether a manifest stands for that image.
    pub fn leads_to(&self, digest: &Digest) -> bool {
        self.lock().values().any(|entry| entry.digest == *digest)
    }

    /// Blocking.
    pub fn bundle_insert(&self, name: &BundleName, etag: &str, digest: &Digest) -> io::Result<()> {
        let entry = Entry { name: name.clone(), etag: etag.to_owned(), digest: digest.clone() };
        let json = serde_json::to_vec(&entry).map_err(io::Error::other)?;
        let mut turn = self.turn();
        write_durably(&self.path(name), &json)?;
        let earlier = self.lock().insert(name.clone(), entry);
        self.drop_unused(&mut turn, earlier)
    }

    /// The manifest was overwritten or deleted. Blocking.
    pub fn bundle_forget(&self, name: &BundleName) -> io::Result<()> {
        let mut turn = self.turn();
        let Some(entry) = self.lock().remove(name) else { return Ok(()) };
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.drop_unused(&mut turn, Some(entry))
    }

    /// Removes the copy that `gone` led to, unless another manifest stands for the same image.
    fn drop_unused(&self, _: &mut Turn, gone: Option<Entry>) -> io::Result<()> {
        match gone {
            Some(gone) if !self.leads_to(&gone.digest) => self.blobs.blob_drop_cached(&gone.digest).map(drop),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::blobs::BlobInfo;
    use super::super::holds::Hold;
    use super::*;
    use karri_proto::instance::BlobFormat;

    fn name(key: &str) -> BundleName {
        BundleName { bucket: "images".into(), key: key.into() }
    }

    fn open(state: &Path) -> (Arc<BlobStore>, BundleIndex) {
        let blobs = Arc::new(BlobStore::open(state, 10_000, Arc::default()).unwrap());
        (blobs.clone(), BundleIndex::open(state, blobs).unwrap())
    }

    fn blob(store: &Arc<BlobStore>, number: u8, hold: Hold) -> Digest {
        let digest = Digest::from_sha256([number; 32]);
        let scratch = store.scratch().unwrap();
        std::fs::write(scratch.path("image"), [number; 100]).unwrap();
        let info = BlobInfo {
            format: BlobFormat::Raw,
            bytes: 100,
            virtual_bytes: 100,
            source_format: "raw".into(),
            content: None,
            hold,
            imported_at_unix_ms: 1,
        };
        store.blob_insert(&scratch, "image", &digest, info).unwrap();
        digest
    }

    #[test]
    fn a_bundle_is_known_by_the_etag_of_its_manifest_also_after_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let (blobs, index) = open(state.path());
        let digest = blob(&blobs, 1, Hold::Cached);
        index.bundle_insert(&name("a"), "etag-1", &digest).unwrap();
        drop((blobs, index));
        let (blobs, index) = open(state.path());
        assert_eq!(index.bundle_fetch(&name("a"), "etag-1"), Some(digest.clone()));
        assert_eq!(index.bundle_fetch(&name("a"), "etag-2"), None);
        assert_eq!(index.bundle_fetch(&name("b"), "etag-1"), None);
        blobs.cache_trim(0);
        assert_eq!(index.bundle_fetch(&name("a"), "etag-1"), None, "its blob has made room");
        let (_, index) = open(state.path());
        assert_eq!(index.lock().len(), 0);
        assert_eq!(std::fs::read_dir(state.path().join("bundles")).unwrap().count(), 0);
    }

    #[test]
    fn an_overwritten_manifest_drops_its_copy_but_no_registered_image() {
        let state = tempfile::tempdir().unwrap();
        let (blobs, index) = open(state.path());
        let (copy, image) = (blob(&blobs, 1, Hold::Cached), blob(&blobs, 2, Hold::Registered));
        for (key, digest) in [("a", &copy), ("b", &copy), ("c", &image)] {
            index.bundle_insert(&name(key), "e", digest).unwrap();
        }
        index.bundle_forget(&name("a")).unwrap();
        assert!(blobs.blob_info(&copy).is_some(), "another manifest leads to it");
        index.bundle_insert(&name("b"), "e-2", &image).unwrap();
        assert!(blobs.blob_info(&copy).is_none());
        index.bundle_forget(&name("c")).unwrap();
        index.bundle_forget(&name("c")).unwrap();
        assert!(blobs.blob_info(&image).is_some());
        assert_eq!(index.bundle_fetch(&name("c"), "e"), None);
    }
}
