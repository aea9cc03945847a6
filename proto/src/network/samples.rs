//! Facts of a small world, in which random ones meet.

use super::*;
use proptest::prelude::*;

pub fn group(number: u8) -> SecurityGroupId {
    format!("sg-{number:08x}").parse().unwrap()
}

pub fn port_id(number: u8) -> NetworkInterfaceId {
    format!("eni-{number:08x}").parse().unwrap()
}

pub fn rule_id(number: u8) -> SecurityGroupRuleId {
    format!("sgr-{number:08x}").parse().unwrap()
}

pub fn address(number: u8) -> Ipv4Addr {
    [10, 0, 0, number].into()
}

pub fn port(number: u8, groups: &[u8]) -> PortFact {
    PortFact {
        id: port_id(number),
        vpc: "vpc-00000001".parse().unwrap(),
        addresses: vec![address(number)],
        groups: groups.iter().copied().map(group).collect(),
    }
}

pub fn vpc_id(number: u8) -> VpcId {
    format!("vpc-{number:08x}").parse().unwrap()
}

pub fn acl_id(number: u8) -> crate::ids::NetworkAclId {
    format!("acl-{number:08x}").parse().unwrap()
}

pub fn subnet(number: u8) -> Subnet {
    Subnet {
        id: format!("subnet-{number:08x}").parse().unwrap(),
        vpc: vpc_id(1),
        zone: "zone-a".to_owned(),
        tag: u32::from(number),
        range: Net4 { address: [10, 0, number, 0].into(), prefix: 24 },
        route_table: "rtb-00000001".parse().unwrap(),
        acl: acl_id(1),
    }
}

pub fn rule(of: u8, number: u8, direction: Direction, traffic: Traffic, peer: Peer) -> GroupRule {
    GroupRule { group: group(of), id: rule_id(number), direction, traffic, peer, part_of: None }
}

fn directions() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Ingress), Just(Direction::Egress)]
}

fn ranges() -> impl Strategy<Value = (u16, u16)> {
    (0u16..6, 0u16..4).prop_map(|(from, more)| (from, from + more))
}

pub fn traffics() -> impl Strategy<Value = Traffic> {
    let kinds = || (proptest::option::of(0u8..3), proptest::option::of(0u8..3));
    prop_oneof![
        Just(Traffic::All),
        ranges().prop_map(|(from, to)| Traffic::Tcp { from, to }),
        ranges().prop_map(|(from, to)| Traffic::Udp { from, to }),
        kinds().prop_map(|(r#type, code)| Traffic::Icmp { r#type, code }),
        kinds().prop_map(|(r#type, code)| Traffic::Icmp6 { r#type, code }),
        (47u8..50).prop_map(Traffic::Protocol),
    ]
}

pub fn peers() -> impl Strategy<Value = Peer> {
    let v6 = Net6 { address: Ipv6Addr::UNSPECIFIED, prefix: 0 };
    prop_oneof![
        (0u8..8, 28u8..=32).prop_map(|(number, prefix)| {
            let mask = u32::MAX << (32 - prefix);
            Peer::V4(Net4 { address: (u32::from(address(number)) & mask).into(), prefix })
        }),
        Just(Peer::V4(Net4::EVERYWHERE)),
        Just(Peer::V6(v6)),
        (0u8..3).prop_map(|number| Peer::Group(group(number))),
    ]
}

pub fn facts() -> impl Strategy<Value = Fact> {
    let rules = (0u8..3, 0u8..3, directions(), traffics(), peers());
    let ports = (0u8..4, proptest::collection::btree_set(0u8..3, 0..3), 0u8..8);
    prop_oneof![
        rules.prop_map(|(of, number, direction, traffic, peer)| {
            Fact::Rule(rule(of, number, direction, traffic, peer))
        }),
        (0u8..3).prop_map(|number| Fact::Shape(Shape::Subnet(subnet(number)))),
        (0u8..2, 0u8..3).prop_map(|(cluster, number)| {
            Fact::Hosts(ClusterHosts { cluster: format!("zone-{cluster}"), tunnels: vec![address(number)] })
        }),
        (0u8..3).prop_map(|tag| Fact::Shape(Shape::Subnet(Subnet { tag: u32::from(tag), ..subnet(0) }))),
        ports.prop_map(|(number, groups, second)| {
            let mut port = port(number, &groups.into_iter().collect::<Vec<_>>());
            port.addresses.push(address(second));
            Fact::Port(port)
        }),
    ]
}

pub fn changes() -> impl Strategy<Value = FactChange> {
    (facts(), proptest::bool::weighted(0.7)).prop_map(|(fact, put)| match put {
        true => FactChange::Put(fact),
        false => FactChange::Gone(fact.key()),
    })
}
