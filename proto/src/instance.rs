//! What one controller asks of the next about an instance, and what it hears back.
//!
//! Intent goes down (clc → cc → nc), reports come up. Both are values; delivering one twice, late
//! or not at all must do no harm:
//!
//! - an intent is named by (id, generation, attempt). `generation` grows with every change a user
//!   makes (clc); `attempt` grows with every placement on another node (cc; the clc always sends 0).
//!   A receiver keeps the greatest and answers a smaller one with what it has.
//! - a report speaks of the newest intent its sender has *durably* accepted. A receiver that wants
//!   something newer ignores it.
//! - `forget` is sent when `Gone` or `Failed` has been absorbed. It leaves a tombstone for
//!   [`TOMBSTONE_KEEP_SECS`], so that a delayed intent cannot raise the dead.
//!
//! ```text
//!   desired Running     Preparing ──► Running ──► Stopped (the guest shut itself down)
//!                           └──────► Failed (nothing is left on the node)
//!   desired Stopped     Stopping ──► Stopped
//!   desired Terminated  Terminating ──► Gone (nothing is left on the node)
//! ```

use crate::ids::{
    BundleTaskId, InstanceId, MachineImageId, NetworkInterfaceId, ReservationId, SecurityGroupId, SubnetId,
    VpcId,
};
use crate::network::ForwardedPort;
use crate::resources::Need;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

pub const TOMBSTONE_KEEP_SECS: i64 = 3600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Desired {
    Running,
    Stopped,
    /// A receiver that has the instance goes by its own copy of the specification: whoever clears away a
    /// guest that should not be there may know no more of it than its id.
    Terminated,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceIntent {
    pub id: InstanceId,
    pub account: String,
    pub generation: u64,
    /// Set by the cc for its nodes; 0 from the clc.
    pub attempt: u32,
    pub desired: Desired,
    /// A reboot is wanted whenever this is greater than what the node last carried out.
    pub reboots: u64,
    /// Stop and terminate without waiting for the guest.
    pub force: bool,
    /// A copy of the root disk is wanted for this task, taken while the guest is off. The node takes it once, and
    /// then sees to `desired` as if nothing had been.
    #[serde(default)]
    pub capture: Option<BundleTaskId>,
    /// The API request that made this generation; runs through every log line about it.
    pub request_id: String,
    pub spec: InstanceSpec,
}

/// Everything a node needs to run the instance and to answer its metadata without asking anyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceSpec {
    pub instance_type: String,
    pub need: Need,
    pub boot: BootSource,
    pub ports: Vec<PortSpec>,
    pub user_data_base64: Option<String>,
    pub key: Option<PublicKey>,
    pub hostname: String,
    pub metadata: MetadataOptions,
    pub image_id: MachineImageId,
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    pub architecture: String,
    /// What its image is made for; fully virtualized where nothing is said.
    #[serde(default)]
    pub paravirtual: bool,
    pub reservation_id: ReservationId,
    pub launch_index: u32,
    pub launched_at_unix_ms: i64,
    pub region: String,
    pub zone: String,
    pub root_device_name: String,
    /// Shown in metadata only when the options allow it.
    pub tags: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BootSource {
    /// The root disk: a whole disk, or a root file system when `kernel` is given.
    pub root: BlobRef,
    pub kernel: Option<BlobRef>,
    pub ramdisk: Option<BlobRef>,
    pub firmware: Firmware,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    Bios,
    Uefi,
}

/// A blob in Walrus. The digest is its name and its proof.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct BlobRef {
    pub digest: Digest,
    pub format: BlobFormat,
    /// As stored.
    pub bytes: u64,
    /// As the guest sees it.
    pub virtual_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BlobFormat {
    Raw,
    Qcow2,
}

/// `sha256:` and 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    pub fn from_sha256(sum: [u8; 32]) -> Self {
        Self(format!("sha256:{}", hex::encode(sum)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hex digits: what a file is named after.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a digest (expecting sha256: and 64 lower-case hex digits)")]
pub struct BadDigest(pub String);

impl std::str::FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let digits = text.strip_prefix("sha256:").ok_or_else(|| BadDigest(text.to_owned()))?;
        let valid =
            digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if valid { Ok(Self(text.to_owned())) } else { Err(BadDigest(text.to_owned())) }
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Self, BadDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortSpec {
    pub id: NetworkInterfaceId,
    /// Lower-case, colon-separated.
    pub mac: String,
    pub private_ip: Ipv4Addr,
    pub subnet_id: SubnetId,
    /// What the subnet's frames are known by; 0: the flat network of the zone.
    #[serde(default)]
    pub segment: crate::network::SegmentTag,
    pub subnet_cidr: String,
    pub vpc_id: VpcId,
    /// The first range of its VPC.
    pub vpc_cidr: String,
    /// The VPC's further ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_vpc_cidrs: Vec<String>,
    pub gateway: Ipv4Addr,
    pub groups: Vec<(SecurityGroupId, String)>,
    /// What leads to it from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<PublicPort>,
    /// The site gives it its address: `private_ip` is unspecified in what goes down, and comes up in reports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learns_address: bool,
    /// In mode `user`: which of its ports are led to it, and from where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwarded: Vec<ForwardedPort>,
    /// Its number among the instance's; 0 is the first, which stays as long as the instance.
    #[serde(default)]
    pub device_index: u32,
    /// Addresses beside `private_ip`. No guest is told of them by DHCP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondary: Vec<SecondaryAddress>,
    /// Only what is from its own addresses passes, and what is for them.
    #[serde(default = "checked")]
    pub source_dest_check: bool,
}

fn checked() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecondaryAddress {
    pub address: Ipv4Addr,
    /// What leads to it from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<PublicPort>,
}

impl PortSpec {
    /// All private addresses, the first one first, each with what leads to it from outside. None that is not known yet.
    pub fn addresses(&self) -> impl Iterator<Item = (Ipv4Addr, Option<&PublicPort>)> {
        let more = self.secondary.iter().map(|one| (one.address, one.public.as_ref()));
        let first = std::iter::once((self.private_ip, self.public.as_ref()));
        first.chain(more).filter(|(address, _)| !address.is_unspecified())
    }

    /// Every range of its VPC, the first one first.
    pub fn vpc_ranges(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.vpc_cidr).chain(&self.more_vpc_cidrs).map(String::as_str)
    }

    /// What leads to that address; none: it has no such address.
    pub fn public_of_mut(&mut self, address: Ipv4Addr) -> Option<&mut Option<PublicPort>> {
        if address == self.private_ip {
            return Some(&mut self.public);
        }
        self.secondary.iter_mut().find(|one| one.address == address).map(|one| &mut one.public)
    }
}

impl InstanceSpec {
    pub fn name_of(&self, address: Ipv4Addr) -> String {
        match self.ports.first() {
            Some(port) if port.private_ip != address => private_name(&self.hostname, address),
            _ => self.hostname.clone(),
        }
    }
}

/// Of an address beside the first of an instance of that name: private names go by addresses, in one domain.
pub fn private_name(hostname: &str, address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    match hostname.split_once('.') {
        Some((_, domain)) => format!("ip-{a}-{b}-{c}-{d}.{domain}"),
        None => format!("ip-{a}-{b}-{c}-{d}"),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicPort {
    pub address: Ipv4Addr,
    /// Where the VPC gives such names.
    pub name: Option<String>,
    /// It is its account's also when the instance is not.
    pub elastic: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicKey {
    pub name: String,
    /// One line in OpenSSH's form.
    pub openssh: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetadataOptions {
    pub enabled: bool,
    pub tokens_required: bool,
    pub hop_limit: u8,
    pub tags_shown: bool,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self { enabled: true, tokens_required: false, hop_limit: 1, tags_shown: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Accepted; image, disk, port or domain are not there yet.
    Preparing,
    Running,
    Stopping,
    Stopped,
    Terminating,
    /// Terminated; nothing of it is left here.
    Gone,
    /// Cannot be started; nothing of it is left here.
    Failed,
}

impl Phase {
    /// The instance needs nothing more from this controller and may be forgotten.
    pub fn is_final(self) -> bool {
        matches!(self, Phase::Gone | Phase::Failed)
    }

    /// The phase that an intent works towards has been reached.
    pub fn satisfies(self, desired: Desired) -> bool {
        match desired {
            Desired::Running => self == Phase::Running,
            Desired::Stopped => self == Phase::Stopped,
            Desired::Terminated => self == Phase::Gone,
        }
    }
}

/// EC2's StateReason: a code such as `Client.InstanceInitiatedShutdown` and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateReason {
    pub code: String,
    pub message: String,
}

const GUEST_SHUT_DOWN: &str = "Client.InstanceInitiatedShutdown";

impl StateReason {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    pub fn guest_shut_down() -> Self {
        Self::new(GUEST_SHUT_DOWN, "Client.InstanceInitiatedShutdown: Instance initiated shutdown")
    }

    /// The guest has shut itself down: nothing else is to be answered as `InstanceInitiatedShutdownBehavior`
    /// says.
    pub fn is_guest_shut_down(&self) -> bool {
        self.code == GUEST_SHUT_DOWN
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceReport {
    pub id: InstanceId,
    pub generation: u64,
    pub attempt: u32,
    pub phase: Phase,
    pub node: Option<String>,
    pub reason: Option<StateReason>,
    /// The reboots carried out so far.
    pub reboots: u64,
    /// How far the copy of the root disk is that the intent asks for.
    #[serde(default)]
    pub capture: Option<CaptureReport>,
    /// What its node has learnt of ports that the site gives their addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<LearntAddress>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearntAddress {
    pub port: NetworkInterfaceId,
    pub address: std::net::Ipv4Addr,
}

/// A copy of a root disk, for one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureReport {
    pub task: BundleTaskId,
    pub state: CaptureState,
}

/// ```text
///   Reading ──► Taken
///      └──────► Failed
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureState {
    /// The guest is off, and its disk is on its way.
    Reading,
    /// Walrus has it, under this name.
    Taken(Digest),
    Failed(StateReason),
}

impl CaptureState {
    pub fn is_over(&self) -> bool {
        match self {
            CaptureState::Reading => false,
            CaptureState::Taken(_) | CaptureState::Failed(_) => true,
        }
    }
}

impl InstanceReport {
    /// Whether this speaks of the given intent or of a newer one.
    pub fn covers(&self, generation: u64, attempt: u32) -> bool {
        (self.generation, self.attempt) >= (generation, attempt)
    }
}
