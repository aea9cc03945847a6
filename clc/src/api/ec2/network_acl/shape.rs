//! Network ACLs in EC2's words, which are those of the protocols' numbers here.

use crate::api::cx::Cx;
use crate::api::ec2::tag::shown;
use crate::app::network_acl::LAST_NUMBER;
use crate::app::security_group::terms::{ALL, ports_of};
use crate::app::tag::Tags;
use crate::store::network_acl::{
    NetworkAcl as Row, NetworkAclAssociation as AssociationRow, NetworkAclEntry,
};
use karri_proto::aws::ec2;
use karri_proto::fault::Fault;
use karri_proto::network::{AclEntry, Net4, Traffic};
use std::collections::HashMap;

/// What an account's ACLs are made of.
pub struct Shapes {
    entries: HashMap<String, Vec<NetworkAclEntry>>,
    associations: HashMap<String, Vec<AssociationRow>>,
}

impl Shapes {
    pub async fn read(cx: &Cx, account: &str) -> Result<Self, Fault> {
        let mut entries: HashMap<String, Vec<NetworkAclEntry>> = HashMap::new();
        for entry in cx.app.store.network_acl_entry_list(account).await? {
            entries.entry(entry.acl_id.clone()).or_default().push(entry);
        }
        let mut associations: HashMap<String, Vec<AssociationRow>> = HashMap::new();
        for one in cx.app.store.network_acl_association_list(account).await? {
            associations.entry(one.acl_id.clone()).or_default().push(one);
        }
        Ok(Self { entries, associations })
    }

    pub fn acl(&mut self, row: Row, tags: &Tags) -> ec2::NetworkAcl {
        let mut entries = self.entries.remove(&row.id).unwrap_or_default();
        entries.extend([false, true].map(|egress| last(&row.id, egress)));
        entries.sort_by_key(|one| (one.egress, one.entry.number));
        let associations = self.associations.remove(&row.id).unwrap_or_default();
        ec2::NetworkAcl {
            associations: associations.into_iter().map(association).collect(),
            entries: entries.iter().map(entry).collect(),
            is_default: Some(row.is_default),
            network_acl_id: Some(row.id),
            owner_id: Some(row.account),
            tags: shown(tags),
            vpc_id: Some(row.vpc_id),
        }
    }
}

/// What is nowhere written.
fn last(acl: &str, egress: bool) -> NetworkAclEntry {
    let entry =
        AclEntry { number: LAST_NUMBER, allow: false, traffic: Traffic::All, range: Net4::EVERYWHERE };
    NetworkAclEntry { acl_id: acl.to_owned(), egress, entry }
}

fn association(row: AssociationRow) -> ec2::NetworkAclAssociation {
    ec2::NetworkAclAssociation {
        network_acl_association_id: Some(row.id),
        network_acl_id: Some(row.acl_id),
        subnet_id: Some(row.subnet_id),
    }
}

fn protocol(traffic: Traffic) -> String {
    match traffic {
        Traffic::All => ALL.to_string(),
        Traffic::Icmp { .. } => "1".to_owned(),
        Traffic::Tcp { .. } => "6".to_owned(),
        Traffic::Udp { .. } => "17".to_owned(),
        Traffic::Icmp6 { .. } => "58".to_owned(),
        Traffic::Protocol(number) => number.to_string(),
    }
}

fn entry(row: &NetworkAclEntry) -> ec2::NetworkAclEntry {
    let AclEntry { number, allow, traffic, range } = &row.entry;
    let parts = ports_of(*traffic);
    let is_icmp = matches!(traffic, Traffic::Icmp { .. } | Traffic::Icmp6 { .. });
    ec2::NetworkAclEntry {
        cidr_block: Some(range.to_string()),
        egress: Some(row.egress),
        icmp_type_code: parts
            .filter(|_| is_icmp)
            .map(|(r#type, code)| ec2::IcmpTypeCode { r#type: Some(r#type), code: Some(code) }),
        ipv6_cidr_block: None,
        port_range: parts
            .filter(|_| !is_icmp)
            .map(|(from, to)| ec2::PortRange { from: Some(from), to: Some(to) }),
        protocol: Some(protocol(*traffic)),
        rule_action: Some(if *allow { "allow" } else { "deny" }.to_owned()),
        rule_number: Some(i32::from(*number)),
    }
}
