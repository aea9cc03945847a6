//! What network ACLs can be filtered by: all that EC2 knows.

use crate::api::ec2::listing::{Shown, tell, tell_flag, tell_number, tell_tags};
use karri_proto::aws::ec2::{NetworkAcl, NetworkAclAssociation, NetworkAclEntry};
use karri_proto::aws::filter::Filterable;

impl Filterable for Shown<NetworkAcl> {
    const FILTERS: &'static [&'static str] = &[
        "association.association-id",
        "association.network-acl-id",
        "association.subnet-id",
        "default",
        "entry.cidr",
        "entry.egress",
        "entry.icmp.code",
        "entry.icmp.type",
        "entry.ipv6-cidr",
        "entry.port-range.from",
        "entry.port-range.to",
        "entry.protocol",
        "entry.rule-action",
        "entry.rule-number",
        "network-acl-id",
        "owner-id",
        "vpc-id",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let acl = &self.0;
        match (name, name.split_once('.')) {
            (_, Some(("association", part))) => {
                acl.associations.iter().for_each(|one| association(one, part, each));
            }
            (_, Some(("entry", part))) => acl.entries.iter().for_each(|one| entry(one, part, each)),
            ("default", _) => tell_flag(each, acl.is_default),
            ("network-acl-id", _) => tell(each, &acl.network_acl_id),
            ("owner-id", _) => tell(each, &acl.owner_id),
            ("vpc-id", _) => tell(each, &acl.vpc_id),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}

fn association(one: &NetworkAclAssociation, part: &str, each: &mut dyn FnMut(&str)) {
    match part {
        "association-id" => tell(each, &one.network_acl_association_id),
        "network-acl-id" => tell(each, &one.network_acl_id),
        "subnet-id" => tell(each, &one.subnet_id),
        _ => {}
    }
}

fn entry(one: &NetworkAclEntry, part: &str, each: &mut dyn FnMut(&str)) {
    let (icmp, ports) = (one.icmp_type_code.as_ref(), one.port_range.as_ref());
    match part {
        "cidr" => tell(each, &one.cidr_block),
        "egress" => tell_flag(each, one.egress),
        "icmp.code" => tell_number(each, icmp.and_then(|icmp| icmp.code)),
        "icmp.type" => tell_number(each, icmp.and_then(|icmp| icmp.r#type)),
        "port-range.from" => tell_number(each, ports.and_then(|ports| ports.from)),
        "port-range.to" => tell_number(each, ports.and_then(|ports| ports.to)),
        "protocol" => tell(each, &one.protocol),
        "rule-action" => tell(each, &one.rule_action),
        "rule-number" => tell_number(each, one.rule_number),
        _ => {}
    }
}
