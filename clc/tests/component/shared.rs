//! Two cloud controllers on one PostgreSQL: one reconciles, both answer.

use crate::support::{Client, Cloud, Database, until};
use karri_clc::Clc;
use karri_proto::runtime::process::{Base, Controller};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_share_a_database_and_one_takes_over_from_the_other() {
    let mut cloud = Cloud::start(Database::Postgres).await;
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let mut config = cloud.config.clone();
    config.controller.state_dir = cloud.path().join("second");
    let (base, stopper) = Base::new(&config.controller, "clc").unwrap();
    let second = Clc::start(config, base).await.unwrap();
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
