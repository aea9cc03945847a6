//! How instances are joined to the node's bridges, and what their ports let through.
//!
//! libvirt makes and removes the tap itself; here are the rules that stand before its first packet:
//! a port sends only from its own MAC and address, and what it sends to 169.254.169.254 port 80 goes
//! to this node's metadata listener, wherever the gateway is. What its security groups let through is
//! decided by iptables ([`guard`]).

mod announcing;
mod bridge;
mod bridges;
mod dnat;
mod door;
mod ebtables;
mod filtering;
mod guard;
mod made;
mod program;
mod segments;
mod shortcut;
mod strays;
mod tunnels;

pub use bridge::{BridgePorts, NoFacts, Place};
pub use bridges::{Bridge, Bridges, wire};
pub use door::SegmentListener;
pub use guard::Facts;
pub use karri_net::Wire;

use crate::app::owner_tag::Owner;
use async_trait::async_trait;
use karri_net::NetError;
use karri_proto::ids::NetworkInterfaceId;
use karri_proto::instance::PortSpec;
use karri_proto::internal::kernel::KernelLook;
use karri_proto::network::{FactKey, SegmentTag};
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;

/// Where guests look for their metadata.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The kernel allows 15 characters: `k`, 4 digits of the node's own, 10 of the interface's.
const NODE_DIGITS: usize = 4;
const PORT_DIGITS: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Somebody else is at it, or the host is slow: worth trying again until the deadline.
    #[error("network: {0}")]
    Later(String),
    #[error("network: {0}")]
    Broken(String),
}

impl From<NetError> for PortError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Later(message) => Self::Later(message),
            NetError::Broken(message) => Self::Broken(message),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub id: NetworkInterfaceId,
    pub tap: String,
    pub mac: String,
    /// Unspecified: the site has not given it yet.
    pub address: Ipv4Addr,
    /// Its addresses beside that one.
    pub secondary: Vec<Ipv4Addr>,
    /// Only what is from its own addresses passes, and what is for them.
    pub source_dest_check: bool,
    /// It is the site's DHCP that gives it, from wherever that answers.
    pub of_site: bool,
    /// 0: the flat network of the zone.
    pub segment: SegmentTag,
    pub subnet_cidr: String,
    pub gateway: Ipv4Addr,
}

impl Port {
    /// The first one first, if it is known.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let all = std::iter::once(self.address).chain(self.secondary.iter().copied());
        all.filter(|address| !address.is_unspecified())
    }
}

/// How this node's taps are named: by which it knows them from another node's on the same host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapNames {
    prefix: String,
}

impl TapNames {
    pub fn new(owner: &Owner) -> Self {
        let sum = hex::encode(Sha256::digest(format!("{} {}", owner.cloud, owner.node)));
        Self { prefix: format!("k{}", &sum[..NODE_DIGITS]) }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn tap(&self, port: &PortSpec) -> String {
        let id = port.id.as_str();
        format!("{}{}", self.prefix, &id[id.len().saturating_sub(PORT_DIGITS)..].replace('-', ""))
    }

    pub fn port(&self, port: &PortSpec) -> Port {
        Port {
            id: port.id.clone(),
            tap: self.tap(port),
            mac: port.mac.clone(),
            address: port.private_ip,
            secondary: port.secondary.iter().map(|one| one.address).collect(),
            source_dest_check: port.source_dest_check,
            of_site: port.learns_address,
            segment: port.segment,
            subnet_cidr: port.subnet_cidr.clone(),
            gateway: port.gateway,
        }
    }

    /// Whether a name has this node's form, to the last digit. Another's may, by chance: what is to be taken
    /// away needs more proof than its name.
    pub fn owns(&self, name: &str) -> bool {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        name.strip_prefix(&self.prefix)
            .is_some_and(|rest| rest.len() == PORT_DIGITS && rest.bytes().all(digit))
    }
}

/// What there is of a port whose name is one of this node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugged {
    pub tap: String,
    /// Its rules. Nobody but a node controller makes them.
    pub rules: bool,
    /// The link itself. While it is there, a guest has it.
    pub link: bool,
}

#[async_trait]
pub trait Ports: Send + Sync + 'static {
    /// Rules first, so that no packet passes without them.
    async fn plug(&self, ports: &[Port]) -> Result<(), PortError>;
    /// What can be done only once the guest is there, and its taps with it.
    async fn started(&self, _ports: &[Port]) -> Result<(), PortError> {
        Ok(())
    }
    /// Rules and what is left of the taps.
    async fn unplug(&self, taps: &[String]) -> Result<(), PortError>;
    /// All taps of this node's form that have rules or exist.
    async fn plugged(&self) -> Result<Vec<Plugged>, PortError>;
    /// Puts right what somebody else has changed, of the host's part and of these ports; tells what it was.
    async fn mend(&self, ports: &[Port]) -> Result<Vec<String>, PortError>;
    /// Sends frames of segments to these hosts, which are all of the cluster.
    async fn tunnels_told(&self, _tunnels: &[Ipv4Addr]) -> Result<(), PortError> {
        Ok(())
    }
    /// What the kernel has of this one, beside what is wanted. `None`: it is not among those that are plugged.
    async fn look(&self, _port: &NetworkInterfaceId) -> Result<Option<KernelLook>, PortError> {
        Err(PortError::Broken("this node guards no ports".to_owned()))
    }
    /// Enforces what has changed of the facts. `None`: it may be any of them.
    async fn told(&self, changed: Option<&[FactKey]>) -> Result<(), PortError>;
}

/// Ports of simulated guests: nothing at all.
#[derive(Debug)]
pub struct NoPorts;

#[async_trait]
impl Ports for NoPorts {
    async fn plug(&self, _: &[Port]) -> Result<(), PortError> {
        Ok(())
    }

    async fn unplug(&self, _: &[String]) -> Result<(), PortError> {
        Ok(())
    }

    async fn plugged(&self) -> Result<Vec<Plugged>, PortError> {
        Ok(Vec::new())
    }

    async fn mend(&self, _: &[Port]) -> Result<Vec<String>, PortError> {
        Ok(Vec::new())
    }

    async fn told(&self, _: Option<&[FactKey]>) -> Result<(), PortError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_whole_form_are_this_nodes() {
        let names = TapNames::new(&Owner { cloud: "cloud".to_owned(), node: "node-1".to_owned() });
        let prefix = names.prefix();
        assert!(names.owns(&format!("{prefix}0123456789")));
        let foreign = ["", "0", "012345678", "01234567890", "wlan-uplink", "ABCDEF0123", "012345678g"];
        for rest in foreign {
            assert!(!names.owns(&format!("{prefix}{rest}")), "{rest}");
        }
    }
}
