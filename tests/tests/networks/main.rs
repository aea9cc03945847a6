//! Random sequences of network calls to a real cloud controller: what a model of EC2 says, what the database says, what the
//! cluster is told, what `karri net show` says of packets, and what becomes of real packets in a real kernel.
//!
//! A failure names its seed and tells the calls; `KARRI_NETWORK_SEED=N` runs that one alone, `KARRI_NETWORK_RUNS` says how
//! many there are. Things are chosen in the order of their ids, which the server draws: a seed gives sequences of a kind, and
//! not the same one again.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod calls;
mod kernel;
mod model;
#[allow(dead_code, unused_macros, unused_imports)] // of the cloud controller's own tests, which use all of it
#[path = "../../../clc/tests/component/support/mod.rs"]
mod support;
mod world;
mod xml;

use calls::{Caller, NUMBERS};
use karri_proto::instance::PortSpec;
use karri_proto::internal::admin::AdminService;
use karri_proto::internal::path::{PathAsked, Station};
use karri_proto::network::{FactChange, FactTable};
use kernel::Kernel;
use model::Model;
use model::passes::{Packet, What, World};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use support::{Cloud, Database, FakeCluster, until};
use world::Told;
use world::facts::Facts;

const STEPS: usize = 70;
const STEPS_TO_A_LOOK: usize = 15;
const PACKETS_ASKED: usize = 24;
/// More of them take longer than they tell.
const PACKETS_SENT: usize = 400;
/// Where no more pass there is little to forbid.
const PASSED_LEAST: usize = 20;
/// Of a sequence.
const PASSED_IN_ALL_LEAST: usize = 3 * PASSED_LEAST;
/// Where that takes more calls.
const STEPS_MOST: usize = 3 * STEPS;
/// Calls from one look at the kernel to the next.
const CALLS_TO_A_KERNEL: std::ops::RangeInclusive<usize> = 12..=24;

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

/// Two accounts' calls, one after another.
struct Sequence<'a> {
    callers: Vec<Caller<'a>>,
    rng: StdRng,
}

impl<'a> Sequence<'a> {
    async fn begin(cloud: &Cloud, seed: u64, accounts: usize, said: &'a Mutex<Vec<String>>) -> Self {
        let mut callers = Vec::new();
        for account in 0..accounts {
            let name = format!("account-{seed}-{account}");
            let client = cloud.user(&name, "alice", &["AdministratorAccess"]).await;
            let rng = StdRng::seed_from_u64(seed * 10 + account as u64);
            let mut caller = Caller { client, rng, model: Model::default(), said };
            // The second one is there to be kept apart.
            caller.begin(if account == 0 { 3 } else { 1 }).await;
            callers.push(caller);
        }
        Self { callers, rng: StdRng::seed_from_u64(1000 + seed) }
    }

    fn models(&self) -> Vec<&Model> {
        self.callers.iter().map(|caller| &caller.model).collect()
    }

    async fn step(&mut self) {
        let number = if self.rng.gen_bool(0.75) { 0 } else { self.callers.len() - 1 };
        self.callers[number].step().await;
    }

    async fn end(&mut self) {
        for caller in &mut self.callers {
            caller.end().await;
        }
    }

    /// As many as are sent, of those of whom all is told by who hears them.
    fn datagrams(&mut self) -> Vec<(String, Packet)> {
        let mut sent = self.packets();
        sent.retain(|(_, one)| matches!(one.what, What::Udp(_)));
        sent.truncate(PACKETS_SENT);
        sent
    }

    /// Every living port to every address of everybody, private and public, in any order.
    fn packets(&mut self) -> Vec<(String, Packet)> {
        let mut all = packets(&self.models());
        all.shuffle(&mut self.rng);
        all
    }
}

fn packets(models: &[&Model]) -> Vec<(String, Packet)> {
    let living: Vec<_> = models.iter().flat_map(|model| model.living()).collect();
    let private: BTreeSet<Ipv4Addr> = living.iter().flat_map(|(_, port)| port.addresses.clone()).collect();
    let public = models.iter().flat_map(|model| model.addresses.values().map(|address| address.public));
    let goals: Vec<Ipv4Addr> = private.into_iter().chain(public).collect();
    let kinds = NUMBERS.map(What::Udp).into_iter().chain(NUMBERS[..2].iter().copied().map(What::Tcp));
    let kinds: Vec<What> = kinds.chain([What::PING]).collect();
    let mut all = Vec::new();
    for (id, port) in living {
        for from in &port.addresses {
            for to in goals.iter().filter(|to| !port.addresses.contains(to)) {
                all.extend(
                    kinds.iter().map(|what| (id.clone(), Packet { from: *from, to: *to, what: *what })),
                );
            }
        }
    }
    all
}

async fn alike(cloud: &Cloud, cluster: &FakeCluster, sequence: &mut Sequence<'_>) -> FactTable {
    for Caller { client, model, .. } in &sequence.callers {
        assert_eq!(Told::asked(client, model).await, Told::by(model), "the database");
    }
    let packets = sequence.packets();
    let models = sequence.models();
    let expected = Facts::by(&models);
    let last = || Facts::of(&cluster.facts.table(), &models);
    let found = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        until("the cluster is told", || async { (last() == expected).then_some(()) }).await;
    });
    if found.await.is_err() {
        assert_eq!(last(), expected, "what the cluster is told");
    }
    let table = cluster.facts.table();
    let world = World(models);
    for (sender, packet) in packets.iter().take(PACKETS_ASKED) {
        let shown = shown(cloud, &world, sender, *packet).await;
        assert_eq!(shown, world.arrives(sender, *packet), "karri net show {sender} {packet:?}");
    }
    table
}

/// The port at which a packet arrives, as the operator is shown. What leaves its VPC for another one is asked about there
/// again, as that one sees it.
async fn shown(cloud: &Cloud, world: &World<'_>, sender: &str, packet: Packet) -> Option<String> {
    let last = last_station(cloud, sender, packet).await;
    let last = match world.crosses(sender, packet) {
        Some((own, goal)) => {
            let outside = format!("outside {}", packet.to);
            assert_eq!((last.place, last.verdict), (outside, None), "{sender}: {packet:?}");
            last_station(cloud, &goal, Packet { from: own, ..packet }).await
        }
        None => last,
    };
    let passes = last.verdict.as_ref().is_some_and(|verdict| verdict.passes);
    last.place.strip_prefix("port ").filter(|_| passes).map(str::to_owned)
}

async fn last_station(cloud: &Cloud, about: &str, packet: Packet) -> Station {
    let (admin, operator) = cloud.admin();
    let (protocol, port) = match packet.what {
        What::Tcp(port) => ("tcp", port),
        What::Udp(port) => ("udp", port),
        What::Icmp(kind) => ("icmp", kind.into()),
    };
    let (about, protocol) = (about.to_owned(), Some(protocol.to_owned()));
    let (from, to, port) = (Some(packet.from), Some(packet.to), Some(port));
    let asked = PathAsked { about, from, to, protocol, port };
    admin.packet_path(&operator, asked).await.unwrap().pop().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_calls_leave_model_database_and_cluster_alike() {
    let cloud = Cloud::start(Database::Sqlite).await;
    let cluster = cloud.cluster("zone-a", 8).await;
    for seed in seeds(2) {
        let said = Mutex::default();
        let _trail = Trail(seed, &said);
        let mut sequence = Sequence::begin(&cloud, seed, 2, &said).await;
        for number in 1..=STEPS {
            sequence.step().await;
            if number % STEPS_TO_A_LOOK == 0 {
                alike(&cloud, &cluster, &mut sequence).await;
            }
        }
        sequence.end().await;
        alike(&cloud, &cluster, &mut sequence).await;
    }
}

/// The ports of living instances, as their nodes are to have them.
async fn specs(cluster: &FakeCluster, models: &[&Model]) -> Vec<PortSpec> {
    let mut specs = Vec::new();
    for (model, instance) in models.iter().flat_map(|model| model.instances.iter().map(move |id| (model, id)))
    {
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
            let said = Mutex::default();
            let _trail = Trail(seed, &said);
            let mut sequence = Sequence::begin(&cloud, 1000 + seed, 2, &said).await;
            let mut kernel = Kernel::new().await;
            let (mut called, mut few, mut in_all) = (0, false, 0);
            loop {
                let calls = sequence.rng.gen_range(CALLS_TO_A_KERNEL);
                for _ in 0..calls {
                    sequence.step().await;
                }
                called += calls;
                if few || called >= STEPS {
                    sequence.callers[0].open().await;
                }
                let table = alike(&cloud, &cluster, &mut sequence).await;
                let specs = specs(&cluster, &sequence.models()).await;
                kernel.bring(table, &specs, sequence.rng.gen_bool(0.5)).await;
                said.lock().unwrap().push("(a look at the kernel)".to_owned());
                let sent = sequence.packets();
                let passed = asked(&mut kernel, &sequence, &sent[..sent.len().min(PACKETS_SENT)]);
                few = passed < PASSED_LEAST;
                in_all += passed;
                let datagrams = sequence.datagrams();
                let heard = expected(&sequence, &datagrams);
                if called >= STEPS && in_all >= PASSED_IN_ALL_LEAST && !heard.is_empty() {
                    would_be_seen(&mut kernel, &datagrams, &heard).await;
                    break;
                }
                assert!(called < STEPS_MOST, "no more than {in_all} packets passed");
            }
            // What is not there at once is sent again: that must not hide that a change takes time in which nothing passes.
            let (soon, all) = kernel.seen_soon();
            assert!(soon * 10 >= all * 9, "only {soon} of {all} in the first second");
            kernel.remove().await;
            sequence.end().await;
        }
    });
}

/// What each of them comes to: who hears it, and where an answer is waited for, who answers.
fn expected(sequence: &Sequence<'_>, sent: &[(String, Packet)]) -> BTreeSet<(usize, String)> {
    let world = World(sequence.models());
    let outcome = |(sender, packet): &(String, Packet)| match packet.what {
        What::Udp(_) => world.arrives(sender, *packet),
        What::Tcp(_) => world.answers(sender, *packet),
        What::Icmp(_) => world.answers(sender, *packet).map(|_| kernel::ANSWERED.to_owned()),
    };
    sent.iter().enumerate().filter_map(|(number, one)| Some((number, outcome(one)?))).collect()
}

/// Whatever came of a packet is what the model says.
#[track_caller]
fn same(
    sent: &[(String, Packet)],
    seen: &BTreeSet<(usize, String)>,
    expected: &BTreeSet<(usize, String)>,
    when: &str,
) {
    let words = |of: &BTreeSet<(usize, String)>, but: &BTreeSet<(usize, String)>| -> Vec<String> {
        of.difference(but).map(|(number, port)| format!("{:?}: {port}", sent[*number])).collect()
    };
    let (more, less) = (words(seen, expected), words(expected, seen));
    assert!(seen == expected, "{when}, of {}: too many {more:#?}, missing {less:#?}", sent.len());
}

/// Returns how many passed.
fn asked(kernel: &mut Kernel, sequence: &Sequence<'_>, sent: &[(String, Packet)]) -> usize {
    let expected = expected(sequence, sent);
    same(sent, &kernel.seen(sent, &expected), &expected, "in the kernel");
    expected.len()
}

/// That this would have shown what is wrong: one port that hears nothing.
async fn would_be_seen(kernel: &mut Kernel, sent: &[(String, Packet)], all: &BTreeSet<(usize, String)>) {
    let (_, port) = all.first().unwrap();
    kernel.forget();
    kernel.shut(port);
    let others = all.iter().filter(|(_, other)| other != port).cloned().collect();
    same(sent, &kernel.seen(sent, &others), &others, &format!("with a rule that drops everything to {port}"));
    kernel.mend().await;
    kernel.forget();
    same(sent, &kernel.seen(sent, all), all, "and mended");
}

/// A comparison that nothing could break would prove nothing: each fact that is lost is missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fact_that_is_lost_is_missed() {
    let cloud = Cloud::start(Database::Sqlite).await;
    let cluster = cloud.cluster("zone-a", 8).await;
    let said = Mutex::default();
    let mut sequence = Sequence::begin(&cloud, 7, 2, &said).await;
    for _ in 0..STEPS {
        sequence.step().await;
    }
    let table = alike(&cloud, &cluster, &mut sequence).await;
    let models = sequence.models();
    let own = Facts::by(&models);
    let is_own = |table: &FactTable| Facts::of(table, &models) == own;
    let mut missed = 0;
    for fact in table.facts() {
        let mut less = table.clone();
        less.apply(FactChange::Gone(fact.key()));
        let of_default = match &fact {
            karri_proto::network::Fact::Shape(shape) => {
                !models.iter().any(|model| model.vpcs.contains_key(shape.vpc().as_str()))
            }
            _ => false,
        };
        assert_eq!(is_own(&less), of_default, "{fact:?}");
        missed += usize::from(!of_default);
    }
    assert!(missed > 20, "{missed}");
    for model in models {
        let told = Told::by(model);
        for port in model.ports.keys() {
            let mut other = model.clone();
            other.ports.get_mut(port).unwrap().groups.clear();
            assert_ne!(Told::by(&other), told, "{port}");
        }
    }
}
