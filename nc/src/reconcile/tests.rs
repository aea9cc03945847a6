//! Workers in situations that no simulated node gets into by itself.

use super::adopt::adopt;
use super::groups::enforce_groups;
use super::instance::{Alive, wake, wake_due};
use super::step::{Outcome, carry_out};
use super::watch::compare;
use crate::app::owner_tag::{Owner, OwnerTag};
use crate::app::plan::{Guest, Limits, Step};
use crate::app::record::{Record, State};
use crate::app::sample;
use crate::app::user_network::UserNetwork;
use crate::drive::hypervisor::sim::SimHypervisor;
use crate::drive::hypervisor::{Found, FoundGuest};
use crate::drive::ports::{Bridges, NoPorts, Plugged, Port, PortError, Ports, TapNames};
use crate::drive::storage::{GuestPaths, Lying, Pins, Storage, StorageError};
use crate::facts::NodeFacts;
use crate::node::{Drives, Node, NodeParts, now_unix_ms};
use crate::store::Store;
use async_trait::async_trait;
use karri_proto::ids::{BundleTaskId, InstanceId};
use karri_proto::instance::{Desired, Digest, InstanceIntent, InstanceSpec, Phase, PortSpec};
use karri_proto::internal::facts::FactsPage;
use karri_proto::internal::instances::Cursor;
use karri_proto::network::{FactChange, FactKey};
use karri_proto::runtime::health::Health;
use karri_proto::runtime::server::shutdown_pair;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Images never come.
struct Standstill;

#[async_trait]
impl Storage for Standstill {
    async fn images_ready(&self, _: &InstanceSpec) -> bool {
        false
    }

    async fn fetch_images(&self, _: &InstanceIntent, _: Pins<'_>) -> Result<(), StorageError> {
        std::future::pending().await
    }

    async fn lying(&self, _: &InstanceId) -> Lying {
        Lying::default()
    }

    async fn make_disk(&self, _: &InstanceIntent, _: Pins<'_>) -> Result<(), StorageError> {
        Ok(())
    }

    async fn capture(&self, _: &InstanceIntent, _: &BundleTaskId) -> Result<Digest, StorageError> {
        std::future::pending().await
    }

    async fn drop_copy(&self, _: &InstanceId) -> Result<(), StorageError> {
        Ok(())
    }

    async fn remove_files(&self, _: &InstanceId) -> Result<(), StorageError> {
        Ok(())
    }

    async fn console(&self, _: &InstanceId) -> Vec<u8> {
        Vec::new()
    }

    fn paths(&self, _: &InstanceId, _: &InstanceSpec) -> GuestPaths {
        let none = PathBuf::new;
        GuestPaths { disk: none(), base: none(), kernel: None, ramdisk: None, console_log: none() }
    }
}

fn node() -> Arc<Node> {
    node_with(Arc::new(NoPorts))
}

fn node_with(ports: Arc<dyn Ports>) -> Arc<Node> {
    node_of(ports, None)
}

fn node_of(ports: Arc<dyn Ports>, user_network: Option<UserNetwork>) -> Arc<Node> {
    Node::new(NodeParts {
        user_network,
        name: "node-1".to_owned(),
        owner: Owner { cloud: "cloud".to_owned(), node: "node-1".to_owned() },
        bridges: Bridges::new("karri0", 1450),
        boot_id: "boot-1".to_owned(),
        limits: Limits { prepare_ms: 200, stop_ms: 1, terminate_ms: 1, reboot_ms: 1, capture_ms: 1 },
        store: Store::in_memory(),
        facts: NodeFacts::in_memory(),
        drives: Drives {
            hypervisor: Arc::new(SimHypervisor::new(Duration::ZERO)),
            ports,
            storage: Arc::new(Standstill),
        },
        metrics: Arc::default(),
    })
}

#[tokio::test]
async fn a_running_guest_gets_further_ports_and_gives_them_back() {
    let one = Record::new(sample::intent(), 0);
    let first = TapNames::new(&Owner { cloud: "cloud".to_owned(), node: "node-1".to_owned() })
        .tap(&one.intent.spec.ports[0]);
    let second = first.replace(&first[5..], "0000000002");
    let link = |tap| Plugged { tap, rules: true, link: true };
    let host = Arc::new(Host { ports: vec![link(first), link(second)], unplugged: Mutex::default() });
    let node = node_with(host.clone());
    let mut both = one.clone();
    let second =
        PortSpec { id: "eni-00000000000000002".parse().unwrap(), ..one.intent.spec.ports[0].clone() };
    both.intent.spec.ports.push(PortSpec { device_index: 1, ..second });
    let taps = |record: &Record| -> Vec<String> {
        record.intent.spec.ports.iter().map(|port| node.names.tap(port)).collect()
    };
    let has = async || node.drives.hypervisor.interfaces(&one.intent.id).await.unwrap();
    for step in [Step::PlugPorts, Step::StartGuest] {
        assert_eq!(carry_out(&node, &one, step).await, Outcome::Done);
    }
    assert_eq!(has().await, taps(&one));
    for (record, gone) in [(&both, Vec::new()), (&both, Vec::new()), (&one, taps(&both)[1..].to_vec())] {
        assert_eq!(carry_out(&node, record, Step::ChangePorts).await, Outcome::Done);
        assert_eq!(has().await, taps(record));
        assert_eq!(*host.unplugged.lock().unwrap(), gone);
    }
    // Whatever was plugged is taken away at the end, also what the newest intent knows nothing of.
    carry_out(&node, &both, Step::ChangePorts).await;
    host.unplugged.lock().unwrap().clear();
    carry_out(&node, &one, Step::UnplugPorts).await;
    let mut unplugged = host.unplugged.lock().unwrap().clone();
    unplugged.sort();
    let mut all = taps(&both);
    all.sort();
    assert_eq!(unplugged, all);
    assert!(!node.is_plugged(&one.intent.id));
}

#[tokio::test]
async fn a_guest_behind_user_networking_keeps_the_ports_that_it_was_started_with() {
    let nowhere = UserNetwork { emulator: PathBuf::new(), program: PathBuf::new(), socket: PathBuf::new() };
    let node = node_of(Arc::new(NoPorts), Some(nowhere));
    let one = Record::new(sample::intent(), 0);
    for step in [Step::PlugPorts, Step::StartGuest] {
        assert_eq!(carry_out(&node, &one, step).await, Outcome::Done);
    }
    let has = async || node.drives.hypervisor.interfaces(&one.intent.id).await.unwrap();
    let before = has().await;
    let mut both = one.clone();
    let second =
        PortSpec { id: "eni-00000000000000002".parse().unwrap(), ..one.intent.spec.ports[0].clone() };
    both.intent.spec.ports.push(PortSpec { device_index: 1, ..second });
    let mut none = one.clone();
    none.intent.spec.ports.clear();
    for other in [&both, &none, &one] {
        assert_eq!(carry_out(&node, other, Step::ChangePorts).await, Outcome::Done);
        assert_eq!(has().await, before, "QEMU is asked for nothing");
    }
}

#[tokio::test]
async fn a_wish_that_comes_between_look_and_fetch_is_not_waited_with() {
    let node = node();
    let seen = Record::new(sample::intent(), 0);
    let generation = seen.intent.generation + 1;
    let wish = InstanceIntent { generation, desired: Desired::Terminated, ..sample::intent() };
    node.store.record_put(Record::new(wish, 1)).unwrap();
    let fetched = tokio::time::timeout(
        Duration::from_secs(5),
        carry_out(&node, &seen, Step::FetchImages { ms_max: 60_000 }),
    );
    assert_eq!(fetched.await, Ok(Outcome::Done));
}

#[tokio::test]
async fn a_fetch_does_not_outlast_the_deadline_of_a_start() {
    let node = node();
    let record = Record::new(sample::intent(), now_unix_ms());
    let id = record.intent.id.clone();
    node.store.record_put(record).unwrap();
    wake(&node, &id);
    let ended = async {
        while !matches!(node.store.record(&id).unwrap().state, State::Failed { .. }) {
            wake_due(&node);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();
    let report = node.report(&id).unwrap();
    assert_eq!(
        report.reason.unwrap().message,
        "Server.InternalError: The instance could not be started in time"
    );
}

/// Ports that cannot be plugged, in the way told.
struct Stubborn(PortError);

#[async_trait]
impl Ports for Stubborn {
    async fn plug(&self, _: &[Port]) -> Result<(), PortError> {
        Err(self.0.clone())
    }

    async fn unplug(&self, _: &[String]) -> Result<(), PortError> {
        Ok(())
    }

    async fn plugged(&self) -> Result<Vec<Plugged>, PortError> {
        Ok(Vec::new())
    }

    async fn mend(&self, _: &[Port]) -> Result<Vec<String>, PortError> {
        Ok(Vec::new())
    }

    async fn told(&self, _: Option<&[FactKey]>) -> Result<(), PortError> {
        Ok(())
    }
}

#[tokio::test]
async fn only_what_cannot_get_better_ends_a_launch() {
    for (error, outcome, fails) in [
        (PortError::Later("no end after 20s".to_owned()), Outcome::Later, false),
        (PortError::Broken("no such program".to_owned()), Outcome::Done, true),
    ] {
        let node = node_with(Arc::new(Stubborn(error)));
        let record = Record::new(sample::intent(), 0);
        node.store.record_put(record.clone()).unwrap();
        assert_eq!(carry_out(&node, &record, Step::PlugPorts).await, outcome);
        let state = node.store.record(&record.intent.id).unwrap().state.clone();
        assert_eq!(matches!(state, State::Failing { .. }), fails, "{state:?}");
    }
}

/// A host with these ports; tells which were taken away.
struct Host {
    ports: Vec<Plugged>,
    unplugged: Mutex<Vec<String>>,
}

#[async_trait]
impl Ports for Host {
    async fn plug(&self, _: &[Port]) -> Result<(), PortError> {
        Ok(())
    }

    async fn unplug(&self, taps: &[String]) -> Result<(), PortError> {
        self.unplugged.lock().unwrap().extend_from_slice(taps);
        Ok(())
    }

    async fn plugged(&self) -> Result<Vec<Plugged>, PortError> {
        Ok(self.ports.clone())
    }

    async fn mend(&self, _: &[Port]) -> Result<Vec<String>, PortError> {
        Ok(Vec::new())
    }

    async fn told(&self, _: Option<&[FactKey]>) -> Result<(), PortError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_starting_node_takes_away_rules_of_nobody_and_no_link() {
    let port = |tap: &str, rules, link| Plugged { tap: tap.to_owned(), rules, link };
    let ports = vec![
        port("rules-alone", true, false),
        port("another-guests", true, true),
        port("another-programs", false, true),
    ];
    let host = Arc::new(Host { ports, unplugged: Mutex::default() });
    adopt(&node_with(host.clone())).await;
    assert_eq!(*host.unplugged.lock().unwrap(), ["rules-alone"]);
}

#[tokio::test]
async fn a_stray_that_has_vanished_is_told_as_gone_until_that_is_heard() {
    let node = node();
    let tag = OwnerTag {
        owner: node.owner.clone(),
        id: sample::intent().id,
        account: String::new(),
        generation: 1,
        attempt: 0,
        reboots: 0,
    };
    let id = tag.id.clone();
    let stray = FoundGuest { tag, guest: Guest::Running };
    compare(&node, Found { own: vec![stray], foreign: Vec::new() }).await;
    let told = node.journal.page(Cursor::default(), 9);
    assert_eq!(node.report(&id).unwrap().phase, Phase::Running);
    compare(&node, Found::default()).await;
    let news = node.journal.page(told.next, 9);
    assert_eq!(news.changed, std::slice::from_ref(&id));
    assert_eq!(node.report(&id).unwrap().phase, Phase::Gone);
    compare(&node, Found::default()).await;
    assert_eq!(node.journal.page(news.next, 9).changed, [], "it is told once");
    // The cc has heard.
    node.forget(&id).unwrap();
    assert!(node.report(&id).is_none());
    assert_eq!(node.journal.page(Cursor::default(), 9).changed, []);
}

#[tokio::test]
async fn a_worker_that_panics_is_succeeded() {
    let (node, id) = (node(), sample::intent().id);
    node.live().entry(id.clone()).or_default().busy = true;
    let worker = Alive { node: node.clone(), id: id.clone() };
    let ended = tokio::spawn(async move {
        let _alive = worker;
        panic!("on purpose");
    });
    assert!(ended.await.is_err());
    let live = node.live();
    assert!(!live[&id].busy && live[&id].wake_at.is_some());
}

/// Tells what it was told, and fails the first time.
#[derive(Default)]
struct Hearer {
    heard: Mutex<Vec<Option<Vec<FactKey>>>>,
}

#[async_trait]
impl Ports for Hearer {
    async fn plug(&self, _: &[Port]) -> Result<(), PortError> {
        Ok(())
    }

    async fn unplug(&self, _: &[String]) -> Result<(), PortError> {
        Ok(())
    }

    async fn plugged(&self) -> Result<Vec<Plugged>, PortError> {
        Ok(Vec::new())
    }

    async fn mend(&self, _: &[Port]) -> Result<Vec<String>, PortError> {
        Ok(Vec::new())
    }

    async fn told(&self, changed: Option<&[FactKey]>) -> Result<(), PortError> {
        let mut heard = self.heard.lock().unwrap();
        heard.push(changed.map(<[FactKey]>::to_vec));
        if heard.len() == 1 { Err(PortError::Later("busy".to_owned())) } else { Ok(()) }
    }
}

#[tokio::test]
async fn changes_of_groups_are_brought_in_at_once_and_again_until_they_are_in_force() {
    let hearer = Arc::new(Hearer::default());
    let node = node_with(hearer.clone());
    let health = Health::default();
    let (_stop, shutdown) = shutdown_pair();
    tokio::spawn(enforce_groups(node.clone(), health.pulse("groups", Duration::from_secs(60)), shutdown));
    let key = FactKey::Port("eni-00000001".parse().unwrap());
    let page = |from, to, changes| FactsPage { epoch: 1, from, to, caught_up: true, changes };
    node.facts.put(page(None, 1, vec![FactChange::Gone(key.clone())])).unwrap();
    let told = |count| {
        let hearer = hearer.clone();
        async move {
            let start = Instant::now();
            while hearer.heard.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            start.elapsed()
        }
    };
    let wait = |count| tokio::time::timeout(Duration::from_secs(20), told(count));
    wait(2).await.expect("what failed is tried again");
    node.facts.put(page(Some(1), 2, vec![FactChange::Gone(key.clone())])).unwrap();
    let took = wait(3).await.expect("the next change is heard");
    assert!(took < Duration::from_secs(10), "{took:?}: by the change, not by the round of thirty seconds");
    assert_eq!(*hearer.heard.lock().unwrap(), [None, None, Some(vec![key])]);
}
