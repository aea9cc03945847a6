//! Gateways, route tables and network ACLs: the ways into a subnet and out of it.

use super::{Common, rows};
use crate::network_filters::Table;
use crate::support::Client;
use crate::support::networks::only;
use crate::support::vpc::{Routed, told};

const ROUTE_NOTHING: &[&str] = &[
    "association.gateway-id",
    "route.destination-ipv6-cidr-block",
    "route.egress-only-internet-gateway-id",
    "route.transit-gateway-id",
    "route.vpc-peering-connection-id",
];

pub fn internet_gateways(all: &Common) -> Table {
    Table {
        action: "DescribeInternetGateways",
        declared: (include_str!("../../../../src/api/ec2/internet_gateway.rs"), "InternetGateway"),
        element: "internetGatewayId",
        one: all.routed.gateway.clone(),
        rows: rows(&[
            ("attachment.state", "available", "attached"),
            ("attachment.vpc-id", &all.routed.vpc, "vpc-0123456789abcdef0"),
            ("internet-gateway-id", &all.routed.gateway, "igw-0123456789abcdef0"),
            ("owner-id", &all.account, "000000000000"),
        ]),
        nothing: &[],
        tagged: Some(all.routed.gateway.clone()),
    }
}

pub fn nat_gateways(all: &Common) -> Table {
    Table {
        action: "DescribeNatGateways",
        declared: (include_str!("../../../../src/api/ec2/nat_gateway.rs"), "NatGateway"),
        element: "natGatewayId",
        one: all.nat.clone(),
        rows: rows(&[
            ("connectivity-type", "public", "private"),
            ("nat-gateway-id", &all.nat, "nat-0123456789abcdef0"),
            ("state", "available", "deleted"),
            ("subnet-id", &all.routed.subnet, "subnet-0123456789abcdef0"),
            ("vpc-id", &all.routed.vpc, "vpc-0123456789abcdef0"),
        ]),
        nothing: &[],
        tagged: Some(all.nat.clone()),
    }
}

pub async fn route_tables(client: &Client, all: &Common) -> Table {
    let Routed { vpc, subnet, gateway, table: main } = &all.routed;
    let one = told(client, "CreateRouteTable", &[("VpcId", vpc)], "routeTableId").await;
    let association = [("RouteTableId", one.as_str()), ("SubnetId", subnet)];
    let association = told(client, "AssociateRouteTable", &association, "associationId").await;
    for (to, target) in [
        (("DestinationCidrBlock", "198.51.100.0/24"), ("GatewayId", gateway)),
        (("DestinationCidrBlock", "192.0.2.0/24"), ("NetworkInterfaceId", &all.port)),
        (("DestinationPrefixListId", &all.list), ("NatGatewayId", &all.nat)),
    ] {
        client.ec2("CreateRoute", &[("RouteTableId", &one), to, (target.0, target.1)]).await.ok();
    }
    Table {
        action: "DescribeRouteTables",
        declared: (include_str!("../../../../src/api/ec2/route_table/filter.rs"), "RouteTable"),
        element: "routeTableId",
        one: one.clone(),
        rows: rows(&[
            ("association.main", "false", "true"),
            ("association.route-table-association-id", &association, "rtbassoc-0123456789abcdef0"),
            ("association.route-table-id", &one, main),
            ("association.subnet-id", subnet, "subnet-0123456789abcdef0"),
            ("owner-id", &all.account, "000000000000"),
            ("route-table-id", &one, main),
            ("route.destination-cidr-block", "198.51.100.0/24", "0.0.0.0/0"),
            ("route.destination-prefix-list-id", &all.list, "pl-0123456789abcdef0"),
            ("route.gateway-id", gateway, "igw-0123456789abcdef0"),
            ("route.instance-id", &all.instance, "i-0123456789abcdef0"),
            ("route.nat-gateway-id", &all.nat, "nat-0123456789abcdef0"),
            ("route.network-interface-id", &all.port, "eni-0123456789abcdef0"),
            ("route.origin", "CreateRoute", "EnableVgwRoutePropagation"),
            ("route.state", "active", "blackhole"),
            ("vpc-id", vpc, "vpc-0123456789abcdef0"),
        ]),
        nothing: ROUTE_NOTHING,
        tagged: Some(one),
    }
}

pub async fn acls(client: &Client, all: &Common) -> Table {
    let Routed { vpc, subnet, .. } = &all.routed;
    let first = only(client, "DescribeNetworkAcls", ("vpc-id", vpc), "networkAclId").await;
    let one = told(client, "CreateNetworkAcl", &[("VpcId", vpc)], "networkAclId").await;
    let there = client.ec2("DescribeNetworkAcls", &[("NetworkAclId.1", &first)]).await.ok();
    // Each association tells itself, its ACL and its subnet, in that order.
    let association =
        there.text.split("<networkAclAssociationId>").skip(1).find(|part| part.contains(&**subnet));
    let association = association.unwrap().split_once('<').unwrap().0;
    let replace = [("AssociationId", association), ("NetworkAclId", &one)];
    let association = told(client, "ReplaceNetworkAclAssociation", &replace, "newAssociationId").await;
    let entry = [("NetworkAclId", one.as_str()), ("RuleNumber", "77"), ("Egress", "false")];
    let tcp = [
        ("Protocol", "6"),
        ("RuleAction", "allow"),
        ("CidrBlock", "192.0.2.0/24"),
        ("PortRange.From", "22"),
        ("PortRange.To", "23"),
    ];
    client.ec2("CreateNetworkAclEntry", &[&entry[..], &tcp].concat()).await.ok();
    let entry = [entry[0], ("RuleNumber", "78"), entry[2]];
    let icmp = [
        ("Protocol", "1"),
        ("RuleAction", "deny"),
        ("CidrBlock", "192.0.2.0/24"),
        ("Icmp.Type", "3"),
        ("Icmp.Code", "4"),
    ];
    client.ec2("CreateNetworkAclEntry", &[&entry[..], &icmp].concat()).await.ok();
    Table {
        action: "DescribeNetworkAcls",
        declared: (include_str!("../../../../src/api/ec2/network_acl/filter.rs"), "NetworkAcl"),
        element: "networkAclId",
        one: one.clone(),
        rows: rows(&[
            ("association.association-id", &association, "aclassoc-0123456789abcdef0"),
            ("association.network-acl-id", &one, &first),
            ("association.subnet-id", subnet, "subnet-0123456789abcdef0"),
            ("default", "false", "true"),
            ("entry.cidr", "192.0.2.0/24", "198.51.100.0/24"),
            ("entry.egress", "false", "maybe"),
            ("entry.icmp.code", "4", "3"),
            ("entry.icmp.type", "3", "4"),
            ("entry.port-range.from", "22", "23"),
            ("entry.port-range.to", "23", "22"),
            ("entry.protocol", "6", "17"),
            ("entry.rule-action", "allow", "count"),
            ("entry.rule-number", "77", "100"),
            ("network-acl-id", &one, &first),
            ("owner-id", &all.account, "000000000000"),
            ("vpc-id", vpc, "vpc-0123456789abcdef0"),
        ]),
        nothing: &["entry.ipv6-cidr"],
        tagged: Some(one),
    }
}
