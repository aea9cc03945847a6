//! One thing of each kind, with all that filters ask about.

mod groups;
mod interfaces;
mod ways;

use super::{Row, Table};
use crate::network_interfaces::{attached, made, running, wait_attached};
use crate::support::Client;
use crate::support::networks::only;
use crate::support::vpc::{Routed, allocated, nat_state, routed, subnet, told};
use groups::{groups, rules};
use interfaces::{addresses, interfaces};
use ways::{acls, internet_gateways, nat_gateways, route_tables};

const SUBNET_NOTHING: &[&str] = &[
    "customer-owned-ipv4-pool",
    "enable-lni-at-device-index",
    "ipv6-cidr-block-association.association-id",
    "ipv6-cidr-block-association.ipv6-cidr-block",
    "ipv6-cidr-block-association.state",
    "outpost-arn",
];
const VPC_NOTHING: &[&str] = &[
    "ipv6-cidr-block-association.association-id",
    "ipv6-cidr-block-association.ipv6-cidr-block",
    "ipv6-cidr-block-association.ipv6-pool",
    "ipv6-cidr-block-association.state",
];
pub struct World {
    pub tables: Vec<Table>,
}

fn rows(all: &[(&'static str, &str, &str)]) -> Vec<Row> {
    all.iter().map(|(filter, value, other)| (*filter, (*value).to_owned(), (*other).to_owned())).collect()
}

/// The same of several filters.
fn alike(filters: &[&'static str], value: &str, other: &str) -> Vec<Row> {
    filters.iter().map(|filter| (*filter, value.to_owned(), other.to_owned())).collect()
}

/// What the others are about.
struct Common {
    account: String,
    routed: Routed,
    list: String,
    /// A running instance with the interface as its second one, and that with the elastic address.
    instance: String,
    port: String,
    allocation: String,
    public: String,
    nat: String,
}

const PRIVATE: &str = "10.0.0.77";

pub async fn world(client: &Client) -> World {
    let routed = routed(client).await;
    let names = [("VpcId", routed.vpc.as_str()), ("EnableDnsHostnames.Value", "true")];
    client.ec2("ModifyVpcAttribute", &names).await.ok();
    let list = [("PrefixListName", "offices"), ("AddressFamily", "IPv4"), ("MaxEntries", "3")];
    let list = told(client, "CreateManagedPrefixList", &list, "prefixListId").await;
    let (instance, _) = running(client, &routed.subnet).await;
    let words = [("Description", "the back door"), ("PrivateIpAddress", PRIVATE)];
    let port = made(client, &routed.subnet, &words).await.one("networkInterfaceId");
    attached(client, &port, &instance, "1").await;
    wait_attached(client, &port).await;
    let (allocation, public) = allocated(client).await;
    let lead = [("AllocationId", allocation.as_str()), ("NetworkInterfaceId", port.as_str())];
    client.ec2("AssociateAddress", &lead).await.ok();
    let (of_nat, _) = allocated(client).await;
    let create = [("SubnetId", routed.subnet.as_str()), ("AllocationId", of_nat.as_str())];
    let nat = told(client, "CreateNatGateway", &create, "natGatewayId").await;
    nat_state(client, &nat, "available").await;
    let account = client.account.clone();
    let all = Common { account, routed, list, instance, port, allocation, public, nat };
    let tables = vec![
        vpcs(client, &all).await,
        subnets(client, &all).await,
        groups(client, &all).await,
        rules(client, &all).await,
        interfaces(client, &all).await,
        addresses(client, &all).await,
        internet_gateways(&all),
        nat_gateways(&all),
        route_tables(client, &all).await,
        acls(client, &all).await,
        dhcp_options(client, &all).await,
        lists(&all),
        own_lists(),
        endpoints(),
    ];
    World { tables }
}

async fn vpcs(client: &Client, all: &Common) -> Table {
    let words = [("VpcId", all.routed.vpc.as_str()), ("CidrBlock", "100.64.0.0/24")];
    let further = told(client, "AssociateVpcCidrBlock", &words, "associationId").await;
    let default = only(client, "DescribeVpcs", ("is-default", "true"), "vpcId").await;
    let options = set_of_options(client).await;
    let words = [("VpcId", all.routed.vpc.as_str()), ("DhcpOptionsId", options.as_str())];
    client.ec2("AssociateDhcpOptions", &words).await.ok();
    let mut asked = rows(&[
        ("cidr-block-association.association-id", &further, "vpc-cidr-assoc-0123456789abcdef0"),
        ("cidr-block-association.cidr-block", "100.64.*", "172.31.0.0/16"),
        ("cidr-block-association.state", "associated", "failed"),
        ("owner-id", &all.account, "000000000000"),
        ("state", "available", "pending"),
        ("vpc-id", &all.routed.vpc, &default),
    ]);
    asked.extend(alike(&["cidr", "cidr-block", "cidrBlock"], "10.0.0.0/16", "100.64.0.0/24"));
    asked.extend(alike(&["dhcp-options-id", "dhcpOptionsId"], &options, "dopt-0123456789abcdef0"));
    asked.extend(alike(&["is-default", "isDefault"], "false", "true"));
    Table {
        action: "DescribeVpcs",
        declared: (include_str!("../../../src/api/ec2/vpc.rs"), "Vpc"),
        element: "vpcId",
        one: all.routed.vpc.clone(),
        rows: asked,
        nothing: VPC_NOTHING,
        tagged: Some(all.routed.vpc.clone()),
    }
}

async fn set_of_options(client: &Client) -> String {
    let words = [("DhcpConfiguration.1.Key", "domain-name"), ("DhcpConfiguration.1.Value.1", "x.example")];
    told(client, "CreateDhcpOptions", &words, "dhcpOptionsId").await
}

async fn subnets(client: &Client, all: &Common) -> Table {
    let seen = client.ec2("DescribeSubnets", &[("SubnetId.1", &all.routed.subnet)]).await.ok();
    let other = subnet(client, &all.routed.vpc, "10.0.1.0/24").await;
    let on_launch = "private-dns-name-options-on-launch.hostname-type";
    let mut asked = rows(&[
        ("available-ip-address-count", &seen.one("availableIpAddressCount"), "251"),
        ("map-public-ip-on-launch", "false", "true"),
        ("owner-id", &all.account, "000000000000"),
        (on_launch, "ip-name", "resource-name"),
        ("state", "available", "pending"),
        ("subnet-arn", &seen.one("subnetArn"), &seen.one("subnetArn").replace(&all.routed.subnet, &other)),
        ("subnet-id", &all.routed.subnet, &other),
        ("vpc-id", &all.routed.vpc, "vpc-0123456789abcdef0"),
    ]);
    let zone = ["availability-zone", "availability-zone-id", "availabilityZone", "availabilityZoneId"];
    asked.extend(alike(&zone, "zone-a", "zone-b"));
    asked.extend(alike(&["cidr", "cidr-block", "cidrBlock"], "10.0.0.0/24", "10.0.1.0/24"));
    let flags = [
        "default-for-az",
        "defaultForAz",
        "enable-dns64",
        "ipv6-native",
        "map-customer-owned-ip-on-launch",
        "private-dns-name-options-on-launch.enable-resource-name-dns-a-record",
        "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record",
    ];
    asked.extend(alike(&flags, "false", "true"));
    Table {
        action: "DescribeSubnets",
        declared: (include_str!("../../../src/api/ec2/subnet.rs"), "Subnet"),
        element: "subnetId",
        one: all.routed.subnet.clone(),
        rows: asked,
        nothing: SUBNET_NOTHING,
        tagged: Some(all.routed.subnet.clone()),
    }
}

async fn dhcp_options(client: &Client, all: &Common) -> Table {
    let one = set_of_options(client).await;
    let other = only(client, "DescribeDhcpOptions", ("key", "domain-name-servers"), "dhcpOptionsId").await;
    Table {
        action: "DescribeDhcpOptions",
        declared: (include_str!("../../../src/api/ec2/dhcp_options.rs"), "DhcpOptions"),
        element: "dhcpOptionsId",
        one: one.clone(),
        rows: rows(&[
            ("dhcp-options-id", &one, &other),
            ("key", "domain-name", "domain-name-servers"),
            ("owner-id", &all.account, "000000000000"),
            ("value", "x.example", "AmazonProvidedDNS"),
        ]),
        nothing: &[],
        tagged: Some(one),
    }
}

fn lists(all: &Common) -> Table {
    Table {
        action: "DescribeManagedPrefixLists",
        declared: (include_str!("../../../src/api/ec2/prefix_list.rs"), "ManagedPrefixList"),
        element: "prefixListId",
        one: all.list.clone(),
        rows: rows(&[
            ("owner-id", &all.account, "000000000000"),
            ("prefix-list-id", &all.list, "pl-0123456789abcdef0"),
            ("prefix-list-name", "offices", "homes"),
        ]),
        nothing: &[],
        tagged: Some(all.list.clone()),
    }
}

/// Those of the cloud itself, of which there are none: nothing is found by any filter. This tells only that they are known.
fn own_lists() -> Table {
    Table {
        action: "DescribePrefixLists",
        declared: (include_str!("../../../src/api/ec2/prefix_list.rs"), "PrefixList"),
        element: "prefixListId",
        one: String::new(),
        rows: Vec::new(),
        nothing: &["prefix-list-id", "prefix-list-name"],
        tagged: None,
    }
}

/// Of which there are none, too.
fn endpoints() -> Table {
    Table {
        action: "DescribeVpcEndpoints",
        declared: (include_str!("../../../src/api/ec2/vpc_endpoint.rs"), "VpcEndpoint"),
        element: "vpcEndpointId",
        one: String::new(),
        rows: Vec::new(),
        nothing: &[
            "ip-address-type",
            "service-name",
            "service-region",
            "vpc-endpoint-id",
            "vpc-endpoint-state",
            "vpc-endpoint-type",
            "vpc-id",
        ],
        tagged: None,
    }
}
