//! How the instances of a cluster are joined to networks: its own configuration says it, and the clc is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// Real networks: security groups, VPCs, public addresses.
    #[default]
    Managed,
    /// On one bridge, by addresses of a list.
    Static { pairs: Vec<AddressPair> },
    /// On the site's own network; the site gives the addresses, and a cluster learns them.
    System,
    /// Each guest behind QEMU's user networking, which takes no rights. These of its TCP ports are led to it.
    User { forwarded: Vec<u16> },
}

/// How frames of segments go from host to host in a cluster of mode `managed`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentDriver {
    /// In UDP packets; a segment's tag is its VNI.
    #[default]
    Vxlan,
    /// In tagged frames of 802.1Q on an interface of each host; a segment's tag is its VLAN.
    Vlan,
}

impl SegmentDriver {
    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            SegmentDriver::Vxlan => "vxlan",
            SegmentDriver::Vlan => "vlan",
        }
    }
}

impl fmt::Display for SegmentDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// In a frame 0 means none, and 4095 is kept back by 802.1Q.
pub const VLANS: RangeInclusive<u16> = 1..=4094;

/// The VLANs that a cluster may use, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VlanRange {
    pub first: u16,
    pub last: u16,
}

impl fmt::Display for VlanRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}

/// An address of a list, and the MAC that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressPair {
    /// Lower-case, colon-separated.
    pub mac: String,
    pub address: Ipv4Addr,
}

impl NetworkMode {
    /// As it is written in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            NetworkMode::Managed => "managed",
            NetworkMode::Static { .. } => "static",
            NetworkMode::System => "system",
            NetworkMode::User { .. } => "user",
        }
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the host of a guest in mode `user` takes connections for it: an address of the loopback network that is the
/// guest's alone, so that the same port leads to the same service of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForwardedPort {
    pub guest: u16,
    pub host: SocketAddrV4,
}

/// Ports below are root's alone.
const PORTS_OF_ROOT: u16 = 1024;
const MOVED_BY: u16 = 2000;

/// The last three bytes of its private address, behind 127.
pub fn forwarded_address(private: Ipv4Addr) -> Ipv4Addr {
    let [_, b, c, d] = private.octets();
    Ipv4Addr::new(127, b, c, d)
}

/// 22 is 2022 on the host, 8080 is 8080.
pub fn forwarded_port(guest: u16) -> u16 {
    if guest < PORTS_OF_ROOT { guest + MOVED_BY } else { guest }
}

pub fn forwarded(private: Ipv4Addr, ports: &[u16]) -> Vec<ForwardedPort> {
    let host = |port: u16| SocketAddrV4::new(forwarded_address(private), forwarded_port(port));
    ports.iter().map(|port| ForwardedPort { guest: *port, host: host(*port) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_guest_has_a_loopback_address_of_its_own() {
        let ports = forwarded(Ipv4Addr::new(169, 254, 64, 5), &[22, 8080]);
        let told: Vec<String> = ports.iter().map(|port| format!("{}={}", port.guest, port.host)).collect();
        assert_eq!(told, ["22=127.254.64.5:2022", "8080=127.254.64.5:8080"]);
    }

    #[test]
    fn modes_keep_their_form_between_controllers() {
        let pair = AddressPair { mac: "02:00:00:00:00:01".to_owned(), address: Ipv4Addr::new(10, 0, 0, 5) };
        for (mode, json) in [
            (NetworkMode::Managed, "\"managed\""),
            (NetworkMode::System, "\"system\""),
            (NetworkMode::User { forwarded: vec![22] }, "{\"user\":{\"forwarded\":[22]}}"),
            (
                NetworkMode::Static { pairs: vec![pair] },
                "{\"static\":{\"pairs\":[{\"mac\":\"02:00:00:00:00:01\",\"address\":\"10.0.0.5\"}]}}",
            ),
        ] {
            assert_eq!(serde_json::to_string(&mode).unwrap(), json);
            assert_eq!(serde_json::from_str::<NetworkMode>(json).unwrap(), mode);
        }
    }
}
