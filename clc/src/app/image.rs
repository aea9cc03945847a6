//! Images as the cloud knows them: what an instance can boot from.

use karri_proto::instance::{BlobRef, Firmware};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `ami-…`, `aki-…` or `ari-…`.
    pub id: String,
    pub account: String,
    pub name: String,
    /// Deregistered images start nothing, but instances keep naming them.
    pub available: bool,
    pub public: bool,
    pub kind: ImageKind,
    pub definition: ImageDefinition,
    pub created_ms: i64,
}

impl Image {
    /// Whether an account may see it and start it.
    pub fn is_visible_to(&self, account: &str, administrator: bool) -> bool {
        self.public || administrator || self.account == account
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    Machine,
    Kernel,
    Ramdisk,
}

impl ImageKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ImageKind::Machine => "machine",
            ImageKind::Kernel => "kernel",
            ImageKind::Ramdisk => "ramdisk",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Machine, Self::Kernel, Self::Ramdisk].into_iter().find(|kind| kind.as_str() == text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDefinition {
    /// The root disk, or the kernel or ramdisk itself.
    pub blob: BlobRef,
    pub architecture: String,
    pub firmware: Firmware,
    pub root_device_name: String,
    /// What a machine image starts with when the launch names none.
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    pub description: Option<String>,
    /// As given to RegisterImage.
    pub location: String,
}
