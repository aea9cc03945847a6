//! What joins the segments of this host to those of others, and what of a packet it takes for itself.

use crate::NetError;
use crate::names::Tag;
use std::net::Ipv4Addr;

/// What VXLAN puts before a packet: the frame's own head (14 bytes), its own (8), UDP's (8) and IPv4's (20).
const TUNNEL_BYTES: u32 = 50;

/// 0 means no VLAN in a frame, 4095 is kept back by 802.1Q.
const VLAN_MIN: u16 = 1;
const VLAN_MAX: u16 = 4094;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wire {
    /// Nothing: there is no other host. Guests are told the MTU of a tunnel, for others may come.
    #[default]
    Alone,
    /// In VXLAN, a packet of this host to each that has a part.
    Tunnel(Tunnel),
    /// In tagged frames (802.1Q) on this interface: a segment's tag is its VLAN.
    Trunk(String),
}

/// Where a host takes frames of segments from other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    pub address: Ipv4Addr,
    pub port: u16,
}

impl Wire {
    /// As a configuration has it, which has one of both at most.
    pub fn by(trunk: Option<&str>, tunnel_address: Option<Ipv4Addr>, port: u16) -> Self {
        match (trunk, tunnel_address) {
            (Some(trunk), _) => Self::Trunk(trunk.to_owned()),
            (None, Some(address)) => Self::Tunnel(Tunnel { address, port }),
            (None, None) => Self::Alone,
        }
    }

    /// What is left for a segment of what the network between hosts carries. A tag is not counted by anybody who counts.
    pub fn mtu(&self, of_network: u32) -> u32 {
        match self {
            Wire::Alone | Wire::Tunnel(_) => of_network.saturating_sub(TUNNEL_BYTES),
            Wire::Trunk(_) => of_network,
        }
    }

    pub fn tunnel(&self) -> Option<Tunnel> {
        match self {
            Wire::Tunnel(tunnel) => Some(*tunnel),
            Wire::Alone | Wire::Trunk(_) => None,
        }
    }

    pub fn trunk(&self) -> Option<&str> {
        match self {
            Wire::Trunk(name) => Some(name),
            Wire::Alone | Wire::Tunnel(_) => None,
        }
    }

    pub(crate) fn vlan(tag: Tag) -> Result<u16, NetError> {
        let vlan = u16::try_from(tag).ok().filter(|vlan| (VLAN_MIN..=VLAN_MAX).contains(vlan));
        vlan.ok_or_else(|| {
            NetError::Broken(format!(
                "{tag} is no VLAN: segments of this driver have tags from {VLAN_MIN} to {VLAN_MAX}"
            ))
        })
    }

    pub(crate) fn no_trunk(name: &str) -> NetError {
        NetError::Broken(format!("trunk: this host has no interface {name}"))
    }
}
