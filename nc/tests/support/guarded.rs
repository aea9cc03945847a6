//! Nodes with ports on real bridges, each in a network namespace, and namespaces that play guests.
#![allow(dead_code, unused_imports)] // each suite uses its own part

#[path = "../../../net/tests/support/elsewhere.rs"]
mod elsewhere;
#[path = "lab.rs"]
pub mod lab;
#[path = "metadata_server.rs"]
mod metadata_server;

pub use elsewhere::runs_elsewhere;

use karri_nc::app::owner_tag::Owner;
use karri_nc::drive::ports::{BridgePorts, Facts, Place, Port, Ports, TapNames, Wire};
use karri_proto::network::{FactChange, FactTable};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, RwLock};

const NODE: &str = "KARRI_TEST_NODE";
/// Where its segments are VLANs.
const TRUNK: &str = "KARRI_TEST_TRUNK";
pub const BRIDGE: &str = "karri-t0";
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 87, 1);
const LISTENER: SocketAddrV4 = SocketAddrV4::new(METADATA, 8775);
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);

#[track_caller]
pub fn must(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[derive(Default)]
pub struct Told(RwLock<Arc<FactTable>>);

impl Facts for Told {
    fn table(&self) -> Arc<FactTable> {
        self.0.read().unwrap().clone()
    }
}

impl Told {
    pub fn apply(&self, change: FactChange) {
        Arc::make_mut(&mut self.0.write().unwrap()).apply(change);
    }
}

pub fn names(node: &str) -> TapNames {
    TapNames::new(&Owner { cloud: "cloud".to_owned(), node: node.to_owned() })
}

pub fn port(node: &str, number: u8) -> Port {
    port_at(node, 0, number)
}

/// On every segment the same number has the same MAC and address.
pub fn port_at(node: &str, segment: u32, number: u8) -> Port {
    Port {
        id: format!("eni-0000000{segment:05x}{number:05x}").parse().unwrap(),
        tap: format!("{}{segment:05x}{number:05x}", names(node).prefix()),
        mac: format!("02:00:00:00:00:{number:02x}"),
        address: Ipv4Addr::new(172, 31, 0, number),
        secondary: Vec::new(),
        source_dest_check: true,
        of_site: false,
        segment,
        subnet_cidr: "172.31.0.0/20".to_owned(),
        gateway: GATEWAY,
    }
}

/// What answers commands on standard input.
enum Talker {
    Here {
        child: Child,
        input: ChildStdin,
        output: BufReader<ChildStdout>,
    },
    /// By its name in a lab host, with which it ends.
    There(lab::Host, String),
}

impl Talker {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self::Here { child, input, output: BufReader::new(output) }
    }

    #[track_caller]
    fn ask(&mut self, command: &Value) -> Value {
        match self {
            Self::Here { input, output, .. } => {
                writeln!(input, "{command}").unwrap();
                loop {
                    let mut line = String::new();
                    assert!(output.read_line(&mut line).unwrap() > 0, "no answer to {command}");
                    if let Ok(answer) = serde_json::from_str(&line) {
                        return answer; // else the test harness says something
                    }
                }
            }
            Self::There(host, name) => host.tell(name, command),
        }
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        if let Self::Here { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A node: this test binary again, which drives the real ports.
pub struct Node {
    pub name: &'static str,
    /// None: in the namespace of its name.
    host: Option<lab::Host>,
    talker: Talker,
}

impl Node {
    pub fn start(name: &'static str) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "node", "--nocapture"]).env(NODE, name);
        Self { name, host: None, talker: Talker::start(&mut command) }
    }

    /// In a lab host, with its segments on that interface.
    pub fn start_in(host: &lab::Host, name: &'static str, trunk: &str) -> Self {
        let command = ["/programs/node", "--exact", "node", "--nocapture"];
        // With a thread to spare the harness says nothing before the first answer, on its line.
        host.start(name, &command, &[(NODE, name), (TRUNK, trunk), ("RUST_TEST_THREADS", "2")]);
        Self { name, host: Some(host.clone()), talker: Talker::There(host.clone(), name.to_owned()) }
    }

    /// Where guests' namespaces are.
    #[track_caller]
    pub fn beside(&self, command: &str) -> String {
        match &self.host {
            Some(host) => host.must(command),
            None => must(command),
        }
    }

    /// `ip` for the node's own links, told beside it.
    fn ip(&self) -> String {
        if self.host.is_some() { "ip".to_owned() } else { format!("ip -n {}", self.name) }
    }

    /// Of the segments that it has.
    fn mtu(&self) -> u32 {
        if self.host.is_some() { 1500 } else { 1450 }
    }

    #[track_caller]
    pub fn refuses(&mut self, command: &Value) -> String {
        let answer = self.talker.ask(command);
        answer["error"].as_str().unwrap_or_else(|| panic!("{}: {command}: {answer}", self.name)).to_owned()
    }

    #[track_caller]
    pub fn ask(&mut self, command: &Value) -> Value {
        let answer = self.talker.ask(command);
        answer.get("ok").unwrap_or_else(|| panic!("{}: {command}: {answer}", self.name)).clone()
    }

    #[track_caller]
    pub fn tell(&mut self, changes: &[FactChange]) {
        self.ask(&json!({ "tell": changes }));
    }

    pub fn run(&self, command: &str) -> String {
        match &self.host {
            Some(host) => host.must(command),
            None => must(&format!("ip netns exec {} sh -ec '{command}'", self.name)),
        }
    }
}

/// Where a node takes frames of segments, if it has a wire for them.
pub fn tunnel(node: &str) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, node.trim_start_matches("node").parse().unwrap())
}

/// The body of the test `node`: in an ordinary run it does nothing.
pub fn be_a_node() {
    let Ok(name) = std::env::var(NODE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let links = must("ip -o link");
        let uplink = links.contains("cable").then_some("cable");
        let wire = match std::env::var(TRUNK) {
            Ok(trunk) => Wire::Trunk(trunk),
            Err(_) => Wire::by(None, links.contains("wire").then(|| tunnel(&name)), 4789),
        };
        let facts = Arc::new(Told::default());
        let shortcut = std::cell::Cell::new(true);
        let open = || async {
            let place = Place {
                bridge: BRIDGE,
                uplink,
                metadata_address: METADATA,
                wire: wire.clone(),
                tunnel_mtu: 1500,
                vxlan_port: 4789,
                shortcut: shortcut.get(),
                state_dir: directory.path(),
                boot_id: "boot-1",
            };
            let ports = BridgePorts::open(place, names(&name), facts.clone()).await.unwrap();
            ports.serve_metadata(LISTENER).await.unwrap();
            ports
        };
        let mut ports = open().await;
        ports.mend(&[]).await.unwrap();
        let metadata = metadata_server::start(directory.path());
        metadata.listen(LISTENER, ports.segment_listeners().unwrap()).await;
        let mut plugged: Vec<Port> = Vec::new();
        for line in std::io::stdin().lines() {
            let command: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let segment = u32::try_from(command["segment"].as_u64().unwrap_or(0)).unwrap();
            let port_of =
                |number: &Value| port_at(&name, segment, u8::try_from(number.as_u64().unwrap()).unwrap());
            let done = if let Some(number) = command.get("plug") {
                let mut port = port_of(number);
                port.secondary = serde_json::from_value(command["secondary"].clone()).unwrap_or_default();
                port.source_dest_check = command["unchecked"] != true;
                plugged.retain(|other| other.tap != port.tap);
                plugged.push(port.clone());
                metadata.know(&port);
                ports.plug(&[port]).await.map(|()| Vec::new())
            } else if let Some(number) = command.get("unplug") {
                let port = port_of(number);
                plugged.retain(|other| other.tap != port.tap);
                ports.unplug(&[port.tap]).await.map(|()| Vec::new())
            } else if let Some(changes) = command.get("tell") {
                let changes: Vec<FactChange> = serde_json::from_value(changes.clone()).unwrap();
                let keys: Vec<_> = changes.iter().map(FactChange::key).collect();
                changes.into_iter().for_each(|change| facts.apply(change));
                ports.told(Some(&keys)).await.map(|()| Vec::new())
            } else if let Some(changes) = command.get("know") {
                let changes: Vec<FactChange> = serde_json::from_value(changes.clone()).unwrap();
                changes.into_iter().for_each(|change| facts.apply(change));
                Ok(Vec::new())
            } else if command.get("again").is_some() {
                shortcut.set(command["shortcut"] != false);
                drop(ports);
                ports = open().await;
                let mended = ports.mend(&plugged).await;
                metadata.listen(LISTENER, ports.segment_listeners().unwrap()).await;
                mended
            } else if let Some(tunnels) = command.get("tunnels") {
                let tunnels: Vec<Ipv4Addr> = serde_json::from_value(tunnels.clone()).unwrap();
                ports.tunnels_told(&tunnels).await.map(|()| Vec::new())
            } else if let Some(number) = command.get("look") {
                let looked = ports.look(&port_of(number).id).await.unwrap();
                println!("{}", json!({ "ok": looked }));
                continue;
            } else if command.get("clean").is_some() {
                ports.clean().await.map(|()| Vec::new())
            } else {
                ports.mend(&plugged).await
            };
            match done {
                Ok(mended) => println!("{}", json!({ "ok": mended })),
                Err(error) => println!("{}", json!({ "error": error.to_string() })),
            }
        }
    });
}

/// A guest on a node's port of that number.
pub struct Guest {
    pub address: Ipv4Addr,
    talker: Talker,
}

pub fn guest_name(segment: u32, number: u8) -> String {
    if segment == 0 { format!("g{number}") } else { format!("g{segment:x}-{number}") }
}

pub fn bridge_of(segment: u32) -> String {
    format!("{BRIDGE}.{segment:x}")
}

/// How long what is refused is waited for.
const REFUSED_AFTER: f64 = 0.2;
const ANSWERED_WITHIN: f64 = 5.0;

impl Guest {
    /// Plugs the port and puts a namespace at its end.
    pub fn start(node: &mut Node, number: u8) -> Self {
        Self::start_on(node, 0, number)
    }

    pub fn start_on(node: &mut Node, segment: u32, number: u8) -> Self {
        node.ask(&json!({ "plug": number, "segment": segment }));
        Self::at(node, segment, number)
    }

    /// What libvirt does: the tap, a port of the bridge, and a machine behind it.
    pub fn at(node: &Node, segment: u32, number: u8) -> Self {
        let Port { tap, mac, address, .. } = port_at(node.name, segment, number);
        let (guest, ip) = (guest_name(segment, number), node.ip());
        let (bridge, mtu) =
            if segment == 0 { (BRIDGE.to_owned(), 1500) } else { (bridge_of(segment), node.mtu()) };
        node.beside(&format!(
            "ip netns add {guest}; \
             {ip} link add {tap} mtu {mtu} type veth peer name eth0 netns {guest} mtu {mtu} address {mac}; \
             {ip} link set {tap} master {bridge} up; ip -n {guest} link set lo up; \
             ip -n {guest} address add {address}/20 dev eth0; ip -n {guest} link set eth0 up; \
             ip -n {guest} route add default via {GATEWAY}; \
             ip netns exec {guest} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv4.ping_group_range='0 0'"
        ));
        Self::play(node, &guest, address)
    }

    /// Somebody else on the same wire: no port, no rules.
    pub fn stranger(node: &Node, number: u8) -> Self {
        Self::stranger_on(node, BRIDGE, number)
    }

    pub fn stranger_on(node: &Node, bridge: &str, number: u8) -> Self {
        let (name, address, ip) = (guest_name(0, number), Ipv4Addr::new(172, 31, 0, number), node.ip());
        node.beside(&format!(
            "ip netns add {name}; {ip} link add far{number} type veth peer name eth0 netns {name}; \
             {ip} link set far{number} master {bridge} up; \
             ip -n {name} address add {address}/20 dev eth0; ip -n {name} link set eth0 up"
        ));
        Self::play(node, &name, address)
    }

    fn play(node: &Node, name: &str, address: Ipv4Addr) -> Self {
        let within = ["ip", "netns", "exec", name, "python3"];
        let talker = match &node.host {
            Some(host) => {
                host.start(name, &[&within[..], &["/programs/guest.py"]].concat(), &[]);
                Talker::There(host.clone(), name.to_owned())
            }
            None => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/guest.py");
                Talker::start(Command::new(within[0]).args(&within[1..]).arg(script))
            }
        };
        let mut guest = Self { address, talker };
        guest.ask(json!({ "do": "serve", "tcp": [22, 80, 3000], "udp": [53, 3000] }));
        guest
    }

    #[track_caller]
    pub fn ask(&mut self, command: Value) -> Value {
        self.talker.ask(&command)
    }

    #[track_caller]
    fn asks(&mut self, mut command: Value, expected: bool) {
        command["wait"] = json!(if expected { ANSWERED_WITHIN } else { REFUSED_AFTER });
        assert_eq!(self.ask(command.clone()), json!(expected), "{}: {command}", self.address);
    }

    #[track_caller]
    pub fn tcp(&mut self, to: Ipv4Addr, port: u16, expected: bool) {
        self.asks(json!({ "do": "tcp", "to": to, "port": port }), expected);
    }

    #[track_caller]
    pub fn udp(&mut self, to: Ipv4Addr, port: u16, expected: bool) {
        self.asks(json!({ "do": "udp", "to": to, "port": port }), expected);
    }

    #[track_caller]
    pub fn ping(&mut self, to: Ipv4Addr, expected: bool) {
        self.asks(json!({ "do": "ping", "to": to }), expected);
    }

    /// By ICMP, but not an echo.
    #[track_caller]
    pub fn timestamp(&mut self, to: Ipv4Addr, expected: bool) {
        self.asks(json!({ "do": "timestamp", "to": to }), expected);
    }

    /// By a protocol that has no ports, of one who answers by it.
    #[track_caller]
    pub fn protocol(&mut self, to: Ipv4Addr, protocol: u8, expected: bool) {
        self.asks(json!({ "do": "ask_by", "to": to, "protocol": protocol }), expected);
    }

    /// Opens a connection that stays.
    #[track_caller]
    pub fn hold(&mut self, to: Ipv4Addr, port: u16, name: &str) {
        self.asks(json!({ "do": "tcp", "to": to, "port": port, "keep": name }), true);
    }

    #[track_caller]
    pub fn holds(&mut self, name: &str, expected: bool) {
        self.asks(json!({ "do": "say", "keep": name }), expected);
    }
}

/// Namespaces of these names, seen by nobody outside the test.
pub fn namespaces(names: &[&str]) {
    must("mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns");
    for name in names {
        must(&format!("ip netns add {name} && ip -n {name} link set lo up"));
    }
    // On the first nobody has asked for all bridges to be filtered, on the others somebody has.
    let for_all = "net.bridge.bridge-nf-call-iptables";
    for (number, name) in names.iter().enumerate() {
        must(&format!("ip netns exec {name} sysctl -qw {for_all}={}", number.min(1)));
    }
}

/// All that a node may have put into the kernel of its host.
pub fn kernel(node: &Node) -> Vec<String> {
    let printed = node.run(
        "iptables-save | grep -v ^#; ipset save; ebtables-save -t nat | grep -v ^#; ip -o -d link; bridge fdb show",
    );
    // Counters, sizes, indices, states on the way, and what bridges have learnt are others at every look.
    let shown = |line: &str| {
        let line = line.split(" [").next().unwrap().split(" hashsize").next().unwrap();
        let line = line.split("link/ether").next().unwrap().split_once(": ").map_or(line, |(_, rest)| rest);
        let words = line.split(' ').map(|word| word.split("@if").next().unwrap());
        words.filter(|word| !["UP", "DOWN", "UNKNOWN"].contains(word)).collect::<Vec<_>>().join(" ")
    };
    let is_learnt = |line: &&str| line.contains(" dev ") && !line.contains("00:00:00:00:00:00");
    let mut lines: Vec<String> = printed.lines().filter(|line| !is_learnt(line)).map(shown).collect();
    lines.sort();
    lines
}

#[track_caller]
pub fn assert_same(now: &[String], then: &[String], what: &str) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    assert!(now == then, "{what}: {:#?}\nno more: {:#?}", only(now, then), only(then, now));
}
