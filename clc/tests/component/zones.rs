//! Zones of several clusters: one that the zone is, and others that extend it with nodes.

use crate::support::networks::{free_addresses, subnet, vpc};
use crate::support::{Client, Cloud, FakeCluster, until};
use karri_proto::internal::admin::AdminService;
use karri_proto::internal::clusters::Tunnels;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::network::{ClusterHosts, FactKey, FactTable, FarPort, NetworkMode, Shape, ShapeKey};
use std::net::Ipv4Addr;

on_both! {
    who_extends_a_zone_must_be_able_to_share_its_segments
    a_zone_stays_one_zone_whoever_extends_it
    instances_are_where_there_is_room_and_on_the_flat_network_of_the_zone_alone
    clusters_of_a_zone_are_told_of_each_others_hosts
    the_zones_own_cluster_is_told_of_ports_whose_router_it_has
    a_cluster_with_instances_stays_in_its_zone
    a_node_is_forgotten_by_the_name_of_its_cluster
}

const ZONE: &str = "zone-a";

fn tunnels(last: u8) -> Option<Tunnels> {
    Some(Tunnels { address: Some([192, 0, 2, last].into()), mtu: 1500, port: 4789 })
}

/// The zone's own cluster, and another one that extends it.
async fn both(cloud: &Cloud, own_nodes: usize, more_nodes: usize) -> (FakeCluster, FakeCluster) {
    let mut own = cloud.cluster(ZONE, own_nodes).await;
    own.tunnels = tunnels(1);
    own.hello(cloud).await;
    (own, extending(cloud, more_nodes).await)
}

async fn extending(cloud: &Cloud, nodes: usize) -> FakeCluster {
    let mut east = FakeCluster::start(cloud, "east", nodes, "172.31.0.0/20").await;
    (east.extends, east.tunnels) = (Some(ZONE.to_owned()), tunnels(9));
    (1..=nodes).for_each(|number| east.tunnel(number, Some([192, 0, 2, 10 + u8::try_from(number).unwrap()])));
    east.hello(cloud).await;
    east.wait_until_heard(0).await;
    east
}

async fn own_subnet(alice: &Client) -> String {
    let vpc = vpc(alice, "10.0.0.0/16").await;
    subnet(alice, &vpc, "10.0.1.0/24", ZONE).await
}

fn hosts(table: &FactTable, cluster: &str) -> Vec<Ipv4Addr> {
    table.hosts(cluster).map(|ClusterHosts { tunnels, .. }| tunnels.clone()).unwrap_or_default()
}

fn far_ports(table: &FactTable) -> Vec<FarPort> {
    let far = table.shapes().filter_map(|shape| match shape {
        Shape::Far(far) => Some(far.clone()),
        _ => None,
    });
    far.collect()
}

async fn who_extends_a_zone_must_be_able_to_share_its_segments(cloud: Cloud) {
    let mut east = FakeCluster::start(&cloud, "east", 1, "172.31.0.0/20").await;
    (east.extends, east.tunnels) = (Some(ZONE.to_owned()), tunnels(9));
    let refused = async |east: &FakeCluster, words: &str| {
        let error = east.try_hello(&cloud).await.unwrap_err();
        assert_eq!(error.kind, ApiErrorKind::Conflict, "{error}");
        assert!(error.message.contains(words), "{error}");
    };
    refused(&east, "no cluster has told yet that it is zone zone-a").await;
    let mut own = cloud.cluster(ZONE, 1).await;
    refused(&east, "which zone zone-a is, has no segments that reach other clusters").await;
    own.tunnels = Some(Tunnels { address: None, ..tunnels(1).unwrap() });
    own.hello(&cloud).await;
    refused(&east, "which zone zone-a is, has no network.tunnel_address").await;
    own.tunnels = tunnels(1);
    own.hello(&cloud).await;
    east.tunnels = None;
    refused(&east, "its segments reach no other clusters").await;
    east.tunnels = Some(Tunnels { mtu: 9000, ..tunnels(9).unwrap() });
    refused(&east, "network.tunnel_mtu = 9000: it is 1500 in cluster zone-a").await;
    east.tunnels = Some(Tunnels { port: 8472, ..tunnels(9).unwrap() });
    refused(&east, "network.vxlan_port = 8472: it is 4789 in cluster zone-a").await;
    own.extends = Some(ZONE.to_owned());
    refused(&own, "cluster zone-a has been zone zone-a itself").await;
    east.tunnels = tunnels(9);
    east.hello(&cloud).await;
}

async fn a_zone_stays_one_zone_whoever_extends_it(cloud: Cloud) {
    let (_own, _east) = both(&cloud, 1, 2).await;
    let alice = cloud.owner().await;
    let zones = alice.ec2("DescribeAvailabilityZones", &[]).await.ok();
    assert_eq!(zones.all("zoneName"), [ZONE]);
    let verbose = alice.ec2("DescribeAvailabilityZones", &[("ZoneName.1", "verbose")]).await.ok();
    let (names, states) = (verbose.all("zoneName"), verbose.all("zoneState"));
    let micro = names.iter().position(|name| name == "|- t3.micro").unwrap();
    assert_eq!(states[micro], "0006 / 0006   2   1024     8");
    let offered = [("LocationType", "availability-zone")];
    let types = alice.ec2("DescribeInstanceTypes", &[]).await.ok().all("instanceType").len();
    let offered = alice.ec2("DescribeInstanceTypeOfferings", &offered).await.ok();
    assert_eq!(offered.all("location").len(), types);
    for (client, when) in
        [(&alice, "from before"), (&cloud.user("late", "lea", &["AdministratorAccess"]).await, "made since")]
    {
        let subnets = client.ec2("DescribeSubnets", &[]).await.ok();
        assert_eq!(subnets.all("availabilityZone"), [ZONE], "{when}");
    }
    let (admin, caller) = cloud.admin();
    let status = admin.cloud_status(&caller).await.unwrap();
    let told: Vec<(&str, &str)> =
        status.zones.iter().map(|zone| (zone.zone.as_str(), zone.cluster.as_str())).collect();
    assert_eq!(told, [(ZONE, "east"), (ZONE, ZONE)]);
}

async fn instances_are_where_there_is_room_and_on_the_flat_network_of_the_zone_alone(cloud: Cloud) {
    let (own, east) = both(&cloud, 1, 2).await;
    let alice = cloud.owner().await;
    let own_subnet = own_subnet(&alice).await;
    let into = [("SubnetId", own_subnet.as_str()), ("InstanceType", "t3.micro")];
    // Two for each node, the emptiest cluster first.
    let ids = alice.run(5, &into).await.ok().instances();
    until("all of them", || async { (own.known_count() + east.known_count() == 5).then_some(()) }).await;
    assert_eq!((own.known_count(), east.known_count()), (1, 4));
    assert_eq!(free_addresses(&alice, &own_subnet).await, 246);
    let zones = alice.ec2("DescribeInstances", &[]).await.ok().all("availabilityZone");
    assert!(zones.iter().all(|zone| zone == ZONE), "{zones:?}");
    alice.run(2, &into).await.refused(500, "InsufficientInstanceCapacity");
    for id in ids.iter().filter(|id| east.intent(id).is_some()) {
        alice.ec2("TerminateInstances", &[("InstanceId.1", id)]).await.ok();
        alice.wait_for(id, "terminated").await;
    }
    // What is in a default subnet would have no network there, whether its address is asked for or not.
    alice.run(1, &[("InstanceType", "t3.micro")]).await.ok();
    let asked = [("InstanceType", "t3.micro"), ("PrivateIpAddress", "172.31.0.99")];
    for words in [&asked[..], &asked[..1]] {
        alice.run(1, words).await.refused(500, "InsufficientInstanceCapacity");
    }
    let asked = [("SubnetId", own_subnet.as_str()), ("PrivateIpAddress", "10.0.1.77")];
    let id = alice.run(1, &[&asked[..], &into[1..]].concat()).await.ok().one("instanceId");
    east.wait_for_intent(&id, |intent| intent.spec.ports[0].private_ip == Ipv4Addr::new(10, 0, 1, 77)).await;
}

async fn clusters_of_a_zone_are_told_of_each_others_hosts(mut cloud: Cloud) {
    let other = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    let (own, east) = both(&cloud, 1, 2).await;
    own.tunnel(1, Some([192, 0, 2, 2]));
    let last = |lasts: &[u8]| lasts.iter().map(|last| Ipv4Addr::new(192, 0, 2, *last)).collect::<Vec<_>>();
    // Routers are where the zone's own controller is, and not where that of the other is.
    east.wait_for_facts("those of the zone's own", |table| hosts(table, ZONE) == last(&[1, 2])).await;
    own.wait_for_facts("those of the other", |table| hosts(table, "east") == last(&[11, 12])).await;
    east.tunnel(2, None);
    own.wait_for_facts("one less", |table| hosts(table, "east") == last(&[11])).await;
    east.tunnel(1, Some([192, 0, 2, 77]));
    own.wait_for_facts("another", |table| hosts(table, "east") == last(&[77])).await;
    // Whoever starts again while one of them is away knows its hosts from its rows.
    east.cut(true);
    cloud.stop().await;
    own.facts.forget();
    cloud.start_again().await;
    own.hello(&cloud).await;
    own.wait_for_facts("still there", |table| hosts(table, "east") == last(&[77])).await;
    let of_others = other.facts.table();
    assert!(hosts(&of_others, "east").is_empty() && hosts(&of_others, ZONE).is_empty());
    assert!(hosts(&own.facts.table(), ZONE).is_empty(), "nobody is told of himself");
    east.cut(false);
    east.hello(&cloud).await;
    east.tunnel(1, None);
    own.wait_for_facts("none", |table| table.hosts("east").is_none()).await;
}

async fn the_zones_own_cluster_is_told_of_ports_whose_router_it_has(mut cloud: Cloud) {
    let (own, east) = both(&cloud, 1, 2).await;
    let alice = cloud.owner().await;
    let own_subnet = own_subnet(&alice).await;
    let words =
        [("SubnetId", own_subnet.as_str()), ("PrivateIpAddress", "10.0.1.50"), ("InstanceType", "t3.micro")];
    let id = alice.run(1, &words).await.ok().one("instanceId");
    let intent = east.wait_for_intent(&id, |_| true).await;
    let port = &intent.spec.ports[0];
    let expected = FarPort {
        port: port.id.clone(),
        vpc: port.vpc_id.clone(),
        tag: port.segment,
        mac: port.mac.clone(),
        address: [10, 0, 1, 50].into(),
        hostname: intent.spec.hostname.clone(),
    };
    own.wait_for_facts("the port", |table| far_ports(table) == [expected.clone()]).await;
    let near = alice.run(3, &[words[0], words[2]]).await.ok().instances();
    for id in &near {
        east.wait_for_intent(id, |_| true).await; // where there is most room
    }
    own.wait_for_facts("those of the others", |table| far_ports(table).len() == 4).await;
    alice.run(1, &[words[0], words[2]]).await.ok(); // here
    cloud.stop().await;
    cloud.start_again().await;
    own.hello(&cloud).await;
    east.hello(&cloud).await;
    let alice = Client { url: cloud.endpoint.public_url.clone().unwrap(), ..alice };
    until("all of it again", || async { (own.facts.whole() == 2).then_some(()) }).await;
    own.wait_for_facts("the same", |table| far_ports(table).len() == 4).await;
    assert!(far_ports(&east.facts.table()).is_empty());
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    let key = ShapeKey::Far(port.id.clone());
    own.wait_for_facts("it is no more", |table| table.shape(&key).is_none()).await;
    assert!(own.facts.table().facts().all(|fact| fact.key() != FactKey::Shape(key.clone())));
}

async fn a_cluster_with_instances_stays_in_its_zone(cloud: Cloud) {
    let (mut own, mut east) = both(&cloud, 1, 2).await;
    let alice = cloud.owner().await;
    let own_subnet = own_subnet(&alice).await;
    let id = alice.run(1, &[("SubnetId", &own_subnet)]).await.ok().one("instanceId");
    east.wait_for_intent(&id, |_| true).await;
    east.extends = None;
    let error = east.try_hello(&cloud).await.unwrap_err();
    assert!(error.message.contains("the cluster has 1 instances in zone zone-a"), "{error}");
    let error = own.change_mode(&cloud, NetworkMode::System).await.unwrap_err();
    assert!(error.message.contains("zone zone-a has 1 instances"), "{error}");
    // Nothing new comes into a cluster whose segments lead nowhere any more.
    own.tunnels = None;
    own.change_mode(&cloud, NetworkMode::Managed).await.unwrap();
    alice
        .run(3, &[("SubnetId", &own_subnet), ("InstanceType", "t3.micro")])
        .await
        .refused(500, "InsufficientInstanceCapacity");
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    east.hello(&cloud).await;
    let zones = alice.ec2("DescribeAvailabilityZones", &[]).await.ok().all("zoneName");
    assert_eq!(zones, ["east", ZONE]);
}

async fn a_node_is_forgotten_by_the_name_of_its_cluster(cloud: Cloud) {
    let (own, _east) = both(&cloud, 1, 2).await;
    let (admin, caller) = cloud.admin();
    own.wait_for_facts("its hosts", |table| hosts(table, "east").len() == 2).await;
    admin.node_forget(&caller, "east", "east-node-2", false).await.unwrap();
    own.wait_for_facts("its host is no more", |table| hosts(table, "east").len() == 1).await;
    let error = admin.node_forget(&caller, "nowhere", "east-node-1", false).await.unwrap_err();
    assert!(error.message.contains("no zone or cluster \"nowhere\""), "{error}");
}
