//! The network that is asked about: one VPC, or all default ones, which share the flat networks of the zones.

use super::asked::About;
use karri_proto::internal::ApiError;
use karri_proto::network::{
    Acl, AclEntry, Content, FactTable, Nat, Net4, PortFact, PublicAddress, RouteTable, RouteTarget, Shape,
    ShapeKey, Subnet, Vpc,
};
use std::collections::HashSet;
use std::net::Ipv4Addr;

pub struct Network<'a> {
    pub facts: &'a FactTable,
    pub vpc: &'a Vpc,
    pub subnets: Vec<&'a Subnet>,
    /// Those whose ports lie together in flat networks; empty where this one has segments.
    flat: HashSet<&'a str>,
}

/// Where a packet goes by a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Local(Net4),
    Route(Net4, RouteTarget),
    Nothing,
}

impl<'a> Network<'a> {
    pub fn of(facts: &'a FactTable, about: &About) -> Result<Self, ApiError> {
        let none = |what: &dyn std::fmt::Display| ApiError::not_found(format!("{what}: there is none"));
        let vpc = match about {
            About::Subnet(id) => match facts.shape(&ShapeKey::Subnet(id.clone())) {
                Some(Shape::Subnet(subnet)) => &subnet.vpc,
                _ => return Err(none(id)),
            },
            About::Port(id) => &facts.port(id).ok_or_else(|| none(id))?.vpc,
            About::Instance(id) => return Err(none(id)), // asked by its interfaces
        };
        let Some(Shape::Vpc(vpc)) = facts.shape(&ShapeKey::Vpc(vpc.clone())) else { return Err(none(vpc)) };
        let all = facts.shapes().filter_map(|shape| match shape {
            Shape::Subnet(subnet) => Some(subnet),
            _ => None,
        });
        let (own, others): (Vec<_>, Vec<_>) = all.partition(|subnet| subnet.vpc == vpc.id);
        let is_flat = own.iter().any(|subnet| subnet.tag == 0);
        let flat = others.into_iter().filter(|subnet| is_flat && subnet.tag == 0);
        let flat = flat.map(|subnet| subnet.vpc.as_str()).collect();
        Ok(Self { facts, vpc, subnets: own, flat })
    }

    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<&'a Subnet> {
        self.subnets.iter().find(|subnet| subnet.range.contains(address)).copied()
    }

    pub fn port_of(&self, address: Ipv4Addr) -> Option<&'a PortFact> {
        let has = |port: &&PortFact| port.addresses.contains(&address);
        let own = self.facts.ports().find(|port| port.vpc == self.vpc.id && has(port));
        own.or_else(|| self.facts.ports().find(|port| self.flat.contains(port.vpc.as_str()) && has(port)))
    }

    /// The public address that leads to a private one of this VPC.
    pub fn public_of(&self, private: Ipv4Addr) -> Option<&'a PublicAddress> {
        self.addresses().find(|address| address.private == private)
    }

    pub fn behind(&self, public: Ipv4Addr) -> Option<&'a PublicAddress> {
        self.addresses().find(|address| address.public == public)
    }

    fn addresses(&self) -> impl Iterator<Item = &'a PublicAddress> {
        let facts = self.facts;
        let vpc = &self.vpc.id;
        facts.shapes().filter_map(move |shape| match shape {
            Shape::Address(address) if address.vpc == *vpc => Some(address),
            _ => None,
        })
    }

    pub fn acl(&self, subnet: &Subnet) -> Option<&'a Acl> {
        match self.facts.shape(&ShapeKey::Acl(subnet.acl.clone()))? {
            Shape::Acl(acl) => Some(acl),
            _ => None,
        }
    }

    pub fn table(&self, subnet: &Subnet) -> Option<&'a RouteTable> {
        match self.facts.shape(&ShapeKey::RouteTable(subnet.route_table.clone()))? {
            Shape::RouteTable(table) => Some(table),
            _ => None,
        }
    }

    pub fn nat(&self, id: &karri_proto::ids::NatGatewayId) -> Option<&'a Nat> {
        match self.facts.shape(&ShapeKey::Nat(id.clone()))? {
            Shape::Nat(nat) => Some(nat),
            _ => None,
        }
    }

    /// The most specific counts; the VPC itself is always one of them, and gives way to a table's own of the same net.
    pub fn route(&self, subnet: &Subnet, to: Ipv4Addr) -> Found {
        let local = self.vpc.ranges.iter().map(|range| (*range, Found::Local(*range)));
        let own = self.table(subnet).into_iter().flat_map(|table| &table.routes);
        let own = own.map(|route| (route.to, Found::Route(route.to, route.target.clone())));
        let holding = local.chain(own).filter(|(net, _)| net.contains(to));
        holding.max_by_key(|(net, _)| net.prefix).map_or(Found::Nothing, |(_, found)| found)
    }
}

/// The first entry that is about it.
pub fn entry(entries: &[AclEntry], peer: Ipv4Addr, content: Content) -> Option<&AclEntry> {
    entries.iter().find(|entry| entry.traffic.carries(content) && entry.range.contains(peer))
}
