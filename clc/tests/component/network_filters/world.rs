//! One thing of each kind, with all that filters ask about.

use super::{Row, Table};
use crate::network_interfaces::{attached, made, running, wait_attached};
use crate::support::networks::only;
use crate::support::vpc::{Routed, allocated, nat_state, routed, subnet, told};
use crate::support::{Answer, Client};

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
const ROUTE_NOTHING: &[&str] = &[
    "association.gateway-id",
    "route.destination-ipv6-cidr-block",
    "route.egress-only-internet-gateway-id",
    "route.transit-gateway-id",
    "route.vpc-peering-connection-id",
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

async fn group(client: &Client, all: &Common, name: &str) -> String {
    let words = [("GroupName", name), ("GroupDescription", name), ("VpcId", all.routed.vpc.as_str())];
    told(client, "CreateSecurityGroup", &words, "groupId").await
}

/// With rules to each side that differ from those to the other.
async fn groups(client: &Client, all: &Common) -> Table {
    let (one, peer) = (group(client, all, "doors").await, group(client, all, "peers").await);
    for (action, protocol, ports, cidrs) in [
        ("AuthorizeSecurityGroupIngress", "tcp", ["22", "23"], ["192.0.2.0/24", "2001:db8:1::/64"]),
        ("AuthorizeSecurityGroupEgress", "udp", ["53", "54"], ["198.51.100.0/24", "2001:db8:2::/64"]),
    ] {
        let words = [
            ("GroupId", one.as_str()),
            ("IpPermissions.1.IpProtocol", protocol),
            ("IpPermissions.1.FromPort", ports[0]),
            ("IpPermissions.1.ToPort", ports[1]),
            ("IpPermissions.1.IpRanges.1.CidrIp", cidrs[0]),
            ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", cidrs[1]),
            ("IpPermissions.1.Groups.1.GroupId", &peer),
            ("IpPermissions.1.PrefixListIds.1.PrefixListId", &all.list),
        ];
        client.ec2(action, &words).await.ok();
    }
    let mut asked = rows(&[
        ("description", "doors", "peers"),
        ("group-id", &one, &peer),
        ("group-name", "doors", "peers"),
        ("owner-id", &all.account, "000000000000"),
        ("vpc-id", &all.routed.vpc, "vpc-0123456789abcdef0"),
        ("ip-permission.cidr", "192.0.2.0/24", "198.51.100.0/24"),
        ("ip-permission.from-port", "22", "53"),
        ("ip-permission.ipv6-cidr", "2001:db8:1::/64", "2001:db8:2::/64"),
        ("ip-permission.protocol", "tcp", "udp"),
        ("ip-permission.to-port", "23", "54"),
        ("egress.ip-permission.cidr", "198.51.100.0/24", "192.0.2.0/24"),
        ("egress.ip-permission.from-port", "53", "22"),
        ("egress.ip-permission.ipv6-cidr", "2001:db8:2::/64", "2001:db8:1::/64"),
        ("egress.ip-permission.protocol", "udp", "tcp"),
        ("egress.ip-permission.to-port", "54", "23"),
    ]);
    asked.extend(alike(&["ip-permission.group-id", "egress.ip-permission.group-id"], &peer, &one));
    asked.extend(alike(&["ip-permission.group-name", "egress.ip-permission.group-name"], "peers", "doors"));
    let lists = ["ip-permission.prefix-list-id", "egress.ip-permission.prefix-list-id"];
    asked.extend(alike(&lists, &all.list, "pl-0123456789abcdef0"));
    let users = ["ip-permission.user-id", "egress.ip-permission.user-id"];
    asked.extend(alike(&users, &all.account, "000000000000"));
    Table {
        action: "DescribeSecurityGroups",
        declared: (include_str!("../../../src/api/ec2/security_group/filter.rs"), "SecurityGroup"),
        element: "groupName",
        one: "doors".to_owned(),
        rows: asked,
        nothing: &[],
        tagged: Some(one),
    }
}

async fn rules(client: &Client, all: &Common) -> Table {
    let (one, other) = (group(client, all, "ruled").await, group(client, all, "apart").await);
    let rule = |client: &Client, group: String| {
        let client = client.clone();
        async move { only(&client, "DescribeSecurityGroupRules", ("group-id", &group), RULE).await }
    };
    let (of_one, of_other) = (rule(client, one.clone()).await, rule(client, other.clone()).await);
    Table {
        action: "DescribeSecurityGroupRules",
        declared: (include_str!("../../../src/api/ec2/security_group/filter.rs"), "SecurityGroupRule"),
        element: RULE,
        one: of_one.clone(),
        rows: rows(&[("group-id", &one, &other), ("security-group-rule-id", &of_one, &of_other)]),
        nothing: &[],
        tagged: Some(of_one),
    }
}

const RULE: &str = "securityGroupRuleId";

async fn interfaces(client: &Client, all: &Common) -> Table {
    let seen = client.ec2("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &all.port)]).await.ok();
    let first = |name: &str| seen.first(name).unwrap_or_else(|| panic!("{name} in {}", seen.text));
    let mut asked = interface_association(all, &seen);
    asked.extend(interface_attachment(all, &seen));
    asked.extend(rows(&[
        ("addresses.primary", "true", "maybe"),
        ("description", "the back *", "the front door"),
        ("group-id", &first("groupId"), "sg-0123456789abcdef0"),
        ("group-name", "default", "doors"),
        ("interface-type", "interface", "nat_gateway"),
        ("mac-address", &first("macAddress"), "02:00:00:00:00:01"),
        ("network-interface-id", &all.port, "eni-0123456789abcdef0"),
        ("operator.managed", "false", "true"),
        ("owner-id", &all.account, "000000000000"),
        ("private-dns-name", &first("privateDnsName"), "ip-10-0-0-1.*"),
        ("requester-managed", "false", "true"),
        ("source-dest-check", "true", "false"),
        ("status", "in-use", "available"),
        ("subnet-id", &all.routed.subnet, "subnet-0123456789abcdef0"),
        ("vpc-id", &all.routed.vpc, "vpc-0123456789abcdef0"),
    ]));
    asked.extend(alike(&["availability-zone", "availability-zone-id"], "zone-a", "zone-b"));
    asked.extend(alike(&["addresses.private-ip-address", "private-ip-address"], PRIVATE, "10.0.0.1"));
    Table {
        action: "DescribeNetworkInterfaces",
        declared: (include_str!("../../../src/api/ec2/network_interface/filter.rs"), "NetworkInterface"),
        element: "networkInterfaceId",
        one: all.port.clone(),
        rows: asked,
        nothing: &["ipv6-addresses.ipv6-address", "operator.principal", "requester-id"],
        tagged: Some(all.port.clone()),
    }
}

fn interface_association(all: &Common, seen: &Answer) -> Vec<Row> {
    let first = |name: &str| seen.first(name).unwrap_or_else(|| panic!("{name} in {}", seen.text));
    let mut asked = rows(&[
        ("association.allocation-id", &all.allocation, "eipalloc-0123456789abcdef0"),
        ("association.association-id", &first("associationId"), "eipassoc-0123456789abcdef0"),
        ("association.public-dns-name", &first("publicDnsName"), "ec2-192-0-2-1.*"),
    ]);
    let publics = ["association.public-ip", "addresses.association.public-ip"];
    asked.extend(alike(&publics, &all.public, "192.0.2.1"));
    let owners = ["association.ip-owner-id", "addresses.association.owner-id"];
    asked.extend(alike(&owners, &all.account, "000000000000"));
    asked
}

fn interface_attachment(all: &Common, seen: &Answer) -> Vec<Row> {
    rows(&[
        ("attachment.attach-time", &seen.one("attachTime"), "2001-*"),
        ("attachment.attachment-id", &seen.one("attachmentId"), "eni-attach-0123456789abcdef0"),
        ("attachment.delete-on-termination", "false", "true"),
        ("attachment.device-index", "1", "0"),
        ("attachment.instance-id", &all.instance, "i-0123456789abcdef0"),
        ("attachment.instance-owner-id", &all.account, "000000000000"),
        ("attachment.status", "attached", "detaching"),
    ])
}

async fn addresses(client: &Client, all: &Common) -> Table {
    let seen = client.ec2("DescribeAddresses", &[("AllocationId.1", &all.allocation)]).await.ok();
    Table {
        action: "DescribeAddresses",
        declared: (include_str!("../../../src/api/ec2/address.rs"), "Address"),
        element: "allocationId",
        one: all.allocation.clone(),
        rows: rows(&[
            ("allocation-id", &all.allocation, "eipalloc-0123456789abcdef0"),
            ("association-id", &seen.one("associationId"), "eipassoc-0123456789abcdef0"),
            ("domain", "vpc", "standard"),
            ("instance-id", &all.instance, "i-0123456789abcdef0"),
            ("network-border-group", &seen.one("networkBorderGroup"), "elsewhere"),
            ("network-interface-id", &all.port, "eni-0123456789abcdef0"),
            ("network-interface-owner-id", &all.account, "000000000000"),
            ("private-ip-address", PRIVATE, "10.0.0.1"),
            ("public-ip", &all.public, "192.0.2.1"),
        ]),
        nothing: &[],
        tagged: Some(all.allocation.clone()),
    }
}

fn internet_gateways(all: &Common) -> Table {
    Table {
        action: "DescribeInternetGateways",
        declared: (include_str!("../../../src/api/ec2/internet_gateway.rs"), "InternetGateway"),
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

fn nat_gateways(all: &Common) -> Table {
    Table {
        action: "DescribeNatGateways",
        declared: (include_str!("../../../src/api/ec2/nat_gateway.rs"), "NatGateway"),
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

async fn route_tables(client: &Client, all: &Common) -> Table {
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
        declared: (include_str!("../../../src/api/ec2/route_table/filter.rs"), "RouteTable"),
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

async fn acls(client: &Client, all: &Common) -> Table {
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
        declared: (include_str!("../../../src/api/ec2/network_acl/filter.rs"), "NetworkAcl"),
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

/// Those of the cloud itself, of which there are none.
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
