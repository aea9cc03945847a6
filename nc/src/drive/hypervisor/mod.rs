//! What runs guests.

pub mod libvirt;
pub mod sim;

use crate::app::domain_xml::{GuestPort, GuestSpec};
use crate::app::owner_tag::OwnerTag;
use crate::app::plan::Guest;
use async_trait::async_trait;
use karri_proto::ids::InstanceId;
use tokio::sync::broadcast;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HypervisorError {
    /// Nobody answers: whether it was done is unknown, and it is worth trying again.
    #[error("the hypervisor does not answer: {0}")]
    Unreachable(String),
    /// It was understood, and cannot be done now: something else goes on with the guest, or the host is short
    /// of something.
    #[error("the hypervisor is busy: {0}")]
    Busy(String),
    /// It was understood and refused, or failed. Of the guest it says nothing.
    #[error("{0}")]
    Refused(String),
    /// A domain of somebody else's has the guest's name, so there is no guest of ours.
    #[error("a domain {0} that is not ours is in the way")]
    Foreign(String),
}

/// Something happened to a guest of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestChange {
    pub id: InstanceId,
    /// It has rebooted; else its state may have changed.
    pub rebooted: bool,
}

/// One of our domains as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundGuest {
    pub tag: OwnerTag,
    pub guest: Guest,
}

/// All that the hypervisor holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub own: Vec<FoundGuest>,
    /// Names of guests that are not ours: told, never touched.
    pub foreign: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HypervisorFacts {
    /// `kvm`, `tcg`, `xen` or `sim`.
    pub accelerator: String,
    pub hypervisor: String,
}

/// Every call is safe to repeat; one about a guest that is not there does nothing.
#[async_trait]
pub trait Hypervisor: Send + Sync + 'static {
    async fn facts(&self) -> Result<HypervisorFacts, HypervisorError>;
    async fn found(&self) -> Result<Found, HypervisorError>;
    async fn guest(&self, id: &InstanceId) -> Result<Guest, HypervisorError>;
    async fn start(&self, spec: &GuestSpec) -> Result<(), HypervisorError>;
    async fn ask_shutdown(&self, id: &InstanceId) -> Result<(), HypervisorError>;
    async fn force_off(&self, id: &InstanceId) -> Result<(), HypervisorError>;
    async fn ask_reboot(&self, id: &InstanceId) -> Result<(), HypervisorError>;
    async fn reset(&self, id: &InstanceId) -> Result<(), HypervisorError>;
    /// Drops the definition of a guest that is off.
    /// The taps of a running guest's network devices.
    async fn interfaces(&self, id: &InstanceId) -> Result<Vec<String>, HypervisorError>;
    /// Gives a running guest one more network device.
    async fn plug(&self, id: &InstanceId, port: &GuestPort) -> Result<(), HypervisorError>;
    /// Asks a running guest to let go of one. Whether it has is seen by `interfaces`.
    async fn unplug(&self, id: &InstanceId, tap: &str) -> Result<(), HypervisorError>;
    async fn undefine(&self, id: &InstanceId) -> Result<(), HypervisorError>;
    /// What the guest wrote, where the hypervisor itself keeps it.
    async fn console(&self, _id: &InstanceId) -> Option<Vec<u8>> {
        None
    }
    /// Drops what [`Hypervisor::console`] tells.
    async fn console_remove(&self, _id: &InstanceId) -> std::io::Result<()> {
        Ok(())
    }
    /// Lets guests go on that were stopped because the disk was full; returns them.
    async fn resume_starved(&self) -> Result<Vec<InstanceId>, HypervisorError> {
        Ok(Vec::new())
    }
    fn changes(&self) -> broadcast::Receiver<GuestChange>;
    /// Whether guests can change without an event.
    fn polled(&self) -> bool {
        true
    }
}
