//! A VPC for tests: two subnets in this zone, one in another.

use super::{Input, Lease, Site};
use karri_proto::network::{
    Acl, AclEntry, AddressRange, DhcpOptions, FarPort, Nat, Net4, PublicAddress, RegionNames, Route,
    RouteTable, RouteTarget, SegmentTag, Shape, Subnet, Traffic, Vpc,
};
use std::net::Ipv4Addr;

pub const A: SegmentTag = 0x1001;
pub const B: SegmentTag = 0x1002;
pub const ELSEWHERE: SegmentTag = 0x1003;

pub fn site() -> Site {
    Site { zone: "zone-a".to_owned(), extends: false, bridge: "karri0".to_owned() }
}

pub fn net(text: &str) -> Net4 {
    let (address, prefix) = text.split_once('/').unwrap();
    Net4 { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

pub fn id<T: std::str::FromStr>(prefix: &str, number: u32) -> T
where
    T::Err: std::fmt::Debug,
{
    format!("{prefix}-{number:08x}").parse().unwrap()
}

pub fn vpc() -> Vpc {
    Vpc {
        id: id("vpc", 1),
        ranges: vec![net("10.0.0.0/16")],
        internet_gateway: Some(id("igw", 1)),
        dhcp: DhcpOptions::default(),
        dns_support: true,
        dns_hostnames: true,
        transit: 0x1000,
    }
}

pub fn names() -> RegionNames {
    RegionNames {
        domain: "ec2.internal".to_owned(),
        public_domain: "compute-1.internal".to_owned(),
        public: vec![AddressRange { first: [203, 0, 113, 1].into(), last: [203, 0, 113, 254].into() }],
    }
}

pub fn subnet(tag: SegmentTag) -> Subnet {
    Subnet {
        id: id("subnet", tag),
        vpc: id("vpc", 1),
        zone: if tag == ELSEWHERE { "zone-b" } else { "zone-a" }.to_owned(),
        tag,
        range: net(&format!("10.0.{}.0/24", tag - A)),
        route_table: id("rtb", tag),
        acl: id("acl", tag),
    }
}

pub fn table(tag: SegmentTag, routes: &[(&str, RouteTarget)]) -> RouteTable {
    let routes = routes.iter().map(|(to, target)| Route { to: net(to), target: target.clone() });
    RouteTable { id: id("rtb", tag), vpc: id("vpc", 1), routes: routes.collect() }
}

pub fn entry(number: u16, allow: bool, traffic: Traffic, range: &str) -> AclEntry {
    AclEntry { number, allow, traffic, range: net(range) }
}

pub fn everything() -> AclEntry {
    entry(100, true, Traffic::All, "0.0.0.0/0")
}

pub fn acl(tag: SegmentTag, ingress: Vec<AclEntry>, egress: Vec<AclEntry>) -> Acl {
    Acl { id: id("acl", tag), vpc: id("vpc", 1), ingress, egress }
}

pub fn open(tag: SegmentTag) -> Acl {
    acl(tag, vec![everything()], vec![everything()])
}

pub fn lease(tag: SegmentTag, last: u8) -> Lease {
    let third = u8::try_from(tag - A).unwrap();
    Lease {
        tag,
        port: id("eni", tag << 8 | u32::from(last)),
        mac: format!("02:00:0a:00:{third:02x}:{last:02x}"),
        address: [10, 0, third, last].into(),
        hostname: format!("ip-10-0-{third}-{last}.ec2.internal"),
    }
}

/// The same of an instance in another cluster of the zone.
pub fn far(tag: SegmentTag, last: u8) -> FarPort {
    let Lease { tag, port, mac, address, hostname } = lease(tag, last);
    FarPort { port, vpc: id("vpc", 1), tag, mac, address, hostname }
}

pub fn address(public: [u8; 4], of: &Lease) -> PublicAddress {
    PublicAddress {
        public: public.into(),
        private: of.address,
        port: of.port.clone(),
        vpc: id("vpc", 1),
        subnet: id("subnet", of.tag),
    }
}

pub fn nat(tag: SegmentTag, public: Option<[u8; 4]>) -> Nat {
    Nat {
        id: id("nat", 1),
        vpc: id("vpc", 1),
        subnet: id("subnet", tag),
        private: [10, 0, u8::try_from(tag - A).unwrap(), 200].into(),
        public: public.map(Ipv4Addr::from),
    }
}

/// A public subnet with a NAT gateway, and a private one that uses it.
pub fn usual() -> Vec<Shape> {
    let nat_target = RouteTarget::Nat(id("nat", 1));
    vec![
        Shape::Vpc(vpc()),
        Shape::Subnet(subnet(A)),
        Shape::Subnet(subnet(B)),
        Shape::Subnet(subnet(ELSEWHERE)),
        Shape::RouteTable(table(A, &[("0.0.0.0/0", RouteTarget::Internet)])),
        Shape::RouteTable(table(
            B,
            &[("0.0.0.0/0", nat_target), ("198.51.100.0/24", RouteTarget::Blackhole)],
        )),
        Shape::Acl(open(A)),
        Shape::Acl(open(B)),
        Shape::Nat(nat(A, Some([203, 0, 113, 200]))),
        Shape::Address(address([203, 0, 113, 5], &lease(A, 5))),
    ]
}

pub fn input(shapes: &[Shape]) -> Input {
    let input = Input::new(shapes, vec![lease(B, 5), lease(A, 5)]).unwrap();
    Input { names: Some(names().into()), ..input }
}
