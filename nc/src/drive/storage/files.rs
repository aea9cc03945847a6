//! Storage in files: the image cache, and a directory per instance beside its record.

use super::images::ImageCache;
use super::{CONSOLE_BYTES_MAX, GuestPaths, Launch, Lying, Pins, Storage, StorageError, blobs_of, overlay};
use crate::drive::blobs::{BlobError, CaptureSink};
use async_trait::async_trait;
use karri_proto::ids::{BundleTaskId, InstanceId};
use karri_proto::instance::{Digest, InstanceIntent, InstanceSpec};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

const GIB: u64 = 1 << 30;
/// An overlay begins small and grows; with less than this left a guest would soon hang on a full disk.
const START_FREE_BYTES: u64 = 64 * 1024 * 1024;
/// The one file of an instance's directory that is not storage's.
pub const RECORD_FILE: &str = "intent.json";
/// What a copy of the disk is called begins so.
const COPY_PREFIX: &str = "copy-";
const BLOCK_BYTES: u64 = 512;
/// It, while it is being written.
const RECORD_FILE_NEW: &str = ".intent.json.new";

pub struct FileStorage {
    instances: PathBuf,
    images: ImageCache,
    sink: Arc<dyn CaptureSink>,
}

impl FileStorage {
    pub fn new(instances: &Path, images: ImageCache, sink: Arc<dyn CaptureSink>) -> Self {
        Self { instances: instances.to_owned(), images, sink }
    }

    fn directory(&self, id: &InstanceId) -> PathBuf {
        self.instances.join(id.as_str())
    }

    fn disk(&self, id: &InstanceId) -> PathBuf {
        self.directory(id).join("disk.qcow2")
    }

    fn console_log(&self, id: &InstanceId) -> PathBuf {
        self.directory(id).join("console.log")
    }

    /// Of the file that goes to the image store. It is whole: one under way has another name.
    fn copy(&self, id: &InstanceId, task: &BundleTaskId) -> PathBuf {
        self.directory(id).join(format!("{COPY_PREFIX}{}.qcow2", task.as_str()))
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        let facts = rustix::fs::statvfs(&self.instances).map_err(std::io::Error::from)?;
        Ok(facts.f_bavail * facts.f_frsize)
    }

    /// The disk without its base, in a file of its own. Guests beside it must not run out of room for that.
    async fn make_copy(&self, intent: &InstanceIntent, copy: &Path) -> Result<(), StorageError> {
        let (id, root) = (&intent.id, &intent.spec.boot.root);
        let base = self.images.path(root);
        let most = allocated_bytes(&self.disk(id)).await? + allocated_bytes(&base).await? + START_FREE_BYTES;
        let free = self.free_bytes()?;
        if free < most {
            return Err(StorageError::Full(format!("a copy may take {most} bytes, {free} are free on disk")));
        }
        overlay::flatten(&self.disk(id), copy).await
    }

    /// The files of an instance other than its record.
    fn files(&self, id: &InstanceId) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.directory(id)) else { return Vec::new() };
        let record = [RECORD_FILE, RECORD_FILE_NEW];
        let ours = |path: &PathBuf| path.file_name().is_some_and(|name| record.iter().all(|r| name != *r));
        entries.flatten().map(|entry| entry.path()).filter(ours).collect()
    }
}

#[async_trait]
impl Storage for FileStorage {
    async fn images_ready(&self, spec: &InstanceSpec) -> bool {
        blobs_of(spec).all(|blob| self.images.has(blob))
    }

    async fn fetch_images(&self, intent: &InstanceIntent, pinned: Pins<'_>) -> Result<(), StorageError> {
        for blob in blobs_of(&intent.spec) {
            self.images.get(Launch::of(intent), blob, pinned).await?;
        }
        Ok(())
    }

    async fn lying(&self, id: &InstanceId) -> Lying {
        let files = self.files(id);
        let copy = files.iter().any(|file| is_copy(file));
        Lying { disk: files.contains(&self.disk(id)), files: !files.is_empty(), copy }
    }

    async fn make_disk(&self, intent: &InstanceIntent, pinned: Pins<'_>) -> Result<(), StorageError> {
        let (id, spec) = (&intent.id, &intent.spec);
        let root = &spec.boot.root;
        let base = self.images.get(Launch::of(intent), root, pinned).await?; // marks it as used just now
        let free = self.free_bytes()?;
        if free < START_FREE_BYTES {
            return Err(StorageError::Full(format!("{free} bytes are free on disk")));
        }
        let bytes = root.virtual_bytes.max(spec.need.disk_gib.saturating_mul(GIB));
        overlay::make(&self.disk(id), &base, root.format, bytes).await
    }

    async fn capture(&self, intent: &InstanceIntent, task: &BundleTaskId) -> Result<Digest, StorageError> {
        let copy = self.copy(&intent.id, task);
        if !copy.exists() {
            self.drop_copy(&intent.id).await?; // another task's
            self.make_copy(intent, &copy).await?;
        }
        self.sink.send(&intent.request_id, task, &copy).await.map_err(not_sent)
    }

    async fn drop_copy(&self, id: &InstanceId) -> Result<(), StorageError> {
        remove_all(self.files(id).into_iter().filter(|file| is_copy(file))).await
    }

    async fn remove_files(&self, id: &InstanceId) -> Result<(), StorageError> {
        remove_all(self.files(id).into_iter()).await
    }

    async fn console(&self, id: &InstanceId) -> Vec<u8> {
        tail(&self.console_log(id)).await.unwrap_or_default()
    }

    fn paths(&self, id: &InstanceId, spec: &InstanceSpec) -> GuestPaths {
        let boot = &spec.boot;
        GuestPaths {
            disk: self.disk(id),
            base: self.images.path(&boot.root),
            kernel: boot.kernel.as_ref().map(|blob| self.images.path(blob)),
            ramdisk: boot.ramdisk.as_ref().map(|blob| self.images.path(blob)),
            console_log: self.console_log(id),
        }
    }
}

fn is_copy(file: &Path) -> bool {
    file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(COPY_PREFIX))
}

fn not_sent(error: BlobError) -> StorageError {
    match error {
        BlobError::Refused(message) => StorageError::Broken(format!("the copy is refused: {message}")),
        BlobError::Broken(message) => StorageError::Later(message),
    }
}

async fn remove_all(files: impl Iterator<Item = PathBuf>) -> Result<(), StorageError> {
    for file in files {
        match tokio::fs::remove_file(&file).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

async fn allocated_bytes(file: &Path) -> std::io::Result<u64> {
    Ok(tokio::fs::metadata(file).await?.blocks() * BLOCK_BYTES)
}

/// The last [`CONSOLE_BYTES_MAX`] of a log that may just have been rotated to `….0`.
pub async fn tail(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut newest = tail_of(path, CONSOLE_BYTES_MAX).await?;
    let missing = CONSOLE_BYTES_MAX - newest.len() as u64;
    let mut rotated = path.as_os_str().to_owned();
    rotated.push(".0");
    if missing > 0
        && let Ok(mut older) = tail_of(Path::new(&rotated), missing).await
    {
        older.append(&mut newest);
        return Ok(older);
    }
    Ok(newest)
}

async fn tail_of(path: &Path, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(bytes_max))).await?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
