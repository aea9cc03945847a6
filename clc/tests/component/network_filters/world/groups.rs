//! Security groups and their rules.

use super::{Common, alike, rows};
use crate::network_filters::Table;
use crate::support::Client;
use crate::support::networks::only;
use crate::support::vpc::told;

async fn group(client: &Client, all: &Common, name: &str) -> String {
    let words = [("GroupName", name), ("GroupDescription", name), ("VpcId", all.routed.vpc.as_str())];
    told(client, "CreateSecurityGroup", &words, "groupId").await
}

/// With rules to each side that differ from those to the other.
pub async fn groups(client: &Client, all: &Common) -> Table {
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
        declared: (include_str!("../../../../src/api/ec2/security_group/filter.rs"), "SecurityGroup"),
        element: "groupName",
        one: "doors".to_owned(),
        rows: asked,
        nothing: &[],
        tagged: Some(one),
    }
}

pub async fn rules(client: &Client, all: &Common) -> Table {
    let (one, other) = (group(client, all, "ruled").await, group(client, all, "apart").await);
    let rule = |client: &Client, group: String| {
        let client = client.clone();
        async move { only(&client, "DescribeSecurityGroupRules", ("group-id", &group), RULE).await }
    };
    let (of_one, of_other) = (rule(client, one.clone()).await, rule(client, other.clone()).await);
    Table {
        action: "DescribeSecurityGroupRules",
        declared: (include_str!("../../../../src/api/ec2/security_group/filter.rs"), "SecurityGroupRule"),
        element: RULE,
        one: of_one.clone(),
        rows: rows(&[("group-id", &one, &other), ("security-group-rule-id", &of_one, &of_other)]),
        nothing: &[],
        tagged: Some(of_one),
    }
}

const RULE: &str = "securityGroupRuleId";
