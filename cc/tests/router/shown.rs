//! What is shown of a subnet: what its router has and has counted, and what differs from what is wanted.

use crate::flat::{associate, default_vpc, no_nodes_here, plug};
use crate::vpc::{TestVpc, entry};
use crate::world::{BRIDGE, Guest, World, must, runs_elsewhere};
use karri_cc::drive::Driver;
use karri_proto::internal::kernel::KernelLook;
use karri_proto::network::{RouteTarget, Subnet, Traffic};
use std::net::Ipv4Addr;

const B: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const NAMESPACE: &str = "karri-karri-t0-0000000001";

fn look(world: &World, subnet: &Subnet) -> KernelLook {
    let eyes = world.driver.eyes();
    world.runtime.block_on(eyes.look(&world.wanted, subnet)).unwrap()
}

/// What the line has counted.
#[track_caller]
fn counted(look: &KernelLook, place: &str, text: &str) -> u64 {
    let line = look.lines.iter().find(|line| line.place.ends_with(place) && line.text == text);
    line.unwrap_or_else(|| panic!("{place}: {text} in {:#?}", look.lines)).packets.unwrap()
}

#[test]
fn a_routers_part_of_a_subnet_is_shown_with_what_it_has_counted() {
    if runs_elsewhere("shown::a_routers_part_of_a_subnet_is_shown_with_what_it_has_counted") {
        return;
    }
    let mut world = World::new();
    let mut vpc = TestVpc::new(1);
    vpc.route("b", "192.0.2.0/24", RouteTarget::Blackhole);
    let deny = entry(90, false, Traffic::Tcp { from: 80, to: 80 }, "10.0.0.0/24");
    vpc.acls.get_mut("b").unwrap().ingress.insert(0, deny);
    world.become_wanted(&[&vpc]);
    let (a, b) = (Guest::plug(&vpc, "a"), Guest::plug(&vpc, "b"));
    b.serve(80);
    let (there, here) = (vpc.subnets["b"].clone(), vpc.subnets["a"].clone());
    let before = look(&world, &there);
    assert_eq!(before.differs, Vec::<String>::new());
    let chain = format!("{NAMESPACE}: iptables mangle s{:x}-acl-in", there.tag);
    let rule = "-s 10.0.0.0/24 -p tcp -m tcp --dport 80 -j DROP";
    assert!(a.connect(B, 80).is_err());
    let after = look(&world, &there);
    assert!(counted(&after, &chain, rule) > counted(&before, &chain, rule));
    let has = |look: &KernelLook, text: &str| look.lines.iter().any(|line| line.text.contains(text));
    assert!(
        has(&after, "blackhole 192.0.2.0/24 proto 75")
            && has(&after, &format!("port {BRIDGE}s{:x}: up", there.tag))
    );
    // Of the other subnet it is another part.
    let other = look(&world, &here);
    assert_eq!(other.differs, Vec::<String>::new());
    assert!(!has(&other, "--dport 80 -j DROP") && !has(&other, "blackhole 192.0.2.0/24"));

    let tag = there.tag;
    for (spoil, sentence) in [
        (format!("iptables -t mangle -F s{tag:x}-acl-in"), format!("{chain} lacks: {rule}")),
        (
            "iptables -P FORWARD ACCEPT".to_owned(),
            format!("{NAMESPACE}: iptables filter FORWARD lacks: policy DROP"),
        ),
        (
            "iptables -A FORWARD -s 192.0.2.7 -j ACCEPT".to_owned(),
            format!("{NAMESPACE}: iptables filter FORWARD has besides: -s 192.0.2.7/32 -j ACCEPT"),
        ),
        ("iptables -N theirs".to_owned(), format!("{NAMESPACE}: iptables filter theirs is nobody's")),
        (
            format!("ip route delete blackhole 192.0.2.0/24 table {}", 1_000_000 + tag),
            format!("{NAMESPACE}: ip route table {} lacks: blackhole 192.0.2.0/24", 1_000_000 + tag),
        ),
        ("ip rule flush".to_owned(), format!("{NAMESPACE}: ip rule lacks: iif s{tag:x}")),
    ] {
        must(&format!("ip netns exec {NAMESPACE} {spoil}"));
        let differs = look(&world, &there).differs;
        assert!(differs.iter().any(|what| what.starts_with(&sentence)), "{spoil}: {differs:?}");
        world.restart(); // which looks at everything
        world.apply();
        assert_eq!(look(&world, &there).differs, Vec::<String>::new(), "{spoil}");
    }
    must(&format!("ip link set {BRIDGE}s{tag:x} nomaster"));
    let differs = look(&world, &there).differs;
    assert!(
        differs.contains(&format!("{BRIDGE}s{tag:x} is no port of bridge {BRIDGE}.{tag:x}")),
        "{differs:?}"
    );
    must(&format!("ip netns delete {NAMESPACE}"));
    let differs = look(&world, &there).differs;
    assert!(differs.contains(&format!("namespace {NAMESPACE} is missing")), "{differs:?}");
    world.become_wanted(&[]);
    assert_eq!(look(&world, &there), KernelLook::default(), "it is not wanted here");
}

#[test]
fn the_flat_networks_translations_are_shown() {
    if runs_elsewhere("shown::the_flat_networks_translations_are_shown") {
        return;
    }
    let mut world = World::new();
    no_nodes_here();
    let outside = world.outside();
    let mut vpc = default_vpc();
    associate(&mut vpc, PUBLIC, "a");
    world.become_wanted(&[&vpc]);
    let _a = plug("a", 5);
    let (chain, rule) =
        (format!("KARRI-PRE-{BRIDGE}"), "-d 203.0.113.5/32 -j DNAT --to-destination 172.31.0.5");
    let flat = vpc.subnets["a"].clone();
    let before = look(&world, &flat);
    assert_eq!(before.differs, Vec::<String>::new());
    assert!(outside.seen_as(PUBLIC, 80).is_some());
    assert_eq!(counted(&look(&world, &flat), &chain, rule), counted(&before, &chain, rule) + 1);
    must(&format!("iptables -t nat -D {chain} {rule}"));
    assert_eq!(look(&world, &flat).differs, [format!("iptables nat {chain} lacks: {rule}")]);
}
