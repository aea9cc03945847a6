//! Segments as VLANs, with real tagged frames: two lab hosts on one cable, each with a node and guests that are their
//! own masters. This machine's kernel need not know VLANs.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[path = "support/frames.rs"]
mod frames;
#[path = "support/guarded.rs"]
mod guarded;
#[path = "support/told.rs"]
mod told;

use frames::{MARK, mac, nobody_hears_lies};
use guarded::{Guest, Node, assert_same, be_a_node, bridge_of, guest_name, kernel, lab, port_at};
use karri_proto::network::Traffic;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use told::{EVERYWHERE, ingress, member_at, outward};

/// Of two VPCs, with the same range.
const A: u32 = 100;
const B: u32 = 200;
const TRUNK: &str = "eth0";
const NOTHING: Value = Value::Array(Vec::new());
const MTU: usize = 1500;

/// Not a test of its own: the others run it as their nodes.
#[test]
fn node() {
    be_a_node();
}

struct World {
    hosts: [lab::Host; 2],
    one: Node,
    two: Node,
    five: Guest,
    six: Guest,
    seven: Guest,
    other: Guest,
}

#[test]
fn two_hosts_with_segments_in_tagged_frames() {
    let hosts = lab::hosts::<2>();
    for host in &hosts {
        host.must(
            "ip link add theirs type bridge; ip link add link eth0 name eth0.9 type vlan id 9; \
             echo 1 >/proc/sys/net/ipv6/conf/eth0.9/disable_ipv6",
        );
    }
    let mut one = Node::start_in(&hosts[0], "node1", TRUNK);
    let mut two = Node::start_in(&hosts[1], "node2", TRUNK);
    everything_is_let_through([&mut one, &mut two]);
    // The trunk was down, and no segment is there before something is on it.
    assert_eq!(vlans(&one), ["9"]);
    let five = Guest::start_on(&mut one, A, 5);
    let six = Guest::start_on(&mut one, A, 6);
    let seven = Guest::start_on(&mut two, A, 7);
    let other = Guest::start_on(&mut two, B, 6);
    assert_eq!((vlans(&one), vlans(&two)), (texts(&["9", "100"]), texts(&["9", "100", "200"])));
    let mut world = World { hosts, one, two, five, six, seven, other };
    world.a_segment_is_one_network_and_the_same_range_beside_it_another();
    world.an_open_flow_passes_beside_the_rules_of_debians_kernel();
    world.nobody_hears_a_guest_lie_nor_does_it_come_to_the_cable();
    world.metadata_is_asked_by_nobody_in_anothers_name();
    world.what_others_take_away_is_put_back_and_a_restart_changes_nothing();
    world.what_cannot_be_made_is_told_and_not_made_by_half();
    world.segments_go_with_their_last_port();
}

/// Between guests: here it is about networks.
fn everything_is_let_through(nodes: [&mut Node; 2]) {
    let mut facts = vec![outward(1), ingress(1, 1, Traffic::All, EVERYWHERE)];
    for (node, segment, number) in [
        ("node1", A, 5),
        ("node1", A, 6),
        ("node2", A, 7),
        ("node2", B, 6),
        ("node1", 9, 5),
        ("node1", 300, 5),
    ] {
        facts.push(member_at(node, segment, number, &[1]));
    }
    for node in nodes {
        node.tell(&facts);
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The numbers of the VLANs on the trunk.
fn vlans(node: &Node) -> Vec<String> {
    let told = node.run("ip -d -o link show type vlan");
    let mut ids: Vec<u32> = told
        .lines()
        .map(|line| line.split("802.1Q id ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap())
        .collect();
    ids.sort_unstable();
    ids.iter().map(u32::to_string).collect()
}

impl World {
    fn a_segment_is_one_network_and_the_same_range_beside_it_another(&mut self) {
        let (six, seven) = (self.six.address, self.seven.address);
        for guest in [&mut self.five, &mut self.six] {
            guest.ping(seven, true);
            guest.tcp(seven, 80, true);
            guest.udp(seven, 53, true);
        }
        self.seven.tcp(six, 22, true);
        // What is as large as the trunk carries goes whole, and nothing larger.
        let packet = |size: usize| json!({ "do": "packet", "to": seven, "size": size, "wait": 5.0 });
        assert_eq!(self.five.ask(packet(MTU)), json!(true));
        assert_eq!(self.five.ask(packet(MTU + 1)), json!("Message too long"));
        assert_eq!(
            self.five.ask(json!({ "do": "bulk", "to": seven, "port": 80, "wait": 30.0 })),
            json!(true)
        );
        // The other segment's six is another machine, and has no seven: not even who has the address is answered.
        self.other.ping(seven, false);
        self.other.tcp(seven, 80, false);
        self.other.udp(seven, 53, false);
        let known = self.two.beside(&format!("ip netns exec {} ip neigh show {seven}", guest_name(B, 6)));
        assert!(known.contains("FAILED") || known.contains("INCOMPLETE"), "{known}");
        let mac = mac(7);
        let mac: Vec<&str> = (0..6).map(|at| &mac[at * 2..at * 2 + 2]).collect();
        self.two.beside(&format!(
            "ip -n {} neigh replace {seven} lladdr {} dev eth0",
            guest_name(B, 6),
            mac.join(":")
        ));
        self.other.ping(seven, false);
        let (tags, _) = self.hosts[0].on_the_cable(MARK);
        // 200 is of one host only: what it asked everybody went out, and only with its tag.
        let seen: BTreeSet<&str> = tags.keys().map(String::as_str).filter(|tag| !tag.is_empty()).collect();
        assert_eq!(seen, BTreeSet::from(["100", "200"]), "{tags:?}");
    }

    fn an_open_flow_passes_beside_the_rules_of_debians_kernel(&mut self) {
        const WORDS: u64 = 400;
        let of_segment = format!("PREROUTING -i {} -m comment --comment judged", bridge_of(A));
        let judged = |node: &Node| -> u64 {
            let counted = node.run("iptables-save -c -t raw");
            let line = counted.lines().find(|line| line.ends_with("judged")).unwrap().to_owned();
            line[1..].split(':').next().unwrap().parse().unwrap()
        };
        for node in [&mut self.one, &mut self.two] {
            node.ask(&json!({ "mend": true }));
            node.run(&format!("iptables -t raw -A {of_segment}"));
        }
        for to in [self.six.address, self.seven.address] {
            let before = [&self.one, &self.two].map(judged);
            let talk = json!({ "do": "exchange", "to": to, "port": 3000, "count": WORDS, "wait": 10.0 });
            assert_eq!(self.five.ask(talk), json!(WORDS), "{to}");
            let seen = [judged(&self.one) - before[0], judged(&self.two) - before[1]];
            assert!(seen[0] > 1 && seen.iter().all(|seen| *seen < WORDS / 4), "{to}: {seen:?} packets");
        }
        for node in [&self.one, &self.two] {
            node.run(&format!("iptables -t raw -D {of_segment}"));
        }
    }

    fn nobody_hears_a_guest_lie_nor_does_it_come_to_the_cable(&mut self) {
        let mut stranger = Guest::stranger_on(&self.two, &bridge_of(A), 99);
        // Where the echo of what is no lie comes to.
        self.five.ask(json!({ "do": "silent", "port": 4000 }));
        let (_, before) = self.hosts[0].on_the_cable(MARK);
        let others = vec![&mut self.six, &mut self.other, &mut stranger];
        nobody_hears_lies(&mut self.five, (7, &mut self.seven), others);
        // What was no lie went over it, and then its echo.
        let deadline = Instant::now() + Duration::from_secs(10);
        let (tags, after) = loop {
            let (tags, count) = self.hosts[0].on_the_cable(MARK);
            if count >= before + 2 || Instant::now() > deadline {
                break (tags, count);
            }
        };
        assert_eq!(after, before + 2);
        assert!(tags.keys().all(|tags| !tags.contains(',')), "nothing has two tags: {tags:?}");
        assert!(tags.keys().all(|tag| ["", "100", "200"].contains(&tag.as_str())), "{tags:?}");
        self.two.run("ip link delete far99");
    }

    /// Neither as one of the same segment nor as one of that address in the other.
    fn metadata_is_asked_by_nobody_in_anothers_name(&mut self) {
        let get = |wait: f64| json!({ "do": "get", "path": "/latest/meta-data/instance-id", "wait": wait });
        let identity =
            |node, segment, number| json!(port_at(node, segment, number).id.as_str().replace("eni-", "i-"));
        let (own, another, name) = (self.five.address, self.six.address, guest_name(A, 5));
        let ask_as = |source| format!("ip -n {name} route replace 169.254.0.0/16 dev eth0 src {source}");
        self.one.beside(&format!("ip -n {name} address add {another}/20 dev eth0; {}", ask_as(another)));
        // Much longer than an answer takes in an emulated host: it would be here.
        assert!(self.five.ask(get(3.0)).as_str().unwrap().contains("nothing"));
        self.one.beside(&format!("{}; ip -n {name} address del {another}/20 dev eth0", ask_as(own)));
        assert_eq!(self.five.ask(get(5.0)), identity("node1", A, 5));
        self.two.beside(&format!("ip -n {} route replace 169.254.0.0/16 dev eth0", guest_name(B, 6)));
        assert_eq!(self.other.ask(get(5.0)), identity("node2", B, 6));
    }

    fn what_others_take_away_is_put_back_and_a_restart_changes_nothing(&mut self) {
        let seven = self.seven.address;
        self.five.hold(seven, 22, "before");
        assert_eq!(self.one.ask(&json!({ "mend": true })), NOTHING);
        let whole = kernel(&self.one);
        assert_eq!(self.one.ask(&json!({ "again": true })), NOTHING);
        assert_same(&kernel(&self.one), &whole, "a restart");
        self.five.holds("before", true);
        let (bridge, device) = (bridge_of(A), bridge_of(A).replace('.', "x"));
        for broken in [
            format!("ip link delete {bridge}"),
            format!("ip link delete {bridge}; ip link delete {device}"),
            format!("ip link set {TRUNK} down"),
            format!(
                "ip link delete {device}; ip link add link {TRUNK} name {device} group 19265 type vlan id 101"
            ),
        ] {
            self.one.run(&broken);
            assert_ne!(self.one.ask(&json!({ "mend": true })), NOTHING, "{broken}");
            assert_same(&kernel(&self.one), &whole, &broken);
            assert_eq!(self.one.ask(&json!({ "mend": true })), NOTHING, "{broken}");
            self.five.tcp(seven, 80, true);
            self.five.holds("before", true);
        }
    }

    fn what_cannot_be_made_is_told_and_not_made_by_half(&mut self) {
        // Somebody else's VLAN of that number.
        let links = || self.hosts[0].must("ip -o link | wc -l");
        let before = links();
        let error = self.one.refuses(&json!({ "plug": 5, "segment": 9 }));
        assert!(error.contains("tag 9 on eth0"), "{error}");
        self.one.ask(&json!({ "unplug": 5, "segment": 9 }));
        assert_eq!(links(), before);
        assert!(self.one.run("ip -d link show eth0.9").contains("id 9"), "it is as it was");
        // The trunk goes, as with its driver, and comes again.
        self.one.run(&format!("ip link set {TRUNK} down; ip link set {TRUNK} name away"));
        let error = self.one.refuses(&json!({ "plug": 5, "segment": 300 }));
        assert!(error.contains("trunk: this host has no interface eth0"), "{error}");
        assert!(self.one.refuses(&json!({ "mend": true })).contains("trunk"));
        assert_eq!(self.one.run("ip -o link show").matches(&bridge_of(300)).count(), 0);
        self.one.run(&format!("ip link set away name {TRUNK}"));
        self.one.ask(&json!({ "unplug": 5, "segment": 300 }));
        assert_ne!(self.one.ask(&json!({ "mend": true })), NOTHING);
        self.five.tcp(self.seven.address, 80, true);
        self.five.holds("before", true);
    }

    fn segments_go_with_their_last_port(&mut self) {
        self.one.ask(&json!({ "unplug": 5, "segment": A }));
        self.six.ping(self.seven.address, true);
        self.one.ask(&json!({ "unplug": 6, "segment": A }));
        self.two.ask(&json!({ "unplug": 6, "segment": B }));
        assert_eq!((vlans(&self.one), vlans(&self.two)), (texts(&["9"]), texts(&["9", "100"])));
        self.one.ask(&json!({ "clean": true }));
        let left = self.one.run("ip -o link; iptables-save; ebtables-save; ipset -n list").to_lowercase();
        assert!(!left.contains("karri"), "{left}");
        assert!(left.contains("theirs") && left.contains("eth0.9"), "{left}");
    }
}
