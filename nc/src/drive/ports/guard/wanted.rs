//! What has to be in the kernel: a pure function of facts and ports, in parts that are made anew one by one.
//!
//! ```text
//!   mangle PREROUTING  ─ from one of our ports ─► …-from ─► …-from-7 ─► KARRI-TAP-from ─► KARRI-…-GROUP-out
//!   mangle POSTROUTING ─ to one of our ports ───► …-to ───► …-to-7 ───► KARRI-TAP-to ───► KARRI-…-GROUP-in
//!                      └ out by our bridge ─────► …-routed ► …-routed-5 ┘
//! ```
//!
//! A port's chain ends in a drop, a group's lets through what its rules name. Peers of rules stand in sets, so
//! that a rule that comes or goes changes a set and, mostly, no chain.

use super::names::{Names, Way};
use super::rule::{Carried, LooksAt, Match, Rule, Target};
use super::set::{Member, Set, SetKind};
use crate::drive::ports::{METADATA_ADDRESS, Port};
use karri_proto::ids::SecurityGroupId;
use karri_proto::network::{Direction, FactTable, GroupRule, Net4, Peer, Traffic};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// A rule of no more ports than this stands in the set of ports; a wider one is a rule of its own in the chain.
const NARROW_PORTS_MAX: u16 = 64;
const SHARES: u8 = 16;
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
const DNS: u16 = 53;
const HTTP: u16 = 80;

/// One piece of what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// How packets find the chain of their port.
    Ways,
    /// The same for the ports of one digit.
    Taps(u8),
    /// The same for the addresses of one ending.
    Addresses(u8),
    /// By its tap.
    Port(String),
    Group(SecurityGroupId),
    /// The addresses of a group that a rule names.
    Members(SecurityGroupId),
}

/// Where the hosts of the cluster exchange frames of segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    pub port: u16,
    pub addresses: BTreeSet<Ipv4Addr>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub chains: BTreeMap<String, Vec<Rule>>,
    pub sets: BTreeMap<String, Set>,
}

impl Wanted {
    fn chain(&mut self, name: String, rules: Vec<Rule>) {
        self.chains.insert(name, rules);
    }

    #[cfg(test)]
    fn join(&mut self, other: Wanted) {
        self.chains.extend(other.chains);
        self.sets.extend(other.sets);
    }
}

/// All of it.
#[cfg(test)]
pub fn wanted(facts: &FactTable, names: &Names, ports: &BTreeMap<String, Port>, hosts: &Hosts) -> Wanted {
    let mut all = Wanted::default();
    for part in parts(facts, ports) {
        all.join(piece(facts, names, ports, hosts, &part));
    }
    all
}

/// Which parts there are.
pub fn parts(facts: &FactTable, ports: &BTreeMap<String, Port>) -> BTreeSet<Part> {
    let mut parts = BTreeSet::from([Part::Ways]);
    parts.extend((0..SHARES).flat_map(|share| [Part::Taps(share), Part::Addresses(share)]));
    for port in ports.values() {
        parts.insert(Part::Port(port.tap.clone()));
        for group in groups_of(facts, port) {
            parts.extend(peers_of(facts, group).map(Part::Members));
            parts.insert(Part::Group(group.clone()));
        }
    }
    parts
}

/// The parts that a port is in, besides its own. Nothing is routed to those of segments by this host.
pub fn shares_of(port: &Port) -> impl Iterator<Item = Part> + use<> {
    let shares: BTreeSet<u8> = flat_addresses(port).map(address_share).collect();
    [Part::Taps(tap_share(&port.tap))].into_iter().chain(shares.into_iter().map(Part::Addresses))
}

/// None of them while nothing is known of the port.
pub fn groups_of<'a>(facts: &'a FactTable, port: &Port) -> &'a [SecurityGroupId] {
    facts.port(&port.id).map_or(&[], |fact| &fact.groups)
}

/// The groups that a group's rules name.
pub fn peers_of(facts: &FactTable, group: &SecurityGroupId) -> impl Iterator<Item = SecurityGroupId> {
    facts.rules_of(group).filter_map(|rule| match &rule.peer {
        Peer::Group(peer) => Some(peer.clone()),
        Peer::V4(_) | Peer::V6(_) => None,
    })
}

pub fn piece(
    facts: &FactTable,
    names: &Names,
    ports: &BTreeMap<String, Port>,
    hosts: &Hosts,
    part: &Part,
) -> Wanted {
    let mut piece = Wanted::default();
    match part {
        Part::Ways => ways(&mut piece, names, hosts),
        Part::Taps(share) => taps(&mut piece, names, *share, ports),
        Part::Addresses(share) => addresses(&mut piece, names, *share, ports),
        Part::Port(tap) => {
            if let Some(port) = ports.get(tap) {
                self::port(&mut piece, facts, names, port);
            }
        }
        Part::Group(id) => {
            for direction in [Direction::Ingress, Direction::Egress] {
                group(&mut piece, facts, names, id, direction);
            }
        }
        Part::Members(id) => {
            let members = facts.addresses_of(id).map(Member::address).collect();
            piece.sets.insert(names.members(id), Set { kind: SetKind::Addresses, members });
        }
    }
    piece
}

/// The rules that lead from the kernel's own chains of the table `mangle` to ours.
pub fn jumps(names: &Names) -> [(&'static str, Rule); 3] {
    let taps = || format!("{}+", names.taps);
    let jump = |matched: Match, way| Rule::new([matched], Target::Jump(names.way(way)));
    [
        ("PREROUTING", jump(Match::FromPort(taps()), Way::From)),
        ("POSTROUTING", jump(Match::ToPort(taps()), Way::To)),
        ("POSTROUTING", jump(Match::RoutedTo(names.bridge.clone()), Way::Routed)),
    ]
}

fn ways(piece: &mut Wanted, names: &Names, hosts: &Hosts) {
    let digits = |way, matched: &dyn Fn(String) -> Match| -> Vec<Rule> {
        let taps = |digit: u8| format!("{}{digit:x}+", names.taps);
        (0..SHARES)
            .map(|digit| Rule::new([matched(taps(digit))], Target::Jump(names.share(way, digit))))
            .collect()
    };
    // Before any port is looked for: most packets are of open connections, and there may be a thousand ports.
    let open = || Rule::new([Match::Established], Target::Accept);
    let mut from = vec![open()];
    if !hosts.addresses.is_empty() {
        from.insert(0, to_no_host(piece, names, hosts));
    }
    from.extend(digits(Way::From, &Match::FromPort));
    piece.chain(names.way(Way::From), from);
    piece.chain(names.way(Way::To), [open()].into_iter().chain(digits(Way::To, &Match::ToPort)).collect());
    let by_address = (0..SHARES)
        .map(|bits| Rule::new([Match::LastBits(bits)], Target::Jump(names.share(Way::Routed, bits))));
    piece.chain(names.way(Way::Routed), by_address.collect());
}

/// Else a guest could put frames of its own making into any segment, whatever its groups say.
fn to_no_host(piece: &mut Wanted, names: &Names, hosts: &Hosts) -> Rule {
    let name = names.hosts();
    let members = hosts.addresses.iter().copied().map(Member::address).collect();
    piece.sets.insert(name.clone(), Set { kind: SetKind::Addresses, members });
    let frames = Match::Carries(Carried::Udp { from: hosts.port, to: hosts.port });
    Rule::new([frames, Match::Set { name, looks_at: LooksAt::Destination }], Target::Drop)
}

fn tap_share(tap: &str) -> u8 {
    const NODE_PART: usize = 5;
    tap.as_bytes()
        .get(NODE_PART)
        .and_then(|byte| char::from(*byte).to_digit(16))
        .map_or(0, |digit| digit as u8)
}

fn address_share(address: Ipv4Addr) -> u8 {
    address.octets()[3] % SHARES
}

/// What this host routes to.
fn flat_addresses(port: &Port) -> impl Iterator<Item = Ipv4Addr> + '_ {
    port.addresses().filter(|_| port.segment == 0)
}

fn taps(piece: &mut Wanted, names: &Names, share: u8, ports: &BTreeMap<String, Port>) {
    let here = || ports.keys().filter(|tap| tap_share(tap) == share);
    let to = |matched: Match, tap: &str, way| Rule::new([matched], Target::Jump(Names::port(tap, way)));
    let from_rules = here().map(|tap| to(Match::FromPort(tap.clone()), tap, Way::From)).collect();
    piece.chain(names.share(Way::From, share), from_rules);
    let to_rules = here().map(|tap| to(Match::ToPort(tap.clone()), tap, Way::To)).collect();
    piece.chain(names.share(Way::To, share), to_rules);
}

fn addresses(piece: &mut Wanted, names: &Names, share: u8, ports: &BTreeMap<String, Port>) {
    let all = ports.values().flat_map(|port| flat_addresses(port).map(move |address| (port, address)));
    let here = all.filter(|(_, address)| address_share(*address) == share);
    let rules = here.map(|(port, address)| {
        Rule::new([Match::Destination(address)], Target::Jump(Names::port(&port.tap, Way::Routed)))
    });
    piece.chain(names.share(Way::Routed, share), rules.collect());
}

fn port(piece: &mut Wanted, facts: &FactTable, names: &Names, port: &Port) {
    let accept = |matches: Vec<Match>| Rule::new(matches, Target::Accept);
    let tcp = |to| Match::Carries(Carried::Tcp { from: to, to });
    let udp = |to| Match::Carries(Carried::Udp { from: to, to });
    let ask_dhcp =
        |of| vec![Match::Destination(of), Match::UdpPorts { source: DHCP_CLIENT, destination: DHCP_SERVER }];
    let asks_dhcp = Match::UdpPorts { source: DHCP_CLIENT, destination: DHCP_SERVER };
    let hear_dhcp = Match::UdpPorts { source: DHCP_SERVER, destination: DHCP_CLIENT };
    let mut from = vec![
        accept(ask_dhcp(Ipv4Addr::BROADCAST)),
        match port.of_site {
            true => accept(vec![asks_dhcp]),
            false => accept(ask_dhcp(port.gateway)),
        },
        accept(vec![Match::Destination(METADATA_ADDRESS), tcp(HTTP)]),
        accept(vec![Match::Destination(port.gateway), udp(DNS)]),
        accept(vec![Match::Destination(port.gateway), tcp(DNS)]),
    ];
    let hear_dhcp = match port.of_site {
        true => accept(vec![hear_dhcp]),
        false => accept(vec![Match::Source(port.gateway), hear_dhcp]),
    };
    // What this host routes comes here by another way.
    let mut to = vec![accept(vec![Match::Established]), hear_dhcp];
    if port.source_dest_check {
        // A copy that a bridge sent everywhere because it did not know better.
        to.push(Rule::new([for_others(piece, port)], Target::Drop));
    }
    for (rules, direction) in [(&mut from, Direction::Egress), (&mut to, Direction::Ingress)] {
        rules.push(Rule::new([Match::Invalid], Target::Drop));
        // Else an open connection whose flow was deleted would begin anew with its next packet.
        rules.push(Rule::new([Match::NotOpening], Target::Drop));
        for group in groups_of(facts, port) {
            let jump = Target::Jump(names.group(group, direction));
            rules.push(Rule::new([Match::Comment(group.to_string())], jump));
        }
        rules.push(Rule::new([], Target::Drop));
    }
    piece.chain(Names::port(&port.tap, Way::From), from);
    piece.chain(Names::port(&port.tap, Way::To), to);
}

/// What has another destination than the port's own addresses.
fn for_others(piece: &mut Wanted, port: &Port) -> Match {
    if port.secondary.is_empty() {
        return Match::NotDestination(port.address);
    }
    let name = Names::own_addresses(&port.tap);
    let members = port.addresses().map(Member::address).collect();
    piece.sets.insert(name.clone(), Set { kind: SetKind::Addresses, members });
    Match::DestinationNotIn(name)
}

/// The two halves of everything: no set takes it as one.
const HALVES: [Net4; 2] = [
    Net4 { address: Ipv4Addr::UNSPECIFIED, prefix: 1 },
    Net4 { address: Ipv4Addr::new(128, 0, 0, 0), prefix: 1 },
];

fn as_members(net: Net4) -> Vec<Net4> {
    if net.prefix == 0 { HALVES.to_vec() } else { vec![net] }
}

fn group(piece: &mut Wanted, facts: &FactTable, names: &Names, id: &SecurityGroupId, direction: Direction) {
    let (peer, peer_and_port) = match direction {
        Direction::Ingress => (LooksAt::Source, LooksAt::SourceAndPort),
        Direction::Egress => (LooksAt::Destination, LooksAt::DestinationAndPort),
    };
    let chain = names.group(id, direction);
    let mut ports = BTreeSet::new();
    let mut networks: BTreeMap<Carried, BTreeSet<Member>> = BTreeMap::new();
    let mut groups: BTreeSet<(Carried, SecurityGroupId)> = BTreeSet::new();
    for (rule, carried) in facts.rules_toward(id, direction).filter_map(carried) {
        match &rule.peer {
            Peer::V4(net) => match narrow(carried) {
                Some((tcp, from, to)) => {
                    let each = (from..=to).flat_map(|port| {
                        as_members(*net).into_iter().map(move |net| Member::net_port(net, tcp, port))
                    });
                    ports.extend(each);
                }
                None => {
                    let members = as_members(*net).into_iter().map(Member::net);
                    networks.entry(carried).or_default().extend(members);
                }
            },
            Peer::Group(peer) => {
                groups.insert((carried, peer.clone()));
            }
            Peer::V6(_) => {} // guests have no IPv6 yet
        }
    }
    let matching = |name: String, looks_at| Match::Set { name, looks_at };
    let mut rules = vec![Rule::new([matching(chain.clone(), peer_and_port)], Target::Accept)];
    piece.sets.insert(chain.clone(), Set { kind: SetKind::NetworksAndPorts, members: ports });
    for (carried, members) in networks {
        let set = names.networks(id, direction, &carried.to_string());
        rules.push(Rule::new([Match::Carries(carried), matching(set.clone(), peer)], Target::Accept));
        piece.sets.insert(set, Set { kind: SetKind::Networks, members });
    }
    for (carried, group) in groups {
        let set = matching(names.members(&group), peer);
        let comment = Match::Comment(group.to_string());
        rules.push(Rule::new([Match::Carries(carried), set, comment], Target::Accept));
    }
    piece.chain(chain, rules);
}

/// TCP or not, and the ports, if they are few.
fn narrow(carried: Carried) -> Option<(bool, u16, u16)> {
    match carried {
        Carried::Tcp { from, to } if to.saturating_sub(from) < NARROW_PORTS_MAX => Some((true, from, to)),
        Carried::Udp { from, to } if to.saturating_sub(from) < NARROW_PORTS_MAX => Some((false, from, to)),
        _ => None,
    }
}

/// None: it lets nothing through that a guest could send or receive. To iptables protocol 0 is every one, and
/// those that have rules of their own kind are not meant by their number.
fn carried(rule: &GroupRule) -> Option<(&GroupRule, Carried)> {
    const WITH_A_KIND: [u8; 4] = [0, 1, 6, 17];
    let carried = match rule.traffic {
        Traffic::All => Carried::All,
        Traffic::Tcp { from, to } if from <= to => Carried::Tcp { from, to },
        Traffic::Udp { from, to } if from <= to => Carried::Udp { from, to },
        Traffic::Icmp { r#type: None, code: None } => Carried::Icmp,
        Traffic::Icmp { r#type: Some(number), code: None } => Carried::IcmpType(number),
        Traffic::Icmp { r#type: Some(r#type), code: Some(code) } => Carried::IcmpCode { r#type, code },
        Traffic::Protocol(number) if !WITH_A_KIND.contains(&number) => Carried::Protocol(number),
        _ => return None,
    };
    Some((rule, carried))
}

/// Whether a guest may always send this, whatever its groups say.
pub fn is_always_allowed(port: &Port, packet: &karri_proto::network::Packet) -> bool {
    use karri_proto::network::Content::{Tcp, Udp};
    packet.direction == Direction::Egress
        && match packet.content {
            Udp(DHCP_SERVER) => [Ipv4Addr::BROADCAST, port.gateway].contains(&packet.peer),
            Tcp(HTTP) => packet.peer == METADATA_ADDRESS,
            Tcp(DNS) | Udp(DNS) => packet.peer == port.gateway,
            _ => false,
        }
}
