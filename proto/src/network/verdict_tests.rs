//! What passes: said again in the plainest way, and each kind of rule at its edges.

use super::samples::{address, changes, group, port, rule};
use super::*;
use proptest::prelude::*;
use std::ops::RangeInclusive;

fn table(facts: impl IntoIterator<Item = Fact>) -> FactTable {
    let mut table = FactTable::default();
    facts.into_iter().for_each(|fact| drop(table.apply(FactChange::Put(fact))));
    table
}

fn to(content: Content) -> Packet {
    Packet { direction: Direction::Ingress, peer: address(9), content }
}

/// Port 1 is in group 1, which has this one rule from everywhere.
fn lets_through(traffic: Traffic, content: Content) -> bool {
    let everywhere = Peer::V4(Net4::EVERYWHERE);
    let own = port(1, &[1]);
    let rule = rule(1, 1, Direction::Ingress, traffic, everywhere);
    passes(&table([Fact::Port(own.clone()), Fact::Rule(rule)]), &own, &to(content))
}

#[test]
fn ranges_include_both_ends_and_name_their_protocol() {
    let tcp = Traffic::Tcp { from: 22, to: 25 };
    let passed = |wanted: fn(u16) -> Content| -> Vec<u16> {
        [21, 22, 24, 25, 26].into_iter().filter(|number| lets_through(tcp, wanted(*number))).collect()
    };
    assert_eq!(passed(Content::Tcp), [22, 24, 25]);
    assert_eq!(passed(Content::Udp), Vec::<u16>::new());
    assert!(lets_through(Traffic::Udp { from: 53, to: 53 }, Content::Udp(53)));
    assert!(!lets_through(Traffic::Udp { from: 53, to: 53 }, Content::Tcp(53)));
    let all = Traffic::Tcp { from: 0, to: u16::MAX };
    assert!(lets_through(all, Content::Tcp(0)) && lets_through(all, Content::Tcp(u16::MAX)));
}

#[test]
fn icmp_is_named_by_type_and_code_or_taken_whole() {
    let echo = Content::Icmp { r#type: 8, code: 0 };
    let icmp = |r#type, code| lets_through(Traffic::Icmp { r#type, code }, echo);
    assert!(icmp(None, None) && icmp(Some(8), None) && icmp(Some(8), Some(0)));
    assert!(!icmp(Some(0), None) && !icmp(Some(8), Some(1)));
    assert!(!lets_through(Traffic::Icmp6 { r#type: None, code: None }, echo), "that is another protocol");
}

#[test]
fn other_protocols_pass_by_their_number_and_all_means_all() {
    assert!(lets_through(Traffic::Protocol(47), Content::Protocol(47)));
    assert!(!lets_through(Traffic::Protocol(47), Content::Protocol(50)));
    for content in
        [Content::Tcp(1), Content::Udp(1), Content::Protocol(132), Content::Icmp { r#type: 3, code: 1 }]
    {
        assert!(lets_through(Traffic::All, content), "{content:?}");
    }
}

#[test]
fn nothing_passes_without_a_rule_nor_in_the_other_direction() {
    let own = port(1, &[1]);
    let packet = to(Content::Tcp(80));
    assert!(!passes(&FactTable::default(), &own, &packet));
    let out = rule(1, 1, Direction::Egress, Traffic::All, Peer::V4(Net4::EVERYWHERE));
    let facts = table([Fact::Port(own.clone()), Fact::Rule(out)]);
    assert!(!passes(&facts, &own, &packet));
    assert!(passes(&facts, &own, &Packet { direction: Direction::Egress, ..packet }));
    let bare = port(1, &[]);
    assert!(!passes(&facts, &bare, &Packet { direction: Direction::Egress, ..packet }), "in no group");
}

#[test]
fn a_rule_by_group_follows_who_is_in_it() {
    let own = port(1, &[1]);
    let by_group = rule(1, 1, Direction::Ingress, Traffic::All, Peer::Group(group(2)));
    let mut facts = table([Fact::Port(own.clone()), Fact::Rule(by_group)]);
    let packet = to(Content::Tcp(80));
    assert!(!passes(&facts, &own, &packet), "nobody is in it");
    facts.apply(FactChange::Put(Fact::Port(port(9, &[2]))));
    assert!(passes(&facts, &own, &packet));
    facts.apply(FactChange::Put(Fact::Port(port(9, &[3]))));
    assert!(!passes(&facts, &own, &packet), "it went to another group");
    facts.apply(FactChange::Put(Fact::Port(port(9, &[3, 2]))));
    facts.apply(FactChange::Gone(FactKey::Port(port(9, &[]).id)));
    assert!(!passes(&facts, &own, &packet), "it is gone");
}

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        (0u16..10).prop_map(Content::Tcp),
        (0u16..10).prop_map(Content::Udp),
        (0u8..4, 0u8..4).prop_map(|(r#type, code)| Content::Icmp { r#type, code }),
        (46u8..51).prop_map(Content::Protocol),
    ]
}

/// As AWS' documents say it, over all facts one after the other.
fn by_the_book(facts: &[Fact], own: &PortFact, packet: &Packet) -> bool {
    let within = |range: RangeInclusive<u16>, port: u16| range.contains(&port);
    facts.iter().any(|fact| {
        let Fact::Rule(rule) = fact else { return false };
        let content = match (rule.traffic, packet.content) {
            (Traffic::All, _) => true,
            (Traffic::Tcp { from, to }, Content::Tcp(port)) => within(from..=to, port),
            (Traffic::Udp { from, to }, Content::Udp(port)) => within(from..=to, port),
            (Traffic::Icmp { r#type: a, code: b }, Content::Icmp { r#type, code }) => {
                a.unwrap_or(r#type) == r#type && b.unwrap_or(code) == code
            }
            (Traffic::Protocol(wanted), Content::Protocol(number)) => wanted == number,
            _ => false,
        };
        let peer = match &rule.peer {
            Peer::V4(net) if net.prefix == 0 => true,
            Peer::V4(net) => {
                let host_bits = 32 - u32::from(net.prefix);
                u32::from(packet.peer) >> host_bits == u32::from(net.address) >> host_bits
            }
            Peer::V6(_) => false,
            Peer::Group(group) => facts.iter().any(|fact| {
                matches!(fact, Fact::Port(port)
                    if port.groups.contains(group) && port.addresses.contains(&packet.peer))
            }),
        };
        own.groups.contains(&rule.group) && rule.direction == packet.direction && content && peer
    })
}

proptest! {
    #[test]
    fn what_passes_is_what_the_rules_say(
        all in proptest::collection::vec(changes(), 0..40),
        contents in proptest::collection::vec(contents(), 8),
    ) {
        let mut table = FactTable::default();
        all.into_iter().for_each(|change| drop(table.apply(change)));
        let facts: Vec<Fact> = table.facts().collect();
        for own in table.ports() {
            for content in &contents {
                for peer in (0..9).map(address) {
                    for direction in [Direction::Ingress, Direction::Egress] {
                        let packet = Packet { direction, peer, content: *content };
                        let says = by_the_book(&facts, own, &packet);
                        prop_assert_eq!(passes(&table, own, &packet), says, "{:?} {:?}", own, packet);
                    }
                }
            }
        }
    }
}
