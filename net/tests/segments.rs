//! Segments with real links, in network namespaces of the test's own, against VXLAN bridges made by hand.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[path = "support/elsewhere.rs"]
mod elsewhere;

use elsewhere::runs_elsewhere;
use karri_net::{Namespace, Netlink, Segments, Tunnel, Wire};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const THIRD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

#[track_caller]
fn must(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// This host, and a cable to another in the namespace `other`.
fn hosts() -> Netlink {
    must(
        "mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns; ip link set lo up; ip netns add other; \
         ip link add cable type veth peer name cable netns other; \
         ip address add 192.0.2.1/24 dev cable; ip link set cable up; \
         ip -n other address add 192.0.2.2/24 dev cable; ip -n other link set cable up",
    );
    Netlink::open().unwrap()
}

fn by_tunnel(address: Ipv4Addr) -> Wire {
    Wire::Tunnel(Tunnel { address, port: 4789 })
}

fn segments(netlink: &Netlink, address: Ipv4Addr) -> Segments {
    Segments::new(netlink.clone(), "karri0", by_tunnel(address), 1500)
}

fn tags(tags: &[u32]) -> BTreeSet<u32> {
    tags.iter().copied().collect()
}

async fn ensure(segments: &Segments, tunnels: &[Ipv4Addr]) -> Vec<String> {
    let mut all = segments.ensure(&tags(&[0x1001]), tunnels).await.unwrap();
    all.remove(&0x1001).unwrap_or_default()
}

/// What there is of segments: links, then where the device sends what is for everybody.
fn looks() -> Value {
    let links: Value = serde_json::from_str(&must("ip -d -j link show group 19265")).unwrap();
    let places: Value = serde_json::from_str(&must("bridge -j fdb show")).unwrap();
    let link = |link: &Value| {
        let (info, flags) = (&link["linkinfo"], link["flags"].to_string());
        let vxlan = ["id", "local", "port", "learning"].map(|key| info["info_data"][key].clone());
        let up_and_silent = (flags.contains("\"UP\""), flags.contains("NOARP"));
        let port = (&link["master"], &info["info_slave_data"]["isolated"]);
        json!([link["ifname"], up_and_silent, link["mtu"], port, info["info_kind"], vxlan])
    };
    let ours = links.as_array().unwrap().iter().filter(|link| link["ifname"].is_string()); // others are {}
    let mut looks: Vec<Value> = ours.map(link).collect();
    let places = places.as_array().unwrap().iter().filter(|place| place["mac"] == "00:00:00:00:00:00");
    looks.extend(places.map(|place| json!([place["ifname"], "", place["dst"]])));
    looks.sort_by_key(ToString::to_string);
    json!(looks)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_made_mended_and_taken_away() {
    if runs_elsewhere("a_segment_is_made_mended_and_taken_away") {
        return;
    }
    let netlink = hosts();
    let segments = segments(&netlink, OWN);
    segments.check().await.unwrap();
    let hosts = [OWN, OTHER, THIRD];
    let before = must("ip -o link");
    let made = ensure(&segments, &hosts).await;
    assert_eq!(made.len(), 4, "{made:?}");
    let whole = looks();
    let (bridge, device, nothing) = ("karri0.1001", "karri0x1001", Value::Null);
    let expected = json!([
        [bridge, [true, true], 1450, [nothing, nothing], "bridge", [nothing, nothing, nothing, nothing]],
        [device, "", "192.0.2.2"],
        [device, "", "192.0.2.3"],
        [device, [true, false], 1450, [bridge, true], "vxlan", [0x1001, "192.0.2.1", 4789, true]],
    ]);
    assert_eq!(whole, expected);
    assert_eq!(must("ip -6 address show dev karri0.1001; ip -6 address show dev karri0x1001"), "");
    assert_eq!(ensure(&segments, &hosts).await, Vec::<String>::new());
    assert_eq!(segments.present().await.unwrap(), tags(&[0x1001]));

    for broken in [
        "ip link delete karri0.1001",
        "ip link delete karri0x1001",
        "ip link delete karri0.1001; ip link delete karri0x1001",
        "bridge fdb delete 00:00:00:00:00:00 dev karri0x1001 dst 192.0.2.3",
        "ip link set karri0.1001 down",
        "ip link set karri0.1001 mtu 1300",
        "ip link set karri0.1001 arp on",
        "ip link set karri0x1001 down",
        "ip link set karri0x1001 nomaster",
        "ip link set karri0x1001 type bridge_slave isolated off",
        "ip link delete karri0x1001; ip link add karri0x1001 group 19265 type vxlan id 4098 dstport 4789",
        "sysctl -qw net.ipv6.conf.karri0/1001.disable_ipv6=0",
    ] {
        must(broken);
        let mended = ensure(&segments, &hosts).await;
        assert_ne!(mended, Vec::<String>::new(), "{broken}");
        assert_eq!(looks(), whole, "{broken}");
        assert_eq!(ensure(&segments, &hosts).await, Vec::<String>::new(), "{broken}");
    }

    // What another controller knew earlier stays for a while.
    must("bridge fdb append 00:00:00:00:00:00 dev karri0x1001 dst 192.0.2.9");
    assert_eq!(ensure(&segments, &hosts).await, Vec::<String>::new());
    assert!(looks().to_string().contains("192.0.2.9"));

    must("ip link add theirs type veth peer name far; ip link set theirs master karri0.1001");
    assert!(!segments.remove_unused(0x1001).await.unwrap());
    assert_eq!(ensure(&segments, &hosts).await, Vec::<String>::new(), "it is as it was");
    must("ip link delete theirs");
    assert!(segments.remove_unused(0x1001).await.unwrap());
    assert!(segments.remove_unused(0x1001).await.unwrap(), "and again");
    assert_eq!(must("ip -o link"), before);
    assert_eq!(segments.present().await.unwrap(), tags(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_made_is_left_alone_and_told() {
    if runs_elsewhere("what_others_have_made_is_left_alone_and_told") {
        return;
    }
    let netlink = hosts();
    let error = async |address| {
        let segments = segments(&netlink, address);
        segments.ensure(&tags(&[0x1001]), &[]).await.unwrap_err().to_string()
    };
    for (theirs, name) in [
        ("ip link add karri0.1001 type bridge", "karri0.1001"),
        ("ip link add karri0.1001 type veth peer name theirs", "karri0.1001"),
        ("ip link add karri0x1001 type vxlan id 4097 dstport 4789", "karri0x1001"),
    ] {
        must(theirs);
        let before = must("ip -o link");
        assert!(error(OWN).await.starts_with(name), "{theirs}");
        let segments = segments(&netlink, OWN);
        segments.remove_unused(0x1001).await.unwrap();
        assert!(must("ip -o link").contains(&format!(" {name}")) && before.contains(name), "{theirs}");
        assert_eq!(segments.present().await.unwrap(), tags(&[]), "{theirs}");
        must(&format!("ip link delete {name}"));
    }
    must("ip link add other0 type vxlan id 4097 dstport 4789; ip link set other0 up");
    assert!(error(OWN).await.contains("4097"), "a tag can be used once on a host");
    for (address, mtu, what) in [(THIRD, 1500, "no address 192.0.2.3"), (OWN, 1501, "cable")] {
        let segments = Segments::new(netlink.clone(), "karri0", by_tunnel(address), mtu);
        let error = segments.check().await.unwrap_err().to_string();
        assert!(error.starts_with("tunnel_") && error.contains(what), "{error}");
    }
    for wrong in [0, 0x100_0000] {
        assert!(segments(&netlink, OWN).ensure(&tags(&[wrong]), &[]).await.is_err(), "{wrong}");
    }
}

/// With real tagged frames: `nc/tests/vlan.rs`, where a kernel has them.
#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_cannot_be_used_is_told_by_its_key_and_nothing_is_made() {
    if runs_elsewhere("a_trunk_that_cannot_be_used_is_told_by_its_key_and_nothing_is_made") {
        return;
    }
    let netlink = hosts();
    let knows = "ip link add link cable name probe type vlan id 5 2>/dev/null && ip link delete probe && echo yes || true";
    let knows = must(knows) == "yes\n";
    let before = must("ip -o link");
    let by = |trunk: &str, mtu| Segments::new(netlink.clone(), "karri0", Wire::Trunk(trunk.to_owned()), mtu);
    let outcome = async |trunk, mtu| by(trunk, mtu).check().await.map_err(|error| error.to_string());
    let missing = "trunk: this host has no interface nowhere";
    assert_eq!(outcome("nowhere", 1500).await, Err(missing.to_owned()));
    if knows {
        assert_eq!(outcome("cable", 1500).await, Ok(()));
        assert_eq!(outcome("cable", 1501).await, Err("tunnel_mtu = 1501: cable carries 1500".to_owned()));
    } else {
        let error = outcome("cable", 1500).await.unwrap_err();
        assert!(error.starts_with("driver = \"vlan\": this kernel knows no VLANs"), "{error}");
    }
    let error = by("nowhere", 1500).ensure(&tags(&[100]), &[]).await.unwrap_err().to_string();
    assert_eq!(error, missing);
    for wrong in [0x1001, 4095] {
        let error = by("cable", 1500).ensure(&tags(&[wrong]), &[]).await.unwrap_err().to_string();
        assert!(error.contains("is no VLAN"), "{error}");
    }
    assert_eq!(must("ip -o link"), before);
}

/// A machine with this address on a bridge of the host in that namespace, if any.
fn machine(name: &str, host: &str, bridge: &str, address: &str) {
    let (end, host) =
        (format!("to-{name}"), if host.is_empty() { String::new() } else { format!("-n {host}") });
    must(&format!(
        "ip netns add {name}; ip {host} link add {end} type veth peer name eth0 netns {name}; \
         ip {host} link set {end} mtu 1450 master {bridge} up; ip -n {name} address add {address}/24 dev eth0; \
         ip -n {name} link set eth0 mtu 1450 up"
    ));
}

/// Whether `to` answers over TCP, with more than fits into one packet.
fn talks(from: &str, to: &str, expected: bool) -> bool {
    let wait = if expected { 5.0 } else { 0.3 };
    let script = format!(
        "import socket\ns = socket.create_connection((\"{to}\", 7), {wait})\ns.sendall(b\"x\" * 100000)\n\
         s.shutdown(1)\nn = 0\nwhile d := s.recv(65536): n += len(d)\nassert n == 100000"
    );
    let output = Command::new("ip").args(["netns", "exec", from, "python3", "-c", &script]).output().unwrap();
    output.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_reaches_other_hosts_and_no_other_segment() {
    if runs_elsewhere("a_segment_reaches_other_hosts_and_no_other_segment") {
        return;
    }
    let netlink = hosts();
    let segments = segments(&netlink, OWN);
    segments.ensure(&tags(&[0x1001, 0x1002]), &[OWN, OTHER]).await.unwrap();
    for (number, tag) in [(1, 0x1001), (2, 0x1002)] {
        must(&format!(
            "ip -n other link add hand{number} mtu 1450 type bridge; ip -n other link set hand{number} up; \
             ip -n other link add vx{number} mtu 1450 type vxlan id {tag} local 192.0.2.2 remote 192.0.2.1 dstport 4789; \
             ip -n other link set vx{number} master hand{number} up"
        ));
    }
    machine("a", "", "karri0.1001", "10.0.0.5");
    machine("b", "other", "hand1", "10.0.0.6");
    machine("c", "other", "hand2", "10.0.0.6");
    machine("d", "", "karri0.1002", "10.0.0.7");
    let mut servers = Vec::new();
    for name in ["b", "c", "d"] {
        let script = format!(
            "import socket\ns = socket.create_server((\"\", 7))\nprint(\"{name}\", flush=True)\n\
             while True:\n c, _ = s.accept()\n while d := c.recv(65536): c.sendall(d)\n c.close()"
        );
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name, "python3", "-c", &script]).stdout(std::process::Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut line = String::new();
        let output = server.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        servers.push(server);
    }
    assert!(talks("a", "10.0.0.6", true), "the same segment on another host");
    assert!(!talks("a", "10.0.0.7", false), "another segment on this host");
    must("ip netns exec other ip link set hand1 down");
    assert!(!talks("a", "10.0.0.6", false), "the same address in another segment is another machine");
    assert!(talks("d", "10.0.0.6", true), "which is there");
    for mut server in servers {
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_in_a_namespace_stays_there_and_it_goes_with_the_last_who_holds_it() {
    if runs_elsewhere("work_in_a_namespace_stays_there_and_it_goes_with_the_last_who_holds_it") {
        return;
    }
    let netlink = hosts();
    let namespace = Namespace::new().unwrap();
    let inside = Netlink::open_in(&namespace).unwrap();
    netlink.pair_make("end0", 5, "eth0", &namespace, [2, 0, 0, 0, 0, 9]).await.unwrap();
    netlink.set_up("end0", 1400).await.unwrap();
    inside.set_up("eth0", 1400).await.unwrap();
    let index = inside.index("eth0").await.unwrap().unwrap();
    inside.address_ensure(index, Ipv4Addr::new(198, 51, 100, 1)).await.unwrap();
    inside.everybody_is_on(index).await.unwrap();
    assert!(!must("ip -o address").contains("198.51.100.1"));
    let in_named = Namespace::open("/run/netns/other".as_ref()).unwrap();
    let named = Netlink::open_in(&in_named).unwrap();
    assert!(named.link_names().await.unwrap().contains(&"cable".to_owned()));
    let listener = namespace.run(|| std::net::TcpListener::bind("198.51.100.1:80")).unwrap().unwrap();

    must("ip address add 198.51.100.2/24 dev end0");
    let connected = std::net::TcpStream::connect("198.51.100.1:80").unwrap();
    drop((namespace, inside));
    assert_eq!(listener.accept().unwrap().1.ip(), Ipv4Addr::new(198, 51, 100, 2), "a socket holds it");
    drop((listener, connected));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while netlink.index("end0").await.unwrap().is_some() {
        assert!(std::time::Instant::now() < deadline, "it does not go");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
