//! A default VPC tells what the flat network does, or the request is refused that would have it tell something else.
//!
//! The flat network asks no internet gateway, no route table and no network ACL: whatever a guest sends leaves by the zone's
//! gateway, and whatever comes for one is let in as far as to its groups. So a default VPC with subnets has an internet
//! gateway, the tables that its subnets go by lead to that alone, and their ACLs let everything through. What no subnet
//! goes by may say anything: it has no effect on EC2 either.

use super::not_in_default_vpc;
use super::parts::EVERYWHERE;
use crate::store::internet_gateway::internet_gateway_of_vpc_in_txn;
use crate::store::network_acl::{
    network_acl_entries_in_txn, network_acl_user_in_txn, network_acls_of_vpc_in_txn,
};
use crate::store::route_table::{
    route_table_user_in_txn, route_tables_of_vpc_in_txn, routes_of_table_in_txn,
};
use crate::store::subnet::subnets_of_vpc_in_txn;
use crate::store::vpc::vpc_fetch_in_txn;
use crate::store::{StoreError, Tx};
use karri_proto::fault::Fault;
use karri_proto::network::{AclEntry, Net4, Traffic};

/// What of a VPC decides where packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Gateway,
    Routes,
    Acls,
}

pub const ALL_PARTS: [Part; 3] = [Part::Gateway, Part::Routes, Part::Acls];

/// Called when a change is written and before it is committed. `changed`: the rest is looked at when that changes, so that
/// what an older version let in can be put right one by one.
pub async fn check_flat_in_txn(tx: &mut Tx, vpc: &str, changed: &[Part]) -> Result<(), Fault> {
    let is_default = vpc_fetch_in_txn(tx, vpc).await?.is_some_and(|vpc| vpc.is_default);
    if !is_default || subnets_of_vpc_in_txn(tx, vpc).await?.is_empty() {
        return Ok(());
    }
    match other_than_flat_in_txn(tx, vpc, changed).await? {
        Some(what) => Err(not_in_default_vpc(what)),
        None => Ok(()),
    }
}

/// What a subnet in it would not get.
pub async fn other_than_flat_in_txn(
    tx: &mut Tx,
    vpc: &str,
    parts: &[Part],
) -> Result<Option<&'static str>, StoreError> {
    for part in parts {
        let other = match part {
            Part::Gateway => internet_gateway_of_vpc_in_txn(tx, vpc)
                .await?
                .is_none()
                .then_some("A subnet without an internet gateway"),
            Part::Routes => (!routes_lead_out_in_txn(tx, vpc).await?)
                .then_some("A subnet whose routes are any but those to the internet gateway"),
            Part::Acls => (!acls_let_through_in_txn(tx, vpc).await?)
                .then_some("A subnet whose network ACL refuses anything"),
        };
        if other.is_some() {
            return Ok(other);
        }
    }
    Ok(None)
}

/// Of the main table and those that subnets go by.
async fn routes_lead_out_in_txn(tx: &mut Tx, vpc: &str) -> Result<bool, StoreError> {
    let Some(gateway) = internet_gateway_of_vpc_in_txn(tx, vpc).await? else { return Ok(false) };
    for table in route_tables_of_vpc_in_txn(tx, vpc).await? {
        if route_table_user_in_txn(tx, &table.id).await?.is_none() {
            continue;
        }
        let routes = routes_of_table_in_txn(tx, &table.id).await?;
        let leads_out = routes.iter().any(|route| route.destination == EVERYWHERE);
        if !leads_out || routes.iter().any(|route| route.target != gateway.id) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Of the default ACL, by which a new subnet goes, and those that subnets go by.
async fn acls_let_through_in_txn(tx: &mut Tx, vpc: &str) -> Result<bool, StoreError> {
    for acl in network_acls_of_vpc_in_txn(tx, vpc).await? {
        if !acl.is_default && network_acl_user_in_txn(tx, &acl.id).await?.is_none() {
            continue;
        }
        for egress in [false, true] {
            if !lets_everything_through(&network_acl_entries_in_txn(tx, &acl.id, egress).await?) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// `entries`: in their order, toward one side.
fn lets_everything_through(entries: &[AclEntry]) -> bool {
    for entry in entries {
        if !entry.allow {
            return false;
        }
        if entry.traffic == Traffic::All && entry.range == Net4::EVERYWHERE {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::parts::ALLOW_ALL;
    use super::*;

    #[test]
    fn an_acl_lets_everything_through_whose_entries_do_before_one_refuses() {
        let entry = |number, allow, traffic| AclEntry { number, allow, traffic, range: Net4::EVERYWHERE };
        let ssh = Traffic::Tcp { from: 22, to: 22 };
        let part = AclEntry { range: Net4 { prefix: 1, ..Net4::EVERYWHERE }, ..ALLOW_ALL };
        assert!(lets_everything_through(&[ALLOW_ALL]));
        assert!(lets_everything_through(&[entry(1, true, ssh), ALLOW_ALL, entry(200, false, ssh)]));
        assert!(!lets_everything_through(&[]), "what no entry is about is refused");
        assert!(!lets_everything_through(&[entry(1, true, ssh)]));
        assert!(!lets_everything_through(&[entry(1, false, ssh), ALLOW_ALL]));
        assert!(!lets_everything_through(&[part]));
    }
}
