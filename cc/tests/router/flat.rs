//! Public addresses of instances on the flat network.

use crate::vpc::TestVpc;
use crate::world::{BRIDGE, Guest, HOST, OUTSIDE, World, host_seen_as, must, runs_elsewhere};
use karri_proto::network::RouteTarget;
use std::net::Ipv4Addr;

const PUBLIC_A: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const PUBLIC_B: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 6);
const PUBLIC_V: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// A VPC whose subnet is the flat network, with instances a and b on it.
pub fn default_vpc() -> TestVpc {
    let mut vpc = TestVpc::new(9);
    vpc.subnets.remove("b");
    let subnet = vpc.subnets.get_mut("a").unwrap();
    subnet.range = crate::vpc::net("172.31.0.0/20");
    for (name, last) in [("a", 5u8), ("b", 6)] {
        vpc.launch(name, "a", last);
        let lease = vpc.leases.get_mut(name).unwrap();
        lease.address = [172, 31, 0, last].into();
        lease.tag = 0;
    }
    vpc.subnets.get_mut("a").unwrap().tag = 0;
    vpc
}

pub fn associate(vpc: &mut TestVpc, public: Ipv4Addr, name: &str) {
    vpc.associate(public, name);
    vpc.addresses.last_mut().unwrap().subnet = vpc.subnets["a"].id.clone();
}

/// As on a host without nodes: where there are some, bridged packets meet iptables, and nodes let their ports hear
/// themselves.
pub fn no_nodes_here() {
    must("echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables");
}

pub fn plug(name: &str, last: u8) -> Guest {
    let guest = Guest::new();
    guest.wire(&format!("f{name}"), Some(BRIDGE));
    guest.must(&format!("ip address add 172.31.0.{last}/20 dev eth0"));
    guest.must("ip route add default via 172.31.0.1");
    guest.serve(80);
    guest
}

#[test]
fn instances_on_the_flat_network_have_public_addresses_too() {
    if runs_elsewhere("flat::instances_on_the_flat_network_have_public_addresses_too") {
        return;
    }
    let mut world = World::new();
    no_nodes_here();
    let outside = world.outside();
    outside.serve(80);
    let mut vpc = default_vpc();
    associate(&mut vpc, PUBLIC_A, "a");
    let mut other = TestVpc::new(1);
    other.route("a", "0.0.0.0/0", RouteTarget::Internet);
    other.associate(PUBLIC_V, "a");
    world.become_wanted(&[&vpc, &other]);
    let (a, b, theirs) = (plug("a", 5), plug("b", 6), Guest::plug(&other, "a"));
    theirs.serve(80);
    assert_eq!(outside.seen_as(PUBLIC_A, 80), Some(OUTSIDE), "in");
    assert_eq!(
        host_seen_as(PUBLIC_A, 80),
        Some([172, 31, 0, 1].into()),
        "from the host, as by the private one"
    );
    assert_eq!(a.seen_as(OUTSIDE, 80), Some(PUBLIC_A), "out");
    assert_eq!(a.seen_as(PUBLIC_A, 80), Some(PUBLIC_A), "to itself");
    assert_eq!(b.seen_as(OUTSIDE, 80), Some(HOST), "without one, as ever");
    assert_eq!(b.seen_as(PUBLIC_A, 80), Some([172, 31, 0, 1].into()));
    assert_eq!(b.seen_as([172, 31, 0, 5].into(), 80), Some([172, 31, 0, 6].into()), "untouched");
    // Between the flat network and a VPC there is what is public, and nothing else.
    assert_eq!((a.seen_as(PUBLIC_V, 80), theirs.seen_as(PUBLIC_A, 80)), (Some(PUBLIC_A), Some(PUBLIC_V)));
    assert_eq!(theirs.seen_as([172, 31, 0, 6].into(), 80), None, "a private address");
    associate(&mut vpc, PUBLIC_B, "b");
    world.become_wanted(&[&vpc, &other]);
    assert_eq!((b.seen_as(PUBLIC_A, 80), a.seen_as(PUBLIC_B, 80)), (Some(PUBLIC_B), Some(PUBLIC_A)));
    // Moved, and given back.
    let held = outside.connect(PUBLIC_B, 80).unwrap();
    vpc.disassociate(PUBLIC_B);
    associate(&mut vpc, PUBLIC_A, "b");
    world.become_wanted(&[&vpc, &other]);
    drop(held);
    assert_eq!((b.seen_as(OUTSIDE, 80), a.seen_as(OUTSIDE, 80)), (Some(PUBLIC_A), Some(HOST)));
    assert_eq!(outside.seen_as(PUBLIC_B, 80), None);
    world.remove();
    assert!(!must("iptables-save").contains("KARRI"));
}

#[test]
fn where_nobody_knows_the_way_to_public_addresses_the_host_speaks_for_them() {
    if runs_elsewhere("flat::where_nobody_knows_the_way_to_public_addresses_the_host_speaks_for_them") {
        return;
    }
    let mut world = World::new();
    world.network.masquerade_public = None;
    world.restart();
    let outside = world.outside();
    outside.serve(80);
    outside.must("ip route delete 203.0.113.0/24");
    let (mut vpc, mut other) = (default_vpc(), TestVpc::new(1));
    associate(&mut vpc, PUBLIC_A, "a");
    other.route("a", "0.0.0.0/0", RouteTarget::Internet);
    other.associate(PUBLIC_V, "a");
    world.become_wanted(&[&vpc, &other]);
    let (a, theirs) = (plug("a", 5), Guest::plug(&other, "a"));
    theirs.serve(80);
    assert_eq!((a.seen_as(OUTSIDE, 80), theirs.seen_as(OUTSIDE, 80)), (Some(HOST), Some(HOST)));
    assert_eq!((a.seen_as(PUBLIC_V, 80), theirs.seen_as(PUBLIC_A, 80)), (Some(PUBLIC_A), Some(PUBLIC_V)));
}
