//! Networks as facts: what the clc decides about them, told to clusters and on to nodes.
//!
//! A fact has a key that names it for good and replaces the fact of the same key before it. Facts follow from
//! rows of the clc's database and are kept by whoever is told of them, so that a cluster and a node go on
//! alone. A node is told of those that its own ports need ([`crate::internal::facts`]).

mod checked;
mod mode;
mod receiver;
mod shape;
mod table;
mod verdict;

pub use checked::{
    ADDRESSES_PER_PORT_MAX, ENTRIES_PER_ACL_MAX, GROUPS_PER_PORT_MAX, HOSTS_PER_CLUSTER_MAX,
    PUBLIC_RANGES_MAX, RANGES_PER_VPC_MAX, ROUTES_PER_TABLE_MAX, SERVERS_PER_OPTION_MAX,
};
pub use mode::{
    AddressPair, ForwardedPort, NetworkMode, SegmentDriver, VLANS, VlanRange, forwarded, forwarded_address,
    forwarded_port,
};
pub use receiver::{Epochs, Receiver, STAGED_CHANGES_MAX, Taken};
pub use shape::{
    Acl, AclEntry, AddressRange, DhcpOptions, FarPort, Nat, PublicAddress, RegionNames, Route, RouteTable,
    RouteTarget, SegmentTag, Shape, ShapeKey, Subnet, Vpc,
};
pub use table::FactTable;
pub use verdict::{Content, Packet, passes, passes_by};

use crate::ids::{NetworkInterfaceId, SecurityGroupId, SecurityGroupRuleId, VpcId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    Rule(GroupRule),
    Port(PortFact),
    /// For clusters alone: no node is told of it.
    Shape(Shape),
    /// The same.
    Hosts(ClusterHosts),
}

/// What names a fact. Printed as `rule/sg-…/sgr-…`, `port/eni-…`, `subnet/subnet-…`, `hosts/CLUSTER`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FactKey {
    Rule {
        group: SecurityGroupId,
        rule: SecurityGroupRuleId,
    },
    Port(NetworkInterfaceId),
    Shape(ShapeKey),
    /// By the cluster's name.
    Hosts(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FactChange {
    Put(Fact),
    Gone(FactKey),
}

/// One rule of a security group: what it lets through, to its members or from them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct GroupRule {
    pub group: SecurityGroupId,
    pub id: SecurityGroupRuleId,
    pub direction: Direction,
    pub traffic: Traffic,
    pub peer: Peer,
    /// The rule that a user knows, where this is what it says of one entry of a prefix list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<SecurityGroupRuleId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To members of the group.
    Ingress,
    /// From members of the group.
    Egress,
}

/// Packets by protocol. Ranges include both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Traffic {
    All,
    Tcp {
        from: u16,
        to: u16,
    },
    Udp {
        from: u16,
        to: u16,
    },
    /// None: all of them.
    Icmp {
        r#type: Option<u8>,
        code: Option<u8>,
    },
    Icmp6 {
        r#type: Option<u8>,
        code: Option<u8>,
    },
    /// Any other protocol, by its number, whole.
    Protocol(u8),
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    V4(Net4),
    V6(Net6),
    /// The ports that are in this group.
    Group(SecurityGroupId),
}

/// A network without bits behind its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Net4 {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Net6 {
    pub address: Ipv6Addr,
    pub prefix: u8,
}

/// One port of an instance: the groups that decide what passes it, and the addresses by which it counts as a
/// member of theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct PortFact {
    pub id: NetworkInterfaceId,
    pub vpc: VpcId,
    pub addresses: Vec<Ipv4Addr>,
    pub groups: Vec<SecurityGroupId>,
}

/// Another cluster of the zone: where its hosts take packets of segments, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ClusterHosts {
    pub cluster: String,
    pub tunnels: Vec<Ipv4Addr>,
}

impl GroupRule {
    pub fn key(&self) -> FactKey {
        FactKey::Rule { group: self.group.clone(), rule: self.id.clone() }
    }
}

impl Fact {
    pub fn key(&self) -> FactKey {
        match self {
            Fact::Rule(rule) => rule.key(),
            Fact::Port(port) => FactKey::Port(port.id.clone()),
            Fact::Shape(shape) => FactKey::Shape(shape.key()),
            Fact::Hosts(hosts) => FactKey::Hosts(hosts.cluster.clone()),
        }
    }
}

impl FactChange {
    pub fn key(&self) -> FactKey {
        match self {
            FactChange::Put(fact) => fact.key(),
            FactChange::Gone(key) => key.clone(),
        }
    }
}

impl std::fmt::Display for FactKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FactKey::Rule { group, rule } => write!(f, "rule/{group}/{rule}"),
            FactKey::Port(port) => write!(f, "port/{port}"),
            FactKey::Shape(shape) => write!(f, "{shape}"),
            FactKey::Hosts(cluster) => write!(f, "hosts/{cluster}"),
        }
    }
}

impl Net4 {
    pub const EVERYWHERE: Net4 = Net4 { address: Ipv4Addr::UNSPECIFIED, prefix: 0 };

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        u32::from(address) & mask == u32::from(self.address) & mask
    }

    pub fn is_within(self, outer: Net4) -> bool {
        outer.prefix <= self.prefix && outer.contains(self.address)
    }
}

impl std::fmt::Display for Net4 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl std::fmt::Display for Net6 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod receiver_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod verdict_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        let net = |address: [u8; 4], prefix| Net4 { address: address.into(), prefix };
        assert!(Net4::EVERYWHERE.contains([203, 0, 113, 9].into()));
        assert!(net([10, 0, 0, 0], 8).contains([10, 255, 255, 255].into()));
        assert!(!net([10, 0, 0, 0], 8).contains([11, 0, 0, 0].into()));
        assert!(net([10, 0, 0, 7], 32).contains([10, 0, 0, 7].into()));
        assert!(!net([10, 0, 0, 7], 32).contains([10, 0, 0, 6].into()));
        assert!(net([10, 1, 0, 0], 16).is_within(net([10, 0, 0, 0], 8)));
        assert!(net([10, 0, 0, 0], 8).is_within(net([10, 0, 0, 0], 8)));
        assert!(!net([10, 0, 0, 0], 8).is_within(net([10, 0, 0, 0], 9)));
    }
}
