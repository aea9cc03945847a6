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
    known_at(&alice, &id).await;
    alice.wait_for(&id, "running").await;
    // Neither gives an address or a place away twice.
    let (a, b) = (alice.run(1, &[]).await.ok(), there.run(1, &[]).await.ok());
    assert_ne!(a.first("privateIpAddress"), b.first("privateIpAddress"));

    // A key that is deleted at one is dead at the other, and so are the sessions that the other gave.
    let rita = cloud.user("acme", "rita", &["ReadOnlyAccess"]).await;
    let rita_there = Client { url: there.url.clone(), ..rita.clone() };
    rita_there.ec2("DescribeInstances", &[]).await.ok();
    let session = rita_there.with(&rita_there.sts("GetSessionToken", &[]).await.ok());
    let session_here = Client { url: rita.url.clone(), ..session.clone() };
    for known in [&session, &session_here] {
        known.ec2("DescribeInstances", &[]).await.ok();
    }
    let (admin, caller) = cloud.admin();
    karri_proto::internal::admin::AdminService::key_delete(&admin, &caller, &rita.id).await.unwrap();
    until("the key is dead", || async {
        (rita_there.ec2("DescribeInstances", &[]).await.status == 401).then_some(())
    })
    .await;
    for ended in [&session, &session_here] {
        ended.ec2("DescribeInstances", &[]).await.refused(401, "AuthFailure");
    }

    cloud.stop().await;
    let ended = there.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    assert_eq!(ended.all("name"), ["shutting-down", "running"]);
    there.wait_for(&id, "terminated").await;
    until("forgotten", || async { cluster.has_forgotten(&id).then_some(()) }).await;
    stopper.stop().await;
}

/// The other controller hears of a launch a little later, on a busy machine much later.
async fn known_at(client: &Client, id: &str) {
    until("it is known there", || async {
        let answer = client.ec2("DescribeInstances", &[("InstanceId.1", id)]).await;
        (answer.status == 200).then_some(())
    })
    .await;
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

/// Each at its own controller and all at once: how many had room.
async fn all_at_once(calls: Vec<(Client, &'static str, String)>) -> usize {
    let mut under_way = tokio::task::JoinSet::new();
    for (client, action, id) in calls {
        under_way.spawn(async move {
            match action {
                "RunInstances" => client.run(1, &[]).await,
                action => client.ec2(action, &[("InstanceId.1", &id)]).await,
            }
        });
    }
    let mut had_room = 0;
    while let Some(answer) = under_way.join_next().await {
        let answer = answer.unwrap();
        match answer.status {
            200 => had_room += 1,
            _ => assert_eq!(answer.code(), "InsufficientInstanceCapacity", "{}", answer.text),
        }
    }
    had_room
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_do_not_start_what_there_is_no_room_for() {
    let cloud = Cloud::start(Database::Postgres).await;
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let (second, stopper) = cloud.second().await;
    let there = Client { url: second.public_url.clone().unwrap(), ..alice.clone() };
    // The node's 4 vCPUs take two instances of 2, and two more that are stopped.
    let mut kept = Vec::new();
    for _ in 0..2 {
        let pair = alice.run(2, &[]).await.ok().instances();
        for id in &pair {
            alice.wait_for(id, "running").await;
        }
        stop(&alice, &pair).await;
        kept.extend(pair);
    }
    for round in 0..5 {
        // The other controller may not have heard of them yet.
        for id in &kept {
            known_at(&there, id).await;
            there.wait_for(id, "stopped").await;
        }
        let mut calls = Vec::new();
        for (at, id) in kept.iter().enumerate() {
            let client = if at % 2 == 0 { &alice } else { &there };
            calls.push((client.clone(), "StartInstances", id.clone()));
        }
        for client in [&alice, &there] {
            calls.push((client.clone(), "RunInstances", String::new()));
        }
        assert_eq!(all_at_once(calls).await, 2, "round {round}");
        let mut living = Vec::new();
        let told = alice.ec2("DescribeInstances", &[]).await.ok();
        for (id, state) in told.instances().into_iter().zip(told.states()) {
            match state.as_str() {
                "pending" | "running" => living.push(id),
                _ => {}
            }
        }
        assert_eq!(living.len(), 2, "{}", told.text);
        for id in &living {
            alice.wait_for(id, "running").await;
        }
        let (again, new): (Vec<String>, Vec<String>) = living.into_iter().partition(|id| kept.contains(id));
        stop(&alice, &again).await;
        for id in &new {
            alice.ec2("TerminateInstances", &[("InstanceId.1", id)]).await.ok();
            alice.wait_for(id, "terminated").await;
        }
    }
    stopper.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_who_reconciles_costs_no_connection() {
    let mut cloud = Cloud::start(Database::Postgres).await;
    let (store, other) = (cloud.store().await, cloud.store().await);
    let often = 3 * cloud.config.database.connections;
    let refused = || async { store.leadership_take().await.unwrap().is_none().then_some(()) };
    until("the cloud's own controller reconciles", refused).await;
    for _ in 0..often {
        assert!(store.leadership_take().await.unwrap().is_none());
    }
    cloud.stop().await;
    for _ in 0..often {
        let mut leadership = until("its turn", || async { store.leadership_take().await.unwrap() }).await;
        assert!(leadership.holds().await);
        assert!(other.leadership_take().await.unwrap().is_none());
    }
    store.counter_fetch("instances").await.unwrap();
    other.counter_fetch("instances").await.unwrap();
    store.close().await;
    other.close().await;
}

async fn stop(client: &Client, ids: &[String]) {
    for id in ids {
        client.ec2("StopInstances", &[("InstanceId.1", id)]).await.ok();
        client.wait_for(id, "stopped").await;
    }
}

/// How many connections stand still in the database for somebody else's transaction.
async fn waiting(pool: &sqlx::AnyPool) -> i64 {
    let statement = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND wait_event_type = 'Lock'";
    sqlx::query_scalar(statement).fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn launches_that_wait_for_their_turn_leave_connections_to_others() {
    let cloud = Cloud::start(Database::Postgres).await;
    let _cluster = cloud.cluster("zone-a", 4).await;
    let alice = cloud.owner().await;
    let pool = sqlx::AnyPool::connect(&cloud.config.database.url).await.unwrap();
    // Another controller changes instances, and takes its time.
    let other = cloud.store().await;
    let (turn, _) = other.begin_numbered().await.unwrap();
    let launching = {
        let alice = alice.clone();
        tokio::spawn(async move { launches(&alice, &alice, 8).await })
    };
    until("one waits", || async { (waiting(&pool).await > 0).then_some(()) }).await;
    for _ in 0..20 {
        alice.ec2("DescribeKeyPairs", &[]).await.ok();
        assert_eq!(waiting(&pool).await, 1, "the others wait where they need no connection");
    }
    assert!(!launching.is_finished());
    drop(turn);
    let (launched, codes) = launching.await.unwrap();
    assert_eq!(launched, 8, "{codes:?}");
    pool.close().await;
    other.close().await;
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
