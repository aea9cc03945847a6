//! The node's image cache: by digest, fetched once, verified before use, least recently used out first.
//!
//! `HEX` is a verified image, `HEX.part` one under way. A part survives a broken stream and a restart:
//! the rest is asked for by range, and the digest of the whole decides. A file's modification time is
//! the time of its last use, so that the order outlives the process.

use super::overlay;
use super::{Launch, Pins, StorageError};
use crate::drive::blobs::{BlobError, BlobSource};
use futures_util::StreamExt;
use karri_proto::instance::{BlobRef, Digest};
use karri_proto::runtime::files::create_passable;
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// Left free for everything else that lives on the same file system.
const KEEP_FREE_BYTES: u64 = 256 * 1024 * 1024;
const READ_BYTES: usize = 256 * 1024;

pub struct ImageCache {
    directory: PathBuf,
    limit_bytes: u64,
    source: Arc<dyn BlobSource>,
    /// One lock per image that somebody asks for: who comes second waits and finds it done.
    asked: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// Evicting and claiming room is one thing at a time.
    room: tokio::sync::Mutex<()>,
    /// The whole size of each image under way: what has room must not be promised twice.
    claims: Mutex<HashMap<Digest, u64>>,
}

/// Somebody asks for the image. It is not evicted meanwhile, and not a moment longer: who asks may give up at any
/// `await`.
struct Asked<'a> {
    cache: &'a ImageCache,
    digest: &'a Digest,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut asked = self.cache.asked();
        // The table's and this one.
        if asked.get(self.digest).is_some_and(|lock| Arc::strong_count(lock) <= 2) {
            asked.remove(self.digest);
        }
    }
}

/// Room for an image, while it is fetched.
struct Claim<'a> {
    cache: &'a ImageCache,
    digest: &'a Digest,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.cache.claims().remove(self.digest);
    }
}

impl ImageCache {
    pub fn open(directory: &Path, limit_bytes: u64, source: Arc<dyn BlobSource>) -> std::io::Result<Self> {
        create_passable(directory)?; // the user of QEMU reads its bases there
        Ok(Self {
            directory: directory.to_owned(),
            limit_bytes,
            source,
            asked: Mutex::default(),
            room: tokio::sync::Mutex::default(),
            claims: Mutex::default(),
        })
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

    /// The image's file, fetched if it is not here. `pinned` tells what is in use at the moment that room is made.
    pub async fn get(
        &self,
        launch: Launch<'_>,
        blob: &BlobRef,
        pinned: Pins<'_>,
    ) -> Result<PathBuf, StorageError> {
        let asked = self.ask(&blob.digest);
        let _alone = asked.lock.lock().await;
        self.get_alone(launch, blob, pinned).await
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<Digest, u64>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<Digest, Arc<tokio::sync::Mutex<()>>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<'a>(&'a self, digest: &'a Digest) -> Asked<'a> {
        let lock = self.asked().entry(digest.clone()).or_default().clone();
        Asked { cache: self, digest, lock }
    }

    async fn get_alone(
        &self,
        launch: Launch<'_>,
        blob: &BlobRef,
        pinned: Pins<'_>,
    ) -> Result<PathBuf, StorageError> {
        let path = self.path(blob);
        if path.exists() {
            touch(&path);
            return Ok(path);
        }
        let _claim = self.make_room(blob, pinned).await?;
        let part = self.part(&blob.digest);
        let Launch { instance_id, request_id } = launch;
        let (digest, bytes) = (&blob.digest, blob.bytes);
        let verified = self.fetch_and_verify(request_id, blob, &part).await;
        if let Err(StorageError::BadImage(_) | StorageError::Full(_)) = &verified {
            let _ = tokio::fs::remove_file(&part).await; // it is of no use to a later try
        }
        verified?;
        tokio::fs::rename(&part, &path).await?;
        tracing::info!(%instance_id, request_id, %digest, bytes, "the image is here, and verified");
        Ok(path)
    }

    async fn fetch_and_verify(
        &self,
        request_id: &str,
        blob: &BlobRef,
        part: &Path,
    ) -> Result<(), StorageError> {
        let sum = self.fetch(request_id, blob, part).await?;
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

    /// Adds to the part until it is whole; returns the digest of all of it.
    async fn fetch(&self, request_id: &str, blob: &BlobRef, part: &Path) -> Result<Digest, StorageError> {
        let mut hash = Sha256::new();
        let mut have = hash_file(part, &mut hash).await?;
        // Not by appending: the last write of a fetch that was given up may still be under way, and puts the same
        // bytes to the same place.
        let mut file = tokio::fs::File::options().create(true).write(true).truncate(false).open(part).await?;
        file.seek(std::io::SeekFrom::Start(have)).await?;
        if have < blob.bytes {
            let mut stream = self.source.open(request_id, &blob.digest, have).await.map_err(blob_error)?;
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

    async fn make_room<'a>(&'a self, blob: &'a BlobRef, pinned: Pins<'_>) -> Result<Claim<'a>, StorageError> {
        let _alone = self.room.lock().await;
        let pinned = pinned();
        let here = tokio::fs::metadata(self.part(&blob.digest)).await.map_or(0, |facts| facts.len());
        let missing = blob.bytes.saturating_sub(here);
        let mut images = self.images();
        images.sort_by_key(|image| image.used);
        let promised = self.promised(&images);
        let mut total = images.iter().map(|image| image.bytes).sum::<u64>() + promised;
        let mut oldest = images.into_iter().filter(|image| !self.in_use(image, blob, &pinned));
        let free_least = missing + promised + KEEP_FREE_BYTES;
        while total + missing > self.limit_bytes || self.free_bytes()? < free_least {
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
        self.claims().insert(blob.digest.clone(), blob.bytes);
        Ok(Claim { cache: self, digest: &blob.digest })
    }

    /// What is still to come of the images under way.
    fn promised(&self, images: &[Cached]) -> u64 {
        let here = |hex: &str| images.iter().find(|image| image.hex == hex).map_or(0, |image| image.bytes);
        self.claims().iter().map(|(digest, bytes)| bytes.saturating_sub(here(digest.hex()))).sum()
    }

    fn in_use(&self, image: &Cached, wanted: &BlobRef, pinned: &HashSet<Digest>) -> bool {
        let asked = self.asked();
        image.hex == wanted.digest.hex()
            || pinned.iter().any(|digest| digest.hex() == image.hex)
            || asked.keys().any(|digest| digest.hex() == image.hex)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::blobs::BlobStream;
    use async_trait::async_trait;
    use bytes::Bytes;
    use karri_proto::ids::InstanceId;
    use karri_proto::instance::BlobFormat;
    use std::time::Duration;

    /// Blobs in memory; can break off, and counts what it is asked.
    #[derive(Default)]
    struct FakeSource {
        blobs: Mutex<HashMap<Digest, Vec<u8>>>,
        asked: Mutex<Vec<u64>>,
        callers: Mutex<Vec<String>>,
        /// The next stream stands still after so many bytes.
        hang_after: Mutex<Option<usize>>,
        /// Breaks the next stream after so many bytes.
        break_after: Mutex<Option<usize>>,
        /// Nothing comes while it is held.
        held: tokio::sync::Mutex<()>,
    }

    #[async_trait]
    impl BlobSource for FakeSource {
        async fn open(
            &self,
            request_id: &str,
            digest: &Digest,
            offset: u64,
        ) -> Result<BlobStream, BlobError> {
            self.asked.lock().unwrap().push(offset);
            self.callers.lock().unwrap().push(request_id.to_owned());
            drop(self.held.lock().await);
            let Some(bytes) = self.blobs.lock().unwrap().get(digest).cloned() else {
                return Err(BlobError::Refused("no such blob".to_owned()));
            };
            let rest = bytes[usize::try_from(offset).unwrap()..].to_vec();
            let mut chunks: Vec<Result<Bytes, BlobError>> =
                rest.chunks(1000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
            if let Some(count) = self.break_after.lock().unwrap().take() {
                chunks.truncate(count / 1000);
                chunks.push(Err(BlobError::Broken("the line broke".to_owned())));
            }
            if let Some(count) = self.hang_after.lock().unwrap().take() {
                chunks.truncate(count / 1000);
                return Ok(futures_util::stream::iter(chunks).chain(futures_util::stream::pending()).boxed());
            }
            Ok(futures_util::stream::iter(chunks).boxed())
        }
    }

    struct Fixture {
        directory: tempfile::TempDir,
        source: Arc<FakeSource>,
    }

    impl Fixture {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap(), source: Arc::default() }
        }

        fn cache(&self, limit_bytes: u64) -> Arc<ImageCache> {
            Arc::new(ImageCache::open(self.directory.path(), limit_bytes, self.source.clone()).unwrap())
        }

        fn blob(&self, fill: u8, length: usize) -> BlobRef {
            let bytes = vec![fill; length];
            let digest = Digest::from_sha256(Sha256::digest(&bytes).into());
            self.source.blobs.lock().unwrap().insert(digest.clone(), bytes);
            let size = length as u64;
            BlobRef { digest, format: BlobFormat::Raw, bytes: size, virtual_bytes: size }
        }

        fn asked(&self) -> Vec<u64> {
            self.source.asked.lock().unwrap().clone()
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> = std::fs::read_dir(self.directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    fn launch() -> Launch<'static> {
        static ID: std::sync::LazyLock<InstanceId> =
            std::sync::LazyLock::new(|| "i-0123456789abcdef0".parse().unwrap());
        Launch { instance_id: &ID, request_id: "req-1" }
    }

    fn nobody() -> HashSet<Digest> {
        HashSet::new()
    }

    #[tokio::test]
    async fn launches_at_the_same_time_fetch_an_image_once() {
        let fixture = Fixture::new();
        let (cache, blob) = (fixture.cache(1 << 20), fixture.blob(1, 5120));
        let launches = (0..10).map(|_| {
            let (cache, blob) = (cache.clone(), blob.clone());
            tokio::spawn(async move { cache.get(launch(), &blob, &nobody).await })
        });
        for launch in launches.collect::<Vec<_>>() {
            assert_eq!(launch.await.unwrap(), Ok(cache.path(&blob)));
        }
        assert_eq!(fixture.asked(), [0]);
        assert!(cache.asked().is_empty());
    }

    #[tokio::test]
    async fn a_broken_stream_is_resumed_where_it_broke() {
        let fixture = Fixture::new();
        let (cache, blob) = (fixture.cache(1 << 20), fixture.blob(2, 5120));
        *fixture.source.break_after.lock().unwrap() = Some(3000);
        assert!(matches!(cache.get(launch(), &blob, &nobody).await, Err(StorageError::Later(_))));
        // Another life of the process goes on with what came.
        fixture.cache(1 << 20).get(launch(), &blob, &nobody).await.unwrap();
        assert_eq!(fixture.asked(), [0, 3000]);
        assert_eq!(std::fs::read(cache.path(&blob)).unwrap(), vec![2; 5120]);
    }

    #[tokio::test]
    async fn a_wrong_digest_is_refused_and_leaves_nothing() {
        let fixture = Fixture::new();
        let (cache, blob) = (fixture.cache(1 << 20), fixture.blob(3, 5120));
        fixture.source.blobs.lock().unwrap().insert(blob.digest.clone(), vec![4; 5120]);
        assert!(matches!(cache.get(launch(), &blob, &nobody).await, Err(StorageError::BadImage(_))));
        fixture.source.blobs.lock().unwrap().insert(blob.digest.clone(), vec![4; 9999]);
        assert!(matches!(cache.get(launch(), &blob, &nobody).await, Err(StorageError::BadImage(_))));
        assert_eq!(fixture.names(), [""; 0]);
    }

    #[tokio::test]
    async fn an_image_of_another_size_or_kind_is_refused() {
        let fixture = Fixture::new();
        let cache = fixture.cache(1 << 20);
        let wrong_size = BlobRef { virtual_bytes: 1 << 30, ..fixture.blob(5, 5120) };
        let wrong_kind = BlobRef { format: BlobFormat::Qcow2, ..fixture.blob(6, 5120) };
        for blob in [wrong_size, wrong_kind] {
            assert!(matches!(cache.get(launch(), &blob, &nobody).await, Err(StorageError::BadImage(_))));
        }
        assert_eq!(fixture.names(), [""; 0]);
    }

    #[tokio::test]
    async fn the_least_recently_used_goes_first_and_what_is_in_use_stays() {
        let fixture = Fixture::new();
        let cache = fixture.cache(12_000);
        let (first, second, third) = (fixture.blob(7, 5120), fixture.blob(8, 5120), fixture.blob(9, 5120));
        cache.get(launch(), &first, &nobody).await.unwrap();
        cache.get(launch(), &second, &nobody).await.unwrap();
        let long_ago = SystemTime::now() - std::time::Duration::from_secs(60);
        std::fs::File::open(cache.path(&second)).unwrap().set_modified(long_ago).unwrap();
        cache.get(launch(), &third, &nobody).await.unwrap();
        assert!(cache.has(&first) && !cache.has(&second) && cache.has(&third));

        let pinned = HashSet::from([first.digest.clone(), third.digest.clone()]);
        let full = cache.get(launch(), &second, &|| pinned.clone()).await;
        assert!(matches!(full, Err(StorageError::Full(_))), "{full:?}");
        assert!(cache.has(&first) && cache.has(&third));
    }

    #[tokio::test]
    async fn what_is_taken_into_use_while_room_is_waited_for_stays() {
        let fixture = Fixture::new();
        let cache = fixture.cache(6_000);
        let (first, second) = (fixture.blob(7, 5120), fixture.blob(8, 5120));
        cache.get(launch(), &first, &nobody).await.unwrap();
        let (pins, room) = (Mutex::new(HashSet::new()), cache.room.lock().await);
        let pinned = || pins.lock().unwrap().clone();
        let fetched = cache.get(launch(), &second, &pinned);
        tokio::pin!(fetched);
        assert!(futures_util::poll!(&mut fetched).is_pending());
        pins.lock().unwrap().insert(first.digest.clone());
        drop(room);
        assert!(matches!(fetched.await, Err(StorageError::Full(_))));
        assert!(cache.has(&first));
    }

    #[tokio::test]
    async fn room_is_promised_once() {
        let fixture = Fixture::new();
        let cache = fixture.cache(12_000);
        let [first, second, third] = [7, 8, 9].map(|fill| fixture.blob(fill, 5120));
        let pins = HashSet::from([&first, &second, &third].map(|blob| blob.digest.clone()));
        let pinned = || pins.clone();
        let held = fixture.source.held.lock().await;
        let (mut one, mut two) =
            (Box::pin(cache.get(launch(), &first, &pinned)), Box::pin(cache.get(launch(), &second, &pinned)));
        while fixture.asked().len() < 2 {
            assert!(futures_util::poll!(&mut one).is_pending());
            assert!(futures_util::poll!(&mut two).is_pending());
        }
        let full = tokio::time::timeout(Duration::from_secs(10), cache.get(launch(), &third, &pinned)).await;
        assert!(matches!(full, Ok(Err(StorageError::Full(_)))), "{full:?}");
        // Given up, it frees what it was promised.
        drop(two);
        drop(held);
        one.await.unwrap();
        cache.get(launch(), &third, &pinned).await.unwrap();
    }

    /// Asks until so much of the image is on disk.
    async fn until_here(cache: &ImageCache, blob: &BlobRef, bytes: u64, fetch: impl Future + Unpin) {
        let here = async {
            while std::fs::metadata(cache.part(&blob.digest)).map_or(0, |facts| facts.len()) < bytes {
                tokio::task::yield_now().await;
            }
        };
        let both = futures_util::future::select(fetch, Box::pin(here));
        let ended = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
        assert!(matches!(ended, futures_util::future::Either::Right(_)), "the fetch does not stand still");
    }

    #[tokio::test]
    async fn what_came_for_a_launch_that_was_given_up_makes_room() {
        let fixture = Fixture::new();
        let cache = fixture.cache(12_000);
        let (first, second) = (fixture.blob(1, 10_000), fixture.blob(2, 10_000));
        *fixture.source.hang_after.lock().unwrap() = Some(8_000);
        let mut given_up = Box::pin(cache.get(launch(), &first, &nobody));
        until_here(&cache, &first, 8_000, &mut given_up).await;
        let full = cache.get(launch(), &second, &nobody).await;
        assert!(matches!(full, Err(StorageError::Full(_))), "while it is asked for it stays: {full:?}");
        drop(given_up);
        cache.get(launch(), &second, &nobody).await.unwrap();
        assert_eq!(fixture.names(), [second.digest.hex()]);
        assert!(cache.asked().is_empty());
    }

    #[tokio::test]
    async fn a_launch_that_waits_for_another_goes_on_when_that_is_given_up() {
        let fixture = Fixture::new();
        let cache = fixture.cache(12_000);
        let blob = fixture.blob(1, 10_000);
        *fixture.source.hang_after.lock().unwrap() = Some(8_000);
        let mut given_up = Box::pin(cache.get(launch(), &blob, &nobody));
        until_here(&cache, &blob, 8_000, &mut given_up).await;
        let mut waits = Box::pin(cache.get(launch(), &blob, &nobody));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(given_up);
        assert!(!cache.asked().is_empty(), "it is still asked for");
        waits.await.unwrap();
        assert_eq!(fixture.asked(), [0, 8_000]);
        assert!(cache.asked().is_empty());
    }

    #[tokio::test]
    async fn walrus_hears_for_which_request_an_image_is_fetched() {
        let fixture = Fixture::new();
        let blob = fixture.blob(1, 512);
        fixture.cache(12_000).get(launch(), &blob, &nobody).await.unwrap();
        assert_eq!(*fixture.source.callers.lock().unwrap(), ["req-1"]);
    }

    #[tokio::test]
    async fn an_image_larger_than_the_disk_is_refused_before_it_is_fetched() {
        let fixture = Fixture::new();
        let cache = fixture.cache(u64::MAX);
        let blob = BlobRef { bytes: 1 << 60, ..fixture.blob(1, 512) };
        assert!(matches!(cache.get(launch(), &blob, &nobody).await, Err(StorageError::Full(_))));
        assert!(fixture.asked().is_empty());
    }
}
