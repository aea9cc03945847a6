//! Simulated nodes in one process, driven as a cc drives them: over mutual TLS.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use karri_proto::instance::{Desired, InstanceIntent, Phase};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::facts::{FactService, FactsAt, FactsPage};
use karri_proto::internal::instances::{Cursor, InstanceService};
use karri_proto::internal::story::StoryService;
use karri_proto::internal::{Identity, Role};
use karri_proto::network::{Fact, FactChange, PortFact};
use std::time::{Duration, Instant};
use support::{CLUSTER, Client, Cloud, RunningNode, blob_of_nothing, eventually, intent, wish};

const SOON: Duration = Duration::from_secs(10);
const SIM: &str = "[hypervisor]\ndriver = \"sim\"\nsim_nodes = 3\nsim_start_ms = 5\n";

async fn sim(cloud: &Cloud, extra: &str) -> RunningNode {
    cloud.node(&cloud.config("sim", &format!("{SIM}{extra}"))).await
}

async fn client_of(cloud: &Cloud, name: &str) -> Client {
    cloud.cc_client(&cloud.hello_of(name).await.url)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_says_hello_and_runs_its_own_instances() {
    let cloud = Cloud::start().await;
    let node = sim(&cloud, "").await;
    let (first, second) = (client_of(&cloud, "sim-0").await, client_of(&cloud, "sim-2").await);
    let wanted = intent(blob_of_nothing());
    assert_eq!(first.put(&wanted).await.phase, Phase::Preparing);
    let report = first.wait_for(&wanted.id, Phase::Running, SOON).await;
    assert_eq!(report.node.as_deref(), Some("sim-0"));
    assert!(second.reports().await.is_empty());
    assert!(first.console(&wanted.id).await.contains("login:"));
    node.stopper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life_ends_with_a_tombstone() {
    let cloud = Cloud::start().await;
    let node = sim(&cloud, "").await;
    let client = client_of(&cloud, "sim-0").await;
    let launched = intent(blob_of_nothing());
    client.put(&launched).await;
    client.wait_for(&launched.id, Phase::Running, SOON).await;
    assert_eq!(client.forget(&launched.id).await.unwrap_err().kind, ApiErrorKind::Conflict);
    let stopped = wish(&launched, Desired::Stopped);
    client.put(&stopped).await;
    client.wait_for(&launched.id, Phase::Stopped, SOON).await;
    let again = wish(&stopped, Desired::Running);
    client.put(&again).await;
    client.wait_for(&launched.id, Phase::Running, SOON).await;
    let rebooted = InstanceIntent { reboots: 1, ..wish(&again, Desired::Running) };
    client.put(&rebooted).await;
    eventually("the reboot is reported", SOON, || async {
        (client.reports().await[&launched.id].reboots == 1).then_some(())
    })
    .await;
    let gone = wish(&rebooted, Desired::Terminated);
    client.put(&gone).await;
    client.wait_for(&launched.id, Phase::Gone, SOON).await;
    for _ in 0..2 {
        client.forget(&launched.id).await.unwrap();
    }
    assert!(client.reports().await.is_empty());
    assert_eq!(
        client.put(&launched).await.phase,
        Phase::Gone,
        "a late intent is answered from the tombstone"
    );
    assert!(client.reports().await.is_empty());
    node.stopper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_knows_its_instances_and_begins_a_new_epoch() {
    let cloud = Cloud::start().await;
    let node = sim(&cloud, "").await;
    let client = client_of(&cloud, "sim-1").await;
    let wanted = intent(blob_of_nothing());
    client.put(&wanted).await;
    client.wait_for(&wanted.id, Phase::Running, SOON).await;
    let before =
        client.client.instance_reports(&client.caller, Cursor::default(), Duration::ZERO).await.unwrap();
    node.stopper.stop().await;
    cloud.hellos.lock().unwrap().clear();

    let node = sim(&cloud, "").await;
    let client = client_of(&cloud, "sim-1").await;
    let after = client.client.instance_reports(&client.caller, before.next, SOON).await.unwrap();
    assert!(after.restarted && after.caught_up);
    assert_eq!(after.reports[0].phase, Phase::Running);
    // Stopping and starting still works: its disk was not forgotten.
    let stopped = wish(&wanted, Desired::Stopped);
    client.put(&stopped).await;
    client.wait_for(&wanted.id, Phase::Stopped, SOON).await;
    client.put(&wish(&stopped, Desired::Running)).await;
    client.wait_for(&wanted.id, Phase::Running, SOON).await;
    node.stopper.stop().await;
}

/// It may have lost since what makes a late order harmless.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_meant_for_another_life_of_a_node_finds_nobody() {
    let cloud = Cloud::start().await;
    let node = sim(&cloud, "").await;
    let client = client_of(&cloud, "sim-0").await;
    let reports = client.client.instance_reports(&client.caller, Cursor::default(), Duration::ZERO);
    let life = reports.await.unwrap().next.epoch;
    let of_life = |life: u64| client.client.with_base(&format!("{}/lives/{life}", client.client.base()));
    let wanted = intent(blob_of_nothing());
    for other in [life - 1, life + 1] {
        of_life(other).instance_put(&client.caller, wanted.clone()).await.unwrap_err();
        of_life(other).instance_forget(&client.caller, &wanted.id).await.unwrap_err();
    }
    assert!(client.reports().await.is_empty());
    of_life(life).instance_put(&client.caller, wanted.clone()).await.unwrap();
    client.wait_for(&wanted.id, Phase::Running, SOON).await;
    let stranger = cloud.client_of(Identity::new(Role::Cc, "zone-b", "cc"), of_life(life).base());
    let refused = stranger.client.instance_put(&stranger.caller, wanted).await;
    assert_eq!(refused.unwrap_err().kind, ApiErrorKind::Forbidden);
    node.stopper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_cc_of_its_own_cluster_is_obeyed() {
    let cloud = Cloud::start().await;
    let node = sim(&cloud, "").await;
    let url = cloud.hello_of("sim-0").await.url;
    for stranger in [
        Identity::new(Role::Cc, "zone-b", "cc"),
        Identity::new(Role::Clc, "", "clc"),
        Identity::new(Role::Nc, CLUSTER, "other"),
        Identity::new(Role::Admin, "", "admin"),
    ] {
        let client = cloud.client_of(stranger.clone(), &url);
        let refused = client.client.instance_put(&client.caller, intent(blob_of_nothing())).await;
        assert_eq!(refused.unwrap_err().kind, ApiErrorKind::Forbidden, "{stranger}");
    }
    node.stopper.stop().await;
}

fn page(from: Option<u64>, to: u64, changes: Vec<FactChange>) -> FactsPage {
    FactsPage { epoch: 7, from, to, caught_up: true, changes }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_are_taken_from_the_cc_of_the_own_cluster_and_from_where_a_node_stands() {
    let cloud = Cloud::start().await;
    let node = sim(&cloud, "").await;
    let (first, second) = (client_of(&cloud, "sim-0").await, client_of(&cloud, "sim-1").await);
    let spec = &intent(blob_of_nothing()).spec.ports[0];
    let port = FactChange::Put(Fact::Port(PortFact {
        id: spec.id.clone(),
        vpc: spec.vpc_id.clone(),
        addresses: vec![spec.private_ip],
        groups: Vec::new(),
    }));
    for stranger in [
        Identity::new(Role::Cc, "zone-b", "cc"),
        Identity::new(Role::Clc, "", "clc"),
        Identity::new(Role::Nc, CLUSTER, "other"),
    ] {
        let client = cloud.client_of(stranger.clone(), &cloud.hello_of("sim-0").await.url);
        let refused = client.client.facts_put(&client.caller, page(None, 1, vec![port.clone()])).await;
        assert_eq!(refused.unwrap_err().kind, ApiErrorKind::Forbidden, "{stranger}");
    }
    let put = |from, to, changes| first.client.facts_put(&first.caller, page(from, to, changes));
    let at = |at| FactsAt { epoch: 7, at };
    assert_eq!(put(Some(1), 2, vec![port.clone()]).await.unwrap(), FactsAt::default(), "it knows nothing");
    assert_eq!(put(None, 1, vec![port.clone()]).await.unwrap(), at(1));
    assert_eq!(put(Some(1), 2, vec![FactChange::Gone(port.key())]).await.unwrap(), at(2));
    assert_eq!(put(Some(1), 2, vec![port.clone()]).await.unwrap(), at(2), "repeated");
    assert_eq!(put(None, 1, vec![port.clone()]).await.unwrap(), at(2), "late");
    let refused = put(Some(2), 1, Vec::new()).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Invalid);
    assert!(refused.message.starts_with("to: "), "{refused}");
    let refused = put(Some(2), 3, vec![port; 1_001]).await.unwrap_err();
    assert!(refused.message.starts_with("changes: "), "{refused}");
    let stands = second.client.facts_put(&second.caller, page(Some(2), 2, Vec::new())).await.unwrap();
    assert_eq!(stands, FactsAt::default(), "each node stands for itself");
    node.stopper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_reader_hears_of_a_change_at_once() {
    let cloud = Cloud::start().await;
    let node = sim(&cloud, "").await;
    let client = client_of(&cloud, "sim-0").await;
    let start =
        client.client.instance_reports(&client.caller, Cursor::default(), Duration::ZERO).await.unwrap();
    let wanted = intent(blob_of_nothing());
    let (page, _) =
        tokio::join!(client.client.instance_reports(&client.caller, start.next, SOON), client.put(&wanted),);
    assert_eq!(page.unwrap().reports[0].id, wanted.id);
    node.stopper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_without_files_launch_a_thousand_instances_quickly() {
    let cloud = Cloud::start().await;
    let node = sim(&cloud, "sim_in_memory = true\n").await;
    let client = client_of(&cloud, "sim-0").await;
    let started = Instant::now();
    let mut all = Vec::new();
    for _ in 0..1000 {
        let wanted = intent(blob_of_nothing());
        client.put(&wanted).await;
        all.push(wanted.id);
    }
    eventually("all of them run", SOON, || async {
        let reports = client.reports().await;
        all.iter().all(|id| reports.get(id).is_some_and(|r| r.phase == Phase::Running)).then_some(())
    })
    .await;
    println!("1000 simulated launches in {:?}", started.elapsed());
    assert!(!cloud.state_dir().join("nodes").exists());
    node.stopper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_is_told_to_the_cc_only() {
    let cloud = Cloud::start().await;
    let node = sim(&cloud, "").await;
    let url = format!("{}/nodes/sim-0", node.endpoint.url);
    let client = cloud.cc_client(&url);
    assert!(client.client.story(&client.caller, "i-0123456789abcdef0").await.unwrap().is_empty());
    let stranger = cloud.client_of(Identity::new(Role::Clc, "", "clc"), &url);
    let refused = stranger.client.story(&stranger.caller, "i-12345678").await;
    assert_eq!(refused.unwrap_err().kind, ApiErrorKind::Forbidden);
    let healthy = cloud.cc_client(&node.endpoint.url).client.get_stream("/healthz", "r", 0).await.unwrap();
    assert_eq!(healthy.text().await.unwrap(), "ok\n");
    node.stopper.stop().await;
}
