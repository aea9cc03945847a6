//! What others change is put right; a restart changes nothing.

use crate::vpc::TestVpc;
use crate::world::{BRIDGE, DEADLINE, Guest, World, must, run, runs_elsewhere, until};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

const B: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);
const NAMESPACE: &str = "karri-karri-t0-0000000001";
/// All that decides about packets.
const STATE: &str = "ip netns exec karri-karri-t0-0000000001 sh -c 'iptables-save | grep -v ^# | sed \"s/ \\[.*//\"; \
    ip rule | sort; ip route show table all | sort; ip -o link; ip -o -4 address' | sed 's/valid_lft.*//'; ip route | sort";

/// As the controller does: rounds until it is so.
#[track_caller]
fn mended(world: &mut World, what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    let mut told = Ok(());
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(5), "{what}: not within 5 s: {told:?}");
        told = world.runtime.block_on(karri_cc::drive::Driver::apply(&mut world.driver, &world.wanted));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_others_take_away_is_back_within_seconds() {
    if runs_elsewhere("mending::what_others_take_away_is_back_within_seconds") {
        return;
    }
    let mut world = World::new();
    let vpc = TestVpc::new(1);
    world.become_wanted(&[&vpc]);
    let (a, b) = (Guest::plug(&vpc, "a"), Guest::plug(&vpc, "b"));
    b.serve(80);
    let before = must(STATE);
    let inside = |command: &str| must(&format!("ip netns exec {NAMESPACE} {command}"));
    let reaches = || a.connect(B, 80).is_ok();
    // What decides about packets, all of it at once.
    for spoil in [
        "iptables -F",
        "iptables -t nat -I PREROUTING -j ACCEPT",
        "iptables -t mangle -A FORWARD -j DROP",
        "sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward'",
        "ip rule delete pref 1000",
        "ip route flush table 1000257",
        "ip route delete default",
    ] {
        inside(spoil);
    }
    assert!(!reaches());
    mended(&mut world, "rules and routes", || must(STATE) == before && reaches());
    inside("ip address flush dev s101");
    inside("ip link set s102 down");
    inside("ip link set u mtu 1400");
    must(&format!("ip address flush dev {BRIDGE}u1 && ip route flush proto 75"));
    mended(&mut world, "addresses and what links are like", || must(STATE) == before && reaches());
    must(&format!(
        "ip link delete {BRIDGE}s101 && ip link delete {BRIDGE}u1 && ip link set {BRIDGE}s102 nomaster && \
         sysctl -qw net.ipv6.conf.{BRIDGE}s102.disable_ipv6=0"
    ));
    let is_up = || run(&format!("ip link show {BRIDGE}u1")).status.success();
    let is_silent = || must(&format!("ip -6 -o address show dev {BRIDGE}s102")).is_empty();
    assert!(!is_silent());
    mended(&mut world, "links", || is_up() && reaches() && is_silent());
    must(&format!("ip netns delete {NAMESPACE}"));
    mended(&mut world, "the namespace", reaches);
    let pid_file = world.network.run_dir.join(NAMESPACE).join("s101/dnsmasq.pid");
    let answers = || a.connect([10, 0, 0, 1].into(), 53).is_ok();
    mended(&mut world, "dnsmasq in the new namespace", answers);
    must(&format!("kill -9 $(cat {})", pid_file.display()));
    until("dnsmasq ends", DEADLINE, || !answers());
    mended(&mut world, "dnsmasq", answers);

    // What is not ours is not touched.
    must("ip route add 203.0.113.77/32 dev lo && iptables -A FORWARD -s 192.0.2.77 -j DROP");
    world.remove();
    assert!(must("ip route").contains("203.0.113.77") && must("iptables -S FORWARD").contains("192.0.2.77"));
    assert_eq!(must("ls /run/netns").trim(), "");
    assert!(!world.network.run_dir.exists());
    world.remove();
}

#[test]
fn another_life_of_the_controller_changes_no_packets_path() {
    if runs_elsewhere("mending::another_life_of_the_controller_changes_no_packets_path") {
        return;
    }
    let mut world = World::new();
    let vpc = TestVpc::new(1);
    world.become_wanted(&[&vpc]);
    let (a, b) = (Guest::plug(&vpc, "a"), Guest::plug(&vpc, "b"));
    let listener = b.listen(80);
    let sender = a.connect(B, 80).unwrap();
    let (receiver, _) = listener.accept().unwrap();
    let counted = std::thread::spawn(move || count(receiver));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let sending = std::thread::spawn(move || send(sender, &stopped));
    let before = must(STATE);
    let pids = format!("cat {}/*/*/dnsmasq.pid", world.network.run_dir.display());
    let served_by = must(&pids);
    let retransmitted = || {
        a.must("grep '^Tcp:' /proc/net/snmp").lines().last().unwrap().split(' ').nth(12).unwrap().to_owned()
    };
    let lost = retransmitted();
    for _ in 0..3 {
        world.restart();
        world.apply();
        assert_eq!(must(STATE), before);
        assert_eq!(must(&pids), served_by, "dnsmasq goes on");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = sending.join().unwrap();
    assert_eq!(counted.join().unwrap(), sent);
    assert!(sent > 0);
    assert_eq!(retransmitted(), lost, "not one packet was lost");
    // What an earlier life made and nobody wants any more goes.
    let mut less = TestVpc::new(1);
    less.leases.remove("b");
    world.restart();
    world.become_wanted(&[&less]);
    assert_eq!(must(&pids).lines().count(), 1);
    assert!(!run(&format!("ip link show {BRIDGE}s102")).status.success());
}

/// Changes come so fast that there is always one to do: looks at what nobody has changed come all the same.
#[test]
fn what_others_take_away_is_back_within_seconds_while_changes_go_on() {
    if runs_elsewhere("mending::what_others_take_away_is_back_within_seconds_while_changes_go_on") {
        return;
    }
    let mut world = World::new();
    let (mut changing, other) = (TestVpc::new(1), TestVpc::new(2));
    world.become_wanted(&[&changing, &other]);
    let state = || must("ip netns exec karri-karri-t0-0000000002 iptables-save | grep ^-A");
    let before = state();
    must("ip netns exec karri-karri-t0-0000000002 iptables -F FORWARD");
    assert_ne!(state(), before);
    let began = Instant::now();
    let mut changes = 0;
    while state() != before {
        assert!(began.elapsed() < DEADLINE, "not back after {changes} changes");
        match changes % 2 {
            0 => changing.launch("more", "a", 77),
            _ => drop(changing.leases.remove("more")),
        }
        world.become_wanted(&[&changing, &other]);
        changes += 1;
        let hosts = must(&format!("cat {}/*0000000001/s101/hosts", world.network.run_dir.display()));
        assert_eq!(hosts.contains("10.0.0.77"), changes % 2 == 1, "each change is done at once");
    }
    world.remove();
}

fn count(mut stream: TcpStream) -> u64 {
    let mut all = 0;
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        all += length as u64;
    }
    all
}

fn send(mut stream: TcpStream, stop: &std::sync::atomic::AtomicBool) -> u64 {
    let mut all = 0;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        stream.write_all(&[7; 100]).unwrap();
        all += 100;
        std::thread::sleep(Duration::from_millis(1));
    }
    all
}
