//! Default VPCs lie in the flat network, which asks no gateway, no route table and no ACL: what would have to go otherwise
//! for one of them is refused, and what says how it goes already is not.

use crate::support::networks::{only, subnet as subnet_of, vpc as made_vpc};
use crate::support::vpc::{allocated, main_table, told};
use crate::support::{Answer, Client, Cloud};

on_both! {
    an_acl_that_refuses_anything_is_refused_where_a_subnet_goes_by_it
    routes_but_to_the_internet_gateway_are_refused_where_a_subnet_goes_by_them
    its_internet_gateway_stays_while_there_are_subnets
    route_tables_that_an_older_version_let_in_are_put_right_one_by_one
    an_acl_that_an_older_version_let_be_emptied_is_put_right_side_by_side
    what_an_older_version_let_in_keeps_no_subnet_away
    no_nat_gateway_is_made_in_it
}

struct Default {
    vpc: String,
    subnet: String,
}

async fn default(client: &Client) -> Default {
    let vpc = only(client, "DescribeVpcs", ("is-default", "true"), "vpcId").await;
    let subnet = only(client, "DescribeSubnets", ("vpc-id", &vpc), "subnetId").await;
    Default { vpc, subnet }
}

fn unsupported(answer: &Answer, what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (400, "UnsupportedOperation"), "{}", answer.text);
    let sentence = format!("{what} is not supported in a default VPC. Create a VPC for it.");
    assert_eq!(answer.message(), sentence);
}

const REFUSES: &str = "A subnet whose network ACL refuses anything";

fn entry<'a>(acl: &'a str, number: &'a str, action: &'a str, cidr: &'a str) -> [(&'a str, &'a str); 6] {
    [
        ("NetworkAclId", acl),
        ("RuleNumber", number),
        ("Egress", "false"),
        ("Protocol", "-1"),
        ("RuleAction", action),
        ("CidrBlock", cidr),
    ]
}

async fn an_acl_that_refuses_anything_is_refused_where_a_subnet_goes_by_it(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Default { vpc, .. } = default(&alice).await;
    let acls = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
    let before = alice.ec2("DescribeNetworkAcls", &acls).await.ok();
    let (acl, association) = (before.first("networkAclId").unwrap(), before.one("networkAclAssociationId"));
    let (everywhere, one) = ("0.0.0.0/0", "192.0.2.9/32");
    for dry in [&[][..], &[("DryRun", "true")]] {
        let deny = [&entry(&acl, "50", "deny", one)[..], dry].concat();
        unsupported(&alice.ec2("CreateNetworkAclEntry", &deny).await, REFUSES);
    }
    for instead in [("deny", everywhere), ("allow", one)] {
        let instead = entry(&acl, "100", instead.0, instead.1);
        unsupported(&alice.ec2("ReplaceNetworkAclEntry", &instead).await, REFUSES);
    }
    unsupported(&alice.ec2("DeleteNetworkAclEntry", &entry(&acl, "100", "allow", one)[..3]).await, REFUSES);
    let after = alice.ec2("DescribeNetworkAcls", &acls).await.ok();
    assert_eq!(after.all("ruleNumber"), ["100", "32767", "100", "32767"], "nothing is changed");
    // What is asked too late, and what lets through what is let through anyway.
    alice.ec2("CreateNetworkAclEntry", &entry(&acl, "200", "deny", one)).await.ok();
    alice.ec2("CreateNetworkAclEntry", &entry(&acl, "50", "allow", everywhere)).await.ok();
    alice.ec2("DeleteNetworkAclEntry", &entry(&acl, "100", "allow", one)[..3]).await.ok();

    let own = told(&alice, "CreateNetworkAcl", &[("VpcId", &vpc)], "networkAclId").await;
    let replace = [("AssociationId", association.as_str()), ("NetworkAclId", own.as_str())];
    unsupported(&alice.ec2("ReplaceNetworkAclAssociation", &replace).await, REFUSES);
    for egress in ["false", "true"] {
        let [acl, number, _, rest @ ..] = entry(&own, "1", "allow", everywhere);
        let all = [&[acl, number, ("Egress", egress)][..], &rest].concat();
        alice.ec2("CreateNetworkAclEntry", &all).await.ok();
    }
    let back = told(&alice, "ReplaceNetworkAclAssociation", &replace, "newAssociationId").await;
    unsupported(&alice.ec2("DeleteNetworkAclEntry", &entry(&own, "1", "allow", one)[..3]).await, REFUSES);
    let back = [("AssociationId", back.as_str()), ("NetworkAclId", acl.as_str())];
    alice.ec2("ReplaceNetworkAclAssociation", &back).await.ok();
    // No subnet goes by it now.
    alice.ec2("DeleteNetworkAclEntry", &entry(&own, "1", "allow", one)[..3]).await.ok();
    alice.ec2("DeleteNetworkAcl", &[("NetworkAclId", &own)]).await.ok();
}

const ASTRAY: &str = "A subnet whose routes are any but those to the internet gateway";

async fn routes_but_to_the_internet_gateway_are_refused_where_a_subnet_goes_by_them(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Default { vpc, subnet } = default(&alice).await;
    let gateway = only(&alice, "DescribeInternetGateways", ("attachment.vpc-id", &vpc), "internetGatewayId");
    let (gateway, main) = (gateway.await, main_table(&alice, &vpc).await);
    let port = told(&alice, "CreateNetworkInterface", &[("SubnetId", &subnet)], "networkInterfaceId").await;
    let to_port = ("NetworkInterfaceId", port.as_str());
    let to_internet = ("GatewayId", gateway.as_str());
    let route = async |action: &str, table: &str, to: &str, target: &[(&str, &str)]| {
        let words = [("RouteTableId", table), ("DestinationCidrBlock", to)];
        alice.ec2(action, &[&words[..], target].concat()).await
    };
    unsupported(&route("CreateRoute", &main, "192.0.2.0/24", &[to_port]).await, ASTRAY);
    unsupported(&route("ReplaceRoute", &main, "0.0.0.0/0", &[to_port]).await, ASTRAY);
    unsupported(&route("DeleteRoute", &main, "0.0.0.0/0", &[]).await, ASTRAY);
    route("ReplaceRoute", &main, "0.0.0.0/0", &[to_internet]).await.ok();
    route("CreateRoute", &main, "192.0.2.0/24", &[to_internet]).await.ok();
    route("DeleteRoute", &main, "192.0.2.0/24", &[]).await.ok();

    let own = told(&alice, "CreateRouteTable", &[("VpcId", &vpc)], "routeTableId").await;
    let associate = [("RouteTableId", own.as_str()), ("SubnetId", subnet.as_str())];
    unsupported(&alice.ec2("AssociateRouteTable", &associate).await, ASTRAY);
    let seen = alice.ec2("DescribeRouteTables", &[("RouteTableId.1", &main)]).await.ok();
    let association = seen.one("routeTableAssociationId");
    let replace = [("AssociationId", association.as_str()), ("RouteTableId", own.as_str())];
    unsupported(&alice.ec2("ReplaceRouteTableAssociation", &replace).await, ASTRAY);
    // Nobody goes by it.
    route("CreateRoute", &own, "192.0.2.0/24", &[to_port]).await.ok();
    route("DeleteRoute", &own, "192.0.2.0/24", &[]).await.ok();
    route("CreateRoute", &own, "0.0.0.0/0", &[to_internet]).await.ok();
    let association = told(&alice, "AssociateRouteTable", &associate, "associationId").await;
    unsupported(&route("DeleteRoute", &own, "0.0.0.0/0", &[]).await, ASTRAY);
    alice.ec2("DisassociateRouteTable", &[("AssociationId", &association)]).await.ok();
    route("DeleteRoute", &own, "0.0.0.0/0", &[]).await.ok();
    alice.ec2("DeleteRouteTable", &[("RouteTableId", &own)]).await.ok();
}

const UNATTACHED: &str = "A subnet without an internet gateway";

async fn its_internet_gateway_stays_while_there_are_subnets(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Default { vpc, subnet } = default(&alice).await;
    let gateway = only(&alice, "DescribeInternetGateways", ("attachment.vpc-id", &vpc), "internetGatewayId");
    let gateway = gateway.await;
    let pair = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc.as_str())];
    unsupported(&alice.ec2("DetachInternetGateway", &pair).await, UNATTACHED);
    alice.ec2("DeleteSubnet", &[("SubnetId", &subnet)]).await.ok();
    alice.ec2("DetachInternetGateway", &pair).await.ok();
    let again = [("AvailabilityZone", "zone-a")];
    unsupported(&alice.ec2("CreateDefaultSubnet", &again).await, UNATTACHED);
    // Nor does one come with a new zone.
    let second = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    let of_vpc = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
    assert!(alice.ec2("DescribeSubnets", &of_vpc).await.ok().all("subnetId").is_empty());
    alice.ec2("AttachInternetGateway", &pair).await.ok();
    alice.ec2("CreateDefaultSubnet", &again).await.ok();
    alice.ec2("CreateDefaultSubnet", &[("AvailabilityZone", "zone-b")]).await.ok();
    drop((cluster, second));
}

/// As an older version wrote it, which asked for nothing.
async fn older(cloud: &Cloud, statements: &[(&str, &[&str])]) {
    let store = cloud.store().await;
    let mut tx = store.begin().await.unwrap();
    for (statement, values) in statements {
        let query = sqlx::query(sqlx::AssertSqlSafe(*statement));
        let query = values.iter().fold(query, |query, value| query.bind(*value));
        assert_ne!(query.execute(&mut *tx).await.unwrap().rows_affected(), 0, "{statement}");
    }
    tx.commit().await.unwrap();
    store.close().await;
}

const ASSOCIATE: &str =
    "INSERT INTO route_table_associations (id, route_table_id, vpc_id, subnet_id) VALUES ($1, $2, $3, $4)";

async fn route_tables_that_an_older_version_let_in_are_put_right_one_by_one(cloud: Cloud) {
    let _clusters = [cloud.cluster("zone-a", 1).await, cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await];
    let alice = cloud.owner().await;
    let Default { vpc, .. } = default(&alice).await;
    let of_vpc = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
    let subnets = alice.ec2("DescribeSubnets", &of_vpc).await.ok().all("subnetId");
    let [first, second] = subnets.as_slice() else { panic!("{subnets:?}") };
    let gateway = only(&alice, "DescribeInternetGateways", ("attachment.vpc-id", &vpc), "internetGatewayId");
    let gateway = gateway.await;
    let port = told(&alice, "CreateNetworkInterface", &[("SubnetId", first)], "networkInterfaceId").await;
    let other = told(&alice, "CreateNetworkInterface", &[("SubnetId", first)], "networkInterfaceId").await;
    let (to_port, to_other) = (("NetworkInterfaceId", port.as_str()), ("NetworkInterfaceId", other.as_str()));
    let to_internet = ("GatewayId", gateway.as_str());
    let route = async |action: &str, table: &str, to: &str, target: &[(&str, &str)]| {
        let words = [("RouteTableId", table), ("DestinationCidrBlock", to)];
        alice.ec2(action, &[&words[..], target].concat()).await
    };
    let mut tables = Vec::new();
    let associations = ["rtbassoc-00000000000000001", "rtbassoc-00000000000000002"];
    for (subnet, association) in [first, second].into_iter().zip(associations) {
        let table = told(&alice, "CreateRouteTable", &[("VpcId", &vpc)], "routeTableId").await;
        for to in ["0.0.0.0/0", "192.0.2.0/24", "198.51.100.0/24"] {
            route("CreateRoute", &table, to, &[to_port]).await.ok();
        }
        older(&cloud, &[(ASSOCIATE, &[association, &table, &vpc, subnet])]).await;
        tables.push(table);
    }
    let [one, two] = tables.as_slice() else { panic!("two were made") };
    // What is wrong already is no leave for more of it.
    unsupported(&route("CreateRoute", one, "203.0.113.0/24", &[to_port]).await, ASTRAY);
    unsupported(&route("ReplaceRoute", one, "192.0.2.0/24", &[to_other]).await, ASTRAY);
    let three = told(&alice, "CreateRouteTable", &[("VpcId", &vpc)], "routeTableId").await;
    let replace = [("AssociationId", associations[0]), ("RouteTableId", &three)];
    unsupported(&alice.ec2("ReplaceRouteTableAssociation", &replace).await, ASTRAY);

    // Each by a way of its own, while the rest is as it was.
    route("DeleteRoute", one, "192.0.2.0/24", &[]).await.ok();
    route("ReplaceRoute", one, "198.51.100.0/24", &[to_internet]).await.ok();
    route("ReplaceRoute", one, "0.0.0.0/0", &[to_internet]).await.ok();
    unsupported(&route("DeleteRoute", one, "0.0.0.0/0", &[]).await, ASTRAY);
    route("DeleteRoute", two, "0.0.0.0/0", &[]).await.ok();
    route("DeleteRoute", two, "192.0.2.0/24", &[]).await.ok();
    let replace = [("AssociationId", associations[1]), ("RouteTableId", one)];
    let association = told(&alice, "ReplaceRouteTableAssociation", &replace, "newAssociationId").await;
    alice.ec2("DeleteRouteTable", &[("RouteTableId", two)]).await.ok();
    for association in [associations[0], &association] {
        alice.ec2("DisassociateRouteTable", &[("AssociationId", association)]).await.ok();
    }
    alice.ec2("DeleteRouteTable", &[("RouteTableId", one)]).await.ok();
}

const EMPTY: &str = "DELETE FROM network_acl_entries WHERE acl_id = $1";

async fn an_acl_that_an_older_version_let_be_emptied_is_put_right_side_by_side(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Default { vpc, .. } = default(&alice).await;
    let acl = only(&alice, "DescribeNetworkAcls", ("vpc-id", &vpc), "networkAclId").await;
    older(&cloud, &[(EMPTY, &[&acl])]).await;
    let all = async |egress: &str| {
        let [acl, number, _, rest @ ..] = entry(&acl, "100", "allow", "0.0.0.0/0");
        alice.ec2("CreateNetworkAclEntry", &[&[acl, number, ("Egress", egress)][..], &rest].concat()).await
    };
    all("true").await.ok();
    let back = [("NetworkAclId", acl.as_str()), ("RuleNumber", "100"), ("Egress", "true")];
    unsupported(&alice.ec2("DeleteNetworkAclEntry", &back).await, REFUSES);
    all("false").await.ok();
    unsupported(&alice.ec2("DeleteNetworkAclEntry", &entry(&acl, "100", "allow", "")[..3]).await, REFUSES);
}

async fn what_an_older_version_let_in_keeps_no_subnet_away(cloud: Cloud) {
    let _first = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Default { vpc, subnet } = default(&alice).await;
    let acl = only(&alice, "DescribeNetworkAcls", ("vpc-id", &vpc), "networkAclId").await;
    let main = main_table(&alice, &vpc).await;
    let (detach, no_routes) = (
        "UPDATE internet_gateways SET vpc_id = NULL WHERE vpc_id = $1",
        "DELETE FROM routes WHERE route_table_id = $1",
    );
    older(&cloud, &[(EMPTY, &[&acl]), (detach, &[&vpc]), (no_routes, &[&main])]).await;
    let zones = async || {
        let of_vpc = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
        let mut zones = alice.ec2("DescribeSubnets", &of_vpc).await.ok().all("availabilityZone");
        zones.sort();
        zones
    };
    let _second = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    assert_eq!(zones().await, ["zone-a", "zone-b"]);
    alice.ec2("DeleteSubnet", &[("SubnetId", &subnet)]).await.ok();
    alice.ec2("CreateDefaultSubnet", &[("AvailabilityZone", "zone-a")]).await.ok();
    assert_eq!(zones().await, ["zone-a", "zone-b"]);
}

async fn no_nat_gateway_is_made_in_it(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Default { vpc, subnet } = default(&alice).await;
    let (allocation, _) = allocated(&alice).await;
    let public = [("SubnetId", subnet.as_str()), ("AllocationId", allocation.as_str())];
    let private = [("SubnetId", subnet.as_str()), ("ConnectivityType", "private")];
    for words in [public, private] {
        unsupported(&alice.ec2("CreateNatGateway", &words).await, "A NAT gateway");
    }
    let own = made_vpc(&alice, "10.0.0.0/16").await;
    let elsewhere = subnet_of(&alice, &own, "10.0.0.0/24", "zone-a").await;
    let words = [("SubnetId", elsewhere.as_str()), ("ConnectivityType", "private")];
    alice.ec2("CreateNatGateway", &words).await.ok();
    let of_vpc = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
    assert!(alice.ec2("DescribeNatGateways", &of_vpc).await.ok().all("natGatewayId").is_empty());
}
