//! Internet gateways, public addresses, NAT gateways and network ACLs.

use crate::vpc::{TestVpc, entry};
use crate::world::{Guest, HOST, OUTSIDE, World, host_seen_as, must, runs_elsewhere, serve};
use karri_proto::network::{RouteTarget, Traffic};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);
const PUBLIC_A: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const PUBLIC_B: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 6);
const PUBLIC_NAT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 200);

/// Both subnets lead to the internet.
fn open_vpc(number: u32) -> TestVpc {
    let mut vpc = TestVpc::new(number);
    vpc.route("a", "0.0.0.0/0", RouteTarget::Internet);
    vpc.route("b", "0.0.0.0/0", RouteTarget::Internet);
    vpc
}

fn everybody_serves(guests: &[&Guest]) {
    guests.iter().for_each(|guest| guest.serve(80));
}

#[test]
fn a_public_address_leads_to_its_instance_from_everywhere() {
    if runs_elsewhere("public::a_public_address_leads_to_its_instance_from_everywhere") {
        return;
    }
    let mut world = World::new();
    let outside = world.outside();
    let mut vpc = open_vpc(1);
    vpc.associate(PUBLIC_A, "a");
    world.become_wanted(&[&vpc]);
    let (a, b) = (Guest::plug(&vpc, "a"), Guest::plug(&vpc, "b"));
    everybody_serves(&[&a, &b, &outside]);
    assert_eq!(outside.seen_as(PUBLIC_A, 80), Some(OUTSIDE), "in");
    assert_eq!(host_seen_as(PUBLIC_A, 80), Some(HOST), "from the host");
    assert_eq!(a.seen_as(OUTSIDE, 80), Some(PUBLIC_A), "out");
    assert_eq!(a.seen_as(PUBLIC_A, 80), Some(PUBLIC_A), "to itself");
    // Without a public address nothing comes in or goes out, though the subnet's routes lead there.
    assert_eq!(b.seen_as(OUTSIDE, 80), None);
    assert_eq!(b.seen_as(PUBLIC_A, 80), None);
    assert_eq!(outside.seen_as(A, 80), None);
    must("ip route add 10.0.0.0/16 via 169.254.0.2 dev karri-t0u1 onlink");
    assert!(
        !crate::world::run("busybox ping -c 1 -W 1 10.0.1.5").status.success(),
        "not even if the host wants it"
    );
    must("ip route delete 10.0.0.0/16");
    // Two of them reach each other by their public addresses, as those.
    vpc.associate(PUBLIC_B, "b");
    world.become_wanted(&[&vpc]);
    assert_eq!((b.seen_as(PUBLIC_A, 80), a.seen_as(PUBLIC_B, 80)), (Some(PUBLIC_B), Some(PUBLIC_A)));
    assert_eq!(b.seen_as(A, 80), Some(B), "by its own address as ever");
    // Another VPC's instance is somebody outside.
    let mut other = open_vpc(2);
    let public = Ipv4Addr::new(203, 0, 113, 7);
    other.associate(public, "b");
    world.become_wanted(&[&vpc, &other]);
    let theirs = Guest::plug(&other, "b");
    theirs.serve(80);
    assert_eq!((theirs.seen_as(PUBLIC_A, 80), a.seen_as(public, 80)), (Some(public), Some(PUBLIC_A)));
    // Nothing of the host is reachable, by whatever way.
    serve(std::net::TcpListener::bind("0.0.0.0:8080").unwrap());
    for address in [HOST, [172, 31, 0, 1].into(), [169, 254, 0, 1].into()] {
        assert!(a.connect(address, 8080).is_err(), "{address}");
    }
    // Without the gateway the addresses lead nowhere.
    vpc.vpc.internet_gateway = None;
    world.become_wanted(&[&vpc, &other]);
    assert_eq!((outside.seen_as(PUBLIC_A, 80), a.seen_as(OUTSIDE, 80)), (None, None));
}

#[test]
fn an_address_moves_to_another_instance_and_takes_no_connection_with_it() {
    if runs_elsewhere("public::an_address_moves_to_another_instance_and_takes_no_connection_with_it") {
        return;
    }
    let mut world = World::new();
    let outside = world.outside();
    let mut vpc = open_vpc(1);
    vpc.associate(PUBLIC_A, "a");
    vpc.associate(PUBLIC_B, "b");
    vpc.launch("c", "b", 7);
    world.become_wanted(&[&vpc]);
    let (a, b, c) = (Guest::plug(&vpc, "a"), Guest::plug(&vpc, "b"), Guest::plug(&vpc, "c"));
    everybody_serves(&[&b, &c]);
    let (first, staying) = (a.listen(90), b.listen(90));
    let mut moving = outside.connect(PUBLIC_A, 90).unwrap();
    let mut other = outside.connect(PUBLIC_B, 90).unwrap();
    let (mut at_a, _) = first.accept().unwrap();
    let (mut at_b, _) = staying.accept().unwrap();
    let says = |stream: &mut std::net::TcpStream, at: &mut std::net::TcpStream| {
        at.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
        let _ = stream.write_all(b"x");
        let mut byte = [0];
        at.read_exact(&mut byte).is_ok()
    };
    assert!(says(&mut moving, &mut at_a) && says(&mut other, &mut at_b));
    vpc.associate(PUBLIC_A, "c");
    world.become_wanted(&[&vpc]);
    assert!(!says(&mut moving, &mut at_a), "the old owner hears nothing more");
    assert!(says(&mut other, &mut at_b), "other connections go on");
    assert_eq!(outside.seen_as(PUBLIC_A, 80), Some(OUTSIDE), "the new owner serves");
    outside.serve(80);
    assert_eq!((c.seen_as(OUTSIDE, 80), a.seen_as(OUTSIDE, 80)), (Some(PUBLIC_A), None));
    // A controller of another life does not take it for a move.
    world.restart();
    world.apply();
    assert!(says(&mut other, &mut at_b));
    vpc.disassociate(PUBLIC_A);
    world.become_wanted(&[&vpc]);
    assert_eq!((outside.seen_as(PUBLIC_A, 80), c.seen_as(OUTSIDE, 80)), (None, None));
}

#[test]
fn a_private_subnet_goes_out_by_its_nat_gateway_and_nobody_comes_in() {
    if runs_elsewhere("public::a_private_subnet_goes_out_by_its_nat_gateway_and_nobody_comes_in") {
        return;
    }
    let mut world = World::new();
    let outside = world.outside();
    let mut vpc = open_vpc(1);
    let nat = vpc.nat("a", PUBLIC_NAT);
    vpc.route("b", "0.0.0.0/0", nat);
    vpc.associate(PUBLIC_A, "a");
    world.become_wanted(&[&vpc]);
    let (a, b) = (Guest::plug(&vpc, "a"), Guest::plug(&vpc, "b"));
    everybody_serves(&[&a, &b, &outside]);
    assert_eq!(b.seen_as(OUTSIDE, 80), Some(PUBLIC_NAT));
    assert_eq!(a.seen_as(OUTSIDE, 80), Some(PUBLIC_A), "the public subnet by its own address");
    assert_eq!(b.seen_as(PUBLIC_A, 80), Some(PUBLIC_NAT), "back into the VPC, as from outside");
    assert_eq!(b.seen_as(A, 80), Some(B), "by its own address as ever");
    assert_eq!(outside.seen_as(PUBLIC_NAT, 80), None);
    assert!(!outside.pings(PUBLIC_NAT));
    // The gateway's own subnet is one more on the way, there and back.
    let tcp = |from, to| Traffic::Tcp { from, to };
    let all = || entry(200, true, Traffic::All, "0.0.0.0/0");
    for (what, inward, outward) in [
        ("into it", vec![entry(90, false, tcp(80, 80), "10.0.1.0/24"), all()], vec![all()]),
        ("out of it", vec![all()], vec![entry(90, false, tcp(80, 80), "192.0.2.0/24"), all()]),
        ("the answer into it", vec![entry(90, false, tcp(1024, 65_535), "192.0.2.0/24"), all()], vec![all()]),
        (
            "the answer out of it",
            vec![all()],
            vec![entry(90, false, tcp(1024, 65_535), "10.0.1.0/24"), all()],
        ),
    ] {
        let acl = vpc.acls.get_mut("a").unwrap();
        (acl.ingress, acl.egress) = (inward, outward);
        world.become_wanted(&[&vpc]);
        assert_eq!(b.seen_as(OUTSIDE, 80), None, "{what}");
        assert_eq!(b.seen_as(A, 80).is_some(), what != "into it" && what != "the answer out of it", "{what}");
    }
    let acl = vpc.acls.get_mut("a").unwrap();
    (acl.ingress, acl.egress) = (vec![all()], vec![all()]);
    world.become_wanted(&[&vpc]);
    assert_eq!(b.seen_as(OUTSIDE, 80), Some(PUBLIC_NAT));
    // A hole in the private subnet's routes, and one in the gateway's own.
    vpc.route("b", "192.0.2.0/24", RouteTarget::Blackhole);
    world.become_wanted(&[&vpc]);
    assert_eq!(b.seen_as(OUTSIDE, 80), None);
    vpc.tables.get_mut("b").unwrap().routes.pop();
    vpc.route("a", "192.0.2.0/24", RouteTarget::Blackhole);
    world.become_wanted(&[&vpc]);
    assert_eq!(b.seen_as(OUTSIDE, 80), None, "the NAT gateway has no way there");
}

#[test]
fn acls_decide_in_their_order_about_each_packet_and_both_ways() {
    if runs_elsewhere("public::acls_decide_in_their_order_about_each_packet_and_both_ways") {
        return;
    }
    let mut world = World::new();
    let outside = world.outside();
    let mut vpc = open_vpc(1);
    vpc.associate(PUBLIC_B, "b");
    let (a, b);
    world.become_wanted(&[&vpc]);
    (a, b) = (Guest::plug(&vpc, "a"), Guest::plug(&vpc, "b"));
    everybody_serves(&[&b]);
    b.serve(81);
    let tcp = |port| Traffic::Tcp { from: port, to: port };
    let all = || entry(200, true, Traffic::All, "0.0.0.0/0");
    let mut becomes = |ingress, egress| {
        let acl = vpc.acls.get_mut("b").unwrap();
        (acl.ingress, acl.egress) = (ingress, egress);
        world.become_wanted(&[&vpc]);
        [a.seen_as(B, 80).is_some(), a.seen_as(B, 81).is_some(), outside.seen_as(PUBLIC_B, 80).is_some()]
    };
    let deny_80 = || entry(90, false, tcp(80), "10.0.0.0/24");
    assert_eq!(becomes(vec![deny_80(), all()], vec![all()]), [false, true, true]);
    assert_eq!(
        becomes(vec![entry(80, true, tcp(80), "10.0.0.5/32"), deny_80(), all()], vec![all()]),
        [true; 3]
    );
    assert_eq!(becomes(vec![entry(90, true, tcp(80), "192.0.2.0/24")], vec![all()]), [false, false, true]);
    // It knows no connections: without leave for the answers nothing comes of what is let in.
    assert_eq!(becomes(vec![all()], vec![]), [false; 3]);
    let answers = entry(100, true, Traffic::Tcp { from: 1024, to: 65_535 }, "10.0.0.0/16");
    assert_eq!(becomes(vec![all()], vec![answers]), [true, true, false]);
    // DHCP and DNS of the subnet's own gateway are no matter of it.
    assert_eq!(becomes(vec![], vec![]), [false; 3]);
    assert!(b.connect([10, 0, 1, 1].into(), 53).is_ok());
}
