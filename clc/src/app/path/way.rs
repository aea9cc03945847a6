//! The way of one packet. It ends where it is dropped.

use super::asked::Packet;
use super::kernel::Decides;
use super::network::{Found, Network, entry};
use super::place::{self, Shown};
use karri_proto::network::{
    Content, Direction, Packet as Seen, PortFact, PublicAddress, RouteTarget, Subnet, Traffic, passes_by,
};
use std::net::Ipv4Addr;

/// What was passed so far. An error: it ended, and that is told.
struct Way<'a> {
    network: &'a Network<'a>,
    content: Content,
    stations: Vec<Shown>,
}

struct Ended;

type Step = Result<(), Ended>;

pub fn of_packet(network: &Network<'_>, packet: &Packet) -> Vec<Shown> {
    let mut way = Way { network, content: packet.content, stations: Vec::new() };
    // Whether it ended is told by the last station.
    let _: Result<_, Ended> = way.go(packet);
    way.stations
}

impl<'a> Way<'a> {
    fn decide(&mut self, station: Shown, passes: bool, by: String) -> Step {
        self.stations.push(station.decided(passes, by));
        if passes { Ok(()) } else { Err(Ended) }
    }

    fn go(&mut self, packet: &Packet) -> Step {
        let Some(source) = self.network.subnet_of(packet.from) else { return self.of_outside(packet) };
        match self.network.port_of(packet.from) {
            Some(port) => self.groups(port, Direction::Egress, packet.to)?,
            None => {
                self.stations.push(place::nobody(packet.from));
                return Err(Ended);
            }
        }
        self.stations.push(place::segment(source));
        match self.network.subnet_of(packet.to) {
            Some(target) if joined(source, target) => self.arrive(packet.to, packet.from),
            // From zone to zone by the site's own routers.
            Some(target) if source.tag == 0 => {
                self.stations.push(place::segment(target));
                self.arrive(packet.to, packet.from)
            }
            _ if source.tag == 0 => self.out_of_flat(packet),
            _ => self.by_router(source, packet),
        }
    }

    fn groups(&mut self, port: &PortFact, direction: Direction, peer: Ipv4Addr) -> Step {
        let seen = Seen { direction, peer, content: self.content };
        let (word, end) = match direction {
            Direction::Ingress => ("ingress", "from"),
            Direction::Egress => ("egress", "to"),
        };
        let rule = passes_by(self.network.facts, port, &seen);
        let by = match rule {
            Some(rule) => {
                let id = rule.part_of.as_ref().unwrap_or(&rule.id);
                format!("{word} rule {id} of {}", rule.group)
            }
            None => {
                let groups: Vec<&str> = port.groups.iter().map(|group| group.as_str()).collect();
                let what = told(self.content);
                format!("no {word} rule of {} lets {what} {end} {peer} through", groups.join(", "))
            }
        };
        let decides = rule.map_or(Decides::NoGroup, |rule| Decides::Group(rule.group.to_string()));
        let station = place::port(self.network, port, Some(direction)).by_line(decides);
        self.decide(station, rule.is_some(), by)
    }

    /// At the port that has the address. `peer` is who it seems to come from there.
    fn arrive(&mut self, to: Ipv4Addr, peer: Ipv4Addr) -> Step {
        match self.network.port_of(to) {
            Some(port) => self.groups(port, Direction::Ingress, peer),
            None => {
                self.stations.push(place::nobody(to));
                Err(Ended)
            }
        }
    }

    fn acl(&mut self, subnet: &Subnet, direction: Direction, peer: Ipv4Addr) -> Step {
        let acl = self.network.acl(subnet);
        let entries = acl.map(|acl| match direction {
            Direction::Ingress => acl.ingress.as_slice(),
            Direction::Egress => acl.egress.as_slice(),
        });
        let entries = entries.unwrap_or_default();
        let found = entry(entries, peer, self.content);
        // Kernels have a line for each entry but for those about IPv6, and one at the end.
        let before = found.map(|found| entries.iter().take_while(move |one| one.number != found.number));
        let before = before.map(|before| before.filter(|one| !matches!(one.traffic, Traffic::Icmp6 { .. })));
        let decides = before.map_or(Decides::Last, |before| Decides::Nth(before.count()));
        let by = match found {
            Some(entry) => format!("entry {} of {}", entry.number, subnet.acl),
            None => format!("entry 32767 of {}: no other is about it", subnet.acl),
        };
        let station = place::acl(subnet, direction).by_line(decides);
        self.decide(station, found.is_some_and(|entry| entry.allow), by)
    }

    fn by_router(&mut self, source: &Subnet, packet: &Packet) -> Step {
        self.acl(source, Direction::Egress, packet.to)?;
        let table = place::table(source);
        match self.network.route(source, packet.to) {
            Found::Nothing => {
                let by = format!("no route of {} to {}", source.route_table, packet.to);
                self.decide(table, false, by)
            }
            Found::Local(range) => {
                self.decide(table, true, format!("{range} is reached within the VPC"))?;
                self.reaches_subnet(packet.to, packet.from, packet.from)
            }
            Found::Route(net, RouteTarget::Blackhole) => {
                let table = table.by_line(Decides::Route(net.to_string()));
                self.decide(table, false, format!("route {net} to what is no more (black hole)"))
            }
            Found::Route(net, target) => {
                let table = table.by_line(Decides::Route(net.to_string()));
                self.decide(table, true, format!("route {net} to {}", place::target(&target)))?;
                self.by_target(source, packet, &target)
            }
        }
    }

    fn by_target(&mut self, source: &Subnet, packet: &Packet, target: &RouteTarget) -> Step {
        let network = self.network;
        match target {
            RouteTarget::Internet => {
                let station = place::gateway("internet gateway", source);
                match (&network.vpc.internet_gateway, network.public_of(packet.from)) {
                    (None, _) => self.decide(station, false, "no internet gateway is attached".to_owned()),
                    (_, None) => {
                        self.decide(station, false, format!("{} has no public address", packet.from))
                    }
                    (Some(gateway), Some(own)) => {
                        self.decide(station, true, format!("by {gateway} as {}", own.public))?;
                        self.leave(packet, own.public)
                    }
                }
            }
            RouteTarget::Nat(id) => {
                let station = place::gateway(&format!("NAT gateway {id}"), source);
                let nat = network.nat(id);
                let subnet = nat.and_then(|nat| network.subnets.iter().find(|one| one.id == nat.subnet));
                let onward = subnet.map(|subnet| network.route(subnet, packet.to));
                match (nat.and_then(|nat| nat.public), onward) {
                    (None, _) => self.decide(station, false, "it has no public address".to_owned()),
                    (Some(public), Some(Found::Route(net, RouteTarget::Internet))) => {
                        // Its own subnet is one more on the way.
                        if let Some(own) = subnet.filter(|own| own.id != source.id) {
                            self.acl(own, Direction::Ingress, packet.from)?;
                            self.acl(own, Direction::Egress, packet.to)?;
                        }
                        self.decide(station, true, format!("route {net} of its own subnet, as {public}"))?;
                        self.leave(packet, public)
                    }
                    _ => {
                        let by = "its own subnet has no route to the internet".to_owned();
                        self.decide(station, false, by)
                    }
                }
            }
            RouteTarget::Interface(id) => match network.facts.port(id) {
                Some(port) => match port.addresses.first().and_then(|own| network.subnet_of(*own)) {
                    Some(subnet) => {
                        self.acl(subnet, Direction::Ingress, packet.from)?;
                        self.stations.push(place::segment(subnet));
                        self.groups(port, Direction::Ingress, packet.from)
                    }
                    None => Ok(()),
                },
                None => self.decide(place::table(source), false, format!("{id} is no living port")),
            },
            RouteTarget::Blackhole => Ok(()),
        }
    }

    /// Out, or back in at a public address of the VPC's own. `public`: what it comes from there.
    fn leave(&mut self, packet: &Packet, public: Ipv4Addr) -> Step {
        match self.network.behind(packet.to) {
            // On its way in the ACL still sees who sent it.
            Some(address) => self.translated(address, packet.from, public),
            None => {
                self.stations.push(place::outside(packet.to));
                Ok(())
            }
        }
    }

    fn translated(&mut self, address: &PublicAddress, sender: Ipv4Addr, peer: Ipv4Addr) -> Step {
        let Some(subnet) = self.network.subnet_of(address.private) else { return Ok(()) };
        let station = place::gateway(&format!("public address {}", address.public), subnet);
        self.decide(station, true, format!("leads to {}", address.private))?;
        match subnet.tag {
            0 => {
                self.stations.push(place::segment(subnet));
                self.arrive(address.private, peer)
            }
            _ => self.reaches_subnet(address.private, sender, peer),
        }
    }

    /// `sender` is whom the ACL sees, `peer` whom the port's groups do.
    fn reaches_subnet(&mut self, to: Ipv4Addr, sender: Ipv4Addr, peer: Ipv4Addr) -> Step {
        let Some(subnet) = self.network.subnet_of(to) else {
            self.stations.push(place::nobody(to));
            return Err(Ended);
        };
        self.acl(subnet, Direction::Ingress, sender)?;
        self.stations.push(place::segment(subnet));
        self.arrive(to, peer)
    }

    fn of_outside(&mut self, packet: &Packet) -> Step {
        self.stations.push(place::outside(packet.from));
        match (self.network.behind(packet.to), self.network.subnet_of(packet.to)) {
            (Some(address), _) => {
                if self.network.vpc.internet_gateway.is_none() {
                    let station = place::outside(packet.to);
                    return self.decide(station, false, "no internet gateway is attached".to_owned());
                }
                self.translated(address, packet.from, packet.from)
            }
            // The host routes into the flat network, and a guest's groups are asked about that too.
            (None, Some(subnet)) if subnet.tag == 0 => {
                self.stations.push(place::segment(subnet));
                self.arrive(packet.to, packet.from)
            }
            (None, Some(_)) => {
                let station = place::outside(packet.to);
                self.decide(station, false, "a private address is not reached from outside".to_owned())
            }
            (None, None) => {
                let by = format!("it leads to nothing in {}", self.network.vpc.id);
                self.decide(place::outside(packet.to), false, by)
            }
        }
    }

    /// The flat network asks no route table and no ACL.
    fn out_of_flat(&mut self, packet: &Packet) -> Step {
        let network = self.network;
        let public = network.public_of(packet.from).map(|own| own.public);
        self.leave(packet, public.unwrap_or(packet.from))
    }
}

/// Frames go from one to the other without a router.
fn joined(one: &Subnet, other: &Subnet) -> bool {
    one.id == other.id || one.tag == 0 && other.tag == 0 && one.zone == other.zone
}

fn told(content: Content) -> String {
    match content {
        Content::Tcp(port) => format!("tcp {port}"),
        Content::Udp(port) => format!("udp {port}"),
        Content::Icmp { r#type, .. } => format!("icmp type {}", r#type),
        Content::Protocol(number) => format!("protocol {number}"),
    }
}
