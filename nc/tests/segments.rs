//! Segments with real packets: two hosts on a wire, segments with the same range, and guests that are their own
//! masters.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[path = "support/frames.rs"]
mod frames;
#[path = "support/guarded.rs"]
mod guarded;
#[path = "segments/moved.rs"]
mod moved;
#[path = "support/told.rs"]
mod told;

use frames::{BROADCAST, MARK, arp, datagram, frame, mac, nobody_hears_lies};
use guarded::{
    BRIDGE, GATEWAY, Guest, Node, assert_same, be_a_node, bridge_of, guest_name, kernel, must, namespaces,
    port_at, runs_elsewhere, tunnel,
};
use karri_proto::internal::kernel::KernelLook;
use karri_proto::network::{Fact, FactChange, Peer, Traffic};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use told::{EVERYWHERE, group, ingress, member_at, outward, tcp};

const A: u32 = 0x1001;
const B: u32 = 0x1002;
const NOTHING: Value = Value::Array(Vec::new());
const MTU: usize = 1450;

/// Not a test of its own: the others run it as their nodes.
#[test]
fn node() {
    be_a_node();
}

/// Two hosts on a wire, which both know.
fn two_hosts() -> (Node, Node) {
    namespaces(&["node1", "node2"]);
    must("ip -n node1 link add wire type veth peer name wire netns node2");
    for name in ["node1", "node2"] {
        must(&format!(
            "ip -n {name} address add {}/24 dev wire; ip -n {name} link set wire up",
            tunnel(name)
        ));
    }
    let (mut one, mut two) = (Node::start("node1"), Node::start("node2"));
    let tunnels = json!({ "tunnels": [tunnel("node1"), tunnel("node2")] });
    one.ask(&tunnels);
    two.ask(&tunnels);
    (one, two)
}

/// Of group 1, which may do anything outward, and into which nothing comes unless `open`.
fn tell(nodes: [&mut Node; 2], open: bool) {
    for node in nodes {
        let mut facts = vec![outward(1), outward(2)];
        for (number, segments) in [(5, [0, A, B]), (6, [0, A, B]), (7, [0, A, B])] {
            facts.extend(segments.map(|segment| member_at("node1", segment, number, &[1])));
            facts.extend(segments.map(|segment| member_at("node2", segment, number, &[1])));
        }
        if open {
            facts.push(ingress(1, 1, Traffic::All, EVERYWHERE));
        }
        node.tell(&facts);
    }
}

fn hears(guest: &mut Guest, mark: &str, expected: bool) {
    let count = guest.ask(json!({ "do": "seen", "hex": mark, "wait": if expected { 5.0 } else { 0.2 } }));
    assert_eq!(count.as_u64().unwrap() > 0, expected, "{}: {count}", guest.address);
}

#[test]
fn a_segment_spans_hosts_and_nothing_passes_from_one_to_another() {
    if runs_elsewhere("a_segment_spans_hosts_and_nothing_passes_from_one_to_another") {
        return;
    }
    let (mut one, mut two) = two_hosts();
    tell([&mut one, &mut two], true);
    let mut five = Guest::start_on(&mut one, A, 5);
    let mut six = Guest::start_on(&mut one, A, 6);
    let seven = Guest::start_on(&mut two, A, 7);
    // In another segment, by the same addresses.
    let mut other_five = Guest::start_on(&mut one, B, 5);
    let mut other_six = Guest::start_on(&mut two, B, 6);
    let (a, b, c) = (five.address, six.address, seven.address);

    for to in [b, c] {
        five.ping(to, true);
        five.tcp(to, 22, true);
        five.udp(to, 53, true);
        let bulk = five.ask(json!({ "do": "bulk", "to": to, "port": 80, "wait": 5.0 }));
        assert_eq!(bulk, json!(true), "{to}");
        let packet = |size| json!({ "do": "packet", "to": to, "size": size, "wait": 5.0 });
        assert_eq!(five.ask(packet(MTU)), json!(true), "{to}");
        assert_eq!(five.ask(packet(MTU + 1)), json!("Message too long"), "{to}");
    }
    // Nothing between hosts is in pieces that was not so in the guest.
    let cut = one.run("nstat -az IpFragCreates | tail -1");
    assert_eq!(cut.split_whitespace().nth(1), Some("0"), "{cut}");
    for to in [b, c] {
        let in_pieces = five.ask(json!({ "do": "udp", "to": to, "port": 3000, "wait": 5.0, "size": 5000 }));
        assert_eq!(in_pieces, json!(true), "{to}");
    }

    other_five.ping(b, true); // the one of its own segment, on the other host
    other_five.ping(c, false);
    for guest in [&mut other_five, &mut other_six] {
        guest.ask(json!({ "do": "watch" }));
    }
    let anything = [
        frame(BROADCAST, &mac(5), "0806", &arp(false, &mac(5), a, b)),
        frame(BROADCAST, &mac(5), "0800", &datagram(a, Ipv4Addr::BROADCAST, (4000, 3000))),
        frame(&mac(6), &mac(5), "0800", &datagram(a, b, (4000, 3000))),
        frame(&mac(9), &mac(5), "0800", &datagram(a, b, (4000, 3000))),
    ];
    six.ask(json!({ "do": "watch" }));
    five.ask(json!({ "do": "send", "hexes": anything }));
    hears(&mut six, MARK, true);
    hears(&mut other_five, MARK, false);
    hears(&mut other_six, MARK, false);
}

#[test]
fn a_connection_of_one_segment_opens_nothing_in_another() {
    if runs_elsewhere("a_connection_of_one_segment_opens_nothing_in_another") {
        return;
    }
    let (mut one, mut two) = two_hosts();
    tell([&mut one, &mut two], false);
    let mut five = Guest::start_on(&mut one, A, 5);
    let mut seven = Guest::start_on(&mut two, A, 7);
    let mut other_five = Guest::start_on(&mut one, B, 5);
    let mut other_seven = Guest::start_on(&mut two, B, 7);
    let (a, c) = (five.address, seven.address);
    for guest in [&mut five, &mut other_five] {
        guest.ask(json!({ "do": "watch" }));
    }
    // Group 1 lets nothing in: 7 does not hear it, and its word back is no answer to anybody at the other five.
    five.ask(
        json!({ "do": "send", "hexes": [frame(&mac(7), &mac(5), "0800", &datagram(a, c, (4000, 3000)))] }),
    );
    let back = frame(&mac(5), &mac(7), "0800", &datagram(c, a, (3000, 4000)));
    other_seven.ask(json!({ "do": "send", "hexes": [back] }));
    hears(&mut other_five, MARK, false);
    seven.ask(json!({ "do": "send", "hexes": [back] }));
    hears(&mut five, MARK, true);

    // By group, on another host: 1 in this segment, 2 in the other. What is cut is the connection of one alone.
    let mut facts = vec![outward(3)];
    facts.extend([5, 6, 7].map(|number| member_at("node1", 0, number, &[3]))); // whose addresses are the same
    for of in [1, 2] {
        facts.push(ingress(of, of, tcp(22, 22), Peer::Group(group(of))));
    }
    facts.extend([member_at("node1", B, 5, &[2]), member_at("node2", B, 7, &[2])]);
    one.tell(&facts);
    two.tell(&facts);
    for guest in [&mut five, &mut other_five] {
        guest.hold(c, 22, "kin");
        guest.tcp(c, 80, false);
    }
    let left = [member_at("node1", A, 5, &[3])];
    one.tell(&left);
    two.tell(&left);
    five.holds("kin", false);
    five.tcp(c, 22, false);
    other_five.holds("kin", true);
    other_five.tcp(c, 22, true);
}

#[test]
fn a_guest_of_a_segment_that_lies_is_heard_by_nobody_on_any_host() {
    if runs_elsewhere("a_guest_of_a_segment_that_lies_is_heard_by_nobody_on_any_host") {
        return;
    }
    let (mut one, mut two) = two_hosts();
    tell([&mut one, &mut two], true);
    let mut five = Guest::start_on(&mut one, A, 5);
    let mut six = Guest::start_on(&mut one, A, 6);
    let mut seven = Guest::start_on(&mut two, A, 7);
    let mut other = Guest::start_on(&mut two, B, 6);
    let mut stranger = Guest::stranger_on(&two, &bridge_of(A), 99);
    five.ping(seven.address, true);
    nobody_hears_lies(&mut five, (7, &mut seven), vec![&mut six, &mut other, &mut stranger]);
}

/// The port of guest 5 is now so, as the facts say of it, too.
fn change(node: &mut Node, secondary: &[Ipv4Addr], unchecked: bool) {
    change_of(5, node, secondary, unchecked);
}

fn change_of(number: u8, node: &mut Node, secondary: &[Ipv4Addr], unchecked: bool) {
    let FactChange::Put(Fact::Port(mut fact)) = member_at(node.name, A, number, &[1]) else {
        panic!("a port")
    };
    fact.addresses.extend_from_slice(secondary);
    node.tell(&[FactChange::Put(Fact::Port(fact))]);
    node.ask(&json!({ "plug": number, "segment": A, "secondary": secondary, "unchecked": unchecked }));
}

#[test]
fn addresses_beside_the_first_pass_and_others_only_where_nobody_checks() {
    if runs_elsewhere("addresses_beside_the_first_pass_and_others_only_where_nobody_checks") {
        return;
    }
    let (mut one, mut two) = two_hosts();
    tell([&mut one, &mut two], true);
    let mut five = Guest::start_on(&mut one, A, 5);
    let mut six = Guest::start_on(&mut one, A, 6);
    let (name, first) = (guest_name(A, 5), five.address);
    let more = [Ipv4Addr::new(172, 31, 0, 55), Ipv4Addr::new(172, 31, 0, 56)];
    let strange = Ipv4Addr::new(172, 31, 0, 57);
    for address in more.iter().chain([&strange]) {
        must(&format!("ip -n {name} address add {address}/20 dev eth0"));
    }
    let reaches = |six: &mut Guest, expected: [bool; 4]| {
        for (address, expected) in [first, more[0], more[1], strange].into_iter().zip(expected) {
            six.ping(address, expected);
        }
    };
    reaches(&mut six, [true, false, false, false]);
    change(&mut one, &more, false);
    reaches(&mut six, [true, true, true, false]);
    assert_eq!(one.ask(&json!({ "mend": true })), NOTHING);
    one.ask(&json!({ "again": true }));
    assert_eq!(one.ask(&json!({ "mend": true })), NOTHING, "it is known again after a restart");
    reaches(&mut six, [true, true, true, false]);
    let get = json!({ "do": "get", "path": "/latest/meta-data/instance-id", "wait": 5.0 });
    for source in [first, more[1]] {
        must(&format!("ip -n {name} route replace 169.254.0.0/16 dev eth0 src {source}"));
        assert_eq!(five.ask(get.clone()), identity("node1", A, 5), "{source}");
    }
    // A connection to the one that stays goes on, whatever becomes of the other.
    six.hold(more[0], 22, "kept");
    change(&mut one, &more[..1], false);
    reaches(&mut six, [true, true, false, false]);
    six.holds("kept", true);

    // In nobody's name and in its neighbour's: such as a router has to send.
    let forged = frame(&mac(6), &mac(5), "0800", &datagram(strange, six.address, (4000, 3000)));
    six.ask(json!({ "do": "watch" }));
    five.ask(json!({ "do": "send", "hexes": [forged] }));
    hears(&mut six, MARK, false);
    change(&mut one, &more[..1], true);
    five.ask(json!({ "do": "send", "hexes": [forged] }));
    hears(&mut six, MARK, true);
    let to_it = frame(&mac(5), &mac(6), "0800", &datagram(six.address, strange, (4001, 3000)));
    five.ask(json!({ "do": "watch" }));
    six.ask(json!({ "do": "send", "hexes": [to_it] }));
    hears(&mut five, MARK, true);
    // But metadata is asked by nobody in another's name.
    let short = json!({ "do": "get", "path": "/latest/meta-data/instance-id", "wait": 0.2 });
    must(&format!("ip -n {name} address add {}/20 dev eth0", six.address));
    must(&format!("ip -n {name} route replace 169.254.0.0/16 dev eth0 src {}", six.address));
    assert!(five.ask(short).as_str().unwrap().contains("nothing"));
    must(&format!("ip -n {name} route replace 169.254.0.0/16 dev eth0 src {}", more[0]));
    assert_eq!(five.ask(get), identity("node1", A, 5));
    one.ask(&json!({ "unplug": 5, "segment": A }));
    assert!(
        !one.run("ipset -n list; iptables-save; ebtables-save").contains("-own"),
        "its set is gone with it"
    );
}

fn identity(node: &str, segment: u32, number: u8) -> Value {
    json!(port_at(node, segment, number).id.as_str().replace("eni-", "i-"))
}

#[test]
fn metadata_knows_equal_addresses_apart_whatever_becomes_of_the_gateway() {
    if runs_elsewhere("metadata_knows_equal_addresses_apart_whatever_becomes_of_the_gateway") {
        return;
    }
    let (mut one, mut two) = two_hosts();
    tell([&mut one, &mut two], false);
    // The host itself has that address, in a network of its own.
    one.run("ip address add 172.31.0.5/20 dev wire");
    let mut guests = [0, A, B].map(|segment| (segment, Guest::start_on(&mut one, segment, 5)));
    let get = json!({ "do": "get", "path": "/latest/meta-data/instance-id", "wait": 5.0 });
    for (segment, guest) in &mut guests {
        let name = guest_name(*segment, 5);
        // By way of a gateway that is away; of the flat network the host's own is taken, as before.
        must(&format!("ip -n {name} neigh replace {GATEWAY} lladdr 02:00:00:00:00:fe dev eth0"));
        if *segment != 0 {
            assert_eq!(guest.ask(get.clone()), identity("node1", *segment, 5), "by the gateway, {segment:x}");
            must(&format!("ip -n {name} route add 169.254.0.0/16 dev eth0"));
            assert_eq!(guest.ask(get.clone()), identity("node1", *segment, 5), "directly, {segment:x}");
        }
    }
    // Of another host's guest with that address on the same segment it is the other host's.
    let mut far = Guest::start_on(&mut two, A, 6);
    must(&format!("ip -n {} route add 169.254.0.0/16 dev eth0", guest_name(A, 6)));
    assert_eq!(far.ask(get.clone()), identity("node2", A, 6));
    one.ask(&json!({ "again": true }));
    let (_, guest) = &mut guests[1];
    assert_eq!(guest.ask(get.clone()), identity("node1", A, 5), "after a restart");
    one.run(
        "for link in $(ip -o link show | grep -o \"k....m1001\" | sort -u); do ip link delete $link; done",
    );
    assert!(
        guest.ask(json!({ "do": "get", "path": "/", "wait": 0.2 })).as_str().unwrap().contains("nothing")
    );
    assert_eq!(
        one.ask(&json!({ "mend": true })),
        json!([format!("the way to metadata on {}", bridge_of(A))])
    );
    assert_eq!(guest.ask(get), identity("node1", A, 5), "mended");
}

#[test]
fn no_address_of_a_host_is_reached_from_a_segment_nor_its_wire_from_any_guest() {
    if runs_elsewhere("no_address_of_a_host_is_reached_from_a_segment_nor_its_wire_from_any_guest") {
        return;
    }
    let (mut one, mut two) = two_hosts();
    tell([&mut one, &mut two], true);
    one.run("sysctl -qw net.ipv4.ip_forward=1");
    let mut five = Guest::start_on(&mut one, A, 5);
    let name = guest_name(A, 5);
    let host = tunnel("node1");
    five.ping(host, false);
    // It needs nobody to tell it the bridge's MAC.
    let bridge = bridge_of(A);
    let of_bridge = one.run(&format!("cat /sys/class/net/{bridge}/address"));
    must(&format!("ip -n {name} neigh replace {GATEWAY} lladdr {} dev eth0", of_bridge.trim()));
    let mut heard = std::process::Command::new("ip")
        .args([
            "netns",
            "exec",
            "node1",
            "python3",
            "-c",
            "import socket\ns = socket.create_server((\"\", 9))\ns.accept()",
        ])
        .spawn()
        .unwrap();
    let listens = || one.run("ss -Hltn sport = 9").contains(":9");
    while !listens() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for (to, port) in [(host, 9), (tunnel("node2"), 9), ("169.254.87.1".parse().unwrap(), 8775)] {
        five.tcp(to, port, false);
    }
    five.ping(host, false);
    five.ping(tunnel("node2"), false);
    assert!(heard.try_wait().unwrap().is_none(), "somebody has connected");
    heard.kill().unwrap();
    heard.wait().unwrap();

    // A guest of the flat network, whose gateway leads to the other host, makes a frame of the segment.
    let mut seven = Guest::start_on(&mut two, A, 7);
    let flat = Guest::start(&mut one, 6);
    one.run(&format!("ip address add {GATEWAY}/20 dev {BRIDGE}"));
    two.run(&format!("ip route add 172.31.0.0/20 via {host}"));
    seven.ask(json!({ "do": "watch" }));
    let inner = frame(&mac(7), &mac(5), "0800", &datagram(five.address, seven.address, (4000, 3000)));
    let script = format!(
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         s.sendto(bytes.fromhex(\"08000000{A:06x}00{inner}\"), (\"{}\", 4789))",
        tunnel("node2")
    );
    drop(flat);
    let send = |namespace: &str| must(&format!("ip netns exec {namespace} python3 -c '{script}'"));
    send("g6");
    hears(&mut seven, MARK, false);
    send("node1");
    hears(&mut seven, MARK, true);
}

#[test]
fn what_others_take_away_is_put_back_and_a_restart_changes_nothing() {
    if runs_elsewhere("what_others_take_away_is_put_back_and_a_restart_changes_nothing") {
        return;
    }
    let (mut one, mut two) = two_hosts();
    one.run("ip link add theirs type bridge; iptables -t raw -A PREROUTING -i theirs -j NOTRACK; iptables -P FORWARD DROP");
    let before = kernel(&one);
    tell([&mut one, &mut two], true);
    let mut five = Guest::start_on(&mut one, A, 5);
    let seven = Guest::start_on(&mut two, A, 7);
    five.hold(seven.address, 22, "before");
    assert_eq!(one.ask(&json!({ "mend": true })), NOTHING);
    let whole = kernel(&one);
    assert_eq!(one.ask(&json!({ "again": true })), NOTHING);
    assert_same(&kernel(&one), &whole, "a restart");
    five.holds("before", true);

    let (bridge, device) = (bridge_of(A), bridge_of(A).replace('.', "x"));
    let breaks = [
        format!("ip link delete {bridge}"),
        format!("ip link delete {device}"),
        format!("ip link delete {bridge}; ip link delete {device}"),
        format!("bridge fdb delete 00:00:00:00:00:00 dev {device} dst {}", tunnel("node2")),
        format!("ip link set {bridge} type bridge nf_call_iptables 0"),
        "iptables -t raw -F PREROUTING; iptables -t raw -A PREROUTING -i theirs -j NOTRACK".to_owned(),
        "iptables -t mangle -F INPUT; iptables -t mangle -F FORWARD".to_owned(),
        // Another controller of the host was faster: the bridge is there, and nothing is on it.
        format!(
            "ip link delete {bridge}; ip link add {bridge} group 19265 mtu 1450 type bridge; ip link set {bridge} up arp off"
        ),
    ];
    for broken in breaks {
        one.run(&broken);
        assert_ne!(one.ask(&json!({ "mend": true })), NOTHING, "{broken}");
        assert_same(&kernel(&one), &whole, &broken);
        assert_eq!(one.ask(&json!({ "mend": true })), NOTHING, "{broken}");
        five.tcp(seven.address, 80, true);
        five.holds("before", true);
    }

    one.ask(&json!({ "clean": true }));
    must(&format!("ip netns delete {}", guest_name(A, 5)));
    let after = kernel(&one);
    let ours = |line: &&String| line.contains("1001") || line.to_lowercase().contains("karri");
    assert_eq!(after.iter().find(ours), None);
    let flat =
        |lines: &[String]| lines.iter().filter(|line| !line.contains(BRIDGE)).cloned().collect::<Vec<_>>();
    assert!(
        before.iter().any(|line| line.contains("NOTRACK"))
            && flat(&before).iter().any(|l| l.contains("theirs"))
    );
    assert!(
        after.iter().any(|line| line.contains("NOTRACK"))
            && flat(&after).iter().any(|l| l.contains("theirs"))
    );
}

#[test]
fn a_segment_is_there_while_a_port_is_on_it_and_another_host_is_heard_of_in_time() {
    if runs_elsewhere("a_segment_is_there_while_a_port_is_on_it_and_another_host_is_heard_of_in_time") {
        return;
    }
    let (mut one, mut two) = two_hosts();
    tell([&mut one, &mut two], true);
    let links = |node: &Node| node.run("ip -o link; iptables-save").matches("1001").count();
    assert_eq!(links(&one), 0);
    one.ask(&json!({ "tunnels": [tunnel("node1")] }));
    let mut five = Guest::start_on(&mut one, A, 5);
    let mut six = Guest::start_on(&mut one, A, 6);
    let mut seven = Guest::start_on(&mut two, A, 7);
    five.ping(six.address, true);
    // Nobody told this host of the other: what is for everybody does not get there.
    five.ping(seven.address, false);
    one.ask(&json!({ "tunnels": [tunnel("node1"), tunnel("node2")] }));
    five.ping(seven.address, true);
    seven.ping(five.address, true);

    let leave = |node: &mut Node, number: u8| {
        node.ask(&json!({ "unplug": number, "segment": A }));
        must(&format!("ip netns delete {}", guest_name(A, number)));
    };
    leave(&mut one, 5);
    six.ping(seven.address, true);
    assert_ne!(links(&one), 0);
    leave(&mut one, 6);
    assert_eq!(links(&one), 0, "with the last");
    // A router of the VPC is on the bridge: it stays for it, as it was before this node used it.
    let bridge = bridge_of(A);
    two.run(&format!("ip link add router type veth peer name far; ip link set router master {bridge}"));
    leave(&mut two, 7);
    let kept = two.run(&format!("ip -d link show {bridge}; iptables-save"));
    assert!(kept.contains("nf_call_iptables 0") && !kept.contains("--zone"), "{kept}");
    two.run("ip link delete router");
    assert_eq!(two.ask(&json!({ "plug": 7, "segment": A })), NOTHING);
    two.ask(&json!({ "unplug": 7, "segment": A }));
    assert_eq!(links(&two), 0);
}

#[test]
fn what_is_shown_of_a_port_on_a_segment_names_its_bridge_and_the_hosts_behind() {
    if runs_elsewhere("what_is_shown_of_a_port_on_a_segment_names_its_bridge_and_the_hosts_behind") {
        return;
    }
    let (mut one, mut two) = two_hosts();
    tell([&mut one, &mut two], true);
    let _five = Guest::start_on(&mut one, A, 5);
    let looked = |one: &mut Node| -> KernelLook {
        serde_json::from_value(one.ask(&json!({ "look": 5, "segment": A }))).unwrap()
    };
    let look = looked(&mut one);
    assert_eq!(look.differs, Vec::<String>::new());
    let has = |place: &str, text: &str| {
        let found = look.lines.iter().any(|line| line.place == place && line.text.contains(text));
        assert!(found, "{place}: {text} in {:#?}", look.lines);
    };
    let (tap, bridge, device) = (port_at("node1", A, 5).tap, bridge_of(A), format!("{BRIDGE}x{A:x}"));
    has(&format!("bridge {bridge}"), &format!("port {tap}: up, mtu {MTU}"));
    has(&format!("link {bridge}"), "bridge whose packets meet iptables, up, mtu 1450");
    has(&format!("link {device}"), "VXLAN 0x1001 from 192.0.2.1, UDP port 4789, up");
    has(&format!("fdb {device}"), "00:00:00:00:00:00 dst 192.0.2.2");
    for (broken, what) in [
        (format!("bridge fdb del 00:00:00:00:00:00 dev {device} dst 192.0.2.2"), "192.0.2.2"),
        (format!("ip link set {device} nomaster"), "is joined"),
        (format!("ip link delete {device}"), "device "),
    ] {
        one.run(&broken);
        let differs = looked(&mut one).differs;
        let is_said = |it: &String| it.starts_with("not as it should be: ") && it.contains(what);
        assert!(differs.iter().any(is_said), "{broken}: {differs:?}");
        one.ask(&json!({ "mend": true }));
        assert_eq!(looked(&mut one).differs, Vec::<String>::new(), "{broken}");
    }
}
