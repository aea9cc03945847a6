//! Ports on a real bridge with real rules, in a network namespace of the test's own.
//!
//! The test runs itself again inside `unshare --net`, so that nothing it does reaches the host.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[path = "../../net/tests/support/elsewhere.rs"]
mod elsewhere;

use elsewhere::runs_elsewhere;
use karri_nc::app::owner_tag::Owner;
use karri_nc::drive::ports::{BridgePorts, NoFacts, Place, Port, PortError, Ports, TapNames, Wire};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const BRIDGE: &str = "karri-t0";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 87, 1);

#[track_caller]
fn must(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn names() -> TapNames {
    TapNames::new(&Owner { cloud: "cloud".to_owned(), node: "node-1".to_owned() })
}

/// As a starting node does, before it has told which ports it knows.
async fn open_only(state_dir: &Path, uplink: Option<&str>) -> BridgePorts {
    let place = Place {
        bridge: BRIDGE,
        uplink,
        metadata_address: ADDRESS,
        wire: Wire::Alone,
        tunnel_mtu: 1500,
        vxlan_port: 4789,
        shortcut: true,
        state_dir,
        boot_id: "boot-1",
    };
    BridgePorts::open(place, names(), Arc::new(NoFacts)).await.unwrap()
}

async fn open(state_dir: &Path, uplink: Option<&str>) -> BridgePorts {
    let ports = open_only(state_dir, uplink).await;
    ports.mend(&[]).await.unwrap();
    ports
}

fn port(number: u8) -> Port {
    Port {
        id: format!("eni-000000000000000{number:02}").parse().unwrap(),
        gateway: Ipv4Addr::new(172, 31, 0, 1),
        tap: format!("{}00000000{number:02}", names().prefix()),
        mac: format!("02:00:00:00:00:{number:02x}"),
        address: Ipv4Addr::new(172, 31, 0, number),
        secondary: Vec::new(),
        source_dest_check: true,
        of_site: false,
        segment: 0,
        subnet_cidr: "172.31.0.0/20".to_owned(),
    }
}

/// Stands for the tap that libvirt makes.
fn tap(port: &Port) {
    must(&format!("ip link add {} type veth peer name x{}", port.tap, port.mac.replace(':', "")));
    must(&format!("ip link set {} master {BRIDGE} up", port.tap));
}

fn rules_of(port: &Port) -> usize {
    let saved = must("ebtables-save -t nat");
    let jump = format!("-A PREROUTING -i {0} -j {0}", port.tap);
    assert_eq!(saved.lines().filter(|line| line.trim() == jump).count(), 1, "{saved}");
    saved.lines().filter(|line| line.starts_with(&format!("-A {} ", port.tap))).count()
}

fn is_joined(link: &str) -> bool {
    must(&format!("ip -o link show {link}")).contains(&format!("master {BRIDGE}"))
}

/// Its bridge gives back to it what came from it.
fn hears_itself(port: &Port) -> bool {
    must(&format!("ip -d -o link show {}", port.tap)).contains("hairpin on")
}

fn has_address() -> bool {
    must(&format!("ip -o addr show dev {BRIDGE}")).contains("169.254.87.1/32")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_is_put_right() {
    if runs_elsewhere("what_others_change_is_put_right") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ports = open(directory.path(), None).await;
    ports.serve_metadata(SocketAddrV4::new(ADDRESS, 8775)).await.unwrap();
    let both = [port(5), port(6)];
    ports.plug(&both).await.unwrap();
    both.iter().for_each(tap);
    let (nothing, rules) = (Vec::<String>::new(), rules_of(&both[0]));
    assert_eq!(ports.mend(&both).await.unwrap(), nothing);
    let tagged = must("iptables-save").matches("karri-k").count();
    assert_eq!(tagged, 3 + 2, "metadata's, and that bridged packets of guests are forwarded");

    must("ebtables -t nat -F");
    assert_eq!(ports.mend(&both).await.unwrap().len(), 1 + 2, "what is the same for all, and the two");
    assert_eq!((rules_of(&both[0]), rules_of(&both[1])), (rules, rules));
    must(&format!("ebtables -t nat -I {} 1 -j ACCEPT", both[0].tap));
    assert_eq!(ports.mend(&both).await.unwrap(), [format!("rules of {}", both[0].tap)]);
    assert_eq!(rules_of(&both[0]), rules);

    must("iptables -F && iptables -t nat -F");
    assert_eq!(ports.mend(&both).await.unwrap(), ["the way to metadata", "the ways to security groups"]);
    assert_eq!(must("iptables-save").matches("karri-k").count(), tagged);

    must(&format!("ip addr del 169.254.87.1/32 dev {BRIDGE}"));
    ports.mend(&both).await.unwrap();
    assert!(has_address() && must("ip route").contains("172.31.0.0/20"));
    must(&format!("ip link del {BRIDGE}"));
    let mended = ports.mend(&both).await.unwrap();
    assert_eq!((&mended[0], mended.len()), (&format!("bridge {BRIDGE}"), 1 + 2), "{mended:?}");
    assert!(has_address() && both.iter().all(|port| is_joined(&port.tap)));
    assert_eq!(ports.mend(&both).await.unwrap(), nothing);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_of_the_flat_network_hear_themselves_from_the_start_and_again_when_others_forbid_it() {
    if runs_elsewhere(
        "ports_of_the_flat_network_hear_themselves_from_the_start_and_again_when_others_forbid_it",
    ) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ports = open(directory.path(), None).await;
    let (five, six) = (port(5), port(6));
    let on_a_segment = Port { segment: 0x1001, ..port(7) };
    let all = [five.clone(), six.clone(), on_a_segment.clone()];
    ports.plug(&all).await.unwrap();
    tap(&five);
    tap(&six);
    must(&format!("ip link add {} type veth peer name far7", on_a_segment.tap));
    must(&format!("ip link set {} master {BRIDGE}.1001 up", on_a_segment.tap));
    ports.started(&all[..1]).await.unwrap();
    assert!(hears_itself(&five) && !hears_itself(&six));
    let nothing = Vec::<String>::new();
    assert_eq!(ports.mend(&all).await.unwrap(), nothing, "nobody had made it otherwise");
    assert!(hears_itself(&six) && !hears_itself(&on_a_segment), "on a segment the router gives it back");

    must(&format!("ip link set {} type bridge_slave hairpin off", five.tap));
    assert_eq!(ports.mend(&all).await.unwrap(), [format!("that {} hears itself", five.tap)]);
    assert!(hears_itself(&five));
    must(&format!("ip link del {BRIDGE}"));
    let mended = ports.mend(&all).await.unwrap();
    assert_eq!(mended.len(), 1 + 2, "the bridge, and where the two are joined: {mended:?}");
    assert!(hears_itself(&five) && hears_itself(&six));
    assert_eq!(ports.mend(&all).await.unwrap(), nothing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_goes_also_when_its_rules_are_gone_already() {
    if runs_elsewhere("a_port_goes_also_when_its_rules_are_gone_already") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ports = open(directory.path(), None).await;
    let both = [port(5), port(6)];
    ports.plug(&both).await.unwrap();
    let first = &both[0].tap;
    must(&format!(
        "ebtables -t nat -D PREROUTING -i {first} -j {first} && ebtables -t nat -F {first} && ebtables -t nat -X {first}"
    ));
    let taps: Vec<String> = both.iter().map(|port| port.tap.clone()).collect();
    ports.unplug(&taps).await.unwrap();
    let saved = must("ebtables-save -t nat");
    assert!(taps.iter().all(|tap| !saved.contains(tap)), "{saved}");
    // What is gone is not put again by a look that was under way.
    assert_eq!(ports.mend(&both).await.unwrap(), Vec::<String>::new());
    assert_eq!(ports.plugged().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_flushed_while_nobody_looked_is_put_again_and_a_guest_of_nobody_stays_guarded() {
    if runs_elsewhere("what_was_flushed_while_nobody_looked_is_put_again_and_a_guest_of_nobody_stays_guarded")
    {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ports = open(directory.path(), None).await;
    let both = [port(5), port(6)];
    ports.plug(&both).await.unwrap();
    both.iter().for_each(tap);
    let rules = rules_of(&both[0]);
    drop(ports);
    must(&format!("ebtables -t nat -D PREROUTING -i {0} -j {0}", both[0].tap));
    must(&format!("ebtables -t nat -F {0}; ebtables -t nat -X {0}", both[0].tap));
    let chain = |tap: &str| must(&format!("iptables -t mangle -S KARRI-{tap}-to"));

    // The next life knows of the first alone.
    let before = chain(&both[1].tap);
    let ports = open_only(directory.path(), None).await;
    let known = &both[..1];
    assert_eq!(ports.mend(known).await.unwrap(), [format!("rules of {}", both[0].tap)]);
    assert_eq!(rules_of(&both[0]), rules);
    let after = chain(&both[1].tap);
    assert!(after.ends_with("-j DROP\n") && after.contains("ESTABLISHED"), "{after}");
    assert_ne!(after, before, "its address is not known any more");
    assert_eq!(ports.mend(known).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_that_does_not_filter_bridges_starts_no_guest_and_says_why() {
    if runs_elsewhere("a_kernel_that_does_not_filter_bridges_starts_no_guest_and_says_why") {
        return;
    }
    must("mount -t tmpfs tmpfs /proc/sys/net"); // as if there were no such module
    let directory = tempfile::tempdir().unwrap();
    let ports = open_only(directory.path(), None).await;
    for outcome in [ports.mend(&[]).await.map(drop), ports.plug(&[port(5)]).await] {
        let PortError::Broken(why) = outcome.unwrap_err() else { panic!("it will not get better by itself") };
        assert!(why.contains("br_netfilter") && why.contains("modprobe"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_made_here_is_taken_away() {
    if runs_elsewhere("only_what_was_made_here_is_taken_away") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    must(&format!("ip link add {BRIDGE} type bridge && ip addr add 10.9.8.7/24 dev {BRIDGE}"));
    // By chance another program's link is named as one of this node's.
    let foreign = port(77).tap;
    must(&format!("ip link add {foreign} type veth peer name far1"));
    must("ip link add up0 type veth peer name far0");
    let ports = open(directory.path(), Some("up0")).await;
    ports.serve_metadata(SocketAddrV4::new(ADDRESS, 8775)).await.unwrap();
    ports.plug(&[port(5)]).await.unwrap();
    let filters = || must(&format!("ip -d link show {BRIDGE}")).contains("nf_call_iptables 1");
    assert!(is_joined("up0") && has_address() && filters());
    drop(ports);
    open(directory.path(), Some("up0")).await.clean().await.unwrap(); // another life knows as much
    assert!(!is_joined("up0") && !has_address(), "the uplink and the address were ours");
    assert!(!filters(), "and that iptables saw it");
    assert!(must(&format!("ip -o addr show dev {BRIDGE}")).contains("10.9.8.7"), "the bridge was not");
    assert!(!must("iptables-save").contains("karri-k"));

    must(&format!("ip link del {BRIDGE}"));
    let ports = open(directory.path(), None).await;
    ports.clean().await.unwrap();
    assert!(!must("ip -o link").contains(BRIDGE), "this one was");
    assert!(must("ip -o link").contains(&foreign), "it has no rules, so nothing of it was ours");
}
