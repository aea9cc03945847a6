//! Images, root disks and console logs of instances.

pub mod files;
pub mod images;
pub mod overlay;
pub mod sim;

use crate::drive::is_passing;
use async_trait::async_trait;
use karri_proto::ids::{BundleTaskId, InstanceId};
use karri_proto::instance::{BlobRef, Digest, InstanceIntent, InstanceSpec};
use std::collections::HashSet;
use std::path::PathBuf;

pub const CONSOLE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    #[error("there is not enough room on the node: {0}")]
    Full(String),
    /// The image is not what it should be, or is not there.
    #[error("{0}")]
    BadImage(String),
    /// Worth trying again until the deadline.
    #[error("{0}")]
    Later(String),
    #[error("{0}")]
    Broken(String),
}

impl From<std::io::Error> for StorageError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                StorageError::Full(error.to_string())
            }
            _ if is_passing(&error) => StorageError::Later(error.to_string()),
            _ => StorageError::Broken(error.to_string()),
        }
    }
}

/// What of an instance lies on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lying {
    pub disk: bool,
    /// Anything beside the record.
    pub files: bool,
    /// A copy of the disk, or a part of one.
    pub copy: bool,
}

/// Where a guest finds its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestPaths {
    pub disk: PathBuf,
    pub base: PathBuf,
    pub kernel: Option<PathBuf>,
    pub ramdisk: Option<PathBuf>,
    pub console_log: PathBuf,
}

/// For whom something is done: the log's lines are told by it.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    pub instance_id: &'a InstanceId,
    pub request_id: &'a str,
}

impl<'a> Launch<'a> {
    pub fn of(intent: &'a InstanceIntent) -> Self {
        Self { instance_id: &intent.id, request_id: &intent.request_id }
    }
}

/// Tells which images are in use now.
pub type Pins<'a> = &'a (dyn Fn() -> HashSet<Digest> + Send + Sync);

#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Every image of the instance is here and was verified.
    async fn images_ready(&self, spec: &InstanceSpec) -> bool;
    /// Brings them here. Images in `pinned` stay.
    async fn fetch_images(&self, intent: &InstanceIntent, pinned: Pins<'_>) -> Result<(), StorageError>;
    async fn lying(&self, id: &InstanceId) -> Lying;
    async fn make_disk(&self, intent: &InstanceIntent, pinned: Pins<'_>) -> Result<(), StorageError>;
    /// Copies the disk of a guest that is off and sends it to the image store, for that task. A copy that is there
    /// already is sent again.
    async fn capture(&self, intent: &InstanceIntent, task: &BundleTaskId) -> Result<Digest, StorageError>;
    async fn drop_copy(&self, id: &InstanceId) -> Result<(), StorageError>;
    async fn remove_files(&self, id: &InstanceId) -> Result<(), StorageError>;
    /// The last of what the guest wrote to its console.
    async fn console(&self, id: &InstanceId) -> Vec<u8>;
    fn paths(&self, id: &InstanceId, spec: &InstanceSpec) -> GuestPaths;
}

/// The blobs an instance starts from.
pub fn blobs_of(spec: &InstanceSpec) -> impl Iterator<Item = &BlobRef> {
    std::iter::once(&spec.boot.root).chain(&spec.boot.kernel).chain(&spec.boot.ramdisk)
}
