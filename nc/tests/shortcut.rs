//! The shortcut between ports with real packets: who takes it, who does not, and how it ends.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[path = "support/frames.rs"]
mod frames;
#[path = "support/guarded.rs"]
mod guarded;
#[path = "support/told.rs"]
mod told;

use frames::{MARK, datagram, frame, mac, nobody_hears_lies};
use guarded::{
    Guest, Node, be_a_node, bridge_of, guest_name, must, namespaces, port_at, runs_elsewhere, tunnel,
};
use karri_proto::network::{FactChange, Peer, Traffic};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use told::{EVERYWHERE, group, ingress, member_at, outward, revoked, tcp};

const A: u32 = 0x1001;
const NOTHING: Value = Value::Array(Vec::new());
/// Words of one exchange. Twice as many packets, of which the rules see a few.
const WORDS: u64 = 400;
const FEW: u64 = WORDS / 8;
/// What was let through once is let through so long at most, with a tick.
const FRESH: Duration = Duration::from_millis(1_050);
/// Where guests echo what they hear, and where they answer its first word alone. One that has words to answer yet opens a
/// flow of its own with them, when that of the question is cut.
const ECHO: u16 = 3000;
const ONE_WAY: u16 = 3001;
const UDP: Traffic = Traffic::Udp { from: ECHO, to: ONE_WAY };

/// Not a test of its own: the others run it as their nodes.
#[test]
fn node() {
    be_a_node();
}

struct World {
    one: Node,
    two: Node,
    five: Guest,
    six: Guest,
    seven: Guest,
}

/// Guests 5 and 6 on one host, 7 on another, on segment A and of group 1, into which everything comes by rule 1 and UDP
/// ports of ours by rule 2.
fn world() -> World {
    namespaces(&["node1", "node2"]);
    must("ip -n node1 link add wire type veth peer name wire netns node2");
    for name in ["node1", "node2"] {
        must(&format!(
            "ip -n {name} address add {}/24 dev wire; ip -n {name} link set wire up",
            tunnel(name)
        ));
    }
    let (mut one, mut two) = (Node::start("node1"), Node::start("node2"));
    for node in [&mut one, &mut two] {
        node.ask(&json!({ "tunnels": [tunnel("node1"), tunnel("node2")] }));
        node.tell(&[
            outward(1),
            outward(2),
            member_at("node1", A, 5, &[1]),
            member_at("node1", A, 6, &[1]),
            member_at("node2", A, 7, &[1]),
            ingress(1, 1, tcp(0, 65535), EVERYWHERE),
            ingress(1, 2, UDP, EVERYWHERE),
        ]);
    }
    let mut five = Guest::start_on(&mut one, A, 5);
    // It takes the answers to what `flood` sends.
    five.ask(json!({ "do": "silent", "port": 4000 }));
    let mut six = Guest::start_on(&mut one, A, 6);
    let mut seven = Guest::start_on(&mut two, A, 7);
    for guest in [&mut six, &mut seven] {
        guest.ask(json!({ "do": "answer_once", "port": ONE_WAY }));
    }
    for node in [&mut one, &mut two] {
        // A rule that sees what the rules see, and says nothing.
        node.run(&format!("iptables -t raw -A PREROUTING -i {} -m comment --comment judged", bridge_of(A)));
        assert_eq!(node.ask(&json!({ "mend": true })), NOTHING);
    }
    World { one, two, five, six, seven }
}

/// How many packets the rules of this node have seen.
fn judged(node: &Node) -> u64 {
    let printed = node.run("iptables -t raw -L PREROUTING -v -x -n");
    let rule = printed.lines().find(|line| line.contains("judged")).unwrap();
    rule.split_whitespace().next().unwrap().parse().unwrap()
}

/// The rules of `node` see so many packets while guest 5 and another talk; all words are answered.
#[track_caller]
fn talk(node: &Node, five: &mut Guest, to: Ipv4Addr) -> u64 {
    let before = judged(node);
    let answered = five.ask(json!({ "do": "exchange", "to": to, "port": 3000, "count": WORDS, "wait": 5.0 }));
    assert_eq!(answered, json!(WORDS));
    judged(node) - before
}

#[track_caller]
fn is_short(node: &Node, five: &mut Guest, to: Ipv4Addr) {
    let seen = talk(node, five, to);
    assert!(seen > 1 && seen < FEW, "the rules have seen {seen} packets");
}

#[track_caller]
fn is_long(node: &Node, five: &mut Guest, to: Ipv4Addr) {
    let seen = talk(node, five, to);
    assert!(seen >= 2 * WORDS, "the rules have seen {seen} packets");
}

/// Frames that have come to a guest, as its own kernel counts them.
fn received(number: u8) -> u64 {
    let name = guest_name(A, number);
    must(&format!("ip netns exec {name} cat /sys/class/net/eth0/statistics/rx_packets"))
        .trim()
        .parse()
        .unwrap()
}

/// Guest 5 begins to send frame after frame to another.
fn flood(from: &mut Guest, (number, to): (u8, Ipv4Addr), port: u16) {
    let hex = frame(&mac(number), &mac(5), "0800", &datagram(from.address, to, (4000, port)));
    from.ask(json!({ "do": "flood", "hex": hex.replace(MARK, &"666c6f6f64".repeat(3)) }));
    comes(number);
}

#[track_caller]
fn comes(number: u8) {
    let (before, end) = (received(number), Instant::now() + Duration::from_secs(5));
    while received(number) < before + 100 {
        assert!(Instant::now() < end, "nothing comes to guest {number}");
    }
}

/// But for a question of who has an address.
#[track_caller]
fn nothing_comes(number: u8) {
    let before = received(number);
    std::thread::sleep(Duration::from_millis(300));
    let more = received(number) - before;
    assert!(more < 5, "{more} packets have come to guest {number}");
}

#[test]
fn an_open_flow_passes_beside_the_rules_on_one_host_and_between_two() {
    if runs_elsewhere("an_open_flow_passes_beside_the_rules_on_one_host_and_between_two") {
        return;
    }
    let World { mut one, two, mut five, mut six, mut seven } = world();
    let (b, c) = (six.address, seven.address);
    is_short(&one, &mut five, b);
    is_short(&one, &mut five, c);
    is_short(&two, &mut five, c);
    // What nobody may is refused as before, and what opens a connection is seen.
    five.udp(b, 53, false);
    let before = judged(&one);
    five.tcp(b, 22, true);
    assert!(judged(&one) - before >= 6, "three packets to open it, and three to end it");

    // Many packets in one, both ways at once, for longer than the rules are not asked.
    for (to, number) in [(b, 6), (c, 7)] {
        five.hold(to, 80, "long");
        let before = (judged(&one), received(number));
        assert_eq!(
            five.ask(json!({ "do": "converse", "keep": "long", "seconds": 3.0, "wait": 5.0 })),
            json!(true)
        );
        let (seen, all) = (judged(&one) - before.0, received(number) - before.1);
        assert!(all > 2_000 && seen < all / 20, "the rules have seen {seen} of {all} packets");
        five.holds("long", true);
        let tracked = one.run(&format!("conntrack -L -p tcp --dport 80 --dst {to} 2>/dev/null"));
        let rest: u64 = tracked.split_whitespace().nth(2).unwrap().parse().unwrap();
        assert!(tracked.contains("ESTABLISHED") && rest > 400_000, "{tracked}");
        five.ask(json!({ "do": "close", "keep": "long" }));
    }
    // Its end is heard, be it sudden: nothing is remembered as open.
    five.hold(b, 80, "sudden");
    assert_eq!(
        five.ask(json!({ "do": "converse", "keep": "sudden", "seconds": 0.5, "wait": 5.0 })),
        json!(true)
    );
    five.ask(json!({ "do": "close", "keep": "sudden", "reset": true }));
    let end = Instant::now() + Duration::from_secs(15);
    while one.run("conntrack -L -p tcp --dport 80 2>/dev/null").contains("ESTABLISHED") {
        assert!(Instant::now() < end, "{}", one.run("conntrack -L -p tcp"));
        std::thread::sleep(Duration::from_millis(100));
    }
    for node in [&one, &two] {
        let chains = node.run("iptables-save -c -t mangle");
        let invalid = |line: &&str| line.contains("INVALID -j DROP");
        assert!(chains.lines().any(|line| invalid(&line)));
        let dropped: Vec<&str> =
            chains.lines().filter(invalid).filter(|line| !line.starts_with("[0:0]")).collect();
        assert!(dropped.is_empty(), "{dropped:?}");
    }

    // Without it everything goes by the rules, and nothing of it is left.
    one.ask(&json!({ "again": true, "shortcut": false }));
    is_long(&one, &mut five, b);
    assert!(!programs(&one).contains("karri-k") && is_strict(&one));
    six.udp(five.address, 3000, true);
    seven.udp(five.address, 3000, true);
    one.ask(&json!({ "again": true }));
    is_short(&one, &mut five, b);
}

/// All that is at the links of a node's host.
fn programs(node: &Node) -> String {
    node.run(
        "for link in $(ls /sys/class/net); do echo $link: $(tc filter show dev $link ingress) \
         $(tc filter show dev $link egress) $(tc qdisc show dev $link clsact); done",
    )
}

fn is_strict(node: &Node) -> bool {
    let setting = |name: &str| node.run(&format!("cat /proc/sys/net/netfilter/nf_conntrack_tcp_{name}"));
    let all =
        ["be_liberal", "ignore_invalid_rst", "timeout_unacknowledged", "timeout_max_retrans"].map(setting);
    all.map(|value| value.trim().to_owned()) == ["0", "0", "300", "300"]
}

#[test]
fn what_is_revoked_in_use_comes_no_more() {
    if runs_elsewhere("what_is_revoked_in_use_comes_no_more") {
        return;
    }
    let World { mut one, mut two, mut five, six, seven } = world();
    flood(&mut five, (6, six.address), ONE_WAY);
    flood(&mut five, (7, seven.address), ONE_WAY);
    let before = judged(&one);
    let came = received(6);
    comes(6);
    comes(7);
    assert!(judged(&one) - before < (received(6) - came) / 2, "it takes the shortcut");
    let by_group = || ingress(1, 3, UDP, Peer::Group(group(1)));
    for (how, forbid, allow) in [
        ("a rule", vec![revoked(1, 2)], vec![ingress(1, 2, UDP, EVERYWHERE)]),
        ("a rule outward", vec![revoked(1, 201)], vec![outward(1)]),
        (
            "a group of the sender",
            vec![by_group(), revoked(1, 2), member_at("node1", A, 5, &[2])],
            vec![member_at("node1", A, 5, &[1])],
        ),
    ] {
        one.tell(&forbid);
        nothing_comes(6);
        two.tell(&forbid);
        nothing_comes(7);
        one.tell(&allow);
        two.tell(&allow);
        comes(6);
        comes(7);
        println!("{how} was revoked");
    }
    // What an earlier change of the port itself has let through.
    one.ask(&json!({ "unplug": 6, "segment": A }));
    must(&format!("ip netns delete {}", guest_name(A, 6)));
    comes(7);
}

#[test]
fn what_the_rules_have_not_seen_for_a_second_is_asked_about_again() {
    if runs_elsewhere("what_the_rules_have_not_seen_for_a_second_is_asked_about_again") {
        return;
    }
    let World { one, two: _two, mut five, mut six, seven: _seven } = world();
    let b = six.address;
    is_short(&one, &mut five, b);
    // At rest: the next word is asked about, and the answer to it.
    six.ask(json!({ "do": "watch" }));
    let hex = frame(&mac(6), &mac(5), "0800", &datagram(five.address, b, (4000, 3000)));
    let mut say = |count: usize| {
        let before = (judged(&one), received(5));
        five.ask(json!({ "do": "send", "hexes": vec![hex.clone(); count] }));
        let end = Instant::now() + Duration::from_secs(5);
        while received(5) < before.1 + count as u64 {
            assert!(Instant::now() < end, "no answer");
        }
        judged(&one) - before.0
    };
    say(3);
    std::thread::sleep(FRESH);
    assert_eq!(say(1), 2);
    // What goes on is asked about no less: whoever cuts it off behind the node's back has cut it off after that.
    flood(&mut five, (6, b), ECHO);
    one.run(&format!("iptables -t mangle -I PREROUTING -s {} -j DROP", five.address));
    std::thread::sleep(FRESH);
    nothing_comes(6);
}

#[test]
fn a_lie_in_the_words_of_an_honest_flow_is_heard_by_nobody() {
    if runs_elsewhere("a_lie_in_the_words_of_an_honest_flow_is_heard_by_nobody") {
        return;
    }
    let World { one, two, mut five, mut six, mut seven } = world();
    let mut stranger = Guest::stranger_on(&two, &bridge_of(A), 99);
    for (number, hearer) in [(6, &mut six), (7, &mut seven)] {
        flood(&mut five, (number, hearer.address), ECHO);
        let (before, came) = (judged(&one), received(number));
        comes(number);
        assert!(judged(&one) - before < (received(number) - came) / 2, "it takes the shortcut");
        nobody_hears_lies(&mut five, (number, hearer), vec![&mut stranger]);
    }
    // In pieces, longer than it is, and longer than the ports carry.
    let (a, b) = (five.address, six.address);
    let honest = frame(&mac(6), &mac(5), "0800", &datagram(a, b, (4000, 3000)));
    let said_longer = honest.replacen("4500002b", "45000fff", 1);
    assert_ne!(said_longer, honest);
    let name = |number| guest_name(A, number);
    let tap = port_at("node1", A, 5).tap;
    one.run(&format!("ip link set {tap} mtu 9000"));
    for number in [5, 6] {
        must(&format!("ip -n {} link set eth0 mtu 9000", name(number)));
    }
    let wide = "77696465".repeat(4);
    let long = format!("{honest}{}", wide.repeat(100));
    let total = long.len() / 2 - 14;
    let long = resized(&long, total);
    five.ask(json!({ "do": "send", "hexes": [said_longer, long] }));
    let truth = "7472757468".repeat(3);
    five.ask(json!({ "do": "send", "hexes": [honest.replace(MARK, &truth)] }));
    let seen = |six: &mut Guest, hex: &str, wait: f64| {
        six.ask(json!({ "do": "seen", "hex": hex, "wait": wait })).as_u64().unwrap()
    };
    let truths = seen(&mut six, &truth, 0.0);
    five.ask(json!({ "do": "send", "hexes": [honest.replace(MARK, &truth)] }));
    let more = six.ask(json!({ "do": "seen", "hex": truth, "wait": 5.0, "more_than": truths }));
    assert!(more.as_u64().unwrap() > truths);
    assert_eq!(seen(&mut six, &wide, 0.0), 0, "longer than the ports carry");
}

/// The same datagram, whose heads say so many bytes of the packet, and that nobody may cut it.
fn resized(hex: &str, total: usize) -> String {
    let head = format!("{}{total:04x}00004000{}0000{}", &hex[28..32], &hex[44..48], &hex[52..68]);
    let words = (0..10).map(|at| u32::from_str_radix(&head[at * 4..at * 4 + 4], 16).unwrap());
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) & 0xffff;
    let udp = format!("{}{:04x}0000{}", &hex[68..76], total - 20, &hex[84..]);
    format!("{}{}{sum:04x}{}{udp}", &hex[..28], &head[..20], &head[24..])
}

#[test]
fn it_is_mended_survives_its_node_and_leaves_nothing_but_what_is_others() {
    if runs_elsewhere("it_is_mended_survives_its_node_and_leaves_nothing_but_what_is_others") {
        return;
    }
    let World { mut one, two: _two, mut five, six, seven } = world();
    let (b, c) = (six.address, seven.address);
    let (tap, device) = (port_at("node1", A, 5).tap, bridge_of(A).replace('.', "x"));
    let theirs = "prio 7 protocol arp handle 77: u32 match u32 0 0 flowid 1:1";
    for link in [&tap, &device] {
        one.run(&format!("tc filter add dev {link} ingress {}", theirs.replace("handle 77: ", "")));
    }
    let is_theirs_there = |node: &Node, link: &str| {
        node.run(&format!("tc filter show dev {link} ingress")).contains("pref 7 u32")
    };
    assert_eq!(one.ask(&json!({ "mend": true })), NOTHING);
    for (broken, link) in [
        (format!("tc filter delete dev {tap} egress"), &tap),
        (format!("tc filter delete dev {device} ingress pref 19265"), &device),
        (format!("tc qdisc delete dev {device} clsact"), &device),
    ] {
        one.run(&broken);
        let mended = one.ask(&json!({ "mend": true }));
        assert_eq!(mended, json!([format!("the shortcut at {link}")]), "{broken}");
        assert_eq!(one.ask(&json!({ "mend": true })), NOTHING, "{broken}");
        is_short(&one, &mut five, b);
        is_short(&one, &mut five, c);
    }
    assert!(is_theirs_there(&one, &tap));
    one.run("sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0");
    assert_eq!(one.ask(&json!({ "mend": true })), json!(["what connection tracking lets pass"]));
    one.run(&format!("tc filter add dev {device} ingress {}", theirs.replace("handle 77: ", "")));

    // A router of the VPC stays on the segment; the node leaves it with its last port.
    let before = programs(&one);
    assert_eq!(one.ask(&json!({ "again": true })), NOTHING);
    is_short(&one, &mut five, b);
    assert_ne!(programs(&one), before, "they are the new life's");
    one.run(&format!(
        "ip link add router type veth peer name far; ip link set router master {}",
        bridge_of(A)
    ));
    for number in [5, 6] {
        one.ask(&json!({ "unplug": number, "segment": A }));
        must(&format!("ip netns delete {}", guest_name(A, number)));
    }
    one.ask(&json!({ "mend": true }));
    assert!(!programs(&one).contains("karri-k"), "{}", programs(&one));
    assert!(is_theirs_there(&one, &device));

    // A node that is gone without a word leaves its guests what they had, and what comes after it takes it over.
    let mut five = Guest::start_on(&mut one, A, 5);
    let six = Guest::start_on(&mut one, A, 6);
    one.ask(&json!({ "mend": true }));
    is_short(&one, &mut five, b);
    let name = one.name;
    drop(one);
    let mut one = {
        let before = must("ip netns exec node1 iptables -t raw -L PREROUTING -v -x -n");
        let answered =
            five.ask(json!({ "do": "exchange", "to": b, "port": 3000, "count": WORDS, "wait": 5.0 }));
        assert_eq!(answered, json!(WORDS));
        assert!(before.contains("CT"));
        Node::start(name)
    };
    one.tell(&facts_of_five_and_six());
    for number in [5, 6] {
        one.ask(&json!({ "plug": number, "segment": A }));
    }
    one.ask(&json!({ "mend": true }));
    is_short(&one, &mut five, six.address);
    one.ask(&json!({ "clean": true }));
    assert!(!programs(&one).contains("karri-k"), "{}", programs(&one));
}

fn facts_of_five_and_six() -> Vec<FactChange> {
    let members = [5, 6].map(|number| member_at("node1", A, number, &[1]));
    members.into_iter().chain([outward(1), ingress(1, 2, UDP, EVERYWHERE)]).collect()
}
