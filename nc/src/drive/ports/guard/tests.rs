//! The rules judge packets as the groups do: they are run here by a small interpreter.

use super::kernel::{Setting, jumps_wanted};
use super::names::{Names, Way};
use super::rule::{Carried, LooksAt, Match, Rule, Target};
use super::state::State;
use super::text::Text;
use super::wanted::{Hosts, Wanted, is_always_allowed, jumps, wanted};
use crate::drive::ports::Port;
use karri_proto::ids::{NetworkInterfaceId, SecurityGroupId};
use karri_proto::network::{
    Content, Direction, Fact, FactChange, FactTable, GroupRule, Net4, Packet, Peer, PortFact, Traffic, passes,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// A packet as the kernel sees it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    from_port: Option<usize>,
    to_port: Option<usize>,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    content: Content,
    established: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Dropped,
    /// By no rule of ours.
    Untouched,
}

struct Kernel<'a> {
    wanted: &'a Wanted,
    names: &'a Names,
}

impl Kernel<'_> {
    fn verdict(&self, hook: &str, packet: &Seen) -> Verdict {
        for (_, rule) in jumps(self.names).iter().filter(|(chain, _)| *chain == hook) {
            if let Some(verdict) = self.rule(rule, packet) {
                return verdict;
            }
        }
        Verdict::Untouched
    }

    fn rule(&self, rule: &Rule, packet: &Seen) -> Option<Verdict> {
        if !rule.matches.iter().all(|part| self.is_match(part, packet)) {
            return None;
        }
        match &rule.target {
            Target::Accept => Some(Verdict::Accepted),
            Target::Drop => Some(Verdict::Dropped),
            Target::Jump(chain) => {
                let rules = self.wanted.chains.get(chain).expect("a jump leads to a chain");
                rules.iter().find_map(|rule| self.rule(rule, packet))
            }
        }
    }

    fn is_match(&self, part: &Match, packet: &Seen) -> bool {
        let is_named = |pattern: &str, number: usize| match pattern.strip_suffix('+') {
            Some(start) => tap(number).starts_with(start),
            None => tap(number) == pattern,
        };
        match part {
            Match::FromPort(pattern) => packet.from_port.is_some_and(|number| is_named(pattern, number)),
            Match::ToPort(pattern) => packet.to_port.is_some_and(|number| is_named(pattern, number)),
            Match::RoutedTo(bridge) => packet.to_port.is_none() && *bridge == self.names.bridge,
            Match::Destination(address) => packet.destination == *address,
            Match::NotDestination(address) => packet.destination != *address,
            Match::DestinationNotIn(name) => !self.is_in_set(name, LooksAt::Destination, packet),
            Match::Source(address) => packet.source == *address,
            Match::LastBits(bits) => packet.destination.octets()[3] % 16 == *bits,
            Match::Established => packet.established,
            Match::Invalid | Match::NotOpening => false, // all packets here open something
            Match::Carries(carried) => is_carried(*carried, packet.content),
            Match::UdpPorts { source, destination } => {
                (*source, *destination) == (68, 67) && packet.content == Content::Udp(67)
            }
            Match::Set { name, looks_at } => self.is_in_set(name, *looks_at, packet),
            Match::Comment(_) => true,
        }
    }

    fn is_in_set(&self, name: &str, looks_at: LooksAt, packet: &Seen) -> bool {
        let port = match packet.content {
            Content::Tcp(port) => Some((true, port)),
            Content::Udp(port) => Some((false, port)),
            Content::Icmp { .. } | Content::Protocol(_) => None,
        };
        let (address, port) = match looks_at {
            LooksAt::Source => (packet.source, None),
            LooksAt::Destination => (packet.destination, None),
            LooksAt::SourceAndPort => (packet.source, port),
            LooksAt::DestinationAndPort => (packet.destination, port),
        };
        let set = self.wanted.sets.get(name).expect("a rule looks into a set that is there");
        set.members.iter().any(|member| member.holds(address, port))
    }
}

fn is_carried(carried: Carried, content: Content) -> bool {
    match (carried, content) {
        (Carried::All, _) | (Carried::Icmp, Content::Icmp { .. }) => true,
        (Carried::Tcp { from, to }, Content::Tcp(port)) | (Carried::Udp { from, to }, Content::Udp(port)) => {
            (from..=to).contains(&port)
        }
        (Carried::IcmpType(number), Content::Icmp { r#type, .. }) => number == r#type,
        (Carried::IcmpCode { r#type, code }, Content::Icmp { r#type: of, code: it }) => {
            (r#type, code) == (of, it)
        }
        (Carried::Protocol(number), Content::Protocol(of)) => number == of,
        _ => false,
    }
}

fn eni(number: usize) -> NetworkInterfaceId {
    format!("eni-{:017x}", number * 0x3_0000_0001).parse().unwrap()
}

fn tap(number: usize) -> String {
    format!("k1234{}", &eni(number).as_str()[11..])
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0005 + u32::try_from(number).unwrap() * 7)
}

fn port(number: usize) -> Port {
    Port {
        id: eni(number),
        tap: tap(number),
        mac: String::new(),
        address: address(number),
        secondary: if number == WITH_MORE {
            vec![address(PORTS + 1), address(PORTS + 2)]
        } else {
            Vec::new()
        },
        source_dest_check: true,
        segment: if number == OF_SEGMENT { 0x1001 } else { 0 },
        subnet_cidr: "10.0.0.0/24".to_owned(),
        gateway: Ipv4Addr::new(10, 0, 0, 1),
    }
}

fn group(number: usize) -> SecurityGroupId {
    format!("sg-{number:08x}").parse().unwrap()
}

/// Where no guest may send frames to.
fn hosts() -> Hosts {
    Hosts { port: 50, addresses: BTreeSet::from([HOST]) }
}

fn names() -> Names {
    Names::new("karri0", "k1234")
}

const GROUPS: usize = 4;
const LOCAL: usize = 3;
const PORTS: usize = 5;
/// Of the local ones, the one that is on a segment.
const OF_SEGMENT: usize = 2;
/// That has several addresses.
const WITH_MORE: usize = 1;
const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

fn addresses() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![(0..PORTS).prop_map(address), Just(HOST), Just(Ipv4Addr::new(10, 0, 0, 1))]
}

fn networks() -> impl Strategy<Value = Net4> {
    (addresses(), prop_oneof![Just(0u8), Just(1), Just(8), Just(29), Just(32)]).prop_map(
        |(address, prefix)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Net4 { address: Ipv4Addr::from(u32::from(address) & mask), prefix }
        },
    )
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let range = || {
        prop_oneof![
            (50u16..56, 0u16..4).prop_map(|(from, more)| (from, from + more)),
            (0u16..60, 64u16..90),
            Just((0, u16::MAX)),
        ]
    };
    prop_oneof![
        Just(Traffic::All),
        range().prop_map(|(from, to)| Traffic::Tcp { from, to }),
        range().prop_map(|(from, to)| Traffic::Udp { from, to }),
        (proptest::option::of(0u8..3), 0u8..3, any::<bool>()).prop_map(|(r#type, code, all)| Traffic::Icmp {
            r#type,
            code: r#type.filter(|_| !all).map(|_| code)
        }),
        Just(Traffic::Icmp6 { r#type: None, code: None }),
        prop_oneof![Just(0u8), Just(1), Just(6), Just(17), Just(47), Just(132)].prop_map(Traffic::Protocol),
    ]
}

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        (45u16..100).prop_map(Content::Tcp),
        (45u16..100).prop_map(Content::Udp),
        (0u8..3, 0u8..3).prop_map(|(r#type, code)| Content::Icmp { r#type, code }),
        prop_oneof![Just(47u8), Just(132), Just(2)].prop_map(Content::Protocol),
    ]
}

fn changes() -> impl Strategy<Value = FactChange> {
    let peer = prop_oneof![
        3 => networks().prop_map(Peer::V4),
        2 => (0..GROUPS).prop_map(group).prop_map(Peer::Group),
    ];
    let rules =
        (0..GROUPS, 0u32..6, any::<bool>(), traffic(), peer).prop_map(|(of, id, ingress, traffic, peer)| {
            GroupRule {
                group: group(of),
                id: format!("sgr-{id:08x}").parse().unwrap(),
                direction: if ingress { Direction::Ingress } else { Direction::Egress },
                traffic,
                peer,
                part_of: None,
            }
        });
    let rules = rules.boxed();
    let of = |number: usize, groups: Vec<usize>| PortFact {
        id: eni(number),
        vpc: "vpc-00000001".parse().unwrap(),
        addresses: vec![address(number)],
        groups: groups.into_iter().map(group).collect(),
    };
    let ports = (0..PORTS, proptest::sample::subsequence((0..GROUPS).collect::<Vec<_>>(), 0..3))
        .prop_map(move |(number, groups)| of(number, groups))
        .boxed();
    prop_oneof![
        4 => rules.clone().prop_map(|rule| FactChange::Put(Fact::Rule(rule))),
        2 => ports.clone().prop_map(|port| FactChange::Put(Fact::Port(port))),
        1 => rules.prop_map(|rule| FactChange::Gone(Fact::Rule(rule).key())),
        1 => ports.prop_map(|port| FactChange::Gone(Fact::Port(port).key())),
    ]
}

fn table(changes: Vec<FactChange>) -> FactTable {
    let mut table = FactTable::default();
    for change in changes {
        table.apply(change);
    }
    table
}

fn local_ports() -> BTreeMap<String, Port> {
    (0..LOCAL).map(|number| (tap(number), port(number))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn rules_judge_as_groups_do(
        changes in proptest::collection::vec(changes(), 0..40),
        packets in proptest::collection::vec((0..LOCAL, addresses(), contents(), any::<bool>()), 30),
    ) {
        let (table, names, ports) = (table(changes), names(), local_ports());
        let wanted = wanted(&table, &names, &ports, &hosts());
        let kernel = Kernel { wanted: &wanted, names: &names };
        for (number, peer, content, ingress) in packets {
            let direction = if ingress { Direction::Ingress } else { Direction::Egress };
            let packet = Packet { direction, peer, content };
            let is_frame = !ingress && peer == HOST && content == Content::Udp(hosts().port);
            let may = table.port(&eni(number)).is_some_and(|port| passes(&table, port, &packet))
                || is_always_allowed(&port(number), &packet);
            let expected = if may && !is_frame { Verdict::Accepted } else { Verdict::Dropped };
            let seen = |from_port, to_port, source, destination| {
                Seen { from_port, to_port, source, destination, content, established: false }
            };
            let own: Vec<Ipv4Addr> = port(number).addresses().collect();
            for own in own.iter().filter(|_| ingress) {
                let bridged = seen(None, Some(number), peer, *own);
                prop_assert_eq!(&kernel.verdict("POSTROUTING", &bridged), &expected, "{:?}", bridged);
                let routed = seen(None, None, peer, *own);
                let by_this_host = if number == OF_SEGMENT { &Verdict::Untouched } else { &expected };
                prop_assert_eq!(&kernel.verdict("POSTROUTING", &routed), by_this_host, "{:?}", routed);
                let established = Seen { established: true, ..bridged };
                prop_assert_eq!(kernel.verdict("POSTROUTING", &established), Verdict::Accepted);
                let anothers = seen(None, Some(number), peer, address(PORTS));
                prop_assert_eq!(kernel.verdict("POSTROUTING", &anothers), Verdict::Dropped);
            }
            for own in own.iter().filter(|_| !ingress) {
                let sent = seen(Some(number), None, *own, peer);
                prop_assert_eq!(&kernel.verdict("PREROUTING", &sent), &expected, "{:?}", sent);
            }
            // What is nobody's here is not touched.
            let foreign = seen(Some(PORTS + 20), Some(PORTS + 20), peer, address(number));
            prop_assert_eq!(kernel.verdict("PREROUTING", &foreign), Verdict::Untouched);
            prop_assert_eq!(kernel.verdict("POSTROUTING", &foreign), Verdict::Untouched);
        }
    }

    #[test]
    fn a_change_leads_to_what_everything_anew_does(
        before in proptest::collection::vec(changes(), 0..40),
        after in proptest::collection::vec(changes(), 1..10),
        at_once in any::<bool>(),
    ) {
        let (mut table, ports) = (table(before), local_ports());
        let mut state = State::new(names());
        state.hosts_put(&table, hosts());
        state.rebuild(&table, ports.values().skip(1).cloned());
        let mut kernel = state.text();
        prop_assert_eq!(&kernel, &Text::from(wanted(&table, &names(), state.ports(), &hosts())));
        let step = |kernel: &mut Text, state: &State, table: &FactTable, before: Text| {
            *kernel = state.text();
            prop_assert_eq!(&*kernel, &Text::from(wanted(table, &names(), state.ports(), &hosts())));
            prop_assert_eq!(super::text::step(&before, kernel).is_nothing(), before == *kernel);
            Ok(())
        };
        let keys: Vec<_> = after.iter().map(FactChange::key).collect();
        for (change, key) in after.into_iter().zip(&keys) {
            table.apply(change);
            if !at_once {
                let before = kernel.clone();
                let change = state.told(&table, std::slice::from_ref(key));
                step(&mut kernel, &state, &table, before.clone())?;
                prop_assert_eq!(change.step, super::text::step(&before, &kernel));
            }
        }
        if at_once {
            let before = kernel.clone();
            let change = state.told(&table, &keys);
            step(&mut kernel, &state, &table, before.clone())?;
            prop_assert_eq!(change.step, super::text::step(&before, &kernel));
        }
        for number in 0..LOCAL {
            let before = kernel.clone();
            state.plug(&table, &[port(number)]);
            step(&mut kernel, &state, &table, before)?;
        }
        // As ports that are there get further addresses and lose them.
        for number in [WITH_MORE, 0, WITH_MORE] {
            let before = kernel.clone();
            let known = state.ports()[&tap(number)].secondary.is_empty();
            let secondary = if known { vec![address(PORTS + 3)] } else { Vec::new() };
            state.plug(&table, &[Port { secondary, ..port(number) }]);
            step(&mut kernel, &state, &table, before)?;
        }
        let taps: Vec<String> = (0..LOCAL).map(tap).collect();
        state.unplug(&table, &taps);
        let nothing = Text::from(wanted(&table, &names(), &BTreeMap::new(), &hosts()));
        prop_assert_eq!(state.text(), nothing);
    }
}

#[test]
fn only_a_node_with_segments_has_rules_about_them() {
    let rules = |zones: &[(u32, u16)]| {
        let setting = Setting { whole_bridge: false, zones: zones.iter().copied().collect() };
        let all = jumps_wanted(&names(), &setting).into_iter();
        let all = all.filter(|(_, _, rule)| rule.contains("karri0."));
        all.map(|(table, chain, rule)| format!("{table} {chain} {rule}\n")).collect::<String>()
    };
    assert_eq!(rules(&[]), "");
    assert_eq!(rules(&[(0x1001, 4097), (0x1_0001, 2)]), include_str!("segments.golden"));
}

#[test]
fn a_port_as_the_kernel_prints_it() {
    let rule = |id: u32, direction, traffic, peer| {
        let id = format!("sgr-{id:08x}").parse().unwrap();
        FactChange::Put(Fact::Rule(GroupRule {
            group: group(1),
            id,
            direction,
            traffic,
            peer,
            part_of: None,
        }))
    };
    let office = Peer::V4(Net4 { address: Ipv4Addr::new(198, 51, 100, 0), prefix: 24 });
    let table = table(vec![
        rule(1, Direction::Ingress, Traffic::Tcp { from: 22, to: 23 }, office),
        rule(2, Direction::Ingress, Traffic::Udp { from: 1000, to: 2000 }, Peer::V4(Net4::EVERYWHERE)),
        rule(
            3,
            Direction::Ingress,
            Traffic::Icmp { r#type: Some(8), code: Some(0) },
            Peer::V4(Net4::EVERYWHERE),
        ),
        rule(4, Direction::Ingress, Traffic::Tcp { from: 80, to: 80 }, Peer::Group(group(2))),
        rule(5, Direction::Egress, Traffic::All, Peer::V4(Net4::EVERYWHERE)),
        FactChange::Put(Fact::Port(PortFact {
            id: eni(0),
            vpc: "vpc-00000001".parse().unwrap(),
            addresses: vec![address(0)],
            groups: vec![group(1)],
        })),
        FactChange::Put(Fact::Port(PortFact {
            id: eni(1),
            vpc: "vpc-00000001".parse().unwrap(),
            addresses: vec![address(1)],
            groups: vec![group(2)],
        })),
    ]);
    let ports = BTreeMap::from([(tap(0), port(0))]);
    let text = Text::from(wanted(&table, &names(), &ports, &Hosts::default()));
    let mut printed = String::new();
    for (name, lines) in &text.chains {
        let is_share =
            [Way::From, Way::To, Way::Routed].iter().any(|way| name.starts_with(&names().way(*way)));
        if !is_share || (name.len() > names().way(Way::Routed).len() && !lines.is_empty()) {
            lines.iter().for_each(|line| printed += &format!("-A {name} {line}\n"));
        }
    }
    for (name, set) in &text.sets {
        printed += &format!("{}\n", set.create);
        set.members.iter().for_each(|member| printed += &format!("add {name} {member}\n"));
    }
    assert_eq!(printed, include_str!("port.golden"));
}
