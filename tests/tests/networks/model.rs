//! What a user has made, and what follows from it, in EC2's words: written down here a second time, without a look at how
//! the controllers come to theirs.

use karri_proto::network::Net4;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Five of a subnet's are EC2's own.
const RESERVED: usize = 5;

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub vpcs: BTreeMap<String, Vpc>,
    pub subnets: BTreeMap<String, Subnet>,
    pub groups: BTreeMap<String, Group>,
    pub ports: BTreeMap<String, Port>,
    pub instances: BTreeSet<String>,
    /// By their allocations.
    pub addresses: BTreeMap<String, Address>,
}

#[derive(Debug, Clone)]
pub struct Vpc {
    pub range: Net4,
    pub default_group: String,
    pub table: String,
    pub acl: String,
    pub gateway: Option<String>,
    /// The main table leads everywhere else by a gateway, which may be attached no more.
    pub route: Option<String>,
    /// By direction (outward or not) and number. The last one that EC2 makes is 100: everything.
    pub entries: BTreeMap<(bool, u16), Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub allow: bool,
    /// UDP ports; none: everything.
    pub ports: Option<(u16, u16)>,
    pub range: Net4,
}

#[derive(Debug, Clone)]
pub struct Subnet {
    pub vpc: String,
    pub range: Net4,
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
    /// UDP ports; none: everything.
    pub ports: Option<(u16, u16)>,
    pub peer: Peer,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Range(Net4),
    Group(String),
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

/// A datagram as its sender writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub port: u16,
}

fn carries(ports: Option<(u16, u16)>, port: u16) -> bool {
    ports.is_none_or(|(from, to)| (from..=to).contains(&port))
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
        size - RESERVED - used.map(|port| port.addresses.len()).sum::<usize>()
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
    }

    fn groups_let(&self, port: &Port, outward: bool, peer: Ipv4Addr, number: u16) -> bool {
        let members = |group: &String| {
            let mut of = self.living().filter(|(_, port)| port.groups.contains(group));
            of.any(|(_, port)| port.addresses.contains(&peer))
        };
        let rules = port.groups.iter().flat_map(|group| self.groups[group].rules.values());
        rules.filter(|rule| rule.outward == outward && carries(rule.ports, number)).any(|rule| {
            match &rule.peer {
                Peer::Range(range) => range.contains(peer),
                Peer::Group(group) => members(group),
            }
        })
    }

    fn acl_lets(&self, vpc: &str, outward: bool, peer: Ipv4Addr, number: u16) -> bool {
        let of = self.vpcs[vpc].entries.iter().filter(|((way, _), _)| *way == outward);
        let mut about = of.filter(|(_, entry)| carries(entry.ports, number) && entry.range.contains(peer));
        about.next().is_some_and(|(_, entry)| entry.allow)
    }

    /// Into a subnet from another one or from outside. `sender` is whom the ACL sees, `seen` whom the groups see.
    fn comes_in(&self, port: &Port, sender: Ipv4Addr, seen: Ipv4Addr, number: u16) -> bool {
        self.acl_lets(&port.vpc, false, sender, number) && self.groups_let(port, false, seen, number)
    }

    /// To whom a datagram comes that a living port sends; none: to nobody.
    pub fn arrives(&self, sender: &str, datagram: Datagram) -> Option<String> {
        let Datagram { from, to, port: number } = datagram;
        let source = self.ports.get(sender)?;
        if !self.groups_let(source, true, to, number) {
            return None;
        }
        let vpc = &self.vpcs[&source.vpc];
        if vpc.range.contains(to) {
            let (id, port) = self.port_of(&source.vpc, to).filter(|(_, port)| port.instance.is_some())?;
            let passes = match port.subnet == source.subnet {
                true => self.groups_let(port, false, from, number),
                false => {
                    self.acl_lets(&source.vpc, true, to, number) && self.comes_in(port, from, from, number)
                }
            };
            return passes.then(|| id.clone());
        }
        let is_out = vpc.route.is_some() && vpc.route == vpc.gateway;
        let own = self
            .public_of(sender, from)
            .filter(|_| is_out && self.acl_lets(&source.vpc, true, to, number))?;
        let (id, _) = self.addresses.values().find(|address| address.public == to)?.leads_to.clone()?;
        let port = &self.ports[&id];
        // On its way back into the VPC the ACL still sees who sent it.
        let known = if port.vpc == source.vpc { from } else { own };
        let passes = port.instance.is_some() && self.comes_in(port, known, own, number);
        passes.then_some(id)
    }
}
