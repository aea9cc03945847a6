//! The outside world of a cluster controller: the flat network on its host.
//!
//! ```text
//!   flat.rs       the driver: bridge, firewall and dnsmasq made and mended; all of it removed again
//!   bridge.rs     the bridge and its gateway address
//!   firewall.rs   our own iptables chains
//!   answering.rs  public addresses on the site's own network
//!   dnsmasq.rs    DHCP and DNS of one network: its files and its process
//!   naming.rs     what dnsmasq answers about names of addresses
//!   router/       the routers of VPCs, each in a namespace of its own
//!   simulated.rs  no network at all
//!   nodes.rs      connections to nodes
//! ```

mod answering;
mod bridge;
mod dnsmasq;
mod firewall;
pub mod flat;
mod naming;
pub mod nodes;
pub mod router;
pub mod simulated;

use crate::app::router::{Naming, Outside, Router};
use async_trait::async_trait;
use karri_proto::ids::VpcId;
use karri_proto::internal::kernel::KernelLook;
use karri_proto::network::Subnet;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// One DHCP client that is served, and what it is given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    pub address: Ipv4Addr,
    pub mac: String,
    pub hostname: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct DriveError {
    pub what: String,
    pub cause: String,
}

impl DriveError {
    pub fn new(what: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self { what: what.into(), cause: cause.to_string() }
    }
}

/// All that the cluster's network on this host is to be like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// On the flat network.
    pub hosts: Vec<Host>,
    /// The same.
    pub naming: Naming,
    pub routers: BTreeMap<VpcId, Arc<Router>>,
    pub outside: Outside,
    /// Where nodes take packets of segments.
    pub tunnels: Arc<[Ipv4Addr]>,
}

/// Makes the network as is wanted. Called again and again: what is right already is
/// left alone, what died or was changed by others is mended.
#[async_trait]
pub trait Driver: Send {
    async fn apply(&mut self, wanted: &Wanted) -> Result<(), DriveError>;
    fn eyes(&self) -> Arc<dyn Eyes>;
}

/// Looks at what there is, beside the loop that changes it.
#[async_trait]
pub trait Eyes: Send + Sync + std::fmt::Debug {
    /// What this host has for a subnet, and what of it is not as is wanted. Nothing where it needs none.
    async fn look(&self, wanted: &Wanted, subnet: &Subnet) -> Result<KernelLook, DriveError>;
}
