//! The host, its guests, and who is outside.

#[path = "../../../net/tests/support/elsewhere.rs"]
mod elsewhere;

pub use elsewhere::runs_elsewhere;

use crate::vpc::{TestVpc, region_names};
use karri_cc::app::router::{FlatPart, Site, flat_naming, outside, router};
use karri_cc::config::{NetworkConfig, NetworkMode};
use karri_cc::drive::flat::{Flat, remove};
use karri_cc::drive::{Driver, Wanted};
use karri_net::Namespace;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const DEADLINE: Duration = Duration::from_secs(20);
/// In which a packet comes that comes at all.
const REFUSED_AFTER: Duration = Duration::from_secs(1);
pub const BRIDGE: &str = "karri-t0";
/// Of the host and of somebody outside, on the network between them.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

pub fn run(command: &str) -> Output {
    Command::new("sh").args(["-c", command]).output().unwrap()
}

#[track_caller]
pub fn must(command: &str) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asks until it is so.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub struct World {
    pub runtime: tokio::runtime::Runtime,
    pub network: NetworkConfig,
    pub driver: Flat,
    pub wanted: Wanted,
    pub directory: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        must("mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip link set lo up");
        let network = NetworkConfig {
            mode: NetworkMode::Managed,
            bridge: BRIDGE.to_owned(),
            subnet: "172.31.0.0/20".parse().unwrap(),
            gateway: [172, 31, 0, 1].into(),
            pairs: Vec::new(),
            forwarded: vec![22],
            dns: vec![Ipv4Addr::LOCALHOST],
            run_dir: directory.path().join("run"),
            driver: Default::default(),
            trunk: None,
            vlan_first: None,
            vlan_last: None,
            tunnel_address: None,
            tunnel_mtu: 1500,
            vxlan_port: 4789,
            public_interface: None,
            masquerade_public: Some(false),
        };
        let driver = Flat::new(&network);
        Self { runtime, network, driver, wanted: Wanted::default(), directory }
    }

    pub fn want(&mut self, vpcs: &[&TestVpc]) {
        let site = Site { zone: "zone-a".to_owned(), extends: false, bridge: BRIDGE.to_owned() };
        let routers = vpcs.iter().filter_map(|vpc| router(&vpc.input(), &site));
        self.wanted.routers = routers.map(|router| (router.vpc.clone(), Arc::new(router))).collect();
        let flat: Vec<FlatPart> =
            vpcs.iter().map(|vpc| FlatPart::new(vpc.flat(), Some(&vpc.input()))).collect();
        let routers = self.wanted.routers.values().map(Arc::as_ref);
        self.wanted.outside = outside(&site, flat.iter().flat_map(FlatPart::addresses), routers);
        self.wanted.naming = flat_naming(&site, Some(region_names().into()), &flat);
    }

    #[track_caller]
    pub fn apply(&mut self) {
        self.runtime.block_on(self.driver.apply(&self.wanted)).unwrap();
    }

    #[track_caller]
    pub fn become_wanted(&mut self, vpcs: &[&TestVpc]) {
        self.want(vpcs);
        self.apply();
    }

    /// The driver of another life.
    pub fn restart(&mut self) {
        self.driver = Flat::new(&self.network);
    }

    pub fn remove(&mut self) {
        self.runtime.block_on(remove(&self.network)).unwrap();
    }

    pub fn script(&self) -> PathBuf {
        let script = self.directory.path().join("lease.sh");
        let line = "echo \"$ip $mask $router $mtu $dns $domain $staticroutes\"";
        std::fs::write(&script, format!("#!/bin/sh\n[ \"$1\" = bound ] || exit 0\n{line}\n")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        script
    }

    /// Somebody whom the host reaches by a network of its own, and who knows the way to public addresses.
    pub fn outside(&self) -> Guest {
        let guest = Guest::new();
        guest.wire("vo", None);
        must(&format!("ip address add {HOST}/24 dev vo && ip link set vo up"));
        guest.must(&format!("ip address add {OUTSIDE}/24 dev eth0"));
        guest.must(&format!("ip route add 203.0.113.0/24 via {HOST}"));
        guest
    }
}

impl Drop for World {
    /// A failed test leaves no dnsmasq behind: each runs in a process group of its own.
    fn drop(&mut self) {
        let run_dir = self.network.run_dir.display();
        run(&format!("find {run_dir} -name dnsmasq.pid -exec cat {{}} + | xargs -r kill -9"));
    }
}

/// A namespace with one link, `eth0`.
pub struct Guest {
    holder: Child,
    namespace: Namespace,
}

impl Guest {
    pub fn new() -> Self {
        let holder =
            Command::new("unshare").args(["--net", "sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
        let path = PathBuf::from(format!("/proc/{}/ns/net", holder.id()));
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        until("a namespace", DEADLINE, || std::fs::read_link(&path).is_ok_and(|theirs| theirs != own));
        let namespace = Namespace::open(&path).unwrap();
        Self { holder, namespace }
    }

    /// Its link's other end here is `name`, on that bridge.
    pub fn wire(&self, name: &str, bridge: Option<&str>) {
        let pid = self.holder.id();
        must(&format!("ip link add {name} type veth peer name eth0 netns {pid} && ip link set {name} up"));
        if let Some(bridge) = bridge {
            must(&format!("ip link set {name} master {bridge}"));
        }
        self.must("ip link set lo up");
        self.must("ip link set eth0 up");
    }

    /// On the segment's bridge, with the address that the lease says.
    pub fn plug(vpc: &TestVpc, name: &str) -> Self {
        let lease = vpc.lease(name);
        let guest = Self::new();
        guest.wire(&format!("g{}{name}", vpc.number), Some(&format!("{BRIDGE}.{:x}", lease.tag)));
        guest.must(&format!("ip link set eth0 address {} mtu 1450", lease.mac));
        let [a, b, c, _] = lease.address.octets();
        guest.must(&format!("ip address add {}/24 dev eth0", lease.address));
        guest.must(&format!("ip route add default via {a}.{b}.{c}.1"));
        guest
    }

    pub fn inside(&self, command: &str) -> Output {
        run(&format!("nsenter -t {} -n {command}", self.holder.id()))
    }

    #[track_caller]
    pub fn must(&self, command: &str) -> String {
        must(&format!("nsenter -t {} -n {command}", self.holder.id()))
    }

    pub fn listen(&self, port: u16) -> TcpListener {
        self.namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap().unwrap()
    }

    pub fn connect(&self, address: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
        let to = SocketAddr::from((address, port));
        self.namespace.run(|| TcpStream::connect_timeout(&to, REFUSED_AFTER)).unwrap()
    }

    pub fn socket(&self) -> UdpSocket {
        udp(|bind| self.namespace.run(bind).unwrap())
    }

    /// Answers each connection with the address from which it sees it come, until the test ends.
    pub fn serve(&self, port: u16) {
        serve(self.listen(port));
    }

    /// As whom the other end sees this one. `None`: nothing comes there and back.
    pub fn seen_as(&self, address: Ipv4Addr, port: u16) -> Option<Ipv4Addr> {
        seen(self.connect(address, port).ok()?)
    }

    pub fn pings(&self, address: Ipv4Addr) -> bool {
        self.inside(&format!("busybox ping -c 1 -W 1 {address}")).status.success()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// For whoever sends to port 9.
fn udp(run: impl FnOnce(fn() -> std::io::Result<UdpSocket>) -> std::io::Result<UdpSocket>) -> UdpSocket {
    let socket = run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9))).unwrap();
    socket.set_read_timeout(Some(REFUSED_AFTER)).unwrap();
    socket
}

pub fn host_socket() -> UdpSocket {
    udp(|bind| bind())
}

pub fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = writeln!(stream, "{}", peer.ip());
        }
    });
}

pub fn seen(mut stream: TcpStream) -> Option<Ipv4Addr> {
    stream.set_read_timeout(Some(REFUSED_AFTER)).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text.trim().parse().ok()
}

/// The host itself.
pub fn host_seen_as(address: Ipv4Addr, port: u16) -> Option<Ipv4Addr> {
    seen(TcpStream::connect_timeout(&SocketAddr::from((address, port)), REFUSED_AFTER).ok()?)
}
