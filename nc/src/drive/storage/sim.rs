//! Disks that are only remembered.

use super::{GuestPaths, Lying, Pins, Storage, StorageError};
use async_trait::async_trait;
use karri_proto::ids::{BundleTaskId, InstanceId};
use karri_proto::instance::{Digest, InstanceIntent, InstanceSpec};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub struct SimStorage {
    disks: Mutex<HashSet<InstanceId>>,
}

impl SimStorage {
    fn disks(&self) -> MutexGuard<'_, HashSet<InstanceId>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts back the disk of an instance that a restarted node knows to have run.
    pub fn remember(&self, id: &InstanceId) {
        self.disks().insert(id.clone());
    }
}

#[async_trait]
impl Storage for SimStorage {
    async fn images_ready(&self, _: &InstanceSpec) -> bool {
        true
    }

    async fn fetch_images(&self, _: &InstanceIntent, _: Pins<'_>) -> Result<(), StorageError> {
        Ok(())
    }

    async fn lying(&self, id: &InstanceId) -> Lying {
        let disk = self.disks().contains(id);
        Lying { disk, files: disk, copy: false }
    }

    async fn make_disk(&self, intent: &InstanceIntent, _: Pins<'_>) -> Result<(), StorageError> {
        self.remember(&intent.id);
        Ok(())
    }

    async fn capture(&self, _: &InstanceIntent, _: &BundleTaskId) -> Result<Digest, StorageError> {
        Err(StorageError::Broken("a simulated instance has no disk to copy".to_owned()))
    }

    async fn drop_copy(&self, _: &InstanceId) -> Result<(), StorageError> {
        Ok(())
    }

    async fn remove_files(&self, id: &InstanceId) -> Result<(), StorageError> {
        self.disks().remove(id);
        Ok(())
    }

    async fn console(&self, _: &InstanceId) -> Vec<u8> {
        Vec::new()
    }

    fn paths(&self, _: &InstanceId, _: &InstanceSpec) -> GuestPaths {
        let none = PathBuf::new;
        GuestPaths { disk: none(), base: none(), kernel: None, ramdisk: None, console_log: none() }
    }
}
