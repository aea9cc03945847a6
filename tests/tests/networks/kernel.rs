//! The real thing: what nodes and the cluster controller bring into a kernel, with a namespace at the end of each port.
//! It lives as long as a sequence of calls, and is brought from rows to rows by the drivers that do so in a cluster.

#[path = "../../../net/tests/support/elsewhere.rs"]
mod elsewhere;
mod guests;

pub use elsewhere::runs_elsewhere;
pub use guests::ANSWERED;

use crate::model::passes::Packet;
use guests::Guests;
use karri_cc::app::router::{Input, Lease, Site, outside, router};
use karri_cc::config::{NetworkConfig, NetworkMode};
use karri_cc::drive::flat::Flat;
use karri_cc::drive::{Driver, Wanted};
use karri_nc::app::owner_tag::Owner;
use karri_nc::drive::ports::{BridgePorts, Facts, Place, Ports, TapNames, Wire};
use karri_proto::instance::PortSpec;
use karri_proto::network::{Fact, FactKey, FactTable, SegmentDriver, Shape};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const BRIDGE: &str = "karri-t0";

#[track_caller]
pub fn must(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn begin() {
    must("mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip link set lo up");
}

#[derive(Default)]
struct Told(Mutex<Arc<FactTable>>);

impl Facts for Told {
    fn table(&self) -> Arc<FactTable> {
        self.0.lock().unwrap().clone()
    }
}

pub struct Kernel {
    ports: BridgePorts,
    driver: Flat,
    run_dir: std::path::PathBuf,
    names: TapNames,
    facts: Arc<Told>,
    specs: BTreeMap<String, PortSpec>,
    guests: Guests,
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

/// Facts whose keys lead to something else in the other table, of those that nodes are told of.
fn changed(before: &FactTable, after: &FactTable) -> Vec<FactKey> {
    let of = |table: &FactTable| -> BTreeMap<FactKey, Fact> {
        let for_nodes = table.facts().filter(|fact| matches!(fact, Fact::Rule(_) | Fact::Port(_)));
        for_nodes.map(|fact| (fact.key(), fact)).collect()
    };
    let (before, after) = (of(before), of(after));
    let keys: BTreeSet<&FactKey> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter(|key| before.get(key) != after.get(key)).cloned().collect()
}

impl Kernel {
    /// Of nobody yet.
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let run_dir = directory.path().join("run");
        let mut driver = Flat::new(&config(&run_dir));
        driver.apply(&Wanted::default()).await.unwrap();
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
        let facts = Arc::new(Told::default());
        let ports = BridgePorts::open(place, names.clone(), facts.clone()).await.unwrap();
        ports.mend(&[]).await.unwrap();
        let (specs, guests) = (BTreeMap::new(), Guests::default());
        Self { ports, driver, run_dir, names, facts, specs, guests, _directory: directory }
    }

    /// From the rows that it is at to these. Who of cluster controller and node comes first is nobody's to say.
    pub async fn bring(&mut self, table: FactTable, specs: &[PortSpec], router_first: bool) {
        let routers = wanted(&table, specs);
        if router_first {
            self.driver.apply(&routers).await.unwrap();
        }
        self.node(table, specs).await;
        if !router_first {
            self.driver.apply(&routers).await.unwrap();
        }
        // As guests do, routers believe what they hear of addresses at once: see `guests`.
        must(
            "for router in /run/netns/karri-*; do [ -e \"$router\" ] || continue; \
             nsenter --net=\"$router\" sh -c 'for link in /proc/sys/net/ipv4/neigh/*/locktime; do \
             echo 0 > \"$link\"; done'; done",
        );
        // What each change has made is as it was to be.
        let own: Vec<_> = specs.iter().map(|port| self.names.port(port)).collect();
        assert_eq!(self.ports.mend(&own).await.unwrap(), Vec::<String>::new(), "nothing is to be mended");
    }

    async fn node(&mut self, table: FactTable, specs: &[PortSpec]) {
        let wanted: BTreeMap<String, PortSpec> =
            specs.iter().map(|port| (port.id.to_string(), port.clone())).collect();
        let gone: Vec<PortSpec> =
            self.specs.values().filter(|port| !wanted.contains_key(port.id.as_str())).cloned().collect();
        let taps: Vec<String> = gone.iter().map(|port| self.names.tap(port)).collect();
        if !taps.is_empty() {
            self.ports.unplug(&taps).await.unwrap();
        }
        gone.iter().for_each(|port| self.guests.leave(port.id.as_str()));
        let keys = changed(&self.facts.table(), &table);
        *self.facts.0.lock().unwrap() = Arc::new(table);
        if !keys.is_empty() {
            self.ports.told(Some(&keys)).await.unwrap();
        }
        let comes = wanted.iter().filter(|(id, port)| self.specs.get(*id) != Some(port));
        let comes: Vec<PortSpec> = comes.map(|(_, port)| port.clone()).collect();
        let own: Vec<_> = comes.iter().map(|port| self.names.port(port)).collect();
        if !own.is_empty() {
            self.ports.plug(&own).await.unwrap();
            for port in &comes {
                let bridge = format!("{BRIDGE}.{:x}", port.segment);
                self.guests.come(port, &self.names.tap(port), &bridge);
            }
            self.ports.started(&own).await.unwrap();
        }
        self.specs = wanted;
    }

    /// Sends all of them, and tells what came of each.
    pub fn seen(
        &mut self,
        sent: &[(String, Packet)],
        expected: &BTreeSet<(usize, String)>,
    ) -> BTreeSet<(usize, String)> {
        self.guests.seen(sent, expected)
    }

    /// How many of what passed did so in the first second after it was sent for the first time, and of how many.
    pub fn seen_soon(&self) -> (usize, usize) {
        self.guests.soon
    }

    /// What is asked next is asked in flows that nobody knows.
    pub fn forget(&mut self) {
        self.guests.forget();
    }

    /// A rule that drops everything to this port, at its node.
    pub fn shut(&self, port: &str) {
        must(&format!("iptables -t mangle -I KARRI-{}-to -j DROP", self.names.tap(&self.specs[port])));
    }

    /// Everything as it was.
    pub async fn mend(&mut self) {
        let own: Vec<_> = self.specs.values().map(|port| self.names.port(port)).collect();
        assert_ne!(self.ports.mend(&own).await.unwrap(), Vec::<String>::new(), "a rule too many");
    }

    /// Nobody is there any more, and nothing that was made for them.
    pub async fn remove(mut self) {
        self.bring(FactTable::default(), &[], true).await;
        self.ports.clean().await.unwrap();
        karri_cc::drive::flat::remove(&config(&self.run_dir)).await.unwrap();
        let left = "iptables-save; ipset save; ebtables-save; ip -o link; ip netns list";
        let left = Command::new("sh").args(["-ec", left]).output().unwrap();
        let left = String::from_utf8_lossy(&left.stdout).to_lowercase();
        assert!(!left.contains("karri") && !left.contains(self.names.prefix()), "{left}");
    }
}
