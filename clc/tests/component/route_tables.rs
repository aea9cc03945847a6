//! Internet gateways and route tables: what is refused, what is told, and what clusters hear of it.

use crate::support::vpc::{Routed, main_table, routed, subnet, told};
use crate::support::{Client, Cloud, Database, FakeCluster};
use karri_clc::config::Limits;
use karri_proto::ids::{InternetGatewayId, RouteTableId};
use karri_proto::network::{Route, RouteTarget, Shape, ShapeKey};

on_both! {
    an_internet_gateway_is_attached_to_one_vpc_at_a_time
    routes_lead_where_they_are_told_and_nowhere_when_that_is_gone
    routes_that_cannot_be_are_refused_in_ec2s_words
    subnets_go_by_the_main_table_until_they_have_one_of_their_own
    tables_are_found_by_what_is_in_them
    a_route_to_an_instance_goes_with_it
}

async fn an_internet_gateway_is_attached_to_one_vpc_at_a_time(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, gateway, .. } = routed(&alice).await;
    let key = ShapeKey::Vpc(vpc.parse().unwrap());
    let attached = |wanted: Option<&str>| {
        let (key, wanted) = (key.clone(), wanted.map(|id| id.parse::<InternetGatewayId>().unwrap()));
        move |table: &karri_proto::network::FactTable| match table.shape(&key) {
            Some(Shape::Vpc(vpc)) => vpc.internet_gateway == wanted,
            _ => false,
        }
    };
    cluster.wait_for_facts("the gateway", attached(Some(&gateway))).await;
    let pair = |gateway: &str, vpc: &str| {
        vec![("InternetGatewayId".to_owned(), gateway.to_owned()), ("VpcId".to_owned(), vpc.to_owned())]
    };
    let call = async |action: &str, pair: Vec<(String, String)>| {
        let pair: Vec<(&str, &str)> = pair.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        alice.ec2(action, &pair).await
    };
    let again = call("AttachInternetGateway", pair(&gateway, &vpc)).await;
    let again = again.refused(400, "Resource.AlreadyAssociated");
    assert_eq!(again.message(), format!("resource {gateway} is already attached to network {vpc}"));
    let other = told(&alice, "CreateInternetGateway", &[], "internetGatewayId").await;
    let second = call("AttachInternetGateway", pair(&other, &vpc)).await;
    let second = second.refused(400, "InvalidParameterValue");
    assert_eq!(second.message(), format!("Network {vpc} already has an internet gateway attached"));
    let detached = call("DetachInternetGateway", pair(&other, &vpc)).await;
    let detached = detached.refused(400, "Gateway.NotAttached");
    assert_eq!(detached.message(), format!("resource {other} is not attached to network {vpc}"));
    let delete = [("InternetGatewayId", gateway.as_str())];
    let kept = alice.ec2("DeleteInternetGateway", &delete).await.refused(400, "DependencyViolation");
    let expected = format!("The internetGateway '{gateway}' has dependencies and cannot be deleted.");
    assert_eq!(kept.message().replace("&apos;", "'"), expected);
    call("DetachInternetGateway", pair(&gateway, &vpc)).await.ok();
    cluster.wait_for_facts("no gateway", attached(None)).await;
    alice.ec2("DeleteInternetGateway", &delete).await.ok();
    alice.ec2("DeleteInternetGateway", &delete).await.refused(400, "InvalidInternetGatewayID.NotFound");
    alice
        .ec2("DeleteInternetGateway", &[("InternetGatewayId", "igw-1")])
        .await
        .refused(400, "InvalidInternetGatewayId.Malformed");

    let bob = cloud.user("other", "bob", &["AdministratorAccess"]).await;
    let foreign = [("InternetGatewayId", other.as_str())];
    bob.ec2("DeleteInternetGateway", &foreign).await.refused(400, "InvalidInternetGatewayID.NotFound");
    let ids = [("InternetGatewayId.1", other.as_str())];
    bob.ec2("DescribeInternetGateways", &ids).await.refused(400, "InvalidInternetGatewayID.NotFound");
}

/// The routes of a table as the cluster knows them.
fn routes(table: &karri_proto::network::FactTable, id: &str) -> Option<Vec<Route>> {
    match table.shape(&ShapeKey::RouteTable(id.parse().unwrap()))? {
        Shape::RouteTable(table) => Some(table.routes.clone()),
        _ => None,
    }
}

async fn leads(cluster: &FakeCluster, id: &str, wanted: &[RouteTarget]) {
    let same = |table: &karri_proto::network::FactTable| {
        let targets =
            routes(table, id).map(|routes| routes.into_iter().map(|one| one.target).collect::<Vec<_>>());
        targets.as_deref() == Some(wanted)
    };
    cluster.wait_for_facts(&format!("{id} leads to {wanted:?}"), same).await;
}

async fn route(
    client: &Client,
    action: &str,
    table: &str,
    to: &str,
    target: (&str, &str),
) -> crate::support::Answer {
    client.ec2(action, &[("RouteTableId", table), ("DestinationCidrBlock", to), target]).await
}

async fn routes_lead_where_they_are_told_and_nowhere_when_that_is_gone(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, gateway, table, .. } = routed(&alice).await;
    let to_internet = ("GatewayId", gateway.as_str());
    assert_eq!(
        route(&alice, "CreateRoute", &table, "0.0.0.0/0", to_internet).await.ok().one("return"),
        "true"
    );
    leads(&cluster, &table, &[RouteTarget::Internet]).await;
    let seen = async || {
        let seen = alice.ec2("DescribeRouteTables", &[("RouteTableId.1", &table)]).await.ok();
        let routes =
            seen.text.split_once("<routeSet>").unwrap().1.split_once("</routeSet>").unwrap().0.to_owned();
        crate::support::Answer { text: routes, ..seen }
    };
    let told = seen().await;
    assert_eq!(told.all("destinationCidrBlock"), ["10.0.0.0/16", "0.0.0.0/0"]);
    assert_eq!(told.all("gatewayId"), ["local", gateway.as_str()]);
    assert_eq!(told.all("origin"), ["CreateRouteTable", "CreateRoute"]);
    assert_eq!(told.all("state"), ["active", "active"]);
    let pair = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc.as_str())];
    alice.ec2("DetachInternetGateway", &pair).await.ok();
    leads(&cluster, &table, &[RouteTarget::Blackhole]).await;
    assert_eq!(seen().await.all("state"), ["active", "blackhole"]);
    alice.ec2("AttachInternetGateway", &pair).await.ok();
    leads(&cluster, &table, &[RouteTarget::Internet]).await;
    let delete = [("RouteTableId", table.as_str()), ("DestinationCidrBlock", "0.0.0.0/0")];
    let dry = [&delete[..], &[("DryRun", "true")]].concat();
    alice.ec2("DeleteRoute", &dry).await.refused(412, "DryRunOperation");
    assert_eq!(seen().await.all("state").len(), 2);
    alice.ec2("DeleteRoute", &delete).await.ok();
    leads(&cluster, &table, &[]).await;
    let gone = alice.ec2("DeleteRoute", &delete).await.refused(400, "InvalidRoute.NotFound");
    let expected = format!("no route with destination-cidr-block 0.0.0.0/0 in route table {table}");
    assert_eq!(gone.message(), expected);
}

async fn routes_that_cannot_be_are_refused_in_ec2s_words(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, gateway, table, .. } = routed(&alice).await;
    let to_internet = ("GatewayId", gateway.as_str());
    route(&alice, "CreateRoute", &table, "192.0.2.7/24", to_internet).await.ok();
    let check = async |action: &str, to: &str, target: (&str, &str), code: &str, message: &str| {
        let refused = route(&alice, action, &table, to, target).await.refused(400, code);
        assert!(refused.message().replace("&apos;", "'").contains(message), "{}", refused.text);
    };
    let create = "CreateRoute";
    let there = "The route identified by 192.0.2.0/24 already exists.";
    check(create, "192.0.2.0/24", to_internet, "RouteAlreadyExists", there).await;
    check(create, "10.0.0.0/16", to_internet, "RouteAlreadyExists", "10.0.0.0/16").await;
    check(create, "10.0.5.0/24", to_internet, "UnsupportedOperation", "more specific than").await;
    check(create, "192.0.2.0/33", to_internet, "InvalidParameterValue", "This is not a valid CIDR block")
        .await;
    check(create, "192.0.2.0", to_internet, "InvalidParameterValue", "Value (192.0.2.0) for parameter").await;
    let unknown = ("GatewayId", "igw-0123456789abcdef0");
    check(create, "0.0.0.0/0", unknown, "InvalidInternetGatewayID.NotFound", "does not exist").await;
    let nat = ("NatGatewayId", "nat-0123456789abcdef0");
    check(create, "0.0.0.0/0", nat, "InvalidNatGatewayID.NotFound", "The natGateway ID").await;
    let port = ("NetworkInterfaceId", "eni-0123456789abcdef0");
    check(create, "0.0.0.0/0", port, "InvalidNetworkInterfaceID.NotFound", "does not exist").await;
    let instance = ("InstanceId", "i-0123456789abcdef0");
    check(create, "0.0.0.0/0", instance, "InvalidInstanceID.NotFound", "does not exist").await;
    let vpn = ("GatewayId", "vgw-0123456789abcdef0");
    check(create, "0.0.0.0/0", vpn, "InvalidVpnGatewayID.NotFound", "The vpnGateway ID").await;
    let transit = ("TransitGatewayId", "tgw-0123456789abcdef0");
    check(create, "0.0.0.0/0", transit, "UnsupportedOperation", "are not supported").await;
    check(create, "0.0.0.0/0", ("X", "y"), "UnknownParameter", "X").await;
    let absent = "There is no route defined for '0.0.0.0/0' in the route table. Use CreateRoute instead.";
    check("ReplaceRoute", "0.0.0.0/0", to_internet, "InvalidParameterValue", absent).await;
    let loose = told(&alice, "CreateInternetGateway", &[], "internetGatewayId").await;
    let elsewhere = "belong to different networks";
    check(create, "0.0.0.0/0", ("GatewayId", loose.as_str()), "InvalidParameterValue", elsewhere).await;
    let local = [("RouteTableId", table.as_str()), ("DestinationCidrBlock", "10.0.0.0/16")];
    let local = alice.ec2("DeleteRoute", &local).await.refused(400, "InvalidParameterValue");
    assert_eq!(local.message(), format!("cannot remove local route 10.0.0.0/16 in route table {table}"));

    let vpn = [("RouteTableId", table.as_str()), ("GatewayId", "vgw-0123456789abcdef0")];
    for action in ["EnableVgwRoutePropagation", "DisableVgwRoutePropagation"] {
        alice.ec2(action, &vpn).await.refused(400, "InvalidVpnGatewayID.NotFound");
        let internet = [("RouteTableId", table.as_str()), ("GatewayId", gateway.as_str())];
        let refused = alice.ec2(action, &internet).await.refused(400, "Gateway.NotAttached");
        assert_eq!(refused.message(), format!("resource {gateway} is not attached to network {vpc}"));
    }
}

async fn subnets_go_by_the_main_table_until_they_have_one_of_their_own(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet: first, table: main, .. } = routed(&alice).await;
    let second = subnet(&alice, &vpc, "10.0.1.0/24").await;
    let goes_by = async |subnet: &str, table: &str| {
        let (key, table) =
            (ShapeKey::Subnet(subnet.parse().unwrap()), table.parse::<RouteTableId>().unwrap());
        let by = |facts: &karri_proto::network::FactTable| match facts.shape(&key) {
            Some(Shape::Subnet(subnet)) => subnet.route_table == table,
            _ => false,
        };
        cluster.wait_for_facts(&format!("{subnet} by {table}"), by).await;
    };
    goes_by(&first, &main).await;
    let token = [("VpcId", vpc.as_str()), ("ClientToken", "one")];
    let own = alice.ec2("CreateRouteTable", &token).await.ok().one("routeTableId");
    assert_eq!(alice.ec2("CreateRouteTable", &token).await.ok().one("routeTableId"), own);
    let other =
        [("VpcId", vpc.as_str()), ("ClientToken", "one"), ("TagSpecification.1.ResourceType", "route-table")];
    let other =
        [&other[..], &[("TagSpecification.1.Tag.1.Key", "a"), ("TagSpecification.1.Tag.1.Value", "b")]]
            .concat();
    alice.ec2("CreateRouteTable", &other).await.refused(400, "IdempotentParameterMismatch");
    let associate = [("RouteTableId", own.as_str()), ("SubnetId", first.as_str())];
    let association = told(&alice, "AssociateRouteTable", &associate, "associationId").await;
    assert_eq!(told(&alice, "AssociateRouteTable", &associate, "associationId").await, association);
    goes_by(&first, &own).await;
    goes_by(&second, &main).await;
    let conflict = [("RouteTableId", main.as_str()), ("SubnetId", first.as_str())];
    let conflict = alice.ec2("AssociateRouteTable", &conflict).await;
    let conflict = conflict.refused(400, "Resource.AlreadyAssociated");
    let expected =
        format!("the specified association for route table {main} conflicts with an existing association");
    assert_eq!(conflict.message(), expected);
    for table in [&own, &main] {
        let kept = alice.ec2("DeleteRouteTable", &[("RouteTableId", table)]).await;
        let kept = kept.refused(400, "DependencyViolation");
        let expected = format!("The routeTable '{table}' has dependencies and cannot be deleted.");
        assert_eq!(kept.message().replace("&apos;", "'"), expected);
    }
    // Another main table.
    let seen = alice.ec2("DescribeRouteTables", &[("RouteTableId.1", &main)]).await.ok();
    let old = seen.one("routeTableAssociationId");
    let disassociate = [("AssociationId", old.as_str())];
    let refused =
        alice.ec2("DisassociateRouteTable", &disassociate).await.refused(400, "InvalidParameterValue");
    assert_eq!(refused.message(), format!("cannot disassociate the main route table association {old}"));
    let replace = [("AssociationId", old.as_str()), ("RouteTableId", own.as_str())];
    let new = told(&alice, "ReplaceRouteTableAssociation", &replace, "newAssociationId").await;
    assert_ne!(new, old);
    assert_eq!(main_table(&alice, &vpc).await, own);
    goes_by(&second, &own).await;
    alice.ec2("DeleteRouteTable", &[("RouteTableId", &main)]).await.ok();
    alice.ec2("DisassociateRouteTable", &[("AssociationId", &association)]).await.ok();
    let gone = alice.ec2("DisassociateRouteTable", &[("AssociationId", &association)]).await;
    let gone = gone.refused(400, "InvalidAssociationID.NotFound");
    let expected = format!("The association ID '{association}' does not exist");
    assert_eq!(gone.message().replace("&apos;", "'"), expected);
    goes_by(&first, &own).await;
    let elsewhere =
        alice.ec2("CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).await.ok().first("vpcId").unwrap();
    let foreign = told(&alice, "CreateRouteTable", &[("VpcId", &elsewhere)], "routeTableId").await;
    let across = [("RouteTableId", foreign.as_str()), ("SubnetId", first.as_str())];
    alice.ec2("AssociateRouteTable", &across).await.refused(400, "InvalidParameterValue");
}

async fn tables_are_found_by_what_is_in_them(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, gateway, table, subnet, .. } = routed(&alice).await;
    let tagged = [
        ("VpcId", vpc.as_str()),
        ("TagSpecification.1.ResourceType", "route-table"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "public"),
    ];
    let made = alice.ec2("CreateRouteTable", &tagged).await.ok();
    assert_eq!((made.one("key"), made.one("value")), ("Name".into(), "public".into()));
    let own = made.one("routeTableId");
    route(&alice, "CreateRoute", &own, "0.0.0.0/0", ("GatewayId", &gateway)).await.ok();
    alice.ec2("AssociateRouteTable", &[("RouteTableId", &own), ("SubnetId", &subnet)]).await.ok();
    let found = async |name: &str, value: &str| {
        let vpc = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
        let filter = [&vpc[..], &[("Filter.2.Name", name), ("Filter.2.Value.1", value)]].concat();
        let told = alice.ec2("DescribeRouteTables", &filter).await.ok();
        told.all("routeTableId").into_iter().collect::<std::collections::BTreeSet<_>>()
    };
    let only = |id: &str| std::collections::BTreeSet::from([id.to_owned()]);
    assert_eq!(found("association.main", "true").await, only(&table));
    assert_eq!(found("association.subnet-id", &subnet).await, only(&own));
    assert_eq!(found("route.gateway-id", &gateway).await, only(&own));
    assert_eq!(found("route.destination-cidr-block", "0.0.0.0/0").await, only(&own));
    assert_eq!(found("tag:Name", "public").await, only(&own));
    assert_eq!(found("route.gateway-id", "local").await.len(), 2);
    assert!(found("route.state", "blackhole").await.is_empty());
    let unknown = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")];
    alice.ec2("DescribeRouteTables", &unknown).await.refused(400, "InvalidParameterValue");
    let page = alice.ec2("DescribeRouteTables", &[("MaxResults", "5")]).await.ok();
    assert!(page.all("nextToken").is_empty());
    let gateways = [("Filter.1.Name", "attachment.vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
    let gateways = alice.ec2("DescribeInternetGateways", &gateways).await.ok();
    assert_eq!((gateways.one("internetGatewayId"), gateways.one("state")), (gateway, "available".into()));
}

#[tokio::test]
async fn there_are_so_many_gateways_and_tables() {
    let limits = Limits { internet_gateways_per_account: 3, route_tables_per_vpc: 2, ..Limits::default() };
    let cloud = Cloud::start_with(Database::Sqlite, limits).await;
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    // One is the default VPC's.
    let Routed { vpc, .. } = routed(&alice).await;
    let loose = told(&alice, "CreateInternetGateway", &[], "internetGatewayId").await;
    let refused = alice.ec2("CreateInternetGateway", &[]).await.refused(400, "InternetGatewayLimitExceeded");
    assert_eq!(refused.message(), "The maximum number of internet gateways has been reached (3).");
    alice.ec2("DeleteInternetGateway", &[("InternetGatewayId", &loose)]).await.ok();
    alice.ec2("CreateInternetGateway", &[]).await.ok();
    // One is the main one.
    let table = told(&alice, "CreateRouteTable", &[("VpcId", &vpc)], "routeTableId").await;
    let refused = alice.ec2("CreateRouteTable", &[("VpcId", &vpc)]).await;
    let refused = refused.refused(400, "RouteTableLimitExceeded");
    assert_eq!(refused.message(), "The maximum number of route tables has been reached (2).");
    alice.ec2("DeleteRouteTable", &[("RouteTableId", &table)]).await.ok();
    alice.ec2("CreateRouteTable", &[("VpcId", &vpc)]).await.ok();
}

async fn a_route_to_an_instance_goes_with_it(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { table, subnet, .. } = routed(&alice).await;
    let launched = alice.run(1, &[("SubnetId", &subnet)]).await.ok();
    let (id, port) = (launched.one("instanceId"), launched.one("networkInterfaceId"));
    alice.wait_for(&id, "running").await;
    route(&alice, "CreateRoute", &table, "192.168.0.0/16", ("InstanceId", &id)).await.ok();
    leads(&cluster, &table, &[RouteTarget::Interface(port.parse().unwrap())]).await;
    let told = alice.ec2("DescribeRouteTables", &[("RouteTableId.1", &table)]).await.ok();
    assert_eq!((told.one("networkInterfaceId"), told.one("instanceId")), (port.clone(), id.clone()));
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    leads(&cluster, &table, &[RouteTarget::Blackhole]).await;
    let told = alice.ec2("DescribeRouteTables", &[("RouteTableId.1", &table)]).await.ok();
    assert!(told.all("state").contains(&"blackhole".to_owned()), "{}", told.text);
}
