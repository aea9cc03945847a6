//! The shape of VPCs: what a cluster's routers carry, as far as it is not a port's own. The clc tells all of it to
//! every cluster: a VPC is in all zones, and what its routers need of each other is little.

use super::{Net4, Traffic};
use crate::ids::{
    InternetGatewayId, NatGatewayId, NetworkAclId, NetworkInterfaceId, RouteTableId, SubnetId, VpcId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What a subnet's frames are known by between hosts: a VXLAN's VNI or a VLAN's id. 0 is the flat network of the
/// zone, which has no tag.
pub type SegmentTag = u32;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    Vpc(Vpc),
    Subnet(Subnet),
    RouteTable(RouteTable),
    Acl(Acl),
    Nat(Nat),
    Address(PublicAddress),
    Far(FarPort),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShapeKey {
    Vpc(VpcId),
    Subnet(SubnetId),
    RouteTable(RouteTableId),
    Acl(NetworkAclId),
    Nat(NatGatewayId),
    /// By the public address.
    Address(Ipv4Addr),
    Far(NetworkInterfaceId),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Vpc {
    pub id: VpcId,
    pub ranges: Vec<Net4>,
    /// The gateway that is attached.
    pub internet_gateway: Option<InternetGatewayId>,
    pub dhcp: DhcpOptions,
    /// Guests are served names by their gateway.
    pub dns_support: bool,
    /// Names of its public addresses lead to the private ones where its guests ask.
    #[serde(default)]
    pub dns_hostnames: bool,
    /// The segment by which the VPC's routers of several clusters reach each other.
    pub transit: SegmentTag,
}

/// How addresses are named in the region: the same for all its VPCs, and so no part of their shapes. A cluster is told with
/// its welcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RegionNames {
    /// Of private ones: `ip-10-0-0-4.DOMAIN`.
    pub domain: String,
    /// Of public ones: `ec2-203-0-113-4.DOMAIN`.
    pub public_domain: String,
    /// Public addresses that are given out.
    pub public: Vec<AddressRange>,
}

/// Both ends are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AddressRange {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
}

/// Where a list is empty, the cluster's own is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct DhcpOptions {
    pub domain_name: Option<String>,
    pub name_servers: Vec<Ipv4Addr>,
    pub time_servers: Vec<Ipv4Addr>,
    pub netbios_name_servers: Vec<Ipv4Addr>,
    pub netbios_node_type: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Subnet {
    pub id: SubnetId,
    pub vpc: VpcId,
    pub zone: String,
    pub tag: SegmentTag,
    pub range: Net4,
    /// The one that applies: its own association's, or the VPC's main one.
    pub route_table: RouteTableId,
    pub acl: NetworkAclId,
}

/// Beside the ranges of the VPC itself, which every table reaches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RouteTable {
    pub id: RouteTableId,
    pub vpc: VpcId,
    pub routes: Vec<Route>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    pub to: Net4,
    pub target: RouteTarget,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteTarget {
    Internet,
    Nat(NatGatewayId),
    Interface(NetworkInterfaceId),
    /// What it named is no more.
    Blackhole,
}

/// A network ACL. What no entry is about is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Acl {
    pub id: NetworkAclId,
    pub vpc: VpcId,
    /// In the order of their numbers; the first that is about a packet decides.
    pub ingress: Vec<AclEntry>,
    pub egress: Vec<AclEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AclEntry {
    pub number: u16,
    pub allow: bool,
    pub traffic: Traffic,
    /// Of the other end.
    pub range: Net4,
}

/// A NAT gateway that works.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Nat {
    pub id: NatGatewayId,
    pub vpc: VpcId,
    pub subnet: SubnetId,
    pub private: Ipv4Addr,
    /// None: a private one.
    pub public: Option<Ipv4Addr>,
}

/// A public address that leads to a private one. Those of NAT gateways are their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct PublicAddress {
    pub public: Ipv4Addr,
    pub private: Ipv4Addr,
    pub port: NetworkInterfaceId,
    pub vpc: VpcId,
    pub subnet: SubnetId,
}

/// A port of an instance of another cluster of the zone, on a segment whose router is this cluster's. Told to the zone's
/// own cluster alone, as it follows from the instances of those that extend the zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct FarPort {
    pub port: NetworkInterfaceId,
    pub vpc: VpcId,
    pub tag: SegmentTag,
    pub mac: String,
    pub address: Ipv4Addr,
    pub hostname: String,
}

impl Shape {
    pub fn key(&self) -> ShapeKey {
        match self {
            Shape::Vpc(vpc) => ShapeKey::Vpc(vpc.id.clone()),
            Shape::Subnet(subnet) => ShapeKey::Subnet(subnet.id.clone()),
            Shape::RouteTable(table) => ShapeKey::RouteTable(table.id.clone()),
            Shape::Acl(acl) => ShapeKey::Acl(acl.id.clone()),
            Shape::Nat(nat) => ShapeKey::Nat(nat.id.clone()),
            Shape::Address(address) => ShapeKey::Address(address.public),
            Shape::Far(far) => ShapeKey::Far(far.port.clone()),
        }
    }

    /// Whose router carries it.
    pub fn vpc(&self) -> &VpcId {
        match self {
            Shape::Vpc(vpc) => &vpc.id,
            Shape::Subnet(Subnet { vpc, .. })
            | Shape::RouteTable(RouteTable { vpc, .. })
            | Shape::Acl(Acl { vpc, .. })
            | Shape::Nat(Nat { vpc, .. })
            | Shape::Address(PublicAddress { vpc, .. })
            | Shape::Far(FarPort { vpc, .. }) => vpc,
        }
    }
}

impl std::fmt::Display for ShapeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ShapeKey::Vpc(id) => write!(f, "vpc/{id}"),
            ShapeKey::Subnet(id) => write!(f, "subnet/{id}"),
            ShapeKey::RouteTable(id) => write!(f, "route-table/{id}"),
            ShapeKey::Acl(id) => write!(f, "acl/{id}"),
            ShapeKey::Nat(id) => write!(f, "nat/{id}"),
            ShapeKey::Address(public) => write!(f, "address/{public}"),
            ShapeKey::Far(port) => write!(f, "far/{port}"),
        }
    }
}
