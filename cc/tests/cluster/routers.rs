//! Routers of VPCs, from what the cloud controller tells to what the driver is to make.

use crate::cloud::{Clc, Cloud, ZONE, caller, until};
use crate::samples::{facts, intent, next};
use karri_cc::drive::Wanted;
use karri_cc::drive::simulated::Simulated;
use karri_proto::instance::{Desired, InstanceIntent};
use karri_proto::internal::Role;
use karri_proto::internal::facts::{FactService, FactsPage};
use karri_proto::internal::nodes::{NodeHello, NodeService};
use karri_proto::network::{
    ClusterHosts, DhcpOptions, Fact, FactChange, Net4, PortFact, RegionNames, Shape, Subnet, Vpc,
};
use std::net::Ipv4Addr;

pub const TAG: u32 = 0x1001;

/// A VPC with one subnet, as the instance's port says.
fn shapes(of: &InstanceIntent) -> Vec<Shape> {
    let port = &of.spec.ports[0];
    let range = Net4 { address: [172, 31, 0, 0].into(), prefix: 20 };
    let vpc = Vpc {
        id: port.vpc_id.clone(),
        ranges: vec![range],
        internet_gateway: None,
        dhcp: DhcpOptions::default(),
        dns_support: true,
        dns_hostnames: true,
        transit: 0x1000,
    };
    let subnet = Subnet {
        id: port.subnet_id.clone(),
        vpc: port.vpc_id.clone(),
        zone: ZONE.to_owned(),
        tag: TAG,
        range,
        route_table: "rtb-00000001".parse().unwrap(),
        acl: "acl-00000001".parse().unwrap(),
    };
    vec![Shape::Vpc(vpc), Shape::Subnet(subnet)]
}

/// All of it, with these facts besides.
async fn shapes_told(clc: &Clc, of: &InstanceIntent, more: &[Fact]) {
    let told = shapes(of).into_iter().map(Fact::Shape).chain(more.iter().cloned());
    let changes = told.map(FactChange::Put).collect();
    let page = FactsPage { epoch: 3, from: None, to: 1, caught_up: true, changes };
    clc.client.facts_put(&caller("facts"), page).await.unwrap();
}

pub async fn told_of(clc: &Clc, of: &InstanceIntent) {
    shapes_told(clc, of, &[]).await;
}

fn is_routed(wanted: &Wanted, of: &InstanceIntent) -> bool {
    let mut legs = wanted.routers.values().flat_map(|router| &router.legs);
    legs.any(|(tag, leg)| *tag == TAG && leg.hosts.iter().any(|host| host.mac == of.spec.ports[0].mac))
}

#[tokio::test]
async fn a_router_is_wanted_while_an_instance_is_in_a_segment_of_its_vpc() {
    let mut cloud = Cloud::start().await;
    let (clc, node) = (cloud.clc(), cloud.node("node-1", 8).await);
    let (mut inside, flat) = (intent(1), intent(2));
    inside.spec.ports[0].segment = TAG;
    let spec = &flat.spec.ports[0];
    let (id, vpc) = (spec.id.clone(), spec.vpc_id.clone());
    let port = Fact::Port(PortFact { id, vpc, addresses: vec![spec.private_ip], groups: Vec::new() });
    shapes_told(&clc, &inside, std::slice::from_ref(&port)).await;
    clc.put(&inside).await;
    clc.put(&flat).await;
    let network = cloud.network.clone();
    until("a router", async || is_routed(&network.wanted(), &inside)).await;
    until("a lease on the flat network", async || network.wanted().hosts.len() == 1).await;
    assert_eq!(network.wanted().hosts[0].mac, flat.spec.ports[0].mac);
    node.until_facts("the port and no shapes", |facts| facts.table.facts().eq([port.clone()])).await;

    // Another life knows it by itself.
    cloud.stop_cc().await;
    network.forget();
    cloud.restart_cc().await;
    until("the router again", async || is_routed(&network.wanted(), &inside)).await;
    cloud.clc().put(&next(&inside, Desired::Terminated)).await;
    until("no router", async || network.wanted().routers.is_empty()).await;
}

#[tokio::test]
async fn nodes_are_told_where_all_hosts_take_packets_of_segments() {
    let mut cloud = Cloud::start().await;
    let own = Ipv4Addr::new(192, 0, 2, 1); // of the cluster controller's configuration
    let greet = async |cloud: &Cloud, name: &str, tunnel: Option<[u8; 4]>| {
        let url = format!("https://127.0.0.1:{}", name.len());
        let hello = NodeHello {
            url,
            tunnel: tunnel.map(Ipv4Addr::from),
            user_network: false,
            driver: Default::default(),
            facts: facts(name, 4),
        };
        let client = cloud.client(Role::Nc, ZONE, name);
        client.node_hello(&caller("r"), hello).await.map(|welcome| welcome.tunnels)
    };
    let (one, two) = ([192, 0, 2, 11], [192, 0, 2, 12]);
    assert_eq!(greet(&cloud, "a", Some(two)).await.unwrap(), [two.into(), own]);
    assert_eq!(greet(&cloud, "bb", Some(one)).await.unwrap(), [one.into(), two.into(), own]);
    assert_eq!(greet(&cloud, "ccc", None).await.unwrap().len(), 3);
    for nobody in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
        let refused = greet(&cloud, "a", Some(nobody)).await.unwrap_err();
        assert!(refused.message.contains("tunnel"), "{refused}");
    }
    // Those of another cluster of the zone are among them while the cloud controller tells of them.
    let page = |from, change| FactsPage {
        epoch: 3,
        from,
        to: from.map_or(1, |at| at + 1),
        caught_up: true,
        changes: vec![change],
    };
    let east =
        Fact::Hosts(ClusterHosts { cluster: "east".to_owned(), tunnels: vec![[192, 0, 2, 99].into()] });
    cloud.clc().client.facts_put(&caller("facts"), page(None, FactChange::Put(east.clone()))).await.unwrap();
    let beside: Ipv4Addr = [192, 0, 2, 99].into();
    assert_eq!(greet(&cloud, "a", Some(two)).await.unwrap(), [one.into(), two.into(), beside, own]);
    cloud.restart_cc().await;
    assert!(greet(&cloud, "a", Some(two)).await.unwrap().contains(&beside));
    let gone = FactChange::Gone(east.key());
    cloud.clc().client.facts_put(&caller("facts"), page(Some(1), gone)).await.unwrap();
    assert!(!greet(&cloud, "a", Some(two)).await.unwrap().contains(&beside));
    // A restarted one knows them before all of them have called again, and shares the host of one of them.
    cloud.restart_cc().await;
    assert_eq!(greet(&cloud, "bb", Some([192, 0, 2, 1])).await.unwrap(), [own, two.into()]);
}

#[tokio::test]
async fn names_that_the_cloud_tells_are_served_by_every_router_and_outlive_it() {
    let mut cloud = Cloud::start().await;
    let (clc, _node) = (cloud.clc(), cloud.node("node-1", 8).await);
    let mut inside = intent(1);
    inside.spec.ports[0].segment = TAG;
    told_of(&clc, &inside).await;
    clc.put(&inside).await;
    let network = cloud.network.clone();
    until("a router", async || is_routed(&network.wanted(), &inside)).await;
    let served = |wanted: &Wanted, names: &RegionNames| {
        let of_routers = wanted.routers.values().map(|router| &router.naming);
        is_routed(wanted, &inside)
            && of_routers.chain([&wanted.naming]).all(|naming| naming.region.as_deref() == Some(names))
    };
    let names = |domain: &str| RegionNames { domain: domain.to_owned(), ..RegionNames::default() };
    for domain in ["one.internal", "other.internal"] {
        *cloud.names.lock().unwrap() = Some(names(domain));
        until("the names", async || served(&network.wanted(), &names(domain))).await;
    }
    // An older cloud controller says nothing of them, as one that is away.
    *cloud.names.lock().unwrap() = None;
    cloud.stop_cc().await;
    cloud.network = Simulated::default();
    let network = cloud.network.clone();
    cloud.restart_cc().await;
    until("the router again", async || is_routed(&network.wanted(), &inside)).await;
    assert!(served(&network.wanted(), &names("other.internal")));
}
