//! Who hears whom, by EC2's rules.

use super::{Acl, Model, Nat, Peer, Port, Traffic};
use std::net::Ipv4Addr;

/// Where whoever asks for something listens for the answer: nobody's rules tell these ports apart.
const EPHEMERAL: u16 = 40_000;
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// A packet as its sender writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// To which port.
    Tcp(u16),
    Udp(u16),
    /// Of which type.
    Icmp(u8),
}

impl What {
    pub const PING: What = What::Icmp(ECHO);

    fn answer(self) -> What {
        match self {
            What::Tcp(_) => What::Tcp(EPHEMERAL),
            What::Udp(_) => What::Udp(EPHEMERAL),
            What::Icmp(_) => What::Icmp(ECHO_REPLY),
        }
    }
}

impl Traffic {
    fn carries(self, what: What) -> bool {
        match (self, what) {
            (Traffic::All, _) => true,
            (Traffic::Tcp(from, to), What::Tcp(port)) | (Traffic::Udp(from, to), What::Udp(port)) => {
                from <= port && port <= to
            }
            (Traffic::Icmp(wanted), What::Icmp(kind)) => wanted.is_none_or(|wanted| wanted == kind),
            _ => false,
        }
    }
}

/// Groups know connections: they are asked about the packet that opens one.
fn groups_let(model: &Model, port: &Port, outward: bool, peer: Ipv4Addr, what: What) -> bool {
    let members = |group: &String| {
        let mut of = model.living().filter(|(_, port)| port.groups.contains(group));
        of.any(|(_, port)| port.addresses.contains(&peer))
    };
    let rules = port.groups.iter().flat_map(|group| model.groups[group].rules.values());
    rules.filter(|rule| rule.outward == outward && rule.traffic.carries(what)).any(|rule| match &rule.peer {
        Peer::Range(range) => range.contains(peer),
        Peer::Group(group) => members(group),
        Peer::List(list) => model.lists[list].entries.iter().any(|range| range.contains(peer)),
    })
}

/// ACLs know none: each packet is judged by itself, by the first entry that is about it.
fn acl_lets(model: &Model, subnet: &str, outward: bool, peer: Ipv4Addr, what: What) -> bool {
    let Acl { entries, .. } = &model.acls[&model.subnets[subnet].acl];
    let of = entries.iter().filter(|((way, _), _)| *way == outward);
    let mut about = of.filter(|(_, entry)| entry.traffic.carries(what) && entry.range.contains(peer));
    about.next().is_some_and(|(_, entry)| entry.allow)
}

/// By which gateway a subnet's packets leave its VPC: that of the narrowest route that holds the destination, if it is open.
fn way_out<'a>(model: &'a Model, subnet: &str, to: Ipv4Addr) -> Option<&'a String> {
    let table = &model.tables[model.table_of(subnet)];
    let routes = table.routes.iter().filter(|(range, _)| range.contains(to));
    let narrowest = routes.max_by_key(|(range, _)| range.prefix);
    narrowest.map(|(_, gateway)| gateway).filter(|gateway| model.is_open(&table.vpc, gateway))
}

/// Straight to the internet.
fn leads_out(model: &Model, subnet: &str, to: Ipv4Addr) -> bool {
    way_out(model, subnet, to).is_some_and(|gateway| !model.nats.contains_key(gateway))
}

/// A NAT gateway's own subnet is one more on the way.
fn leads_through(model: &Model, source: &Port, nat: &Nat, Packet { from, to, what }: Packet) -> bool {
    let borders = nat.subnet == source.subnet
        || acl_lets(model, &nat.subnet, false, from, what) && acl_lets(model, &nat.subnet, true, to, what);
    borders && leads_out(model, &nat.subnet, to)
}

/// As whom a packet that is for none of its VPC gets out of it, and by which NAT gateway.
fn leaves<'a>(
    model: &'a Model,
    sender: &str,
    source: &Port,
    packet: Packet,
) -> Option<(Ipv4Addr, Option<&'a Nat>)> {
    let Packet { from, to, what } = packet;
    let nat = model.nats.get(way_out(model, &source.subnet, to)?);
    let through = nat.is_none_or(|nat| leads_through(model, source, nat, packet));
    if !through || !acl_lets(model, &source.subnet, true, to, what) {
        return None;
    }
    let own = nat.map(|nat| nat.public).or_else(|| model.public_of(sender, from))?;
    Some((own, nat))
}

/// All accounts: a packet goes from one to another by a public address.
pub struct World<'a>(pub Vec<&'a Model>);

/// Whom a packet comes to that gets through.
struct Arrival<'a> {
    id: &'a String,
    model: &'a Model,
    port: &'a Port,
    /// As whom the sender is seen there, if not by its own address.
    public: Option<Ipv4Addr>,
    /// It came through this one.
    nat: Option<&'a Nat>,
    /// Its own address, to which the packet comes.
    private: Ipv4Addr,
}

impl<'a> World<'a> {
    fn sender(&self, id: &str) -> Option<(&'a Model, &'a Port)> {
        self.0.iter().find_map(|model| Some((*model, model.ports.get(id)?)))
    }

    /// To whom a packet comes that a living port sends; none: to nobody.
    pub fn arrives(&self, sender: &str, packet: Packet) -> Option<String> {
        self.arrival(sender, packet).map(|arrival| arrival.id.clone())
    }

    fn arrival(&self, sender: &str, packet: Packet) -> Option<Arrival<'a>> {
        let Packet { from, to, what } = packet;
        let (model, source) = self.sender(sender)?;
        if !groups_let(model, source, true, to, what) {
            return None;
        }
        let goes_out = || acl_lets(model, &source.subnet, true, to, what);
        if model.vpcs[&source.vpc].range.contains(to) {
            let (id, port) = model.port_of(&source.vpc, to)?;
            let borders = port.subnet == source.subnet
                || goes_out() && acl_lets(model, &port.subnet, false, from, what);
            let passes = port.instance.is_some() && borders && groups_let(model, port, false, from, what);
            return passes.then_some(Arrival { id, model, port, public: None, nat: None, private: to });
        }
        let (own, nat) = leaves(model, sender, source, packet)?;
        let (there, id, private) = self.behind(to)?;
        let port = &there.ports[id];
        // On its way back into the VPC the ACL still sees who sent it.
        let known = if port.vpc == source.vpc { from } else { own };
        let passes = port.instance.is_some()
            && acl_lets(there, &port.subnet, false, known, what)
            && groups_let(there, port, false, own, what);
        passes.then_some(Arrival { id, model: there, port, public: Some(own), nat, private })
    }

    /// Where a packet leaves its VPC for a living port of another one: as whom, and for which.
    pub fn crosses(&self, sender: &str, packet: Packet) -> Option<(Ipv4Addr, String)> {
        let (model, source) = self.sender(sender)?;
        let (there, id, _) = self.behind(packet.to)?;
        let goal = &there.ports[id];
        let elsewhere = goal.vpc != source.vpc && goal.instance.is_some();
        if !elsewhere || !groups_let(model, source, true, packet.to, packet.what) {
            return None;
        }
        let (own, _) = leaves(model, sender, source, packet)?;
        Some((own, id.clone()))
    }

    fn behind(&self, public: Ipv4Addr) -> Option<(&'a Model, &'a String, Ipv4Addr)> {
        self.0.iter().find_map(|model| {
            let address = model.addresses.values().find(|address| address.public == public)?;
            let (port, private) = address.leads_to.as_ref()?;
            Some((*model, port, *private))
        })
    }

    /// Who answers a packet so that the answer comes back to who sent it.
    pub fn answers(&self, sender: &str, packet: Packet) -> Option<String> {
        let (model, source) = self.sender(sender)?;
        let Arrival { id, model: there, port, public, nat, private } = self.arrival(sender, packet)?;
        let back = packet.what.answer();
        let goes_out = |to: Ipv4Addr| acl_lets(there, &port.subnet, true, to, back);
        let comes_in = |from: Ipv4Addr| acl_lets(model, &source.subnet, false, from, back);
        let passes = match public {
            None => port.subnet == source.subnet || goes_out(packet.from) && comes_in(packet.to),
            Some(own) => {
                let known = if port.vpc == source.vpc { private } else { packet.to };
                let through = nat.is_none_or(|nat| {
                    nat.subnet == source.subnet
                        || acl_lets(model, &nat.subnet, false, known, back)
                            && acl_lets(model, &nat.subnet, true, packet.from, back)
                });
                leads_out(there, &port.subnet, own) && goes_out(own) && through && comes_in(known)
            }
        };
        passes.then(|| id.clone())
    }
}
