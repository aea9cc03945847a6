//! What a user has made, in EC2's words: written down here a second time, without a look at how the controllers come
//! to theirs. What follows from it for packets is in [`passes`].

pub mod passes;

use karri_proto::network::Net4;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Five of a subnet's are EC2's own.
const RESERVED: usize = 5;

/// Of one account.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub vpcs: BTreeMap<String, Vpc>,
    /// Internet gateways that are attached to nothing.
    pub loose: BTreeSet<String>,
    pub subnets: BTreeMap<String, Subnet>,
    pub tables: BTreeMap<String, Table>,
    pub nats: BTreeMap<String, Nat>,
    pub acls: BTreeMap<String, Acl>,
    pub groups: BTreeMap<String, Group>,
    pub lists: BTreeMap<String, List>,
    pub ports: BTreeMap<String, Port>,
    pub instances: BTreeSet<String>,
    /// By their allocations.
    pub addresses: BTreeMap<String, Address>,
}

#[derive(Debug, Clone)]
pub struct Vpc {
    pub range: Net4,
    pub default_group: String,
    pub main_table: String,
    pub default_acl: String,
    pub gateway: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Subnet {
    pub vpc: String,
    pub range: Net4,
    /// Its own one, with the association. None: it goes by the main one.
    pub table: Option<(String, String)>,
    pub acl: String,
}

#[derive(Debug, Clone)]
pub struct Table {
    pub vpc: String,
    /// By which gateway, which may be attached or there no more. What is in the VPC is reached beside them.
    pub routes: BTreeMap<Net4, String>,
}

/// A NAT gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nat {
    pub subnet: String,
    pub private: Ipv4Addr,
    pub public: Ipv4Addr,
}

#[derive(Debug, Clone)]
pub struct Acl {
    pub vpc: String,
    /// By direction (outward or not) and number.
    pub entries: BTreeMap<(bool, u16), Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub allow: bool,
    pub traffic: Traffic,
    pub range: Net4,
}

/// What a rule or an entry is about. Ranges include both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    All,
    Tcp(u16, u16),
    Udp(u16, u16),
    /// By type; none: all of them.
    Icmp(Option<u8>),
}

#[derive(Debug, Clone)]
pub struct Group {
    pub vpc: String,
    pub name: String,
    pub rules: BTreeMap<String, Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub outward: bool,
    pub traffic: Traffic,
    pub peer: Peer,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Range(Net4),
    Group(String),
    List(String),
}

/// A managed prefix list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub version: u32,
    pub entries: BTreeSet<Net4>,
}

#[derive(Debug, Clone)]
pub struct Port {
    pub vpc: String,
    pub subnet: String,
    /// The first one is its own for good.
    pub addresses: Vec<Ipv4Addr>,
    pub groups: Vec<String>,
    /// With its place in it.
    pub instance: Option<(String, u32)>,
    /// It came with an instance, and goes with it.
    pub launched: bool,
}

#[derive(Debug, Clone)]
pub struct Address {
    pub public: Ipv4Addr,
    /// A port, and which of its addresses.
    pub leads_to: Option<(String, Ipv4Addr)>,
}

impl Model {
    pub fn subnets_of<'a>(&'a self, vpc: &'a str) -> impl Iterator<Item = (&'a String, &'a Subnet)> {
        self.subnets.iter().filter(move |(_, subnet)| subnet.vpc == vpc)
    }

    pub fn port_of(&self, vpc: &str, address: Ipv4Addr) -> Option<(&String, &Port)> {
        self.ports.iter().find(|(_, port)| port.vpc == vpc && port.addresses.contains(&address))
    }

    /// Ports of instances: nobody else speaks or hears.
    pub fn living(&self) -> impl Iterator<Item = (&String, &Port)> {
        self.ports.iter().filter(|(_, port)| port.instance.is_some())
    }

    pub fn free(&self, subnet: &str) -> usize {
        let size = 1_usize << (32 - self.subnets[subnet].range.prefix);
        let used = self.ports.values().filter(|port| port.subnet == subnet);
        let nats = self.nats.values().filter(|nat| nat.subnet == subnet).count();
        size - RESERVED - nats - used.map(|port| port.addresses.len()).sum::<usize>()
    }

    /// The public address of a private one.
    pub fn public_of(&self, port: &str, private: Ipv4Addr) -> Option<Ipv4Addr> {
        let leads = |address: &&Address| address.leads_to == Some((port.to_owned(), private));
        self.addresses.values().find(leads).map(|address| address.public)
    }

    /// Elastic addresses go no further than the VPCs in which they are mapped.
    pub fn is_mapped(&self, vpc: &str) -> bool {
        let ports = self.addresses.values().filter_map(|address| Some(&address.leads_to.as_ref()?.0));
        ports.into_iter().any(|port| self.ports[port].vpc == vpc)
            || self.nats.values().any(|nat| self.subnets[&nat.subnet].vpc == vpc)
    }

    /// It is a NAT gateway's.
    pub fn is_nats(&self, public: Ipv4Addr) -> bool {
        self.nats.values().any(|nat| nat.public == public)
    }

    /// By which route table a subnet goes.
    pub fn table_of(&self, subnet: &str) -> &String {
        let Subnet { vpc, table, .. } = &self.subnets[subnet];
        table.as_ref().map_or(&self.vpcs[vpc].main_table, |(table, _)| table)
    }

    /// A way by this gateway leads on: it is attached to this very VPC, or a NAT gateway that is there.
    pub fn is_open(&self, vpc: &str, gateway: &String) -> bool {
        self.vpcs[vpc].gateway.as_ref() == Some(gateway) || self.nats.contains_key(gateway)
    }
}
