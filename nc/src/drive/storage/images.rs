//! The node's image cache: by digest, fetched once, verified before use, least recently used out first.
//!
//! `HEX` is a verified image, `HEX.part` one under way. A part survives a broken stream and a restart:
//! the rest is asked for by range, and the digest of the whole decides. A file's modification time is
//! the time of its last use, so that the order outlives the process.

use super::StorageError;
use super::overlay;
use crate::drive::blobs::{BlobError, BlobSource};
use futures_util::StreamExt;
use karri_proto::instance::{BlobRef, Digest};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Left free for everything else that lives on the same file system.
const KEEP_FREE_BYTES: u64 = 256 * 1024 * 1024;
const READ_BYTES: usize = 256 * 1024;

pub struct ImageCache {
    directory: PathBuf,
    limit_bytes: u64,
    source: Arc<dyn BlobSource>,
    /// One lock per image under way: who comes second waits and finds it done.
    fetching: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// Evicting and claiming room is one thing at a time.
    room: tokio::sync::Mutex<()>,
}

impl ImageCache {
    pub fn open(directory: &Path, limit_bytes: u64, source: Arc<dyn BlobSource>) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let (fetching, room) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { directory: directory.to_owned(), limit_bytes, source, fetching, room })
    }

    pub fn path(&self, blob: &BlobRef) -> PathBuf {
        self.directory.join(blob.digest.hex())
    }

    fn part(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}.part", digest.hex()))
    }

    pub fn has(&self, blob: &BlobRef) -> bool {
        self.path(blob).exists()
    }

    /// The image's file, fetched if it is not here.
    pub async fn get(&self, blob: &BlobRef, pinned: &HashSet<Digest>) -> Result<PathBuf, StorageError> {
        let lock = self.lock_of(&blob.digest);
        let guard = lock.lock().await;
        let result = self.get_alone(blob, pinned).await;
        drop(guard);
        self.forget_lock(&blob.digest, lock);
        result
    }

    fn lock_of(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        fetching.entry(digest.clone()).or_default().clone()
    }

    fn forget_lock(&self, digest: &Digest, lock: Arc<tokio::sync::Mutex<()>>) {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        drop(lock);
        if fetching.get(digest).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            fetching.remove(digest);
        }
    }

    async fn get_alone(&self, blob: &BlobRef, pinned: &HashSet<Digest>) -> Result<PathBuf, StorageError> {
        let path = self.path(blob);
        if path.exists() {
            touch(&path);
            return Ok(path);
        }
        self.make_room(blob, pinned).await?;
        let part = self.part(&blob.digest);
        let verified = self.fetch_and_verify(blob, &part).await;
        if let Err(StorageError::BadImage(_) | StorageError::Full(_)) = &verified {
            let _ = tokio::fs::remove_file(&part).await; // it is of no use to a later try
        }
        verified?;
        tokio::fs::rename(&part, &path).await?;
        tracing::info!(digest = %blob.digest, bytes = blob.bytes, "image fetched and verified");
        Ok(path)
    }

    async fn fetch_and_verify(&self, blob: &BlobRef, part: &Path) -> Result<(), StorageError> {
        let sum = self.fetch(blob, part).await?;
        if sum != blob.digest {
            return Err(StorageError::BadImage(format!("{} has the content of {sum}", blob.digest)));
        }
        let virtual_bytes = overlay::inspect(part, blob.format).await?;
        // Raw files are told in whole sectors.
        if virtual_bytes.abs_diff(blob.virtual_bytes) >= 512 {
            let said = blob.virtual_bytes;
            return Err(StorageError::BadImage(format!(
                "the image is {virtual_bytes} bytes big, not {said}"
            )));
        }
        Ok(())
    }

    /// Appends to the part until it is whole; returns the digest of all of it.
    async fn fetch(&self, blob: &BlobRef, part: &Path) -> Result<Digest, StorageError> {
        let mut hash = Sha256::new();
        let mut have = hash_file(part, &mut hash).await?;
        let mut file = tokio::fs::File::options().create(true).append(true).open(part).await?;
        if have < blob.bytes {
            let mut stream = self.source.open(&blob.digest, have).await.map_err(blob_error)?;
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(blob_error)?;
                have += chunk.len() as u64;
                if have > blob.bytes {
                    return Err(StorageError::BadImage(format!(
                        "the blob is longer than {} bytes",
                        blob.bytes
                    )));
                }
                hash.update(&chunk);
                file.write_all(&chunk).await?;
            }
            file.flush().await?;
        }
        file.sync_all().await?;
        if have < blob.bytes {
            return Err(StorageError::Later(format!("{have} of {} bytes came", blob.bytes)));
        }
        Ok(Digest::from_sha256(hash.finalize().into()))
    }

    async fn make_room(&self, blob: &BlobRef, pinned: &HashSet<Digest>) -> Result<(), StorageError> {
        let _alone = self.room.lock().await;
        let here = tokio::fs::metadata(self.part(&blob.digest)).await.map_or(0, |facts| facts.len());
        let missing = blob.bytes.saturating_sub(here);
        let mut images = self.images();
        images.sort_by_key(|image| image.used);
        let mut total: u64 = images.iter().map(|image| image.bytes).sum();
        let mut oldest = images.into_iter().filter(|image| !self.in_use(image, blob, pinned));
        while total + missing > self.limit_bytes || self.free_bytes()? < missing + KEEP_FREE_BYTES {
            let Some(image) = oldest.next() else {
                return Err(StorageError::Full(format!(
                    "{missing} bytes of image are needed; the cache holds {total} of {} bytes, all in use, and \
                     {} bytes are free on disk",
                    self.limit_bytes,
                    self.free_bytes()?
                )));
            };
            tokio::fs::remove_file(&image.path).await?;
            total -= image.bytes;
            tracing::info!(image = image.hex, bytes = image.bytes, "image evicted from the cache");
        }
        Ok(())
    }

    fn in_use(&self, image: &Cached, wanted: &BlobRef, pinned: &HashSet<Digest>) -> bool {
        let fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        image.hex == wanted.digest.hex()
            || pinned.iter().any(|digest| digest.hex() == image.hex)
            || fetching.keys().any(|digest| digest.hex() == image.hex)
    }

    fn images(&self) -> Vec<Cached> {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return Vec::new() };
        entries.flatten().filter_map(|entry| Cached::of(&entry)).collect()
    }

    fn free_bytes(&self) -> std::io::Result<u64> {
        let facts = rustix::fs::statvfs(&self.directory)?;
        Ok(facts.f_bavail * facts.f_frsize)
    }
}

struct Cached {
    path: PathBuf,
    hex: String,
    bytes: u64,
    used: SystemTime,
}

impl Cached {
    fn of(entry: &std::fs::DirEntry) -> Option<Self> {
        let name = entry.file_name().into_string().ok()?;
        let facts = entry.metadata().ok()?;
        let hex = name.strip_suffix(".part").unwrap_or(&name).to_owned();
        let used = facts.modified().ok()?;
        Some(Self { path: entry.path(), hex, bytes: facts.len(), used })
    }
}

fn touch(path: &Path) {
    if let Ok(file) = std::fs::File::open(path) {
        let _ = file.set_modified(SystemTime::now()); // only the order of eviction hangs on it
    }
}

async fn hash_file(path: &Path, hash: &mut Sha256) -> Result<u64, StorageError> {
    let mut file = match tokio::fs::File::open(path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut buffer = vec![0; READ_BYTES];
    let mut total = 0;
    loop {
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            return Ok(total);
        }
        hash.update(&buffer[..count]);
        total += count as u64;
    }
}

fn blob_error(error: BlobError) -> StorageError {
    match error {
        BlobError::Refused(message) => StorageError::BadImage(format!("the image cannot be had: {message}")),
        BlobError::Broken(message) => StorageError::Later(message),
    }
}
