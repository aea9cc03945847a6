//! Images as the cloud knows them: what an instance can boot from.
//!
//! Values and rules. `register` does the work around them: it asks Walrus for the blob and the store for
//! what the new image refers to. `bundle` is about objects, `making` about the images that are made of them,
//! `deletion` about those that the operator deletes. `import`, `import_snapshot` and `export` are what tasks do, `task` how they go,
//! `working` what carries them on.

pub mod bundle;
mod deletion;
pub mod export;
pub(in crate::app) mod fair;
pub mod import;
pub mod import_snapshot;
pub mod making;
pub mod register;
pub mod task;
pub mod working;

use bundle::BundleSource;

use crate::app::instance::said::VOLUME_TYPE_DEFAULT;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{KernelImageId, MachineImageId, RamdiskImageId};
use karri_proto::instance::{BlobRef, Firmware};
use serde::{Deserialize, Serialize};

pub const ROOT_DEVICE_DEFAULT: &str = "/dev/sda1";
const GIB: u64 = 1 << 30;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `ami-…`, `aki-…` or `ari-…`.
    pub id: String,
    pub account: String,
    pub name: String,
    pub state: ImageState,
    pub public: bool,
    pub kind: ImageKind,
    pub definition: ImageDefinition,
    pub created_ms: i64,
    /// The request that asked for it. Empty: that was before they were kept.
    pub request_id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageState {
    /// It is being made of its object.
    Pending,
    Available,
    /// Nothing came of its object; `ImageDefinition::failure` says why.
    Failed,
    /// Starts nothing, but instances keep naming it.
    Deregistered,
}

impl ImageState {
    pub fn as_str(self) -> &'static str {
        match self {
            ImageState::Pending => "pending",
            ImageState::Available => "available",
            ImageState::Failed => "failed",
            ImageState::Deregistered => "deregistered",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Available, Self::Failed, Self::Deregistered];
        all.into_iter().find(|state| state.as_str() == text)
    }
}

impl Image {
    pub fn is_registered(&self) -> bool {
        self.state != ImageState::Deregistered
    }

    /// What an instance can start from; None: nothing can, yet or any more.
    pub fn bootable(&self) -> Option<&BlobRef> {
        self.definition.blob.as_ref().filter(|_| self.state == ImageState::Available)
    }

    /// What is done for it is logged under that.
    pub fn logged_as(&self) -> &str {
        if self.request_id.is_empty() { &self.id } else { &self.request_id }
    }

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

    /// What an id of this kind starts with.
    pub fn prefix(self) -> &'static str {
        match self {
            ImageKind::Machine => MachineImageId::PREFIX,
            ImageKind::Kernel => KernelImageId::PREFIX,
            ImageKind::Ramdisk => RamdiskImageId::PREFIX,
        }
    }

    fn new_id(self) -> String {
        let rng = &mut rand::thread_rng();
        match self {
            ImageKind::Machine => MachineImageId::random(rng).into(),
            ImageKind::Kernel => KernelImageId::random(rng).into(),
            ImageKind::Ramdisk => RamdiskImageId::random(rng).into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDefinition {
    /// The root disk, or the kernel or ramdisk itself. None: it is not made of `bundle` yet, or never will be.
    #[serde(default)]
    pub blob: Option<BlobRef>,
    /// None: it was registered on a blob.
    #[serde(default)]
    pub bundle: Option<BundleSource>,
    /// It was registered on this one's blob.
    #[serde(default)]
    pub snapshot_id: Option<String>,
    /// Why it could not be made.
    #[serde(default)]
    pub failure: Option<String>,
    pub architecture: String,
    pub firmware: Firmware,
    pub root_device_name: String,
    /// What a machine image starts with when the launch names none.
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    pub description: Option<String>,
    /// As given to RegisterImage.
    pub location: String,
    /// As given to RegisterImage; what it means is in `firmware`.
    #[serde(default)]
    pub boot_mode: Option<String>,
    #[serde(default = "hvm")]
    pub virtualization_type: String,
    #[serde(default)]
    pub ena_support: bool,
    #[serde(default)]
    pub sriov_net_support: Option<String>,
    /// `v2.0`: instances require IMDSv2 unless their launch says otherwise.
    #[serde(default)]
    pub imds_support: Option<String>,
    #[serde(default)]
    pub root: RootDisk,
}

fn hvm() -> String {
    "hvm".to_owned()
}

/// What the image says about the disk that its instances boot from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootDisk {
    /// None: as large as the blob.
    pub gib: Option<u64>,
    pub volume_type: String,
}

impl Default for RootDisk {
    fn default() -> Self {
        Self { gib: None, volume_type: VOLUME_TYPE_DEFAULT.to_owned() }
    }
}

impl ImageDefinition {
    pub fn is_paravirtual(&self) -> bool {
        self.virtualization_type == "paravirtual"
    }

    /// The least root disk, in GiB, that holds what the blob holds.
    pub fn least_disk_gib(&self) -> u64 {
        let made = self.blob.as_ref().map(|blob| blob.virtual_bytes);
        let said = self.bundle.as_ref().map(|bundle| bundle.bytes);
        made.or(said).unwrap_or(0).div_ceil(GIB).max(1)
    }

    /// The root disk, in GiB, of an instance whose launch names no size.
    pub fn disk_gib(&self) -> u64 {
        self.root.gib.unwrap_or(0).max(self.least_disk_gib())
    }

    pub fn requires_imds_v2(&self) -> bool {
        self.imds_support.as_deref() == Some("v2.0")
    }
}

/// EC2's answer for an image that is not there, or not for this account.
pub fn not_found(ids: &[&str]) -> Fault {
    let sentence = match ids {
        [id] => format!("The image id '[{id}]' does not exist"),
        ids => format!("The image ids '[{}]' do not exist", ids.join(", ")),
    };
    Fault::new(FaultCode::InvalidAmiIdNotFound, sentence)
}

/// Reads an id of any kind of image.
pub fn check_id(id: &str) -> Result<ImageKind, Fault> {
    if id.starts_with("aki-") {
        return id.parse::<KernelImageId>().map(|_| ImageKind::Kernel);
    }
    if id.starts_with("ari-") {
        return id.parse::<RamdiskImageId>().map(|_| ImageKind::Ramdisk);
    }
    id.parse::<MachineImageId>().map(|_| ImageKind::Machine)
}
