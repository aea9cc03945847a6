//! Two subnets of one VPC, with a port in each and a third one beside the first.

use super::asked::asked;
use super::*;
use crate::app::security_group::terms::net4;
use karri_proto::network::{
    Acl, AclEntry, DhcpOptions, Direction, Fact, FactChange, FactTable, GroupRule, Nat, Net4, Peer, PortFact,
    PublicAddress, Route, RouteTable, RouteTarget, Shape, Subnet, Traffic, Vpc,
};

const FRONT: &str = "10.0.0.5";
const BESIDE: &str = "10.0.0.6";
const BACK: &str = "10.0.1.7";
const PUBLIC: &str = "198.51.100.5";

fn id<T: std::str::FromStr>(kind: &str, number: u8) -> T
where
    T::Err: std::fmt::Debug,
{
    format!("{kind}-{number:08x}").parse().unwrap()
}

fn rule(of: u8, number: u8, direction: Direction, traffic: Traffic, peer: Peer) -> Fact {
    let (group, id) = (id("sg", of), id("sgr", number));
    Fact::Rule(GroupRule { group, id, direction, traffic, peer, part_of: None })
}

fn port(number: u8, address: &str, group: u8) -> Fact {
    Fact::Port(PortFact {
        id: id("eni", number),
        vpc: id("vpc", 1),
        addresses: vec![address.parse().unwrap()],
        groups: vec![id("sg", group)],
    })
}

fn subnet(number: u8, range: &str) -> Fact {
    Fact::Shape(Shape::Subnet(Subnet {
        id: id("subnet", number),
        vpc: id("vpc", 1),
        zone: "a".into(),
        tag: 0x1000 + u32::from(number),
        range: net4(range).unwrap(),
        route_table: id("rtb", number),
        acl: id("acl", number),
    }))
}

fn table(number: u8, routes: &[(&str, RouteTarget)]) -> Fact {
    let route = |(to, target): &(&str, RouteTarget)| Route { to: net4(to).unwrap(), target: target.clone() };
    let routes = routes.iter().map(route).collect();
    Fact::Shape(Shape::RouteTable(RouteTable { id: id("rtb", number), vpc: id("vpc", 1), routes }))
}

fn acl(number: u8, ingress: Vec<AclEntry>, egress: Vec<AclEntry>) -> Fact {
    Fact::Shape(Shape::Acl(Acl { id: id("acl", number), vpc: id("vpc", 1), ingress, egress }))
}

fn entry(number: u16, allow: bool, traffic: Traffic) -> AclEntry {
    AclEntry { number, allow, traffic, range: Net4::EVERYWHERE }
}

fn tcp(port: u16) -> Traffic {
    Traffic::Tcp { from: port, to: port }
}

/// Everything passes but what the groups do not name: 22 from anywhere to the back, 80 from the front's group.
fn world() -> FactTable {
    let anyone = || Peer::V4(Net4::EVERYWHERE);
    let all = || vec![entry(100, true, Traffic::All)];
    let gateway = || RouteTarget::Internet;
    let facts = [
        Fact::Shape(Shape::Vpc(Vpc {
            id: id("vpc", 1),
            ranges: vec![net4("10.0.0.0/16").unwrap()],
            internet_gateway: Some(id("igw", 1)),
            dhcp: DhcpOptions::default(),
            dns_support: true,
            dns_hostnames: false,
            transit: 0x2000,
        })),
        subnet(1, "10.0.0.0/24"),
        subnet(2, "10.0.1.0/24"),
        table(1, &[("0.0.0.0/0", gateway()), ("192.0.2.0/24", RouteTarget::Blackhole)]),
        table(2, &[("0.0.0.0/0", RouteTarget::Nat(id("nat", 1)))]),
        acl(1, all(), all()),
        acl(2, [vec![entry(50, false, tcp(25))], all()].concat(), all()),
        port(1, FRONT, 1),
        port(2, BACK, 2),
        port(3, BESIDE, 1),
        rule(1, 1, Direction::Egress, Traffic::All, anyone()),
        rule(2, 2, Direction::Ingress, tcp(22), anyone()),
        rule(2, 3, Direction::Ingress, tcp(80), Peer::Group(id("sg", 1))),
        rule(2, 4, Direction::Ingress, tcp(25), anyone()),
        rule(2, 5, Direction::Egress, Traffic::Udp { from: 53, to: 53 }, anyone()),
        Fact::Shape(Shape::Address(PublicAddress {
            public: PUBLIC.parse().unwrap(),
            private: FRONT.parse().unwrap(),
            port: id("eni", 1),
            vpc: id("vpc", 1),
            subnet: id("subnet", 1),
        })),
        Fact::Shape(Shape::Nat(Nat {
            id: id("nat", 1),
            vpc: id("vpc", 1),
            subnet: id("subnet", 1),
            private: "10.0.0.9".parse().unwrap(),
            public: Some("198.51.100.9".parse().unwrap()),
        })),
    ];
    let mut table = FactTable::default();
    facts.into_iter().for_each(|fact| drop(table.apply(FactChange::Put(fact))));
    table
}

fn shown(facts: &FactTable, from: &str, to: &str, protocol: &str, port: Option<u16>) -> Vec<Station> {
    let wanted = PathAsked {
        about: "subnet-00000001".into(),
        from: Some(from.parse().unwrap()),
        to: Some(to.parse().unwrap()),
        protocol: Some(protocol.into()),
        port,
    };
    let asked = asked(&wanted).unwrap();
    let network = Network::of(facts, &asked.about).unwrap();
    let shown = way::of_packet(&network, &asked.packet.unwrap());
    shown.into_iter().map(|one| one.station).collect()
}

/// Where it ends: whether it passes there, where that is and by what.
fn end(stations: &[Station]) -> (bool, &str, &str) {
    let last = stations.last().unwrap();
    let verdict = last.verdict.as_ref();
    (verdict.is_none_or(|one| one.passes), &last.place, verdict.map_or("", |one| &one.by))
}

fn check(facts: &FactTable, packet: (&str, &str, &str, u16), expected: (bool, &str, &str)) {
    let (from, to, protocol, port) = packet;
    let stations = shown(facts, from, to, protocol, Some(port));
    assert_eq!(end(&stations), expected, "{packet:?}: {stations:#?}");
    let before = &stations[..stations.len() - 1];
    assert!(before.iter().all(|one| one.verdict.as_ref().is_none_or(|one| one.passes)), "{stations:#?}");
}

#[test]
fn the_rule_that_lets_a_packet_through_is_named_and_so_is_what_drops_it() {
    let facts = world();
    let (front, back) = ("port eni-00000001", "port eni-00000002");
    check(&facts, (FRONT, BACK, "tcp", 22), (true, back, "ingress rule sgr-00000002 of sg-00000002"));
    check(&facts, (FRONT, BACK, "tcp", 80), (true, back, "ingress rule sgr-00000003 of sg-00000002"));
    let none = "no ingress rule of sg-00000002 lets tcp 81 from 10.0.0.5 through";
    check(&facts, (FRONT, BACK, "tcp", 81), (false, back, none));
    let none = "no egress rule of sg-00000002 lets tcp 22 to 10.0.0.5 through";
    check(&facts, (BACK, FRONT, "tcp", 22), (false, back, none));
    let none = "no ingress rule of sg-00000001 lets udp 53 from 10.0.1.7 through";
    check(&facts, (BACK, FRONT, "udp", 53), (false, front, none));
    let into = "network ACL acl-00000002 into subnet-00000002";
    check(&facts, (FRONT, BACK, "tcp", 25), (false, into, "entry 50 of acl-00000002"));
    check(
        &facts,
        (FRONT, "10.0.0.77", "tcp", 22),
        (false, "address 10.0.0.77", "no port has the address 10.0.0.77"),
    );
    check(
        &facts,
        ("10.0.0.77", BACK, "tcp", 22),
        (false, "address 10.0.0.77", "no port has the address 10.0.0.77"),
    );
}

#[test]
fn within_a_subnet_no_router_is_asked() {
    let stations = shown(&world(), FRONT, BESIDE, "icmp", None);
    let places: Vec<&str> = stations.iter().map(|one| one.place.as_str()).collect();
    assert_eq!(places, ["port eni-00000001", "subnet subnet-00000001", "port eni-00000003"]);
    let none = "no ingress rule of sg-00000001 lets icmp type 8 from 10.0.0.5 through";
    assert_eq!(end(&stations), (false, "port eni-00000003", none));
}

#[test]
fn between_subnets_each_station_is_told_in_order() {
    let stations = shown(&world(), FRONT, BACK, "tcp", Some(22));
    let told: Vec<(&str, &str)> = stations
        .iter()
        .map(|one| (one.place.as_str(), one.verdict.as_ref().map_or("", |one| one.by.as_str())))
        .collect();
    assert_eq!(
        told,
        [
            ("port eni-00000001", "egress rule sgr-00000001 of sg-00000001"),
            ("subnet subnet-00000001", ""),
            ("network ACL acl-00000001 out of subnet-00000001", "entry 100 of acl-00000001"),
            ("route table rtb-00000001", "10.0.0.0/16 is reached within the VPC"),
            ("network ACL acl-00000002 into subnet-00000002", "entry 100 of acl-00000002"),
            ("subnet subnet-00000002", ""),
            ("port eni-00000002", "ingress rule sgr-00000002 of sg-00000002"),
        ]
    );
    let kernel = stations.iter().flat_map(|one| &one.has).cloned().collect::<Vec<_>>().join("\n");
    for name in [
        "KARRI-k*i-00000001-from",
        "segment 4097: bridge *.1001, VXLAN or VLAN device *x1001",
        "namespace karri-*-c-00000001: iptables mangle s1001-acl-out",
        "ip route show table 1004097",
        "s1002-acl-in",
    ] {
        assert!(kernel.contains(name), "{name} in\n{kernel}");
    }
}

#[test]
fn ways_out_of_the_vpc_lead_where_their_routes_say() {
    let mut facts = world();
    let outside = "outside 203.0.113.9";
    check(&facts, (FRONT, "203.0.113.9", "tcp", 443), (true, outside, ""));
    let table_1 = "route table rtb-00000001";
    let hole = "route 192.0.2.0/24 to what is no more (black hole)";
    check(&facts, (FRONT, "192.0.2.9", "tcp", 443), (false, table_1, hole));
    let gateway = "internet gateway";
    check(&facts, (BESIDE, "203.0.113.9", "tcp", 443), (false, gateway, "10.0.0.6 has no public address"));
    check(&facts, (BACK, "203.0.113.9", "udp", 53), (true, outside, ""));
    let put = |facts: &mut FactTable, fact| drop(facts.apply(FactChange::Put(fact)));
    put(&mut facts, table(1, &[]));
    let none = "no route of rtb-00000001 to 203.0.113.9";
    check(&facts, (FRONT, "203.0.113.9", "tcp", 443), (false, table_1, none));
    let nat = "NAT gateway nat-00000001";
    let none = "its own subnet has no route to the internet";
    check(&facts, (BACK, "203.0.113.9", "udp", 53), (false, nat, none));
    let all = || vec![entry(100, true, Traffic::All)];
    let deny = || [vec![entry(60, false, Traffic::Udp { from: 53, to: 53 })], all()].concat();
    put(&mut facts, table(1, &[("0.0.0.0/0", RouteTarget::Internet)]));
    for (inward, outward, word) in [(deny(), all(), "into"), (all(), deny(), "out of")] {
        put(&mut facts, acl(1, inward, outward));
        let place = format!("network ACL acl-00000001 {word} subnet-00000001");
        let end = (false, place.as_str(), "entry 60 of acl-00000001");
        check(&facts, (BACK, "203.0.113.9", "udp", 53), end);
    }
    put(&mut facts, table(1, &[]));
    put(&mut facts, acl(1, Vec::new(), Vec::new()));
    let out = "network ACL acl-00000001 out of subnet-00000001";
    let last = "entry 32767 of acl-00000001: no other is about it";
    check(&facts, (FRONT, BACK, "tcp", 22), (false, out, last));
}

#[test]
fn from_outside_public_addresses_alone_are_reached() {
    let mut facts = world();
    let none = "no ingress rule of sg-00000001 lets tcp 22 from 203.0.113.9 through";
    check(&facts, ("203.0.113.9", PUBLIC, "tcp", 22), (false, "port eni-00000001", none));
    let anyone = Peer::V4(Net4::EVERYWHERE);
    facts.apply(FactChange::Put(rule(1, 9, Direction::Ingress, tcp(22), anyone)));
    let by = "ingress rule sgr-00000009 of sg-00000001";
    check(&facts, ("203.0.113.9", PUBLIC, "tcp", 22), (true, "port eni-00000001", by));
    let private = "a private address is not reached from outside";
    check(&facts, ("203.0.113.9", FRONT, "tcp", 22), (false, "outside 10.0.0.5", private));
    // A neighbour without a public address of its own has no way to it; one that has comes by that.
    check(&facts, (BESIDE, PUBLIC, "tcp", 22), (false, "internet gateway", "10.0.0.6 has no public address"));
    check(&facts, (FRONT, PUBLIC, "tcp", 22), (true, "port eni-00000001", by));
}

#[test]
fn the_rule_that_a_user_knows_is_named_where_a_list_has_the_entry() {
    let mut facts = world();
    let Fact::Rule(part) = rule(2, 8, Direction::Ingress, tcp(443), Peer::V4(net4("10.0.0.0/24").unwrap()))
    else {
        panic!("a rule")
    };
    let whole = GroupRule { part_of: Some(id("sgr", 7)), ..part };
    facts.apply(FactChange::Put(Fact::Rule(whole)));
    let by = "ingress rule sgr-00000007 of sg-00000002";
    check(&facts, (FRONT, BACK, "tcp", 443), (true, "port eni-00000002", by));
}

#[test]
fn questions_that_cannot_be_answered_name_what_is_wrong() {
    let good = PathAsked {
        about: "eni-00000001".into(),
        from: Some(FRONT.parse().unwrap()),
        to: Some(BACK.parse().unwrap()),
        protocol: Some("tcp".into()),
        port: Some(22),
    };
    assert!(asked(&good).is_ok());
    let wrong = |change: fn(&mut PathAsked), field: &str| {
        let mut wanted = good.clone();
        change(&mut wanted);
        let error = asked(&wanted).unwrap_err();
        assert!(error.message.starts_with(field), "{}", error.message);
    };
    wrong(|one| one.about = "vpc-00000001".into(), "about: ");
    wrong(|one| one.from = None, "from, to, protocol: ");
    wrong(|one| one.protocol = Some("-1".into()), "protocol: ");
    wrong(|one| one.protocol = Some("xyz".into()), "protocol: ");
    wrong(|one| one.port = None, "port: ");
    let facts = world();
    let about = super::asked::About::Port(id("eni", 9));
    assert!(Network::of(&facts, &about).is_err());
}
