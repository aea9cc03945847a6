//! The lives of instances.

use crate::cloud::{Clc, Cloud, caller};
use crate::node::{FakeNode, Manner};
use crate::samples::{instance_id, intent, need, next};
use karri_proto::instance::{Desired, Phase, StateReason};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::instances::InstanceService;
use karri_proto::internal::story::StoryService;

async fn with_nodes<const N: usize>(names: [&str; N]) -> (Cloud, Clc, [FakeNode; N]) {
    with_nodes_in(Cloud::start().await, names).await
}

async fn with_nodes_in<const N: usize>(cloud: Cloud, names: [&str; N]) -> (Cloud, Clc, [FakeNode; N]) {
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(cloud.node(name, 4).await);
    }
    let mut clc = cloud.clc();
    clc.until_nodes(N).await;
    (cloud, clc, nodes.try_into().unwrap_or_else(|_| unreachable!()))
}

#[tokio::test]
async fn an_instance_is_launched_stopped_started_and_terminated() {
    let (mut cloud, mut clc, [node]) = with_nodes(["node-1"]).await;
    assert_eq!(cloud.cluster_hello().await.zone, "zone-a");

    let wanted = intent(1);
    assert_eq!(clc.put(&wanted).await.generation, 1);
    let report = clc.until_phase(&wanted, Phase::Running).await;
    assert_eq!(report.node.as_deref(), Some("node-1"));
    clc.until("its use", |clc| clc.resources.as_ref().unwrap().nodes[0].used == need(1)).await;
    let console = clc.client.instance_console(&caller("c"), &wanted.id).await.unwrap();
    assert_eq!(console.base64, format!("node-1-{}", wanted.id));

    let stopped = next(&wanted, Desired::Stopped);
    assert_eq!(clc.put(&stopped).await.phase, Phase::Stopping);
    clc.until_phase(&stopped, Phase::Stopped).await;
    let mut started = next(&stopped, Desired::Running);
    started.reboots = 1;
    assert_eq!(clc.put(&started).await.phase, Phase::Preparing);
    clc.until_phase(&started, Phase::Running).await;
    assert_eq!(clc.put(&stopped).await.generation, started.generation, "an older intent changes nothing");

    let refused = clc.forget(&wanted.id).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Conflict);
    let terminated = next(&started, Desired::Terminated);
    clc.put(&terminated).await;
    clc.until_phase(&terminated, Phase::Gone).await;
    node.until("forgotten by the node", |guests| guests.is_empty()).await;
    clc.until("nothing used", |clc| clc.resources.as_ref().unwrap().nodes[0].used == need(0)).await;
    clc.forget(&wanted.id).await.unwrap();
    clc.forget(&wanted.id).await.unwrap();
    let late = clc.client.instance_put(&caller("late"), started).await.unwrap_err();
    assert_eq!(late.kind, ApiErrorKind::Conflict, "a tombstone refuses a late intent");
}

#[tokio::test]
async fn what_fails_on_one_node_is_placed_on_another_and_given_up_after_the_last() {
    let (_cloud, mut clc, [first, second]) = with_nodes(["node-1", "node-2"]).await;
    first.behave(Manner::Fail);
    let wanted = intent(1);
    clc.put(&wanted).await;
    let report = clc.until_phase(&wanted, Phase::Running).await;
    assert_eq!((report.node.as_deref(), report.attempt), (Some("node-2"), 1));
    first.until("the failure is forgotten", |guests| guests.is_empty()).await;

    second.behave(Manner::Refuse);
    let doomed = intent(2);
    clc.put(&doomed).await;
    let report = clc.until_phase(&doomed, Phase::Failed).await;
    assert!(report.reason.is_some() && report.node.is_none(), "{report:?}");
    clc.forget(&doomed.id).await.unwrap();
}

#[tokio::test]
async fn no_room_on_any_node_fails_with_the_code_that_clients_know() {
    let (_cloud, mut clc, [_node]) = with_nodes(["node-1"]).await;
    let mut big = intent(1);
    big.spec.need = need(5);
    clc.put(&big).await;
    let report = clc.until_phase(&big, Phase::Failed).await;
    assert_eq!(report.reason.unwrap().code, "Server.InsufficientInstanceCapacity");
}

#[tokio::test]
async fn instances_spread_over_nodes_and_a_guests_own_shutdown_is_reported() {
    let (_cloud, mut clc, [first, second]) = with_nodes(["node-1", "node-2"]).await;
    for number in 1..=8 {
        clc.put(&intent(number)).await;
    }
    for number in 1..=8 {
        clc.until_phase(&intent(number), Phase::Running).await;
    }
    assert_eq!((first.guests().len(), second.guests().len()), (4, 4));
    let id = first.guests().keys().next().unwrap().clone();
    first.change(&id, Phase::Stopped, Some(StateReason::guest_shut_down()));
    clc.until("its own shutdown", |clc| {
        clc.report(&id)
            .is_some_and(|r| r.phase == Phase::Stopped && r.reason == Some(StateReason::guest_shut_down()))
    })
    .await;
}

#[tokio::test]
async fn a_dead_node_loses_what_never_ran_and_keeps_what_did() {
    let (_cloud, mut clc, [mut first]) = with_nodes(["node-1"]).await;
    let (ran, never) = (intent(1), intent(2));
    clc.put(&ran).await;
    clc.until_phase(&ran, Phase::Running).await;
    first.behave(Manner::Dawdle);
    clc.put(&never).await;
    first.until("two guests", |guests| guests.len() == 2).await;
    let second = _cloud.node("node-2", 4).await;
    clc.until_nodes(2).await;
    first.die();

    let report = clc.until_phase(&never, Phase::Running).await;
    assert_eq!((report.node.as_deref(), report.attempt), (Some("node-2"), 1));
    assert_eq!(clc.report(&ran.id).unwrap().node.as_deref(), Some("node-1"));
    clc.until_nodes(1).await;

    first.behave(Manner::Obey);
    first.come_back().await;
    first.until("only what belongs there", |guests| guests.len() == 1 && guests.contains_key(&ran.id)).await;
    clc.until_nodes(2).await;
    assert_eq!(clc.report(&ran.id).unwrap().phase, Phase::Running);
    assert!(second.guests().contains_key(&never.id));
}

#[tokio::test]
async fn terminating_on_a_dead_node_ends_and_the_guest_dies_when_the_node_returns() {
    let (_cloud, mut clc, [mut node]) = with_nodes(["node-1"]).await;
    let wanted = intent(1);
    clc.put(&wanted).await;
    clc.until_phase(&wanted, Phase::Running).await;
    node.die();
    let terminated = next(&wanted, Desired::Terminated);
    clc.put(&terminated).await;
    clc.until_phase(&terminated, Phase::Gone).await;
    clc.forget(&wanted.id).await.unwrap();
    node.come_back().await;
    node.until("nothing left", |guests| guests.is_empty()).await;
}

#[tokio::test]
async fn a_node_that_lost_its_state_is_told_again() {
    let (_cloud, mut clc, [node]) = with_nodes(["node-1"]).await;
    let wanted = intent(1);
    clc.put(&wanted).await;
    clc.until_phase(&wanted, Phase::Running).await;
    node.lose_everything();
    node.until("told again", |guests| guests.contains_key(&wanted.id)).await;
}

#[tokio::test]
async fn a_guest_of_an_instance_that_is_placed_elsewhere_is_terminated() {
    let (_cloud, mut clc, [first, second]) = with_nodes(["node-1", "node-2"]).await;
    let wanted = intent(1);
    clc.put(&wanted).await;
    let report = clc.until_phase(&wanted, Phase::Running).await;
    let (home, other) =
        if report.node.as_deref() == Some("node-1") { (first, second) } else { (second, first) };
    other.plant(wanted.clone());
    other.until("the orphan is gone", |guests| guests.is_empty()).await;
    assert_eq!(home.guests()[&wanted.id].report.phase, Phase::Running);
}

#[tokio::test]
async fn a_cluster_that_lost_its_database_finds_its_instances_where_they_run() {
    let (mut cloud, mut clc, [first, second]) = with_nodes(["node-1", "node-2"]).await;
    for number in 1..=6 {
        clc.put(&intent(number)).await;
        clc.until_phase(&intent(number), Phase::Running).await;
    }
    cloud.stop_cc().await;
    for file in ["cc.sqlite", "cc.sqlite-wal", "cc.sqlite-shm"] {
        let _ = std::fs::remove_file(cloud.state_dir().join(file));
    }
    let puts = first.puts() + second.puts();
    cloud.restart_cc().await;
    let mut clc = cloud.clc();
    clc.until_nodes(2).await;
    for number in 1..=6 {
        clc.put(&intent(number)).await;
        clc.until_phase(&intent(number), Phase::Running).await;
    }
    assert_eq!(first.puts() + second.puts(), puts, "nothing was started a second time");
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_and_doubles_nothing() {
    let (mut cloud, mut clc, [first, second]) = with_nodes(["node-1", "node-2"]).await;
    for number in 1..=6 {
        clc.put(&intent(number)).await;
        if number % 2 == 0 {
            cloud.restart_cc().await;
        }
    }
    for number in 1..=6 {
        let report = clc.until_phase(&intent(number), Phase::Running).await;
        let (first, second) = (first.guests(), second.guests());
        let on = [first.contains_key(&report.id), second.contains_key(&report.id)];
        assert_eq!(on.iter().filter(|on| **on).count(), 1, "{report:?}");
    }
    assert_eq!(clc.reports().count(), 6);
    clc.until_nodes(2).await;
    assert_eq!(cloud.network.hosts().len(), 6, "DHCP serves them all");

    let gone = next(&intent(1), Desired::Terminated);
    clc.put(&gone).await;
    cloud.restart_cc().await;
    clc.until_phase(&gone, Phase::Gone).await;
    clc.forget(&gone.id).await.unwrap();
    cloud.restart_cc().await;
    let late = clc.client.instance_put(&caller("late"), intent(1)).await.unwrap_err();
    assert_eq!(late.kind, ApiErrorKind::Conflict, "tombstones outlive a restart");
}

#[tokio::test]
async fn instances_are_placed_as_the_configuration_says() {
    for (placement, on_each) in
        [("", [1, 1]), ("policy = \"least-loaded\"", [1, 1]), ("policy = \"first-fit\"", [2, 0])]
    {
        let (_cloud, mut clc, nodes) =
            with_nodes_in(Cloud::start_with(placement).await, ["node-1", "node-2"]).await;
        for number in 1..=2 {
            clc.put(&intent(number)).await;
            clc.until_phase(&intent(number), Phase::Running).await;
        }
        assert_eq!(nodes.each_ref().map(|node| node.guests().len()), on_each, "{placement}");
    }
}

#[tokio::test]
async fn the_story_of_an_instance_holds_its_nodes_lines() {
    let (_cloud, mut clc, [_node]) = with_nodes(["node-1"]).await;
    clc.put(&intent(1)).await;
    clc.until_phase(&intent(1), Phase::Running).await;
    let id = instance_id(1);
    let lines = clc.client.story(&caller("why"), id.as_str()).await.unwrap();
    assert!(
        lines.iter().any(|line| line.who == "nc node-1" && line.message.contains(id.as_str())),
        "{lines:?}"
    );
}
