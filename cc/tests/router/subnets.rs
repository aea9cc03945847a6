//! Subnets of one VPC and of another: who reaches whom, and what guests are told.

use crate::vpc::TestVpc;
use crate::world::{BRIDGE, Guest, HOST, OUTSIDE, World, host_socket, must, run, runs_elsewhere};
use karri_proto::network::{DhcpOptions, RouteTarget};
use std::net::Ipv4Addr;

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);
const HOST_UNREACHABLE: i32 = 113;
/// Everything that could be Karri's on the host.
const LINKS: &str = "ip -o link | cut -d: -f2 | cut -d@ -f1 | grep -o 'karri-t0.*' | sort | tr '\\n' ' '";

#[test]
fn subnets_of_a_vpc_reach_each_other_and_no_other_vpc() {
    if runs_elsewhere("subnets::subnets_of_a_vpc_reach_each_other_and_no_other_vpc") {
        return;
    }
    let mut world = World::new();
    let (one, two) = (TestVpc::new(1), TestVpc::new(2));
    world.become_wanted(&[&one, &two]);
    let guests =
        [Guest::plug(&one, "a"), Guest::plug(&one, "b"), Guest::plug(&two, "a"), Guest::plug(&two, "b")];
    let [a, b, other_a, other_b] = &guests;
    b.serve(80);
    assert_eq!(a.seen_as(B, 80), Some(A), "from one subnet to another, nothing translated");
    assert!(other_b.pings(A) && b.pings(A));
    assert_eq!(other_a.seen_as(B, 80), None, "the same address in another VPC");
    other_b.serve(81);
    assert_eq!((a.seen_as(B, 81), other_a.seen_as(B, 81)), (None, Some(A)));
    // The gateway answers who asks it, and nothing else of it is there.
    assert!(a.pings([10, 0, 0, 1].into()) && !a.pings([10, 0, 1, 1].into()));
    assert!(a.connect([10, 0, 0, 1].into(), 53).is_ok(), "DNS");
    for (address, what) in [([172, 31, 0, 1], "the flat network"), ([169, 254, 0, 1], "the host")] {
        assert!(!a.pings(address.into()), "{what}");
    }
    // What the VPC has elsewhere is unreachable, and said so; what has no route is lost.
    let said = |command: &str| String::from_utf8_lossy(&a.inside(command).stdout).into_owned();
    let elsewhere = a.connect([10, 0, 9, 9].into(), 80).unwrap_err();
    assert_eq!(elsewhere.raw_os_error(), Some(HOST_UNREACHABLE), "{elsewhere}");
    assert!(said("busybox ping -c 1 -W 1 198.51.100.1").contains("100% packet loss"));

    // Only what is needed: with its last port a leg goes, and with its last leg the router.
    let mut less = TestVpc::new(1);
    less.leases.remove("b");
    drop(guests);
    // Those that serve keep their namespaces: the links are pulled out as a node would.
    must("for link in g1a g1b g2a g2b; do ip link delete $link 2>/dev/null; done; true");
    world.become_wanted(&[&less]);
    assert_eq!(must(LINKS).trim(), "karri-t0 karri-t0.101 karri-t0s101 karri-t0u1");
    assert_eq!(must("ls /run/netns").trim(), "karri-karri-t0-0000000001");
    world.become_wanted(&[]);
    assert_eq!(must(LINKS).trim(), "karri-t0");
    assert_eq!(must("ls /run/netns").trim(), "");
    let left = must(&format!(
        "pgrep -f -- '{0}/.*--interface=[s]10' | wc -l; find {0} -name hosts | wc -l",
        world.network.run_dir.display()
    ));
    assert_eq!(left, "0\n1\n", "dnsmasq of the flat network alone");
}

/// A guest knows or guesses the MAC of the bridge, which is that of one of its ports: the host is neither reached by it nor a way to others.
#[test]
fn the_host_is_no_part_of_a_segment() {
    if runs_elsewhere("subnets::the_host_is_no_part_of_a_segment") {
        return;
    }
    let mut world = World::new();
    let vpc = TestVpc::new(1);
    world.become_wanted(&[&vpc]);
    assert_eq!(
        must("ip -6 -o address | grep karri-t0 || true"),
        "",
        "no link of a segment or of a router speaks IPv6"
    );
    let (a, outside) = (Guest::plug(&vpc, "a"), world.outside());
    let bridge = must("ip -o link show karri-t0.101 | grep -o 'ether [^ ]*' | cut -d' ' -f2");
    a.must(&format!("ip neigh replace 10.0.0.1 lladdr {} dev eth0", bridge.trim()));
    let sender = a.socket();
    let (on_host, beyond) = (host_socket(), outside.socket());
    let comes = || {
        [(HOST, &on_host), (OUTSIDE, &beyond)].map(|(to, listener)| {
            sender.send_to(b"in", (to, 9)).unwrap();
            listener.recv(&mut [0; 9]).is_ok()
        })
    };
    assert_eq!(comes(), [false, false]);
    must(&format!("iptables -F KARRI-SEG-{BRIDGE}; iptables -F KARRI-FWD-{BRIDGE}"));
    assert_eq!(comes(), [true, true], "nothing else keeps it away");
    world.apply();
    assert_eq!(comes(), [false, false]);
}

#[test]
fn guests_get_addresses_options_and_names_from_their_own_subnet() {
    if runs_elsewhere("subnets::guests_get_addresses_options_and_names_from_their_own_subnet") {
        return;
    }
    let mut world = World::new();
    let mut vpc = TestVpc::new(1);
    world.become_wanted(&[&vpc]);
    let script = world.script();
    let (a, b) = (Guest::plug(&vpc, "a"), Guest::plug(&vpc, "b"));
    let lease_in = |guest: &Guest, tries: u32| {
        let options = "-O staticroutes -O mtu -O domain";
        let command = format!(
            "busybox udhcpc -i eth0 -f -q -n -t {tries} -T 1 {options} -s {} 2>/dev/null",
            script.display()
        );
        let text = String::from_utf8(guest.inside(&command).stdout).unwrap();
        text.lines()
            .find(|line| line.starts_with("10."))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let lease = |guest: &Guest| lease_in(guest, 10);
    let told = |address: &str, gateway: &str, dns: &str, domain: &str| {
        format!("{address} 24 {gateway} 1450 {dns} {domain} 169.254.169.254/32 {gateway} 0.0.0.0/0 {gateway}")
    };
    assert_eq!(lease(&a), Some(told("10.0.0.5", "10.0.0.1", "10.0.0.1", "ec2.internal")));
    assert_eq!(lease(&b), Some(told("10.0.1.5", "10.0.1.1", "10.0.1.1", "ec2.internal")));
    a.must("ip link set eth0 address 02:00:00:00:00:99");
    assert_eq!(lease_in(&a, 1), None, "a stranger");
    a.must(&format!("ip link set eth0 address {}", vpc.lease("a").mac));

    // Names, both ways and of both subnets.
    let asked = |guest: &Guest, what: &str, server: &str| {
        String::from_utf8_lossy(&guest.inside(&format!("busybox nslookup {what} {server}")).stdout)
            .into_owned()
    };
    assert!(asked(&a, "ip-10-0-1-5.ec2.internal", "10.0.0.1").contains("Address: 10.0.1.5"));
    assert!(asked(&b, "10.0.0.5", "10.0.1.1").contains("ip-10-0-0-5.ec2.internal"));
    assert!(!asked(&a, "ip-10-9-1-5.ec2.internal", "10.0.0.1").contains("10.9.1.5"), "not of the VPC");

    // What the VPC's options say takes the place of the cluster's own.
    vpc.vpc.dhcp = DhcpOptions {
        domain_name: Some("example.net".to_owned()),
        name_servers: vec![[192, 0, 2, 53].into()],
        ..DhcpOptions::default()
    };
    world.become_wanted(&[&vpc]);
    assert_eq!(lease(&b), Some(told("10.0.1.5", "10.0.1.1", "192.0.2.53", "example.net")));
    vpc.vpc.dns_support = false;
    world.become_wanted(&[&vpc]);
    assert!(a.connect([10, 0, 0, 1].into(), 53).is_err(), "nobody answers");
}

#[test]
fn a_route_leads_by_an_instance_or_nowhere_and_the_longest_prefix_decides() {
    if runs_elsewhere("subnets::a_route_leads_by_an_instance_or_nowhere_and_the_longest_prefix_decides") {
        return;
    }
    let mut world = World::new();
    let mut vpc = TestVpc::new(1);
    vpc.route("a", "198.51.0.0/16", RouteTarget::Interface(vpc.lease("b").port.clone()));
    vpc.route("a", "198.51.100.0/24", RouteTarget::Blackhole);
    world.become_wanted(&[&vpc]);
    let (a, b) = (Guest::plug(&vpc, "a"), Guest::plug(&vpc, "b"));
    b.must("ip address add 198.51.7.7/32 dev lo");
    b.must("ip address add 198.51.100.7/32 dev lo");
    b.serve(80);
    assert_eq!(a.seen_as([198, 51, 7, 7].into(), 80), Some(A), "by b, which stands for it");
    assert_eq!(a.seen_as([198, 51, 100, 7].into(), 80), None, "a hole in it");
    vpc.route("a", "198.51.100.0/24", RouteTarget::Interface(vpc.lease("b").port.clone()));
    vpc.route("a", "198.51.0.0/16", RouteTarget::Blackhole);
    world.become_wanted(&[&vpc]);
    assert_eq!(a.seen_as([198, 51, 7, 7].into(), 80), None);
    assert_eq!(a.seen_as([198, 51, 100, 7].into(), 80), Some(A));
    vpc.leases.remove("b");
    world.become_wanted(&[&vpc]);
    assert_eq!(a.seen_as([198, 51, 100, 7].into(), 80), None, "what it named is no more");
    assert!(run(&format!("ip link show {BRIDGE}s102")).status.code() != Some(0));
}
