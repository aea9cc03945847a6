//! What security groups and their rules can be filtered by: all that EC2 knows.

use crate::api::ec2::listing::{Shown, tell, tell_number, tell_tags};
use karri_proto::aws::ec2::{IpPermission, SecurityGroup, SecurityGroupRule};
use karri_proto::aws::filter::Filterable;

impl Filterable for Shown<SecurityGroup> {
    const FILTERS: &'static [&'static str] = &[
        "description",
        "egress.ip-permission.cidr",
        "egress.ip-permission.from-port",
        "egress.ip-permission.group-id",
        "egress.ip-permission.group-name",
        "egress.ip-permission.ipv6-cidr",
        "egress.ip-permission.prefix-list-id",
        "egress.ip-permission.protocol",
        "egress.ip-permission.to-port",
        "egress.ip-permission.user-id",
        "group-id",
        "group-name",
        "ip-permission.cidr",
        "ip-permission.from-port",
        "ip-permission.group-id",
        "ip-permission.group-name",
        "ip-permission.ipv6-cidr",
        "ip-permission.prefix-list-id",
        "ip-permission.protocol",
        "ip-permission.to-port",
        "ip-permission.user-id",
        "owner-id",
        "vpc-id",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let group = &self.0;
        if let Some(part) = name.strip_prefix("egress.ip-permission.") {
            return group.ip_permissions_egress.iter().for_each(|one| permission(one, part, each));
        }
        if let Some(part) = name.strip_prefix("ip-permission.") {
            return group.ip_permissions.iter().for_each(|one| permission(one, part, each));
        }
        match name {
            "description" => tell(each, &group.description),
            "group-id" => tell(each, &group.group_id),
            "group-name" => tell(each, &group.group_name),
            "owner-id" => tell(each, &group.owner_id),
            "vpc-id" => tell(each, &group.vpc_id),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}

pub fn is_about_names_of_peers(filter: &str) -> bool {
    filter.ends_with("ip-permission.group-name")
}

/// EC2 finds groups by the names of those that their rules are about, and does not tell these: they are put there to be
/// looked at, and taken away again.
pub fn peers_named(group: &mut SecurityGroup, name: impl Fn(&str) -> Option<String>) {
    let permissions = group.ip_permissions.iter_mut().chain(&mut group.ip_permissions_egress);
    for pair in permissions.flat_map(|permission| &mut permission.user_id_group_pairs) {
        pair.group_name = pair.group_id.as_deref().and_then(&name);
    }
}

fn permission(one: &IpPermission, part: &str, each: &mut dyn FnMut(&str)) {
    match part {
        "cidr" => one.ip_ranges.iter().for_each(|range| tell(each, &range.cidr_ip)),
        "from-port" => tell_number(each, one.from_port),
        "ipv6-cidr" => one.ipv6_ranges.iter().for_each(|range| tell(each, &range.cidr_ipv6)),
        "prefix-list-id" => one.prefix_list_ids.iter().for_each(|list| tell(each, &list.prefix_list_id)),
        "group-id" => one.user_id_group_pairs.iter().for_each(|pair| tell(each, &pair.group_id)),
        "group-name" => one.user_id_group_pairs.iter().for_each(|pair| tell(each, &pair.group_name)),
        "protocol" => tell(each, &one.ip_protocol),
        "to-port" => tell_number(each, one.to_port),
        "user-id" => one.user_id_group_pairs.iter().for_each(|pair| tell(each, &pair.user_id)),
        _ => {}
    }
}

impl Filterable for Shown<SecurityGroupRule> {
    const FILTERS: &'static [&'static str] = &["group-id", "security-group-rule-id"];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name {
            "group-id" => tell(each, &self.0.group_id),
            "security-group-rule-id" => tell(each, &self.0.security_group_rule_id),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}
