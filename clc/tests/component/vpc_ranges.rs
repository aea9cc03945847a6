//! A VPC's ranges as its instances are told them, whichever was there first.

use crate::network_interfaces::{attached, made, running};
use crate::support::vpc::{Routed, routed};
use crate::support::{Client, Cloud};
use karri_proto::instance::InstanceIntent;

on_both! {
    instances_are_told_every_range_of_their_vpc
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
