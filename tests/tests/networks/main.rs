//! Random sequences of network calls to a real cloud controller: what a model of EC2 says, what the database says, what the
//! cluster is told, what `karri net show` says of packets, and what becomes of real packets in a real kernel.
//!
//! A failure names its seed; `KARRI_NETWORK_SEED=N` runs that one alone, `KARRI_NETWORK_RUNS` says how many there are.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod calls;
mod kernel;
mod model;
#[allow(dead_code, unused_macros, unused_imports)] // of the cloud controller's own tests, which use all of it
#[path = "../../../clc/tests/component/support/mod.rs"]
mod support;
mod world;
mod xml;

use calls::Caller;
use karri_proto::instance::PortSpec;
use karri_proto::internal::admin::AdminService;
use karri_proto::internal::path::PathAsked;
use karri_proto::network::{FactChange, FactTable};
use kernel::{Kernel, datagrams};
use model::{Datagram, Model};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::collections::BTreeSet;
use support::{Cloud, Database, FakeCluster, until};
use world::{Facts, Told};

const STEPS: usize = 60;
const STEPS_TO_A_LOOK: usize = 15;
const PACKETS_ASKED: usize = 24;

fn seeds(runs: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    match number("KARRI_NETWORK_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("KARRI_NETWORK_RUNS").unwrap_or(runs)).collect(),
    }
}

/// Says which one it was, and what was called, when it fails.
struct Trail<'a>(u64, &'a std::sync::Mutex<Vec<String>>);

impl Drop for Trail<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.1.lock().map(|said| said.join("\n")).unwrap_or_default();
            eprintln!("KARRI_NETWORK_SEED={}, after these calls:\n{said}", self.0);
        }
    }
}

async fn alike(cloud: &Cloud, cluster: &FakeCluster, caller: &mut Caller<'_>) -> FactTable {
    let model = &caller.model;
    assert_eq!(Told::asked(caller.client, model).await, Told::by(model), "the database");
    let expected = Facts::by(model);
    let last = || Facts::of(&cluster.facts.table(), model);
    let found = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        until("the cluster is told", || async { (last() == expected).then_some(()) }).await;
    });
    if found.await.is_err() {
        assert_eq!(last(), expected, "what the cluster is told");
    }
    let table = cluster.facts.table();
    let mut packets = datagrams(model);
    packets.shuffle(&mut caller.rng);
    for (sender, packet) in packets.iter().take(PACKETS_ASKED) {
        let shown = shown(cloud, sender, *packet).await;
        assert_eq!(shown, caller.model.arrives(sender, *packet), "karri net show {sender} {packet:?}");
    }
    table
}

/// The port at which a packet arrives, as the operator is shown.
async fn shown(cloud: &Cloud, sender: &str, packet: Datagram) -> Option<String> {
    let (admin, operator) = cloud.admin();
    let (about, protocol) = (sender.to_owned(), Some("udp".to_owned()));
    let (from, to, port) = (Some(packet.from), Some(packet.to), Some(packet.port));
    let asked = PathAsked { about, from, to, protocol, port };
    let stations = admin.packet_path(&operator, asked).await.unwrap();
    let last = stations.last().unwrap();
    let passes = last.verdict.as_ref().is_some_and(|verdict| verdict.passes);
    last.place.strip_prefix("port ").filter(|_| passes).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_calls_leave_model_database_and_cluster_alike() {
    let cloud = Cloud::start(Database::Sqlite).await;
    let cluster = cloud.cluster("zone-a", 8).await;
    for seed in seeds(2) {
        let client = cloud.user(&format!("account-{seed}"), "alice", &["AdministratorAccess"]).await;
        let (said, rng) = (std::sync::Mutex::default(), StdRng::seed_from_u64(seed));
        let _trail = Trail(seed, &said);
        let mut caller = Caller { client: &client, rng, model: Model::default(), said: &said };
        caller.begin().await;
        for number in 1..=STEPS {
            caller.step().await;
            if number % STEPS_TO_A_LOOK == 0 {
                alike(&cloud, &cluster, &mut caller).await;
            }
        }
        caller.end().await;
        alike(&cloud, &cluster, &mut caller).await;
    }
}

/// The ports of living instances, as their nodes are to have them.
async fn specs(cluster: &FakeCluster, model: &Model) -> Vec<PortSpec> {
    let mut specs = Vec::new();
    for instance in &model.instances {
        let own: BTreeSet<&String> = model
            .living()
            .filter(|(_, port)| port.instance.as_ref().is_some_and(|(of, _)| of == instance))
            .map(|(id, _)| id)
            .collect();
        let are_those = |ports: &[PortSpec]| {
            let same = |port: &PortSpec| {
                let addresses: Vec<_> = port.addresses().map(|(address, _)| address).collect();
                model.ports.get(port.id.as_str()).is_some_and(|known| known.addresses == addresses)
            };
            ports.len() == own.len() && ports.iter().all(same)
        };
        let intent = cluster.wait_for_intent(instance, |intent| are_those(&intent.spec.ports)).await;
        specs.extend(intent.spec.ports);
    }
    specs
}

#[test]
fn real_packets_go_where_the_model_says() {
    if kernel::runs_elsewhere("real_packets_go_where_the_model_says") {
        return;
    }
    kernel::begin();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let cloud = Cloud::start(Database::Sqlite).await;
        let cluster = cloud.cluster("zone-a", 8).await;
        for seed in seeds(1) {
            let client = cloud.user(&format!("account-{seed}"), "alice", &["AdministratorAccess"]).await;
            let (said, rng) = (std::sync::Mutex::default(), StdRng::seed_from_u64(1000 + seed));
            let _trail = Trail(seed, &said);
            let mut caller = Caller { client: &client, rng, model: Model::default(), said: &said };
            caller.begin().await;
            for _ in 0..STEPS {
                caller.step().await;
            }
            let table = alike(&cloud, &cluster, &mut caller).await;
            packets(table, &specs(&cluster, &caller.model).await, &caller.model).await;
            caller.end().await;
        }
    });
}

async fn packets(table: FactTable, specs: &[PortSpec], model: &Model) {
    let sent = datagrams(model);
    let expected: BTreeSet<(usize, String)> = sent
        .iter()
        .enumerate()
        .filter_map(|(number, (port, datagram))| Some((number, model.arrives(port, *datagram)?)))
        .collect();
    let words = |of: &BTreeSet<(usize, String)>| -> Vec<String> {
        of.iter().map(|(number, port)| format!("{:?} at {port}", sent[*number])).collect()
    };
    let mut kernel = Kernel::bring(table, specs).await;
    let heard = kernel.heard(&sent);
    assert_eq!(words(&heard), words(&expected), "of {} datagrams", sent.len());
    // That this would have shown what is wrong: one port that hears nothing.
    if let Some((_, port)) = expected.first() {
        kernel.shut(specs.iter().find(|spec| spec.id.as_str() == port).unwrap());
        let heard = kernel.heard(&sent);
        let others = expected.iter().filter(|(_, other)| other != port).cloned().collect();
        assert_eq!(words(&heard), words(&others), "with a rule that drops everything to {port}");
        kernel.mend().await;
        assert_eq!(words(&kernel.heard(&sent)), words(&expected), "and mended");
    }
    kernel.remove().await;
}

/// A comparison that nothing could break would prove nothing: each fact that is lost is missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fact_that_is_lost_is_missed() {
    let cloud = Cloud::start(Database::Sqlite).await;
    let cluster = cloud.cluster("zone-a", 8).await;
    let client = cloud.owner().await;
    let said = std::sync::Mutex::default();
    let rng = StdRng::seed_from_u64(7);
    let mut caller = Caller { client: &client, rng, model: Model::default(), said: &said };
    caller.begin().await;
    for _ in 0..STEPS {
        caller.step().await;
    }
    let table = alike(&cloud, &cluster, &mut caller).await;
    let model = &caller.model;
    let own = Facts::by(model);
    let is_own = |table: &FactTable| Facts::of(table, model) == own;
    let mut missed = 0;
    for fact in table.facts() {
        let mut less = table.clone();
        less.apply(FactChange::Gone(fact.key()));
        let of_default = match &fact {
            karri_proto::network::Fact::Shape(shape) => !model.vpcs.contains_key(shape.vpc().as_str()),
            _ => false,
        };
        assert_eq!(is_own(&less), of_default, "{fact:?}");
        missed += usize::from(!of_default);
    }
    assert!(missed > 20, "{missed}");
    let told = Told::by(model);
    for port in model.ports.keys() {
        let mut other = model.clone();
        other.ports.get_mut(port).unwrap().groups.clear();
        assert_ne!(Told::by(&other), told, "{port}");
    }
}
