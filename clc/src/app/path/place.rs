//! Stations, and what there is at each: in EC2's words, and as kernels call it. `*` is what is one host's own.

use super::asked::About;
use super::kernel::{At, Decides, Look};
use super::network::Network;
use karri_proto::internal::kernel::KernelAbout;
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

/// With what of kernels is looked at there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub station: Station,
    pub look: Option<Look>,
}

impl Shown {
    fn looked(mut self, about: KernelAbout, at: At) -> Self {
        self.look = Some(Look { about, at, decides: None });
        self
    }

    pub fn decided(mut self, passes: bool, by: String) -> Self {
        self.station.verdict = Some(Verdict { passes, by });
        self
    }

    /// The line of the kernel's that the verdict follows from.
    pub fn by_line(mut self, decides: Decides) -> Self {
        if let Some(look) = &mut self.look {
            look.decides = Some(decides);
        }
        self
    }
}

fn station(place: String, has: Vec<String>) -> Shown {
    Shown { station: Station { place, has, verdict: None, kernel: Vec::new() }, look: None }
}

/// `direction`: of the packet, if there is one.
pub fn port(network: &Network<'_>, port: &PortFact, direction: Option<Direction>) -> Shown {
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
    station(format!("port {}", port.id), has).looked(KernelAbout::Port(port.id.clone()), At::Port(direction))
}

pub fn segment(subnet: &Subnet) -> Shown {
    let range = format!("{} in {}", subnet.range, subnet.zone);
    let kernel = match subnet.tag {
        0 => "the flat network of the zone: the bridge of the configuration".to_owned(),
        tag => format!("segment {tag}: bridge *.{tag:x}, VXLAN or VLAN device *x{tag:x}"),
    };
    station(format!("subnet {}", subnet.id), vec![range, kernel]).looked(of(subnet), At::Segment)
}

fn of(subnet: &Subnet) -> KernelAbout {
    KernelAbout::Subnet(subnet.id.clone())
}

fn router(subnet: &Subnet) -> String {
    format!("namespace karri-*-{}", digits(subnet.vpc.as_str()))
}

pub fn acl(subnet: &Subnet, direction: Direction) -> Shown {
    let (word, end) = match direction {
        Direction::Ingress => ("into", "in"),
        Direction::Egress => ("out of", "out"),
    };
    let chain = format!("{}: iptables mangle s{:x}-acl-{end}", router(subnet), subnet.tag);
    let place = format!("network ACL {} {word} {}", subnet.acl, subnet.id);
    station(place, vec![chain]).looked(of(subnet), At::Acl(subnet.tag, direction))
}

pub fn table(subnet: &Subnet) -> Shown {
    let number = FIRST_TABLE.saturating_add(subnet.tag);
    let chain = format!("{}: ip route show table {number}", router(subnet));
    station(format!("route table {}", subnet.route_table), vec![chain])
        .looked(of(subnet), At::Table(subnet.tag))
}

pub fn gateway(place: &str, subnet: &Subnet) -> Shown {
    let kernel = match subnet.tag {
        0 => "host: iptables nat KARRI-PRE-*, KARRI-BACK-*".to_owned(),
        _ => format!("{}: iptables nat to-public, from-public; filter outward", router(subnet)),
    };
    station(place.to_owned(), vec![kernel]).looked(of(subnet), At::Gateway)
}

pub fn nobody(address: Ipv4Addr) -> Shown {
    let by = format!("no port has the address {address}");
    station(format!("address {address}"), Vec::new()).decided(false, by)
}

pub fn outside(address: Ipv4Addr) -> Shown {
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
pub fn of_network(network: &Network<'_>, about: &About) -> Vec<Shown> {
    let (mut stations, subnet) = match about {
        About::Subnet(id) => (Vec::new(), network.subnets.iter().find(|subnet| subnet.id == *id).copied()),
        About::Instance(_) => return Vec::new(), // asked by its interfaces
        About::Port(id) => {
            let found = network.facts.port(id);
            let address = found.and_then(|port| port.addresses.first().copied());
            let here = found.map(|found| port(network, found, None));
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
        one.station.has.extend(network.acl(subnet).map(|acl| entries(acl, direction)).unwrap_or_default());
        stations.push(one);
    }
    let mut one = table(subnet);
    one.station.has.extend(network.vpc.ranges.iter().map(|range| format!("{range} within the VPC")));
    one.station.has.extend(network.table(subnet).map(routes).unwrap_or_default());
    stations.push(one);
    stations
}
