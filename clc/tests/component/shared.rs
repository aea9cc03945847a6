//! Two cloud controllers on one PostgreSQL: one reconciles, both answer.

use crate::support::{Client, Cloud, Database, until};
use karri_clc::config::Limits;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_share_a_database_and_one_takes_over_from_the_other() {
    let mut cloud = Cloud::start(Database::Postgres).await;
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let (second, stopper) = cloud.second().await;
    let there = Client { url: second.public_url.clone().unwrap(), ..alice.clone() };

    // Launched at the one that does not reconcile, seen at both.
    let id = there.run(1, &[]).await.ok().one("instanceId");
    there.wait_for(&id, "running").await;
    alice.wait_for(&id, "running").await;
    // Neither gives an address or a place away twice.
    let (a, b) = (alice.run(1, &[]).await.ok(), there.run(1, &[]).await.ok());
    assert_ne!(a.first("privateIpAddress"), b.first("privateIpAddress"));

    // A key that is deleted at one is dead at the other.
    let rita = cloud.user("acme", "rita", &["ReadOnlyAccess"]).await;
    let rita_there = Client { url: there.url.clone(), ..rita.clone() };
    rita_there.ec2("DescribeInstances", &[]).await.ok();
    let (admin, caller) = cloud.admin();
    karri_proto::internal::admin::AdminService::key_delete(&admin, &caller, &rita.id).await.unwrap();
    until("the key is dead", || async {
        (rita_there.ec2("DescribeInstances", &[]).await.status == 401).then_some(())
    })
    .await;

    cloud.stop().await;
    let ended = there.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    assert_eq!(ended.all("name"), ["shutting-down", "running"]);
    there.wait_for(&id, "terminated").await;
    until("forgotten", || async { cluster.has_forgotten(&id).then_some(()) }).await;
    stopper.stop().await;
}

/// Many at once at both, so that each decides before it has heard of the other.
async fn launches(one: &Client, other: &Client, count: usize) -> (usize, Vec<String>) {
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..count {
        let client = if n % 2 == 0 { one.clone() } else { other.clone() };
        calls.spawn(async move { client.run(1, &[]).await });
    }
    let (mut launched, mut codes) = (0, Vec::new());
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        match answer.status {
            200 => launched += 1,
            _ => codes.push(answer.code()),
        }
    }
    (launched, codes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_do_not_give_the_same_room_away() {
    let cloud = Cloud::start(Database::Postgres).await;
    let _cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let (second, stopper) = cloud.second().await;
    let there = Client { url: second.public_url.clone().unwrap(), ..alice.clone() };
    // Two nodes of 4 vCPUs take four instances of 2.
    let (launched, codes) = launches(&alice, &there, 12).await;
    assert_eq!(launched, 4, "{codes:?}");
    assert_eq!(codes, vec!["InsufficientInstanceCapacity"; 8]);
    stopper.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_keep_an_accounts_limit() {
    let limits = Limits { instances_per_account: 3, ..Limits::default() };
    let cloud = Cloud::start_with(Database::Postgres, limits).await;
    let _cluster = cloud.cluster("zone-a", 4).await;
    let alice = cloud.owner().await;
    let (second, stopper) = cloud.second().await;
    let there = Client { url: second.public_url.clone().unwrap(), ..alice.clone() };
    let (launched, codes) = launches(&alice, &there, 10).await;
    assert_eq!((launched, codes), (3, vec!["InstanceLimitExceeded".to_owned(); 7]));
    stopper.stop().await;
}
