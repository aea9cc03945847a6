//! Groups and rules in EC2's words.

use crate::api::cx::Cx;
use crate::api::ec2::tag::shown;
use crate::app::security_group::terms::{ALL, ports_of, protocol_text};
use crate::app::security_group::{Peer, Rule};
use crate::app::tag::Tags;
use crate::store::network::SecurityGroup as Row;
use karri_proto::aws::ec2;
use karri_proto::network::Direction;
use std::collections::BTreeMap;

pub fn group(cx: &Cx, row: Row, rules: &[Rule], tags: &Tags) -> ec2::SecurityGroup {
    ec2::SecurityGroup {
        description: Some(row.description),
        group_name: Some(row.name),
        ip_permissions: permissions(rules, Direction::Ingress),
        ip_permissions_egress: permissions(rules, Direction::Egress),
        security_group_arn: Some(cx.arn_of(&row.account, "security-group", &row.id)),
        owner_id: Some(row.account),
        group_id: Some(row.id),
        tags: shown(tags),
        vpc_id: Some(row.vpc_id),
    }
}

/// EC2 puts rules together that differ in nothing but who is at the other end.
fn permissions(rules: &[Rule], direction: Direction) -> Vec<ec2::IpPermission> {
    let mut told: BTreeMap<_, ec2::IpPermission> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.terms.direction == direction) {
        let traffic = rule.terms.traffic;
        let ports = ports_of(traffic);
        let one = told.entry(traffic).or_insert_with(|| ec2::IpPermission {
            ip_protocol: Some(protocol_text(traffic)),
            from_port: ports.map(|(from, _)| from),
            to_port: ports.map(|(_, to)| to),
            ..Default::default()
        });
        let description = rule.description.clone();
        match &rule.terms.peer {
            Peer::V4(net) => {
                one.ip_ranges.push(ec2::IpRange { cidr_ip: Some(net.to_string()), description });
            }
            Peer::V6(net) => {
                one.ipv6_ranges.push(ec2::Ipv6Range { cidr_ipv6: Some(net.to_string()), description });
            }
            Peer::Group(group) => one.user_id_group_pairs.push(ec2::UserIdGroupPair {
                description,
                group_id: Some(group.to_string()),
                user_id: rule.peer_account.clone(),
                ..Default::default()
            }),
            Peer::List(list) => one
                .prefix_list_ids
                .push(ec2::PrefixListId { description, prefix_list_id: Some(list.to_string()) }),
        }
    }
    told.into_values().collect()
}

pub fn rule(cx: &Cx, rule: Rule, tags: &Tags) -> ec2::SecurityGroupRule {
    let (from, to) = ports_of(rule.terms.traffic).unwrap_or((ALL, ALL));
    let parts = parts(&rule);
    ec2::SecurityGroupRule {
        cidr_ipv4: parts.cidr4,
        cidr_ipv6: parts.cidr6,
        description: rule.description,
        from_port: Some(from),
        group_id: Some(rule.group.to_string()),
        group_owner_id: Some(rule.account.clone()),
        ip_protocol: Some(protocol_text(rule.terms.traffic)),
        is_egress: Some(rule.terms.direction == Direction::Egress),
        prefix_list_id: parts.list,
        referenced_group_info: parts.group.map(|group| ec2::ReferencedSecurityGroup {
            group_id: Some(group),
            user_id: rule.peer_account,
            ..Default::default()
        }),
        security_group_rule_arn: Some(cx.arn_of(&rule.account, "security-group-rule", rule.id.as_str())),
        security_group_rule_id: Some(rule.id.to_string()),
        tags: shown(tags),
        to_port: Some(to),
    }
}

pub fn revoked(rule: Rule) -> ec2::RevokedSecurityGroupRule {
    let (from, to) = ports_of(rule.terms.traffic).unwrap_or((ALL, ALL));
    let parts = parts(&rule);
    ec2::RevokedSecurityGroupRule {
        cidr_ipv4: parts.cidr4,
        cidr_ipv6: parts.cidr6,
        description: rule.description,
        from_port: Some(from),
        group_id: Some(rule.group.to_string()),
        ip_protocol: Some(protocol_text(rule.terms.traffic)),
        is_egress: Some(rule.terms.direction == Direction::Egress),
        prefix_list_id: parts.list,
        referenced_group_id: parts.group,
        security_group_rule_id: Some(rule.id.to_string()),
        to_port: Some(to),
    }
}

/// Who is at the other end: one of these.
#[derive(Default)]
struct Parts {
    cidr4: Option<String>,
    cidr6: Option<String>,
    group: Option<String>,
    list: Option<String>,
}

fn parts(rule: &Rule) -> Parts {
    match &rule.terms.peer {
        Peer::V4(net) => Parts { cidr4: Some(net.to_string()), ..Parts::default() },
        Peer::V6(net) => Parts { cidr6: Some(net.to_string()), ..Parts::default() },
        Peer::Group(group) => Parts { group: Some(group.to_string()), ..Parts::default() },
        Peer::List(list) => Parts { list: Some(list.to_string()), ..Parts::default() },
    }
}
