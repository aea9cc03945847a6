//! Death and return: of the cloud controller, and of a cluster's memory.

use crate::support::{Cloud, until};
use karri_proto::instance::{Desired, Phase};

on_both! {
    a_restarted_controller_goes_on_where_it_was
    what_was_asked_while_the_cluster_was_away_is_done_when_it_is_back
    a_cluster_that_lost_everything_is_told_again
    a_newer_schema_is_refused
}

async fn a_restarted_controller_goes_on_where_it_was(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let mut alice = cloud.owner().await;
    let first = alice.run(1, &[("ClientToken", "t")]).await.ok().one("instanceId");
    alice.wait_for(&first, "running").await;
    cluster.be_manual();
    let second = alice.run(1, &[]).await.ok().one("instanceId");
    cluster.wait_for_intent(&second, |_| true).await;
    cloud.stop().await;
    cluster.report(&second, Phase::Running, None);
    cluster.report(&first, Phase::Stopped, None);
    cloud.start_again().await;
    alice.url = cloud.endpoint.public_url.clone().unwrap();

    // Keys, capacity and addresses are there before anything is heard.
    let third = alice.run(1, &[]).await.ok();
    assert_eq!(third.first("privateIpAddress").unwrap(), "172.31.0.6");
    assert_eq!(alice.run(1, &[("ClientToken", "t")]).await.ok().one("instanceId"), first);
    alice.wait_for(&second, "running").await;
    alice.wait_for(&first, "stopped").await;
    cluster.hello(&cloud).await;
    assert_eq!(alice.ec2("DescribeInstances", &[]).await.ok().instances().len(), 3);
}

async fn what_was_asked_while_the_cluster_was_away_is_done_when_it_is_back(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    cluster.cut(true);
    let ended = alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    assert_eq!(ended.all("name"), ["shutting-down", "running"]);
    let new = alice.run(1, &[]).await.ok().one("instanceId");
    assert_eq!(alice.state(&id).await, "shutting-down");
    cluster.cut(false);
    alice.wait_for(&id, "terminated").await;
    alice.wait_for(&new, "running").await;
}

async fn a_cluster_that_lost_everything_is_told_again(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let ids = alice.run(2, &[]).await.ok().instances();
    for id in &ids {
        alice.wait_for(id, "running").await;
    }
    cluster.lose_all();
    for id in &ids {
        let intent = cluster.wait_for_intent(id, |_| true).await;
        assert_eq!((intent.desired, intent.generation), (Desired::Running, 1));
    }
    until("both run again", || async {
        (alice.ec2("DescribeInstances", &[]).await.states() == ["running", "running"]).then_some(())
    })
    .await;
}

async fn a_newer_schema_is_refused(mut cloud: Cloud) {
    cloud.stop().await;
    let store = cloud.store().await;
    let mut tx = store.begin().await.unwrap();
    sqlx::query("INSERT INTO schema_versions (version, name) VALUES (9999, 'from the future')")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    let error = karri_clc::store::Store::open(&cloud.config.database).await.unwrap_err().to_string();
    assert!(error.contains("9999") && error.contains("newer release"), "{error}");
}
