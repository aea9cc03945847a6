//! What a router is made of: everything about one VPC that the cluster knows.

use crate::drive::Host;
use karri_proto::ids::{NatGatewayId, NetworkAclId, NetworkInterfaceId, RouteTableId};
use karri_proto::network::{
    Acl, FarPort, Nat, PublicAddress, RegionNames, RouteTable, SegmentTag, Shape, Subnet, Vpc,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A living port whose router is in this cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub tag: SegmentTag,
    pub port: NetworkInterfaceId,
    pub mac: String,
    pub address: std::net::Ipv4Addr,
    pub hostname: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub vpc: Vpc,
    pub subnets: Vec<Subnet>,
    pub tables: BTreeMap<RouteTableId, RouteTable>,
    pub acls: BTreeMap<NetworkAclId, Acl>,
    pub nats: BTreeMap<NatGatewayId, Nat>,
    pub addresses: Vec<PublicAddress>,
    pub leases: Vec<Lease>,
    /// The region's, the same for all VPCs. None: not told yet.
    pub names: Option<Arc<RegionNames>>,
}

impl From<FarPort> for Lease {
    fn from(far: FarPort) -> Self {
        let FarPort { port, vpc: _, tag, mac, address, hostname } = far;
        Self { tag, port, mac, address, hostname }
    }
}

impl Input {
    /// Without names, which are no shape. `None`: the VPC itself is not among its shapes.
    pub fn new<'a>(shapes: impl IntoIterator<Item = &'a Shape>, mut leases: Vec<Lease>) -> Option<Self> {
        let mut found = None;
        let (mut subnets, mut addresses) = (Vec::new(), Vec::new());
        let (mut tables, mut acls, mut nats) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for shape in shapes {
            match shape.clone() {
                Shape::Vpc(vpc) => found = Some(vpc),
                Shape::Subnet(subnet) => subnets.push(subnet),
                Shape::RouteTable(table) => drop(tables.insert(table.id.clone(), table)),
                Shape::Acl(acl) => drop(acls.insert(acl.id.clone(), acl)),
                Shape::Nat(nat) => drop(nats.insert(nat.id.clone(), nat)),
                Shape::Address(address) => addresses.push(address),
                Shape::Far(far) => leases.push(far.into()),
            }
        }
        leases.sort_by_key(|lease| (lease.tag, lease.address));
        subnets.sort_by_key(|subnet| subnet.tag);
        addresses.sort_by_key(|address| address.public);
        Some(Self { vpc: found?, subnets, tables, acls, nats, addresses, leases, names: None })
    }

    pub fn hosts_of(&self, tag: SegmentTag) -> impl Iterator<Item = Host> {
        self.leases.iter().filter(move |lease| lease.tag == tag).map(|lease| Host {
            address: lease.address,
            mac: lease.mac.clone(),
            hostname: lease.hostname.split('.').next().unwrap_or_default().to_owned(),
        })
    }

    pub fn lease_of(&self, port: &NetworkInterfaceId) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.port == *port)
    }
}
