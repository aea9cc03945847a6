//! The real thing: what nodes and the cluster controller bring into a kernel, with a namespace at the end of each port.

use crate::calls::NUMBERS;
use crate::model::{Datagram, Model};
use karri_cc::app::router::{Input, Lease, Site, outside, router};
use karri_cc::config::{NetworkConfig, NetworkMode};
use karri_cc::drive::flat::Flat;
use karri_cc::drive::{Driver, Wanted};
use karri_nc::app::owner_tag::Owner;
use karri_nc::drive::ports::{BridgePorts, Facts, Place, Ports, TapNames, Wire};
use karri_proto::instance::PortSpec;
use karri_proto::network::{FactTable, SegmentDriver, Shape};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const INSIDE: &str = "KARRI_TEST_INSIDE_NAMESPACE";
const BRIDGE: &str = "karri-t0";
/// In which a datagram comes that comes at all; what has come is not waited for.
const QUIET_AFTER: Duration = Duration::from_millis(300);
const SENT_TIMES: u32 = 2;

/// Runs the named test in fresh network and mount namespaces. `false`: this is that run.
pub fn runs_elsewhere(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]).arg(std::env::current_exe().unwrap());
    let status = command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "the test failed inside its namespaces");
    true
}

#[track_caller]
pub fn must(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn begin() {
    must("mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip link set lo up");
}

struct Told(Arc<FactTable>);

impl Facts for Told {
    fn table(&self) -> Arc<FactTable> {
        self.0.clone()
    }
}

struct Guest {
    /// Its network namespace.
    name: String,
    hears: Vec<UdpSocket>,
}

/// A socket belongs to the namespace of the thread that made it.
fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(Path::new("/run/netns").join(namespace)).unwrap();
    std::thread::scope(|scope| {
        let there = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        there.join().unwrap()
    })
}

pub struct Kernel {
    ports: BridgePorts,
    driver: Flat,
    run_dir: std::path::PathBuf,
    names: TapNames,
    guests: BTreeMap<String, Guest>,
    _directory: TempDir,
}

impl Drop for Kernel {
    /// A failed test leaves no dnsmasq behind: each runs in a process group of its own.
    fn drop(&mut self) {
        must(&format!(
            "find {} -name dnsmasq.pid -exec cat {{}} + | xargs -r kill -9",
            self.run_dir.display()
        ));
    }
}

fn config(run_dir: &Path) -> NetworkConfig {
    NetworkConfig {
        mode: NetworkMode::Managed,
        bridge: BRIDGE.to_owned(),
        subnet: "172.31.0.0/20".parse().unwrap(),
        gateway: [172, 31, 0, 1].into(),
        pairs: Vec::new(),
        forwarded: vec![22],
        dns: vec![Ipv4Addr::LOCALHOST],
        run_dir: run_dir.to_owned(),
        tunnel_address: None,
        tunnel_mtu: 1500,
        vxlan_port: 4789,
        driver: SegmentDriver::Vxlan,
        trunk: None,
        vlan_first: None,
        vlan_last: None,
        public_interface: None,
        masquerade_public: Some(false),
    }
}

fn wanted(table: &FactTable, specs: &[PortSpec]) -> Wanted {
    let site = Site { zone: "zone-a".to_owned(), extends: false, bridge: BRIDGE.to_owned() };
    let vpcs: BTreeSet<_> = specs.iter().map(|port| port.vpc_id.clone()).collect();
    let routers = vpcs.iter().filter_map(|vpc| {
        let leases = specs.iter().filter(|port| port.vpc_id == *vpc).map(|port| Lease {
            tag: port.segment,
            port: port.id.clone(),
            mac: port.mac.clone(),
            address: port.private_ip,
            hostname: "guest.internal".to_owned(),
        });
        let shapes: Vec<&Shape> = table.shapes().filter(|shape| shape.vpc() == vpc).collect();
        router(&Input::new(shapes, leases.collect())?, &site)
    });
    let routers: BTreeMap<_, _> = routers.map(|router| (router.vpc.clone(), Arc::new(router))).collect();
    let outside = outside(&site, [], routers.values().map(Arc::as_ref));
    Wanted { routers, outside, ..Wanted::default() }
}

impl Kernel {
    /// With a guest at each port.
    pub async fn bring(table: FactTable, specs: &[PortSpec]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let run_dir = directory.path().join("run");
        let mut driver = Flat::new(&config(&run_dir));
        driver.apply(&wanted(&table, specs)).await.unwrap();
        let names = TapNames::new(&Owner { cloud: "cloud".to_owned(), node: "node".to_owned() });
        let place = Place {
            bridge: BRIDGE,
            uplink: None,
            metadata_address: Ipv4Addr::new(169, 254, 87, 1),
            wire: Wire::Alone,
            tunnel_mtu: 1500,
            vxlan_port: 4789,
            shortcut: true,
            state_dir: directory.path(),
            boot_id: "boot",
        };
        let ports = BridgePorts::open(place, names.clone(), Arc::new(Told(Arc::new(table)))).await.unwrap();
        ports.mend(&[]).await.unwrap();
        let own: Vec<_> = specs.iter().map(|port| names.port(port)).collect();
        ports.plug(&own).await.unwrap();
        let mut kernel =
            Self { ports, driver, run_dir, names, guests: BTreeMap::new(), _directory: directory };
        for (number, port) in specs.iter().enumerate() {
            let guest = kernel.guest(number, port);
            kernel.guests.insert(port.id.to_string(), guest);
        }
        kernel
    }

    fn guest(&self, number: usize, port: &PortSpec) -> Guest {
        let (name, tap, bridge) =
            (format!("g{number}"), self.names.tap(port), format!("{BRIDGE}.{:x}", port.segment));
        let prefix = port.subnet_cidr.split_once('/').unwrap().1;
        must(&format!(
            "ip netns add {name}; ip link add {tap} mtu 1450 type veth peer name eth0 netns {name} mtu 1450 address {}; \
             ip link set {tap} master {bridge} up; ip -n {name} link set lo up; ip -n {name} link set eth0 up",
            port.mac
        ));
        for (address, _) in port.addresses() {
            must(&format!("ip -n {name} address add {address}/{prefix} dev eth0"));
        }
        must(&format!("ip -n {name} route add default via {}", port.gateway));
        let hear = |number: u16| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, number)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let hears = inside(&name, || NUMBERS.map(hear)).into_iter().collect();
        Guest { name, hears }
    }

    /// Sends all of them, and tells who has heard which.
    pub fn heard(&self, sent: &[(String, Datagram)]) -> BTreeSet<(usize, String)> {
        let sockets: Vec<UdpSocket> = sent
            .iter()
            .map(|(port, datagram)| {
                let speaks = || UdpSocket::bind((datagram.from, 0)).unwrap();
                inside(&self.guests[port].name, speaks)
            })
            .collect();
        let mut heard = BTreeSet::new();
        // The first of them wait for answers to who has an address, and not all are waited with.
        for _ in 0..SENT_TIMES {
            for (number, ((_, datagram), socket)) in sent.iter().zip(&sockets).enumerate() {
                let words = u32::try_from(number).unwrap().to_be_bytes();
                // A refusal by an answer is none of this one's.
                let _ = socket.send_to(&words, (datagram.to, datagram.port));
            }
            let mut last = Instant::now();
            while last.elapsed() < QUIET_AFTER {
                let before = heard.len();
                self.guests.iter().for_each(|(id, guest)| listen(id, guest, &mut heard));
                if heard.len() > before {
                    last = Instant::now();
                }
                std::thread::sleep(Duration::from_millis(10)); // between two looks, until it has been quiet
            }
        }
        heard
    }

    /// A rule that drops everything to this port, at its node.
    pub fn shut(&self, spec: &PortSpec) {
        must(&format!("iptables -t mangle -I KARRI-{}-to -j DROP", self.names.tap(spec)));
    }

    /// Everything as it was.
    pub async fn mend(&mut self) {
        self.ports.mend(&[]).await.unwrap();
    }

    pub async fn remove(mut self) {
        for number in 0..self.guests.len() {
            must(&format!("ip netns delete g{number}"));
        }
        let taps: Vec<String> =
            self.ports.plugged().await.unwrap().into_iter().map(|port| port.tap).collect();
        self.ports.unplug(&taps).await.unwrap();
        self.driver.apply(&Wanted::default()).await.unwrap();
        self.ports.clean().await.unwrap();
        karri_cc::drive::flat::remove(&config(&self.run_dir)).await.unwrap();
    }
}

fn listen(id: &str, guest: &Guest, heard: &mut BTreeSet<(usize, String)>) {
    let mut words = [0; 4];
    for socket in &guest.hears {
        while socket.recv(&mut words).is_ok() {
            heard.insert((u32::from_be_bytes(words) as usize, id.to_owned()));
        }
    }
}

/// Every living port to every address of everybody, private and public.
pub fn datagrams(model: &Model) -> Vec<(String, Datagram)> {
    let private: BTreeSet<Ipv4Addr> = model.living().flat_map(|(_, port)| port.addresses.clone()).collect();
    let public = model.addresses.values().map(|address| address.public);
    let goals: Vec<Ipv4Addr> = private.into_iter().chain(public).collect();
    let mut all = Vec::new();
    for (id, port) in model.living() {
        for from in &port.addresses {
            for to in goals.iter().filter(|to| !port.addresses.contains(to)) {
                let each = NUMBERS.map(|port| (id.clone(), Datagram { from: *from, to: *to, port }));
                all.extend(each);
            }
        }
    }
    all
}
