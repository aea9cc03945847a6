//! The cluster controller's configuration. `deploy/config/cc.toml` is the commented example.

mod mode;
mod segments;

pub use mode::NetworkMode;

use crate::app::placement::Policy;
use crate::app::router::Site;
use karri_proto::network::{AddressPair, SegmentDriver};
use karri_proto::runtime::process::ControllerConfig;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

/// Linux' limit for the name of an interface.
const BRIDGE_NAME_MAX: usize = 15;
/// Guests that speak IPv4 must be able to send 576 bytes, and a segment puts 50 around them.
const TUNNEL_MTU_MIN: u32 = 626;
const TUNNEL_MTU_MAX: u32 = 65_535;
const NODE_LOST_SECS_MIN: u32 = 3;
/// A year.
const NODE_LOST_SECS_MAX: u32 = 366 * 24 * 3600;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub controller: ControllerConfig,
    pub cluster: ClusterConfig,
    pub network: NetworkConfig,
    #[serde(default)]
    pub placement: PlacementConfig,
    #[serde(default)]
    pub database: DatabaseConfig,
}

/// The cluster's name is the one in its certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    pub zone: String,
    pub clc_url: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    pub mode: NetworkMode,
    #[serde(default = "default_bridge")]
    pub bridge: String,
    pub subnet: Cidr,
    pub gateway: Ipv4Addr,
    /// Mode `static`: what there is to give out.
    #[serde(default)]
    pub pairs: Vec<AddressPair>,
    /// Mode `user`: TCP ports of guests that this host leads to them.
    #[serde(default = "default_forwarded")]
    pub forwarded: Vec<u16>,
    /// Name servers that guests' questions are passed on to; empty: those of this host.
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
    /// Where dnsmasq's files are; readable by its unprivileged user.
    #[serde(default = "default_run_dir")]
    pub run_dir: PathBuf,
    /// Mode `managed`: how segments reach other hosts.
    #[serde(default)]
    pub driver: SegmentDriver,
    /// Driver `vlan`: this host's interface to which the tagged frames go, and the tags that may be used there.
    #[serde(default)]
    pub trunk: Option<String>,
    #[serde(default)]
    pub vlan_first: Option<u16>,
    #[serde(default)]
    pub vlan_last: Option<u16>,
    /// This host's address at which it takes packets of VPCs from other hosts. Absent: there are no others.
    #[serde(default)]
    pub tunnel_address: Option<Ipv4Addr>,
    /// What the network between the hosts carries in one packet, in bytes.
    #[serde(default = "default_tunnel_mtu")]
    pub tunnel_mtu: u32,
    #[serde(default = "default_vxlan_port")]
    pub vxlan_port: u16,
    /// The interface on the site's network on which this host answers for public addresses, as if they were its own.
    #[serde(default)]
    pub public_interface: Option<String>,
    /// What instances send from their public addresses leaves this host from its own: for sites where nobody
    /// knows the way to the public addresses. Absent: unless `public_interface` makes it known.
    #[serde(default)]
    pub masquerade_public: Option<bool>,
}

/// Ethernet's.
fn default_tunnel_mtu() -> u32 {
    1500
}

/// The one that IANA has given to VXLAN.
fn default_vxlan_port() -> u16 {
    4789
}

/// That of SSH.
fn default_forwarded() -> Vec<u16> {
    vec![22]
}

fn default_bridge() -> String {
    "karri0".to_owned()
}

fn default_run_dir() -> PathBuf {
    PathBuf::from("/run/karri/cc")
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacementConfig {
    pub policy: Policy,
    /// A node that has answered nothing for this long is lost: what never ran there is placed elsewhere.
    pub node_lost_secs: u32,
}

impl Default for PlacementConfig {
    fn default() -> Self {
        Self { policy: Policy::default(), node_lost_secs: 60 }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// Absent: `cc.sqlite` in the state directory.
    pub path: Option<PathBuf>,
}

impl NetworkConfig {
    pub fn masquerades_public(&self) -> bool {
        self.masquerade_public.unwrap_or(self.public_interface.is_none())
    }
}

impl Config {
    pub fn database_path(&self) -> PathBuf {
        self.database.path.clone().unwrap_or_else(|| self.controller.state_dir.join("cc.sqlite"))
    }

    /// What all routers of VPCs have in common.
    pub fn site(&self) -> Site {
        Site { zone: self.cluster.zone.clone(), bridge: self.network.bridge.clone() }
    }

    pub fn check(&self) -> Result<(), String> {
        let zone = &self.cluster.zone;
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if zone.is_empty() || zone.len() > 64 || !plain(zone) {
            return Err(format!("cluster.zone = {zone:?}: letters, digits and dashes, 64 at most"));
        }
        if !self.cluster.clc_url.starts_with("https://") {
            return Err(format!("cluster.clc_url = {:?}: must start with https://", self.cluster.clc_url));
        }
        let network = &self.network;
        if network.bridge.is_empty() || network.bridge.len() > BRIDGE_NAME_MAX || !plain(&network.bridge) {
            return Err(format!(
                "network.bridge = {:?}: letters, digits and dashes, {BRIDGE_NAME_MAX} at most",
                network.bridge
            ));
        }
        if !network.subnet.has_host(network.gateway) {
            return Err(format!("network.gateway = {}: not a host in {}", network.gateway, network.subnet));
        }
        network.check_mode()?;
        self.check_tunnel()?;
        network.check_driver()?;
        if let Some(interface) = &network.public_interface
            && (!is_interface(interface) || *interface == network.bridge)
        {
            return Err(format!(
                "network.public_interface = {interface:?}: expecting the name of this host's interface on the site's network"
            ));
        }
        let lost = self.placement.node_lost_secs;
        if !(NODE_LOST_SECS_MIN..=NODE_LOST_SECS_MAX).contains(&lost) {
            return Err(format!(
                "placement.node_lost_secs = {lost}: expecting a number from {NODE_LOST_SECS_MIN} to \
                 {NODE_LOST_SECS_MAX}"
            ));
        }
        Ok(())
    }
}

/// What the kernel takes for the name of an interface.
fn is_interface(name: &str) -> bool {
    let is_of_it = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    (1..=BRIDGE_NAME_MAX).contains(&name.len()) && name.chars().all(is_of_it)
}

impl Config {
    fn check_tunnel(&self) -> Result<(), String> {
        let NetworkConfig { tunnel_address, tunnel_mtu, vxlan_port, subnet, .. } = &self.network;
        if let Some(address) = tunnel_address.filter(|address| {
            address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.is_broadcast()
        }) {
            return Err(format!("network.tunnel_address = {address}: an address of this host is expected"));
        }
        if let Some(address) = tunnel_address.filter(|address| subnet.has_host(*address)) {
            return Err(format!(
                "network.tunnel_address = {address}: is in {subnet}, which is the instances'"
            ));
        }
        if !(TUNNEL_MTU_MIN..=TUNNEL_MTU_MAX).contains(tunnel_mtu) {
            return Err(format!(
                "network.tunnel_mtu = {tunnel_mtu}: expecting a number from {TUNNEL_MTU_MIN} to {TUNNEL_MTU_MAX}"
            ));
        }
        if *vxlan_port == 0 {
            return Err("network.vxlan_port = 0: expecting a UDP port".to_owned());
        }
        Ok(())
    }
}

/// An IPv4 range, by its first address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    pub first: Ipv4Addr,
    pub prefix: u8,
}

impl Cidr {
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0))
    }

    /// Neither the range's own address nor its broadcast address.
    pub fn has_host(self, address: Ipv4Addr) -> bool {
        let (mask, address) = (u32::from(self.mask()), u32::from(address));
        let host = address & !mask;
        address & mask == u32::from(self.first) && host != 0 && host != !mask
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is not a range such as 172.31.0.0/20 (/8 to /30)");
        let (first, prefix) = text.split_once('/').ok_or_else(bad)?;
        let cidr =
            Self { first: first.parse().map_err(|_| bad())?, prefix: prefix.parse().map_err(|_| bad())? };
        let aligned = (8..=30).contains(&cidr.prefix) && u32::from(cidr.first) & !u32::from(cidr.mask()) == 0;
        if aligned { Ok(cidr) } else { Err(bad()) }
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Config {
        toml::from_str(include_str!("../../deploy/config/cc.toml")).unwrap()
    }

    #[test]
    fn the_example_file_is_right() {
        example().check().unwrap();
    }

    #[test]
    fn ranges_know_their_hosts() {
        let cidr: Cidr = "172.31.0.0/20".parse().unwrap();
        assert!(cidr.has_host("172.31.0.1".parse().unwrap()));
        for outside in ["172.31.0.0", "172.31.15.255", "172.31.16.1"] {
            assert!(!cidr.has_host(outside.parse().unwrap()), "{outside}");
        }
        for bad in ["", "172.31.0.0", "172.31.0.1/20", "172.31.0.0/33", "0.0.0.0/0", "x/20"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |change: fn(&mut Config), key: &str| {
            let mut config = example();
            change(&mut config);
            let message = config.check().unwrap_err();
            assert!(message.contains(key), "{message}");
        };
        wrong(|c| c.cluster.zone = "a zone".into(), "cluster.zone");
        wrong(|c| c.cluster.clc_url = "http://x".into(), "cluster.clc_url");
        wrong(|c| c.network.bridge = "a-bridge-too-long".into(), "network.bridge");
        wrong(|c| c.network.gateway = Ipv4Addr::LOCALHOST, "network.gateway");
        wrong(|c| c.network.tunnel_address = Some(Ipv4Addr::LOCALHOST), "network.tunnel_address");
        wrong(|c| c.network.tunnel_address = Some([172, 31, 0, 9].into()), "network.tunnel_address");
        wrong(|c| c.network.tunnel_mtu = 100, "network.tunnel_mtu");
        wrong(|c| c.network.vxlan_port = 0, "network.vxlan_port");
        wrong(|c| c.network.public_interface = Some("a/b".into()), "network.public_interface");
        wrong(|c| c.network.public_interface = Some(c.network.bridge.clone()), "network.public_interface");
        wrong(|c| c.placement.node_lost_secs = 0, "placement.node_lost_secs");
        wrong(|c| c.placement.node_lost_secs = u32::MAX, "placement.node_lost_secs");
    }
}
