//! The flat network for real: bridge, iptables and dnsmasq in a network namespace of the test's own, with a
//! DHCP client in a second one.
//!
//! The test runs itself again inside `unshare --net`, so that nothing it does reaches the host.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[path = "../../net/tests/support/elsewhere.rs"]
mod elsewhere;

use elsewhere::runs_elsewhere;
use karri_cc::config::{NetworkConfig, NetworkMode};
use karri_cc::drive::flat::{Flat, Forwarding, remove};
use karri_cc::drive::{Driver, Host, Wanted};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);
const GATEWAY: &str = "172.31.0.1";

fn run(command: &str) -> Output {
    Command::new("sh").args(["-c", command]).output().unwrap()
}

#[track_caller]
fn must(command: &str) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn network(directory: &Path) -> NetworkConfig {
    NetworkConfig {
        mode: NetworkMode::Managed,
        bridge: "karri-t0".to_owned(),
        subnet: "172.31.0.0/20".parse().unwrap(),
        gateway: GATEWAY.parse().unwrap(),
        pairs: Vec::new(),
        forwarded: vec![22],
        dns: vec![Ipv4Addr::LOCALHOST],
        run_dir: directory.join("run"),
        driver: Default::default(),
        trunk: None,
        vlan_first: None,
        vlan_last: None,
        tunnel_address: None,
        tunnel_mtu: 1500,
        vxlan_port: 4789,
        public_interface: None,
        masquerade_public: None,
    }
}

/// A guest: a namespace whose only link is plugged into the bridge.
struct Guest {
    holder: Child,
    script: String,
}

impl Guest {
    fn plug(directory: &Path, bridge: &str) -> Self {
        let holder =
            Command::new("unshare").args(["--net", "sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
        let pid = holder.id();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let began = Instant::now();
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs == own) {
            assert!(began.elapsed() < DEADLINE, "unshare does not come");
            std::thread::yield_now();
        }
        must(&format!(
            "ip link add veth-h type veth peer name eth0 netns {pid} && \
             ip link set veth-h master {bridge} up && nsenter -t {pid} -n ip link set lo up"
        ));
        let script = directory.join("lease.sh");
        std::fs::write(
            &script,
            "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\necho \"$ip $router $mtu $dns $staticroutes\"\n",
        )
        .unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { holder, script: script.display().to_string() }
    }

    fn inside(&self, command: &str) -> Output {
        run(&format!("nsenter -t {} -n {command}", self.holder.id()))
    }

    /// What DHCP gives to a client with this MAC, if anything.
    fn lease(&self, mac: &str, tries: u32) -> Option<String> {
        let dhcp = format!(
            "sh -c 'ip link set eth0 down; ip link set eth0 address {mac}; ip link set eth0 up; \
             busybox udhcpc -i eth0 -f -q -n -t {tries} -T 1 -O staticroutes -O mtu -s {} 2>/dev/null'",
            self.script
        );
        let text = String::from_utf8(self.inside(&dhcp).stdout).unwrap();
        let line = text.lines().find(|line| line.starts_with("172."))?;
        Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn take(&self, address: &str) {
        self.inside(&format!("ip address add {address}/20 dev eth0"));
        self.inside(&format!("ip route add default via {GATEWAY}"));
    }

    fn connects(&self, address: &str, port: u16) -> bool {
        self.inside(&format!("busybox nc -w 1 {address} {port} </dev/null")).status.success()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn host(mac: &str, last: u8) -> Host {
    Host { address: [172, 31, 0, last].into(), mac: mac.to_owned(), hostname: format!("ip-172-31-0-{last}") }
}

fn wanted(hosts: &[Host]) -> Wanted {
    Wanted { hosts: hosts.to_vec(), ..Wanted::default() }
}

fn dnsmasq_pid(network: &NetworkConfig) -> u32 {
    std::fs::read_to_string(network.run_dir.join("dnsmasq.pid")).unwrap().trim().parse().unwrap()
}

fn expected(address: &str) -> String {
    let g = GATEWAY;
    format!("{address} {g} 1500 {g} 169.254.169.254/32 {g} 0.0.0.0/0 {g}")
}

/// Every rule of the host, and our chains if there are any.
const RULES: &str = "iptables-save | grep -e '^-A' -e '^:KARRI'";

/// A failed test leaves no dnsmasq behind: each runs in a process group of its own, and not each is named in a file.
struct Reaper(NetworkConfig);

impl Drop for Reaper {
    fn drop(&mut self) {
        let file = format!("--pid-file={}", self.0.run_dir.join("dnsmasq.pid").display());
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let command_line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if command_line.split(|byte| *byte == 0).any(|word| word == file.as_bytes()) {
                run(&format!("kill -9 {}", entry.file_name().display()));
            }
        }
    }
}

const FIRST: &str = "02:00:00:00:00:01";
const SECOND: &str = "02:00:00:00:00:02";

#[test]
fn guests_get_their_addresses_and_reach_nothing_of_the_host() {
    if runs_elsewhere("guests_get_their_addresses_and_reach_nothing_of_the_host") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    must("echo 0 > /proc/sys/net/ipv4/ip_forward"); // whatever the host does
    must("ip link set lo up && ip link add foreign0 type bridge && iptables -A INPUT -s 192.0.2.1 -j DROP");
    let network = network(directory.path());
    let _reaper = Reaper(network.clone());
    let before = must(RULES);

    let mut flat = Flat::new(&network);
    runtime.block_on(flat.apply(&wanted(&[host(FIRST, 4)]))).unwrap();
    runtime.block_on(flat.apply(&wanted(&[host(FIRST, 4)]))).unwrap();
    let guest = Guest::plug(directory.path(), &network.bridge);

    // Leases, and none for a stranger.
    assert_eq!(guest.lease(FIRST, 10), Some(expected("172.31.0.4")));
    assert_eq!(guest.lease(SECOND, 2), None);
    let pid = dnsmasq_pid(&network);
    runtime.block_on(flat.apply(&wanted(&[host(FIRST, 4), host(SECOND, 5)]))).unwrap();
    assert_eq!(guest.lease(SECOND, 10), Some(expected("172.31.0.5")));
    assert_eq!(dnsmasq_pid(&network), pid, "new hosts need no new process");

    // An address that goes to another instance while its lease lasts.
    runtime.block_on(flat.apply(&wanted(&[host(SECOND, 4)]))).unwrap();
    assert_eq!(guest.lease(SECOND, 10), Some(expected("172.31.0.4")));

    // Another life of the controller keeps the process; a dead one is replaced.
    let pid = dnsmasq_pid(&network);
    drop(flat);
    let mut flat = Flat::new(&network);
    runtime.block_on(flat.apply(&wanted(&[host(SECOND, 4)]))).unwrap();
    assert_eq!(dnsmasq_pid(&network), pid, "adopted");
    // One that ended before its process wrote its number: two cannot serve.
    std::fs::remove_file(network.run_dir.join("dnsmasq.pid")).unwrap();
    let mut flat = Flat::new(&network);
    runtime.block_on(flat.apply(&wanted(&[host(SECOND, 4)]))).unwrap();
    assert_ne!(dnsmasq_pid(&network), pid, "in place of the one that nobody knew");
    let pid = dnsmasq_pid(&network);
    must(&format!(
        "kill -9 {pid}; while kill -0 {pid} 2>/dev/null && ! grep -q 'State:.Z' /proc/{pid}/status; do :; done"
    ));
    runtime.block_on(flat.apply(&wanted(&[host(SECOND, 4)]))).unwrap();
    assert_ne!(dnsmasq_pid(&network), pid);
    assert_eq!(guest.lease(SECOND, 10), Some(expected("172.31.0.4")));

    // The guest reaches DNS and nothing else of the host.
    guest.take("172.31.0.4");
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(!guest.connects(GATEWAY, port), "a controller's port");
    assert!(guest.connects(GATEWAY, 53), "DNS");
    must("ip address add 198.51.100.1/32 dev lo");
    assert!(!guest.connects("198.51.100.1", port), "a controller's port at another address of the host");
    assert!(guest.inside(&format!("busybox ping -c 1 -W 2 {GATEWAY}")).status.success());

    // What others flushed is put back.
    must("iptables -F KARRI-IN-karri-t0; iptables -t nat -F POSTROUTING; ip link delete karri-t0");
    let mut flat = Flat::new(&network);
    runtime.block_on(flat.apply(&wanted(&[host(SECOND, 4)]))).unwrap();
    must("ip link set veth-h master karri-t0 up && iptables -C INPUT -i karri-t0 -j KARRI-IN-karri-t0");
    assert!(must("iptables -t nat -S KARRI-NAT-karri-t0").contains("MASQUERADE"));
    assert_eq!(guest.lease(SECOND, 10), Some(expected("172.31.0.4")));
    guest.take("172.31.0.4");
    assert!(!guest.connects(GATEWAY, port));

    // Removal takes all of it and nothing else.
    let pid = dnsmasq_pid(&network);
    runtime.block_on(remove(&network)).unwrap();
    runtime.block_on(remove(&network)).unwrap();
    assert_eq!(must(RULES), before);
    must("ip link show foreign0");
    assert!(!run("ip link show karri-t0").status.success());
    assert!(!network.run_dir.exists());
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(command_line.is_empty(), "dnsmasq is gone");
    assert_eq!(must("cat /proc/sys/net/ipv4/ip_forward").trim(), "0");
}

#[test]
fn forwarding_stays_on_for_others_who_came_to_rely_on_it() {
    if runs_elsewhere("forwarding_stays_on_for_others_who_came_to_rely_on_it") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let network = network(directory.path());
    let _reaper = Reaper(network.clone());
    let forwarding = || must("cat /proc/sys/net/ipv4/ip_forward").trim().to_owned();
    for (comes, goes) in [
        ("iptables -A FORWARD -i other0 -j ACCEPT", "iptables -F FORWARD"),
        ("iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE", "iptables -t nat -F POSTROUTING"),
        ("ip link add other0 type bridge && ip link set other0 up", "ip link delete other0"),
    ] {
        must("echo 0 > /proc/sys/net/ipv4/ip_forward");
        runtime.block_on(Flat::new(&network).apply(&wanted(&[]))).unwrap();
        must(comes);
        assert_eq!(runtime.block_on(remove(&network)).unwrap(), Forwarding::LeftOn, "{comes}");
        assert_eq!(forwarding(), "1", "{comes}");
        must(goes);
        must("echo 0 > /proc/sys/net/ipv4/ip_forward");
        runtime.block_on(Flat::new(&network).apply(&wanted(&[]))).unwrap();
        assert_eq!(runtime.block_on(remove(&network)).unwrap(), Forwarding::AsBefore, "{goes}");
        assert_eq!(forwarding(), "0", "{goes}");
    }
}

#[test]
fn a_bridge_that_was_there_before_stays() {
    if runs_elsewhere("a_bridge_that_was_there_before_stays") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let network = network(directory.path());
    let _reaper = Reaper(network.clone());
    must("ip link add karri-t0 type bridge");
    runtime.block_on(Flat::new(&network).apply(&wanted(&[]))).unwrap();
    runtime.block_on(remove(&network)).unwrap();
    must("ip link show karri-t0");

    must("ip link delete karri-t0 && ip link add karri-t0 type veth peer name x");
    let error = runtime.block_on(Flat::new(&network).apply(&wanted(&[]))).unwrap_err();
    assert!(error.to_string().contains("network.bridge"), "{error}");
}
