//! Security groups with real packets: every kind of rule opened, used and revoked while it is used; and guests
//! that send what they must not.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[path = "support/frames.rs"]
mod frames;
#[path = "support/guarded.rs"]
mod guarded;
#[path = "support/told.rs"]
mod told;

use frames::{MARK, datagram, frame, mac, nobody_hears_lies};
use guarded::{BRIDGE, GATEWAY, Guest, Node, be_a_node, must, namespaces, port, runs_elsewhere};
use karri_proto::internal::kernel::{KernelLine, KernelLook};
use karri_proto::network::{Direction, FactChange, FactKey, Net4, Peer, Traffic};
use serde_json::json;
use told::{EVERYWHERE, PING, group, ingress, member, of_another, of_list, one, outward, revoked, rule, tcp};

/// Not a test of its own: the others run it as their nodes.
#[test]
fn node() {
    be_a_node();
}

/// Two nodes on a cable; guests 5 and 6 on the first, 7 on the second. Of groups 1, 1 and 2.
fn two_nodes() -> (Node, Node, [Guest; 3]) {
    namespaces(&["node1", "node2"]);
    must("ip -n node1 link add cable type veth peer name cable netns node2");
    let (mut one, mut two) = (Node::start("node1"), Node::start("node2"));
    let facts = [
        member("node1", 5, &[1]),
        member("node1", 6, &[1]),
        member("node2", 7, &[2]),
        outward(1),
        outward(2),
    ];
    one.tell(&facts);
    two.tell(&facts);
    let guests = [Guest::start(&mut one, 5), Guest::start(&mut one, 6), Guest::start(&mut two, 7)];
    one.run(&format!("ip address add {GATEWAY}/20 dev {BRIDGE}"));
    (one, two, guests)
}

#[test]
fn each_kind_of_rule_is_opened_used_and_revoked() {
    if runs_elsewhere("each_kind_of_rule_is_opened_used_and_revoked") {
        return;
    }
    let (mut node, mut other, [mut five, mut six, mut seven]) = two_nodes();
    let (a, b, c) = (five.address, six.address, seven.address);
    // Nothing is open, on the same bridge, from another node, and from the host itself.
    six.tcp(a, 22, false);
    six.ping(a, false);
    seven.udp(a, 53, false);
    let from_host = |wait: f64| {
        let script = format!("import socket; socket.create_connection((\"{a}\", 22), {wait})");
        std::process::Command::new("ip")
            .args(["netns", "exec", "node1", "python3", "-c", &script])
            .output()
            .unwrap()
    };
    assert!(!from_host(0.3).status.success(), "the host is no exception");
    // A guest's own way out is open, and what answers it comes in.
    five.ping(GATEWAY, true);

    node.tell(&[ingress(1, 1, tcp(22, 22), EVERYWHERE)]);
    assert!(from_host(5.0).status.success());
    six.tcp(a, 22, true);
    seven.tcp(a, 22, true);
    six.tcp(a, 80, false);
    six.udp(a, 53, false);
    six.hold(a, 22, "ssh");
    node.tell(&[ingress(1, 2, tcp(80, 80), EVERYWHERE)]);
    six.hold(a, 80, "web");
    node.tell(&[revoked(1, 1)]);
    six.holds("ssh", false);
    six.holds("web", true);
    six.tcp(a, 22, false);
    // Answers alone do not open it again: the guest's own words of that connection are no new flow.
    node.tell(&[ingress(1, 1, tcp(22, 22), one(c))]);
    six.tcp(a, 22, false);
    seven.tcp(a, 22, true);
    node.tell(&[revoked(1, 1), revoked(1, 2)]);

    // A wide range, another protocol's, one host, ICMP, everything.
    node.tell(&[ingress(1, 3, tcp(1024, 65535), one(b))]);
    six.hold(a, 3000, "wide");
    seven.tcp(a, 3000, false);
    node.tell(&[revoked(1, 3)]);
    six.holds("wide", false);
    node.tell(&[ingress(1, 4, Traffic::Udp { from: 50, to: 60 }, EVERYWHERE)]);
    six.udp(a, 53, true);
    six.udp(a, 3000, false);
    node.tell(&[revoked(1, 4)]);
    six.udp(a, 53, false);
    node.tell(&[ingress(1, 5, PING, EVERYWHERE)]);
    seven.ping(a, true);
    node.tell(&[revoked(1, 5)]);
    seven.ping(a, false);
    node.tell(&[ingress(1, 6, Traffic::All, one(c))]);
    seven.ping(a, true);
    seven.udp(a, 3000, true);
    six.ping(a, false);
    node.tell(&[revoked(1, 6)]);

    // By group: members on the same bridge, then on the other node; a member that leaves is cut.
    node.tell(&[ingress(1, 7, tcp(80, 80), Peer::Group(group(1)))]);
    six.hold(a, 80, "kin");
    seven.tcp(a, 80, false);
    node.tell(&[ingress(1, 8, Traffic::All, Peer::Group(group(2)))]);
    seven.hold(a, 80, "cousin");
    seven.ping(b, true);
    let left = [member("node2", 7, &[3]), outward(3)];
    node.tell(&left);
    other.tell(&left);
    seven.holds("cousin", false);
    six.holds("kin", true);
    node.tell(&[member("node1", 5, &[3])]);
    six.holds("kin", false);
    node.tell(&[member("node1", 5, &[1]), revoked(1, 7), revoked(1, 8)]);

    // Outward rules.
    node.tell(&[ingress(1, 9, Traffic::All, EVERYWHERE)]);
    other.tell(&[ingress(3, 9, Traffic::All, EVERYWHERE)]);
    six.hold(c, 22, "out");
    six.hold(a, 22, "near");
    node.tell(&[rule(1, 10, Direction::Egress, tcp(22, 22), one(a)), revoked_outward(1)]);
    six.holds("out", false);
    six.holds("near", true);
    six.tcp(c, 22, false);
    six.ping(GATEWAY, false);
    // What answers goes out all the same.
    seven.tcp(b, 80, true);
}

const GRE: u8 = 47;
const ESP: u8 = 50;

/// What has no ports is one flow however often it is used: what is revoked ends it.
#[test]
fn rules_without_ports_are_opened_used_and_revoked() {
    if runs_elsewhere("rules_without_ports_are_opened_used_and_revoked") {
        return;
    }
    let (mut node, mut other, [mut five, mut six, mut seven]) = two_nodes();
    let (a, b, c) = (five.address, six.address, seven.address);
    for guest in [&mut five, &mut seven] {
        guest.ask(json!({ "do": "answer_by", "protocol": GRE }));
        guest.ask(json!({ "do": "answer_by", "protocol": ESP }));
    }
    six.protocol(a, GRE, false);
    six.timestamp(a, false);

    // A protocol by its number: from everywhere, from one, from a group.
    for (id, peer) in [(1, EVERYWHERE), (2, one(b)), (3, Peer::Group(group(1)))] {
        let from_all = peer == EVERYWHERE;
        node.tell(&[ingress(1, id, Traffic::Protocol(GRE), peer)]);
        six.protocol(a, GRE, true);
        seven.protocol(a, GRE, from_all);
        six.protocol(a, ESP, false);
        node.tell(&[ingress(1, 9, Traffic::Protocol(ESP), EVERYWHERE), revoked(1, id)]);
        six.protocol(a, GRE, false);
        six.protocol(a, ESP, true);
        node.tell(&[revoked(1, 9)]);
    }

    // ICMP that is no echo: by its type, by type and code, all of it.
    let stamps = |code| Traffic::Icmp { r#type: Some(13), code };
    let all = Traffic::Icmp { r#type: None, code: None };
    for (id, traffic, pings) in [(4, stamps(None), false), (5, stamps(Some(0)), false), (6, all, true)] {
        node.tell(&[ingress(1, id, traffic, EVERYWHERE)]);
        six.timestamp(a, true);
        seven.timestamp(a, true);
        six.ping(a, pings);
        node.tell(&[revoked(1, id)]);
        six.timestamp(a, false);
        seven.timestamp(a, false);
    }
    node.tell(&[ingress(1, 7, stamps(Some(1)), EVERYWHERE), ingress(1, 8, PING, EVERYWHERE)]);
    six.timestamp(a, false);
    six.ping(a, true);

    // Outward.
    other.tell(&[ingress(2, 1, Traffic::All, EVERYWHERE)]);
    six.protocol(c, GRE, true);
    six.timestamp(c, true);
    let out = |id, traffic| rule(1, id, Direction::Egress, traffic, EVERYWHERE);
    node.tell(&[out(10, Traffic::Protocol(GRE)), out(11, stamps(None)), revoked_outward(1)]);
    six.protocol(c, GRE, true);
    six.timestamp(c, true);
    six.protocol(c, ESP, false);
    six.ping(c, false);
    node.tell(&[revoked(1, 10), revoked(1, 11)]);
    six.protocol(c, GRE, false);
    six.timestamp(c, false);
}

#[test]
fn a_rule_follows_the_list_or_the_other_accounts_group_that_it_names() {
    if runs_elsewhere("a_rule_follows_the_list_or_the_other_accounts_group_that_it_names") {
        return;
    }
    let (mut node, mut other, [five, mut six, mut seven]) = two_nodes();
    let (a, b, c) = (five.address, six.address, seven.address);
    let around = Peer::V4(Net4 { address: [172, 31, 0, 0].into(), prefix: 29 });
    // Of few ports and of many, which the kernel keeps in different ways.
    for traffic in [tcp(22, 22), tcp(1, 1000)] {
        let entry = |id, peer| of_list(1, 1, id, traffic, peer);
        node.tell(&[entry(11, one(b))]);
        six.hold(a, 22, "listed");
        seven.tcp(a, 22, false);
        node.tell(&[entry(12, one(c))]);
        seven.hold(a, 22, "listed");
        six.holds("listed", true);
        // One goes and another one that holds it comes, in one change and in two.
        node.tell(&[revoked(1, 11), entry(13, around.clone())]);
        six.holds("listed", true);
        node.tell(&[entry(14, one(b))]);
        node.tell(&[revoked(1, 13)]);
        six.holds("listed", true);
        node.tell(&[revoked(1, 14)]);
        six.holds("listed", false);
        seven.holds("listed", true);
        six.tcp(a, 22, false);
        // The rule goes, and all that it says of its list.
        node.tell(&[revoked(1, 12)]);
        seven.holds("listed", false);
        seven.tcp(a, 22, false);
    }

    let theirs = [of_another("node2", 7, &[2])];
    node.tell(&theirs);
    other.tell(&theirs);
    node.tell(&[ingress(1, 2, tcp(80, 80), Peer::Group(group(2)))]);
    seven.hold(a, 80, "theirs");
    six.tcp(a, 80, false);
    node.tell(&[of_another("node2", 7, &[3])]);
    seven.holds("theirs", false);
    seven.tcp(a, 80, false);
    node.tell(&theirs);
    seven.hold(a, 80, "again");
    node.tell(&[revoked(1, 2)]);
    seven.holds("again", false);
    seven.tcp(a, 80, false);
}

fn revoked_outward(of: u8) -> FactChange {
    revoked(of, 200 + of)
}

#[test]
fn a_port_of_which_nothing_is_known_begins_closed_and_an_address_is_not_inherited() {
    if runs_elsewhere("a_port_of_which_nothing_is_known_begins_closed_and_an_address_is_not_inherited") {
        return;
    }
    let (mut node, _other, [mut five, mut six, _seven]) = two_nodes();
    let eight = Guest::start(&mut node, 8);
    five.tcp(eight.address, 22, false);
    node.tell(&[member("node1", 8, &[1]), ingress(1, 1, Traffic::All, EVERYWHERE)]);
    five.hold(eight.address, 22, "word");
    six.hold(five.address, 22, "other");
    node.tell(&[FactChange::Gone(FactKey::Port(port("node1", 8).id))]);
    five.holds("word", true);
    five.tcp(eight.address, 22, false);

    // Another machine gets the address of one that is gone: nobody goes on talking to it.
    drop(eight);
    node.ask(&json!({ "unplug": 8 }));
    must("ip netns delete g8");
    assert!(node.run("conntrack -L").contains("172.31.0.8"));
    node.ask(&json!({ "plug": 8 }));
    assert!(!node.run("conntrack -L").contains("172.31.0.8"));
    six.holds("other", true);
}

const THEIR_RULES: &str =
    "iptables -t mangle -A THEIRS -s 203.0.113.0/24 -j DROP; iptables -t mangle -A POSTROUTING -j THEIRS";

#[test]
fn who_flushes_rules_opens_nothing_for_long_and_a_restart_changes_none() {
    if runs_elsewhere("who_flushes_rules_opens_nothing_for_long_and_a_restart_changes_none") {
        return;
    }
    let (mut node, _other, [mut five, mut six, mut seven]) = two_nodes();
    let (a, b) = (five.address, six.address);
    node.run("iptables -t mangle -N THEIRS; iptables -P FORWARD DROP");
    node.run("ipset create THEIRS hash:ip; ipset add THEIRS 203.0.113.7");
    node.run(THEIR_RULES);
    node.tell(&[ingress(1, 1, tcp(22, 22), Peer::Group(group(1))), ingress(1, 2, tcp(80, 80), one(b))]);
    six.hold(a, 22, "kin");
    six.tcp(a, 80, true);
    let kernel = "iptables-save | grep -v ^#; ipset save; ebtables-save -t nat | grep -v ^#";
    let without_counts = |printed: String| {
        let shown =
            |line: &str| line.split(" [").next().unwrap().split(" hashsize").next().unwrap().to_owned();
        printed.lines().map(shown).collect::<Vec<_>>()
    };
    let before = without_counts(node.run(kernel));
    let nothing = json!([]);
    assert_eq!(node.ask(&json!({ "mend": true })), nothing);
    assert_eq!(node.ask(&json!({ "again": true })), nothing);
    assert_eq!(without_counts(node.run(kernel)), before, "a restart changes nothing");

    for broken in [
        "iptables -t mangle -F; iptables -F FORWARD",
        "iptables -t mangle -D PREROUTING 1",
        "iptables -t mangle -F POSTROUTING; iptables -t mangle -A POSTROUTING -j THEIRS",
        "iptables -t mangle -F; iptables -t mangle -X; for set in $(ipset list -n | grep KARRI); do until ipset destroy $set; do true; done; done",
        "for set in $(ipset list -n | grep KARRI); do ipset flush $set; done",
        "ip link set karri-t0 type bridge nf_call_iptables 0",
    ] {
        node.run(broken);
        let mended = node.ask(&json!({ "mend": true }));
        assert_ne!(mended, nothing, "{broken}");
        if broken.contains("mangle -F;") {
            node.run("iptables -t mangle -F THEIRS || iptables -t mangle -N THEIRS");
            node.run(THEIR_RULES); // theirs are for them to put back
        }
        let mut now = without_counts(node.run(kernel));
        let mut then = before.clone();
        now.sort();
        then.sort();
        assert!(now == then, "{broken}: {}\nbefore: {}", now.join("\n"), then.join("\n"));
        assert_eq!(node.ask(&json!({ "mend": true })), nothing, "{broken}");
        seven.tcp(a, 3000, false);
        six.tcp(a, 80, true);
    }
    five.ping(GATEWAY, true);

    // A node that died before it had cut what a change forbids does so when it is back.
    six.hold(a, 80, "late");
    node.run(
        "for set in $(ipset list -n | grep KARRI); do ipset -exist del $set 172.31.0.6,tcp:80 || true; done",
    );
    six.holds("late", true);
    node.ask(&json!({ "know": [revoked(1, 2)] }));
    node.ask(&json!({ "again": true }));
    six.holds("late", false);

    node.ask(&json!({ "clean": true }));
    let left = node.run("iptables-save; ipset save; ebtables-save");
    assert!(!left.to_lowercase().contains("karri"), "{left}");
    assert!(left.contains("203.0.113.7") && left.contains("-j THEIRS"));
}

#[test]
fn not_one_packet_passes_while_rules_change() {
    if runs_elsewhere("not_one_packet_passes_while_rules_change") {
        return;
    }
    let (mut node, _other, [five, mut six, mut seven]) = two_nodes();
    let (b, c) = (six.address, seven.address);
    six.ask(json!({ "do": "watch" }));
    let frame = format!("{}{}0800{}", mac(6), mac(7), datagram(c, b, (4000, 3000)));
    seven.ask(json!({ "do": "flood", "hex": frame }));
    for round in 0..3 {
        let other = one(five.address);
        let wide = Traffic::Udp { from: 3000, to: 4000 + round };
        node.tell(&[ingress(1, 1, wide, other.clone()), ingress(1, 2, Traffic::All, Peer::Group(group(9)))]);
        node.tell(&[ingress(1, 3, Traffic::Udp { from: 3000, to: 3000 }, other), revoked(1, 2)]);
        node.tell(&[member("node1", 6, &[1, 4]), outward(4), revoked(1, 1)]);
        node.ask(&json!({ "plug": 6 }));
        node.ask(&json!({ "again": true }));
        node.tell(&[member("node1", 6, &[4]), revoked(1, 3)]);
        node.ask(&json!({ "mend": true }));
        node.tell(&[member("node1", 6, &[1])]);
    }
    assert_eq!(six.ask(json!({ "do": "seen", "hex": MARK })), json!(0));
    node.tell(&[ingress(1, 1, Traffic::Udp { from: 3000, to: 3000 }, one(c))]);
    assert!(six.ask(json!({ "do": "seen", "hex": MARK, "wait": 5.0 })).as_u64() >= Some(1));
}

#[test]
fn a_guest_that_lies_is_heard_by_nobody() {
    if runs_elsewhere("a_guest_that_lies_is_heard_by_nobody") {
        return;
    }
    let (mut node, mut other, [mut five, mut six, mut seven]) = two_nodes();
    let all = [ingress(1, 1, Traffic::All, EVERYWHERE), ingress(2, 1, Traffic::All, EVERYWHERE)];
    node.tell(&all);
    other.tell(&all);
    let mut stranger = Guest::stranger(&node, 99);
    six.ping(five.address, true);
    nobody_hears_lies(&mut five, (6, &mut six), vec![&mut seven, &mut stranger]);

    // To a guest nothing comes but IPv4 and ARP, whoever else is on the wire.
    let (its, b) = (mac(6), six.address);
    let tagged =
        frame(&its, &mac(99), "81000064", &format!("0800{}", datagram(stranger.address, b, (4000, 3000))));
    let hidden = "68696464656e".repeat(3)[..30].to_owned();
    let tagged = tagged.replace(MARK, &hidden);
    let plain = frame(&its, &mac(99), "0800", &datagram(stranger.address, b, (4000, 3000)))
        .replace(MARK, &"6f70656e".repeat(4)[..30]);
    stranger.ask(json!({ "do": "send", "hexes": [tagged, tagged, plain] }));
    let open = "6f70656e".repeat(4)[..30].to_owned();
    assert!(six.ask(json!({ "do": "seen", "hex": open, "wait": 5.0 })).as_u64() >= Some(1));
    assert_eq!(six.ask(json!({ "do": "seen", "hex": hidden })), json!(0));
}

fn looked(node: &mut Node) -> KernelLook {
    serde_json::from_value(node.ask(&json!({ "look": 5 }))).unwrap()
}

/// How many packets the line of port 5 that is for packets to it has counted.
fn counted(look: &KernelLook, text: &str) -> u64 {
    let is_it = |line: &&KernelLine| line.place.ends_with("-to") && line.text.contains(text);
    look.lines.iter().rfind(is_it).unwrap().packets.unwrap()
}

#[test]
fn what_is_shown_of_a_port_is_what_the_kernel_has_and_counts() {
    if runs_elsewhere("what_is_shown_of_a_port_is_what_the_kernel_has_and_counts") {
        return;
    }
    let (mut node, _other, [five, mut six, mut seven]) = two_nodes();
    let (a, member) = (five.address, "172.31.0.6,tcp:22");
    node.tell(&[ingress(1, 1, tcp(22, 22), one(six.address))]);
    let (drop, group) = ("-j DROP", format!("--comment {} -j", group(1)));
    let before = looked(&mut node);
    assert_eq!(before.differs, Vec::<String>::new());
    assert!(before.lines.iter().any(|line| line.place.starts_with("ipset ") && line.text.contains(member)));
    seven.tcp(a, 22, false);
    let refused = looked(&mut node);
    assert!(
        counted(&refused, drop) > counted(&before, drop),
        "a refused packet is counted where it is dropped"
    );
    six.tcp(a, 22, true);
    let let_in = looked(&mut node);
    assert_eq!(counted(&let_in, drop), counted(&refused, drop));
    assert!(counted(&let_in, &group) > counted(&refused, &group));

    let tap = port("node1", 5).tap;
    let set = before.lines.iter().find(|line| line.text.contains(member)).unwrap();
    let set = set.place.strip_prefix("ipset ").unwrap();
    for (broken, sentence) in [
        (
            format!("iptables -t mangle -D KARRI-{tap}-to -j DROP"),
            format!("iptables mangle KARRI-{tap}-to lacks: -j DROP"),
        ),
        (
            format!("iptables -t mangle -I KARRI-{tap}-to -s 203.0.113.7 -j ACCEPT"),
            format!("iptables mangle KARRI-{tap}-to has besides: -s 203.0.113.7/32 -j ACCEPT"),
        ),
        (format!("ipset del {set} {member}"), format!("ipset {set} lacks: {member}")),
        (format!("ipset add {set} 172.31.0.9,tcp:23"), format!("ipset {set} has besides: 172.31.0.9,tcp:23")),
        ("iptables -t mangle -D PREROUTING 1".to_owned(), "the ways to security groups".to_owned()),
        (format!("ebtables -t nat -D {tap} 1"), format!("ebtables nat {tap} lacks: ")),
        (format!("ip link set {tap} nomaster"), format!("{tap} is no port of bridge {BRIDGE}")),
        (format!("ip link set {tap} down"), format!("{tap} is down")),
    ] {
        node.run(&broken);
        let differs = looked(&mut node).differs;
        assert!(differs.iter().any(|what| what.starts_with(&sentence)), "{broken}: {differs:?}");
        node.run(&format!("ip link set {tap} up")); // what libvirt does, and no node
        node.ask(&json!({ "mend": true }));
        assert_eq!(looked(&mut node).differs, Vec::<String>::new(), "{broken}");
    }
    node.ask(&json!({ "unplug": 5 }));
    assert_eq!(node.ask(&json!({ "look": 5 })), json!(null));
}
