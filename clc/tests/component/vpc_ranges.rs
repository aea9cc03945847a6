//! A VPC's ranges as its instances are told them, whichever was there first.

use crate::network_interfaces::{attached, made, running};
use crate::support::vpc::{Routed, routed};
use crate::support::{Client, Cloud, until};
use karri_proto::instance::InstanceIntent;

on_both! {
    instances_are_told_every_range_of_their_vpc
    what_an_older_version_did_not_tell_is_told_when_the_controller_starts
}

const FURTHER: &str = "100.64.0.0/24";

/// What each of its interfaces is told.
fn told(intent: &InstanceIntent) -> Vec<Vec<&str>> {
    intent.spec.ports.iter().map(|port| port.vpc_ranges().collect()).collect()
}

async fn associated(client: &Client, vpc: &str, cidr: &str) -> String {
    let words = [("VpcId", vpc), ("CidrBlock", cidr)];
    client.ec2("AssociateVpcCidrBlock", &words).await.ok().one("associationId")
}

async fn instances_are_told_every_range_of_their_vpc(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet, .. } = routed(&alice).await;
    let (alone, both) = (["10.0.0.0/16"], ["10.0.0.0/16", FURTHER]);
    let (early, _) = running(&alice, &subnet).await;
    let port = made(&alice, &subnet, &[]).await.one("networkInterfaceId");
    let elsewhere = alice.run(1, &[]).await.ok().one("instanceId");
    let before = cluster.wait_for_intent(&elsewhere, |_| true).await;
    cluster.wait_for_intent(&early, |intent| told(intent) == [alone]).await;

    let association = associated(&alice, &vpc, FURTHER).await;
    cluster.wait_for_intent(&early, |intent| told(intent) == [both]).await;
    let (late, _) = running(&alice, &subnet).await;
    assert_eq!(told(&cluster.wait_for_intent(&late, |_| true).await), [both]);
    attached(&alice, &port, &late, "1").await;
    let with_both = cluster.wait_for_intent(&late, |intent| intent.spec.ports.len() == 2).await;
    assert_eq!(told(&with_both), [both, both], "also by an interface from before");

    alice.ec2("DisassociateVpcCidrBlock", &[("AssociationId", &association)]).await.ok();
    cluster.wait_for_intent(&early, |intent| told(intent) == [alone]).await;
    cluster.wait_for_intent(&late, |intent| told(intent) == [alone, alone]).await;
    let after = cluster.intent(&elsewhere).unwrap();
    assert_eq!(after.generation, before.generation, "of no concern to other VPCs");
}

/// As an older version had written its row: without its VPC's further ranges, and of a paravirtual image.
async fn made_older(cloud: &Cloud, id: &str) {
    let store = cloud.store().await;
    let mut tx = store.begin().await.unwrap();
    let spec = sqlx::query_scalar("SELECT spec FROM instances WHERE id = $1").bind(id.to_owned());
    let spec: String = spec.fetch_one(&mut *tx).await.unwrap();
    let mut spec: serde_json::Value = serde_json::from_str(&spec).unwrap();
    spec.as_object_mut().unwrap().remove("paravirtual").unwrap();
    for port in spec["ports"].as_array_mut().unwrap() {
        port.as_object_mut().unwrap().remove("more_vpc_cidrs").unwrap();
    }
    let older = "UPDATE instances SET spec = $1, said = $2 WHERE id = $3";
    let older = sqlx::query(older).bind(spec.to_string()).bind(r#"{"paravirtual":true}"#).bind(id.to_owned());
    assert_eq!(older.execute(&mut *tx).await.unwrap().rows_affected(), 1);
    tx.commit().await.unwrap();
    store.close().await;
}

async fn what_an_older_version_did_not_tell_is_told_when_the_controller_starts(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet, .. } = routed(&alice).await;
    associated(&alice, &vpc, FURTHER).await;
    let (older, _) = running(&alice, &subnet).await;
    let (other, _) = running(&alice, &subnet).await;
    let generation = |id: &str| cluster.intent(id).unwrap().generation;
    let (before, untouched) = (generation(&older), generation(&other));
    cloud.stop().await;
    made_older(&cloud, &older).await;
    cloud.start_again().await;
    let now = cluster.wait_for_intent(&older, |intent| intent.generation > before).await;
    assert_eq!((told(&now), now.spec.paravirtual), (vec![vec!["10.0.0.0/16", FURTHER]], true));
    cloud.stop().await;
    let lives = cluster.facts.whole();
    cloud.start_again().await;
    until("everything is told", || async { (cluster.facts.whole() > lives).then_some(()) }).await;
    assert_eq!((generation(&older), generation(&other)), (before + 1, untouched), "once");
}
