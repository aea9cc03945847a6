//! Public addresses on the site's own network, where nobody has a route to them: this host answers for them.

use crate::vpc::TestVpc;
use crate::world::{BRIDGE, Guest, OUTSIDE, World, must, run, runs_elsewhere, until};
use karri_proto::network::RouteTarget;
use std::net::Ipv4Addr;
use std::time::Duration;

const PUBLIC_A: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const PUBLIC_B: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 6);
const NOBODYS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const THEIRS: &str = "203.0.113.99";
/// Of whoever had an address before.
const OLD_MAC: &str = "02:00:00:00:00:dd";
/// The kernel answers for others with a delay of up to 0.8 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

fn answered_for() -> Vec<String> {
    let proxied = must("ip neigh show proxy dev vo");
    let mut addresses: Vec<String> =
        proxied.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    addresses.sort();
    addresses
}

fn known_mac(outside: &Guest, address: Ipv4Addr) -> String {
    let told = outside.must(&format!("ip neigh show {address} dev eth0"));
    told.split_once("lladdr ").map(|(_, rest)| rest.split(' ').next().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn public_addresses_are_answered_for_on_the_sites_network_and_announced_when_they_come() {
    if runs_elsewhere(
        "answering::public_addresses_are_answered_for_on_the_sites_network_and_announced_when_they_come",
    ) {
        return;
    }
    let mut world = World::new();
    world.network.public_interface = Some("vo".to_owned());
    world.restart();
    let outside = world.outside();
    outside.must("ip route replace 203.0.113.0/24 dev eth0"); // as on one's own network
    must(&format!("ip neigh add proxy {THEIRS} dev vo"));
    let link = must("ip -o link show vo");
    let mac = link.split_once("link/ether ").unwrap().1.split(' ').next().unwrap().to_owned();

    let mut vpc = TestVpc::new(1);
    vpc.route("a", "0.0.0.0/0", RouteTarget::Internet);
    vpc.associate(PUBLIC_A, "a");
    let mut flat = crate::flat::default_vpc();
    // Somebody else had this one a moment ago.
    outside.must(&format!("ip neigh replace {PUBLIC_B} lladdr {OLD_MAC} dev eth0 nud reachable"));
    crate::flat::associate(&mut flat, PUBLIC_B, "a");
    world.become_wanted(&[&vpc, &flat]);
    until("the announcement is heard", ANSWERED_WITHIN, || known_mac(&outside, PUBLIC_B) == mac);
    let (a, on_flat) = (Guest::plug(&vpc, "a"), crate::flat::plug("a", 5));
    a.serve(80);
    for public in [PUBLIC_A, PUBLIC_B] {
        until("it is answered for", ANSWERED_WITHIN, || outside.seen_as(public, 80) == Some(OUTSIDE));
        assert_eq!(known_mac(&outside, public), mac);
    }
    outside.serve(80);
    assert_eq!((a.seen_as(OUTSIDE, 80), on_flat.seen_as(OUTSIDE, 80)), (Some(PUBLIC_A), Some(PUBLIC_B)));
    assert_eq!(outside.seen_as(NOBODYS, 80), None);
    assert_eq!(known_mac(&outside, NOBODYS), "");
    let (one, two) = (PUBLIC_A.to_string(), PUBLIC_B.to_string());
    assert_eq!(answered_for(), [&one, &two, THEIRS]);

    // Another life finds it so and announces nothing: who has it is no news.
    outside.must(&format!("ip neigh replace {PUBLIC_B} lladdr {OLD_MAC} dev eth0 nud reachable"));
    world.restart();
    world.apply();
    assert_eq!((answered_for().len(), known_mac(&outside, PUBLIC_B).as_str()), (3, OLD_MAC));
    must(&format!("ip neigh del proxy {PUBLIC_A} dev vo"));
    until("what others took away is back", ANSWERED_WITHIN, || {
        world.apply();
        answered_for().contains(&one)
    });
    // One that is given back, and one that somebody else on this host answers for.
    vpc.disassociate(PUBLIC_A);
    vpc.associate(THEIRS.parse().unwrap(), "a");
    world.become_wanted(&[&vpc, &flat]);
    assert_eq!(answered_for(), [&two, THEIRS]);
    // By another interface, and by none.
    must("ip link add vp type veth peer name vq && ip link set vp up");
    world.network.public_interface = Some("vp".to_owned());
    world.restart();
    world.apply();
    assert_eq!(answered_for(), [THEIRS]);
    assert!(must("ip neigh show proxy dev vp").contains(&two));
    world.remove();
    assert_eq!(
        (answered_for(), must("ip neigh show proxy dev vp")),
        (vec![THEIRS.to_owned()], String::new())
    );
    assert!(!run(&format!("ip link show {BRIDGE}")).status.success());
}

#[test]
fn an_interface_that_is_not_there_is_named_and_keeps_nothing_else_from_being_done() {
    if runs_elsewhere(
        "answering::an_interface_that_is_not_there_is_named_and_keeps_nothing_else_from_being_done",
    ) {
        return;
    }
    let mut world = World::new();
    world.network.public_interface = Some("eth7".to_owned());
    world.restart();
    let vpc = TestVpc::new(1);
    world.want(&[&vpc]);
    let told = world.runtime.block_on(karri_cc::drive::Driver::apply(&mut world.driver, &world.wanted));
    let told = told.unwrap_err().to_string();
    assert!(told.contains("network.public_interface") && told.contains("eth7"), "{told}");
    let (a, b) = (Guest::plug(&vpc, "a"), Guest::plug(&vpc, "b"));
    let reach = || a.pings(vpc.lease("b").address) && b.pings(vpc.lease("a").address);
    until("guests reach each other", ANSWERED_WITHIN, reach);
}
