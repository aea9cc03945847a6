//! Stations, and what there is at each: in EC2's words, and as kernels call it. `*` is what is one host's own.

use super::asked::About;
use super::network::Network;
use karri_proto::internal::path::{Station, Verdict};
use karri_proto::network::{Acl, Direction, PortFact, RouteTable, RouteTarget, Subnet, Traffic};
use std::net::Ipv4Addr;

/// So many digits at the end of an id are in a kernel's names.
const DIGITS: usize = 10;
/// The number of a leg's table of routes is its tag and this.
const FIRST_TABLE: u32 = 1_000_000;

fn digits(id: &str) -> &str {
    &id[id.len().saturating_sub(DIGITS)..] // ids are ASCII
}

fn station(place: String, has: Vec<String>) -> Station {
    Station { place, has, verdict: None }
}

pub fn decided(mut station: Station, passes: bool, by: String) -> Station {
    station.verdict = Some(Verdict { passes, by });
    station
}

pub fn port(network: &Network<'_>, port: &PortFact) -> Station {
    let tap = format!("k*{}", digits(port.id.as_str()));
    let addresses: Vec<String> = port.addresses.iter().map(Ipv4Addr::to_string).collect();
    let mut has = vec![
        format!("addresses {}", addresses.join(", ")),
        format!("tap {tap}; ebtables nat {tap}; iptables mangle KARRI-{tap}-from, KARRI-{tap}-to"),
    ];
    for group in &port.groups {
        let count = |direction| network.facts.rules_toward(group, direction).count();
        let (inward, outward) = (count(Direction::Ingress), count(Direction::Egress));
        has.push(format!("group {group}: {inward} rules in, {outward} out"));
    }
    station(format!("port {}", port.id), has)
}

pub fn segment(subnet: &Subnet) -> Station {
    let range = format!("{} in {}", subnet.range, subnet.zone);
    let kernel = match subnet.tag {
        0 => "the flat network of the zone: the bridge of the configuration".to_owned(),
        tag => format!("segment {tag}: bridge *.{tag:x}, VXLAN or VLAN device *x{tag:x}"),
    };
    station(format!("subnet {}", subnet.id), vec![range, kernel])
}

fn router(subnet: &Subnet) -> String {
    format!("namespace karri-*-{}", digits(subnet.vpc.as_str()))
}

pub fn acl(subnet: &Subnet, direction: Direction) -> Station {
    let (word, end) = match direction {
        Direction::Ingress => ("into", "in"),
        Direction::Egress => ("out of", "out"),
    };
    let chain = format!("{}: iptables mangle s{:x}-acl-{end}", router(subnet), subnet.tag);
    station(format!("network ACL {} {word} {}", subnet.acl, subnet.id), vec![chain])
}

pub fn table(subnet: &Subnet) -> Station {
    let number = FIRST_TABLE.saturating_add(subnet.tag);
    let chain = format!("{}: ip route show table {number}", router(subnet));
    station(format!("route table {}", subnet.route_table), vec![chain])
}

pub fn gateway(place: &str, subnet: &Subnet) -> Station {
    let kernel = match subnet.tag {
        0 => "host: iptables nat KARRI-PRE-*, KARRI-BACK-*".to_owned(),
        _ => format!("{}: iptables nat to-public, from-public; filter outward", router(subnet)),
    };
    station(place.to_owned(), vec![kernel])
}

pub fn nobody(address: Ipv4Addr) -> Station {
    let by = format!("no port has the address {address}");
    decided(station(format!("address {address}"), Vec::new()), false, by)
}

pub fn outside(address: Ipv4Addr) -> Station {
    station(format!("outside {address}"), Vec::new())
}

pub fn target(target: &RouteTarget) -> String {
    match target {
        RouteTarget::Internet => "the internet gateway".to_owned(),
        RouteTarget::Nat(id) => id.to_string(),
        RouteTarget::Interface(id) => id.to_string(),
        RouteTarget::Blackhole => "nowhere (black hole)".to_owned(),
    }
}

fn entries(acl: &Acl, direction: Direction) -> Vec<String> {
    let entries = match direction {
        Direction::Ingress => &acl.ingress,
        Direction::Egress => &acl.egress,
    };
    let told = |entry: &karri_proto::network::AclEntry| {
        let word = if entry.allow { "allow" } else { "deny" };
        format!("entry {} {word} {} {}", entry.number, traffic(entry.traffic), entry.range)
    };
    entries.iter().map(told).collect()
}

fn routes(table: &RouteTable) -> Vec<String> {
    table.routes.iter().map(|route| format!("{} to {}", route.to, target(&route.target))).collect()
}

fn traffic(of: Traffic) -> String {
    use crate::app::security_group::terms::{ports_of, protocol_text};
    let ports = ports_of(of).map(|(from, to)| format!(" {from}-{to}")).unwrap_or_default();
    format!("{}{ports}", protocol_text(of))
}

/// What there is, without a packet: from the port outward.
pub fn of_network(network: &Network<'_>, about: &About) -> Vec<Station> {
    let (mut stations, subnet) = match about {
        About::Subnet(id) => (Vec::new(), network.subnets.iter().find(|subnet| subnet.id == *id).copied()),
        About::Port(id) => {
            let found = network.facts.port(id);
            let address = found.and_then(|port| port.addresses.first().copied());
            let here = found.map(|found| port(network, found));
            (here.into_iter().collect(), address.and_then(|address| network.subnet_of(address)))
        }
    };
    let Some(subnet) = subnet else { return stations };
    stations.push(segment(subnet));
    if subnet.tag == 0 {
        return stations;
    }
    for direction in [Direction::Egress, Direction::Ingress] {
        let mut one = acl(subnet, direction);
        one.has.extend(network.acl(subnet).map(|acl| entries(acl, direction)).unwrap_or_default());
        stations.push(one);
    }
    let mut one = table(subnet);
    one.has.extend(network.vpc.ranges.iter().map(|range| format!("{range} within the VPC")));
    one.has.extend(network.table(subnet).map(routes).unwrap_or_default());
    stations.push(one);
    stations
}
