//! Names of addresses, asked for by guests.

use crate::flat::{associate, default_vpc, no_nodes_here, plug};
use crate::vpc::TestVpc;
use crate::world::{BRIDGE, DEADLINE, Guest, World, must, runs_elsewhere, until};
use karri_cc::drive::Host;
use std::net::Ipv4Addr;

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const NAME: &str = "ec2-203-0-113-5.compute-1.internal";
const THEIRS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 6);
const THEIR_NAME: &str = "ec2-203-0-113-6.compute-1.internal";

/// The addresses, or the name, that the answer tells. None: it says that there is no such name.
#[track_caller]
fn answer(guest: &Guest, what: &str, server: &str) -> Option<String> {
    let told = guest.inside(&format!("busybox nslookup {what} {server}")).stdout;
    let told = String::from_utf8_lossy(&told);
    let (_, answer) = told.split_once("\n\n").unwrap_or_default();
    if answer.contains("NXDOMAIN") {
        return None;
    }
    let line = |line: &str| {
        let after = line.strip_prefix("Address: ");
        after.or(line.split_once("name = ").map(|(_, name)| name)).map(str::to_owned)
    };
    let found: Vec<String> = answer.lines().filter_map(line).collect();
    assert!(!found.is_empty(), "{what} of {server}: {told}"); // silence and refusals are no answers
    Some(found.join(" "))
}

fn is(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn pids(world: &World) -> String {
    must(&format!("find {} -name dnsmasq.pid -exec cat {{}} + | sort", world.network.run_dir.display()))
}

#[test]
fn a_public_name_leads_to_the_private_address_inside_its_vpc_and_to_the_public_one_elsewhere() {
    if runs_elsewhere(
        "names::a_public_name_leads_to_the_private_address_inside_its_vpc_and_to_the_public_one_elsewhere",
    ) {
        return;
    }
    let mut world = World::new();
    let (mut one, mut two) = (TestVpc::new(1), TestVpc::new(2));
    one.associate(PUBLIC, "a");
    two.associate(THEIRS, "b");
    world.become_wanted(&[&one, &two]);
    let (b, other) = (Guest::plug(&one, "b"), Guest::plug(&two, "a"));
    let asked = |what: &str| answer(&b, what, "10.0.1.1");
    let asked_there = |what: &str| answer(&other, what, "10.0.0.1");
    assert_eq!((asked(NAME), asked(THEIR_NAME)), (is("10.0.0.5"), is("203.0.113.6")));
    assert_eq!((asked_there(NAME), asked_there(THEIR_NAME)), (is("203.0.113.5"), is("10.0.1.5")));
    assert_eq!(asked("ec2-203-0-113-99.compute-1.internal"), is("203.0.113.99"), "nobody's, and yet a name");
    for none in
        ["ec2-198-51-100-1.compute-1.internal", "ec2-203-0-113-5.ec2.internal", "x.compute-1.internal"]
    {
        assert_eq!(asked(none), None, "{none}");
    }
    // Addresses are called by one name each, whatever leads to them.
    assert_eq!(asked("10.0.0.5"), is("ip-10-0-0-5.ec2.internal"));
    assert_eq!(asked("203.0.113.5"), is(NAME));

    // It moves, is given back, and comes again: nothing starts anew for it.
    let before = pids(&world);
    assert_eq!(before.lines().count(), 5, "of four subnets and of the flat network");
    for (holder, leads_to) in [(Some("b"), "10.0.1.5"), (None, "203.0.113.5"), (Some("a"), "10.0.0.5")] {
        match holder {
            Some(name) => one.associate(PUBLIC, name),
            None => one.disassociate(PUBLIC),
        }
        world.become_wanted(&[&one, &two]);
        until("the name follows", DEADLINE, || asked(NAME) == is(leads_to));
    }
    one.vpc.dns_hostnames = false;
    world.become_wanted(&[&one, &two]);
    until("as from outside", DEADLINE, || asked(NAME) == is("203.0.113.5"));
    world.restart();
    world.become_wanted(&[&one, &two]);
    assert_eq!(pids(&world), before);
}

#[test]
fn names_of_both_kinds_lead_to_private_addresses_on_the_flat_network() {
    if runs_elsewhere("names::names_of_both_kinds_lead_to_private_addresses_on_the_flat_network") {
        return;
    }
    let mut world = World::new();
    no_nodes_here();
    let (mut vpc, mut other) = (default_vpc(), TestVpc::new(1));
    // A part of it that is another zone's.
    let mut elsewhere = vpc.subnets["a"].clone();
    elsewhere.id = crate::vpc::id("subnet", 0x999);
    elsewhere.zone = "zone-b".to_owned();
    elsewhere.range = crate::vpc::net("172.31.16.0/20");
    vpc.subnets.insert("elsewhere", elsewhere);
    associate(&mut vpc, PUBLIC, "a");
    other.associate(THEIRS, "a");
    let host = |name: &str| {
        let lease = vpc.lease(name);
        let hostname = format!("ip-{}", lease.address.to_string().replace('.', "-"));
        Host { address: lease.address, mac: lease.mac.clone(), hostname }
    };
    world.wanted.hosts = vec![host("a"), host("b")];
    world.become_wanted(&[&vpc, &other]);
    let script = world.script();

    let guest = Guest::new();
    guest.wire("fl", Some(BRIDGE));
    guest.must(&format!("ip link set eth0 address {}", vpc.lease("b").mac));
    let lease = guest.must(&format!(
        "busybox udhcpc -i eth0 -f -q -n -t 10 -T 1 -O staticroutes -O mtu -O domain -s {} 2>/dev/null",
        script.display()
    ));
    let told = lease.lines().find(|line| line.starts_with("172.31.0.6 ")).unwrap_or_default();
    assert!(told.contains(" 1500 172.31.0.1 ec2.internal "), "{lease}");
    drop(guest);
    must("ip link delete fl 2>/dev/null || true");

    let b = plug("b", 6);
    let asked = |what: &str| answer(&b, what, "172.31.0.1");
    for (name, address) in [
        ("ip-172-31-0-5.ec2.internal", "172.31.0.5"),
        ("ip-172-31-16-7.ec2.internal", "172.31.16.7"),
        (NAME, "172.31.0.5"),
        (THEIR_NAME, "203.0.113.6"),
    ] {
        assert_eq!(asked(name), is(address), "{name}");
    }
    assert_eq!(asked("ip-10-0-0-5.ec2.internal"), None, "of a VPC");
    assert_eq!(asked("172.31.0.5"), is("ip-172-31-0-5.ec2.internal"));
    assert_eq!(asked("172.31.0.6"), is("ip-172-31-0-6.ec2.internal"), "which is leased");
    assert_eq!(asked("172.31.0.9"), is("ip-172-31-0-9.ec2.internal"), "which is nobody's");
    let before = pids(&world);
    assert_eq!(before.lines().count(), 3, "of two subnets and of the flat network");
    associate(&mut vpc, PUBLIC, "b");
    world.become_wanted(&[&vpc, &other]);
    until("the name follows", DEADLINE, || asked(NAME) == is("172.31.0.6"));
    vpc.disassociate(PUBLIC);
    world.become_wanted(&[&vpc, &other]);
    until("it is nobody's", DEADLINE, || asked(NAME) == is("203.0.113.5"));
    world.restart();
    world.become_wanted(&[&vpc, &other]);
    assert_eq!(pids(&world), before);
}
