//! Storage in files: the image cache, and a directory per instance beside its record.

use super::images::ImageCache;
use super::{CONSOLE_BYTES_MAX, GuestPaths, Launch, Lying, Pins, Storage, StorageError, blobs_of, overlay};
use async_trait::async_trait;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{InstanceIntent, InstanceSpec};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

const GIB: u64 = 1 << 30;
/// An overlay begins small and grows; with less than this left a guest would soon hang on a full disk.
const START_FREE_BYTES: u64 = 64 * 1024 * 1024;
/// The one file of an instance's directory that is not storage's.
pub const RECORD_FILE: &str = "intent.json";
/// It, while it is being written.
const RECORD_FILE_NEW: &str = ".intent.json.new";

pub struct FileStorage {
    instances: PathBuf,
    images: ImageCache,
}

impl FileStorage {
    pub fn new(instances: &Path, images: ImageCache) -> Self {
        Self { instances: instances.to_owned(), images }
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
        Lying { disk: files.contains(&self.disk(id)), files: !files.is_empty() }
    }

    async fn make_disk(&self, intent: &InstanceIntent, pinned: Pins<'_>) -> Result<(), StorageError> {
        let (id, spec) = (&intent.id, &intent.spec);
        let root = &spec.boot.root;
        let base = self.images.get(Launch::of(intent), root, pinned).await?; // marks it as used just now
        let facts = rustix::fs::statvfs(&self.instances).map_err(std::io::Error::from)?;
        let free = facts.f_bavail * facts.f_frsize;
        if free < START_FREE_BYTES {
            return Err(StorageError::Full(format!("{free} bytes are free on disk")));
        }
        let bytes = root.virtual_bytes.max(spec.need.disk_gib.saturating_mul(GIB));
        overlay::make(&self.disk(id), &base, root.format, bytes).await
    }

    async fn remove_files(&self, id: &InstanceId) -> Result<(), StorageError> {
        for file in self.files(id) {
            match tokio::fs::remove_file(&file).await {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
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
