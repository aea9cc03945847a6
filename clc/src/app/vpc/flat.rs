//! A default VPC tells what the flat network does, or the request is refused that would have it tell something else.
//!
//! The flat network asks no internet gateway, no route table and no network ACL: whatever a guest sends leaves by the zone's
//! gateway, and whatever comes for one is let in as far as to its groups. So a default VPC with subnets has an internet
//! gateway, the tables that its subnets go by lead to that alone, and their ACLs let everything through. What no subnet
//! goes by may say anything: it has no effect on EC2 either.
//!
//! An older version let in what is an offence now. It stays as it is told, and keeps nobody from anything: what is refused is
//! a change after which there is an offence that was not there before. So each can be put right alone, and in any order.

use super::not_in_default_vpc;
use super::parts::EVERYWHERE;
use crate::store::internet_gateway::internet_gateway_of_vpc_in_txn;
use crate::store::network_acl::{
    network_acl_entries_in_txn, network_acl_user_in_txn, network_acls_of_vpc_in_txn,
};
use crate::store::route_table::{
    Route, route_table_user_in_txn, route_tables_of_vpc_in_txn, routes_of_table_in_txn,
};
use crate::store::subnet::subnets_of_vpc_in_txn;
use crate::store::vpc::vpc_fetch_in_txn;
use crate::store::{StoreError, Tx};
use karri_proto::fault::Fault;
use karri_proto::network::{AclEntry, Net4, Traffic};
use std::collections::BTreeSet;

/// One thing that subnets of a default VPC are told otherwise than it is. Equal ones are the same one, before a change and
/// after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Offence {
    NoGateway,
    NoWayOut { table: String },
    Astray { table: String, destination: String, target: String },
    Refuses { acl: String, egress: bool },
}

impl Offence {
    fn what(&self) -> &'static str {
        match self {
            Offence::NoGateway => "A subnet without an internet gateway",
            Offence::NoWayOut { .. } | Offence::Astray { .. } => {
                "A subnet whose routes are any but those to the internet gateway"
            }
            Offence::Refuses { .. } => "A subnet whose network ACL refuses anything",
        }
    }
}

/// What a VPC told before a change. None: it is no default VPC, or has no subnets to be told anything.
pub struct Flat<'a> {
    vpc: &'a str,
    before: Option<BTreeSet<Offence>>,
}

impl<'a> Flat<'a> {
    /// Called before a change is written, in its transaction.
    pub async fn before_in_txn(tx: &mut Tx, vpc: &'a str) -> Result<Self, StoreError> {
        let is_default = vpc_fetch_in_txn(tx, vpc).await?.is_some_and(|vpc| vpc.is_default);
        let before = match is_default && !subnets_of_vpc_in_txn(tx, vpc).await?.is_empty() {
            true => Some(offences_in_txn(tx, vpc).await?),
            false => None,
        };
        Ok(Self { vpc, before })
    }

    /// Called when it is written and before it is committed.
    pub async fn check_in_txn(self, tx: &mut Tx) -> Result<(), Fault> {
        let Some(before) = self.before else { return Ok(()) };
        let after = offences_in_txn(tx, self.vpc).await?;
        match after.difference(&before).next() {
            Some(offence) => Err(not_in_default_vpc(offence.what())),
            None => Ok(()),
        }
    }
}

/// What keeps a default VPC from a subnet. Only its first one: a further one goes by what others go by already.
pub async fn bars_subnets_in_txn(tx: &mut Tx, vpc: &str) -> Result<Option<&'static str>, StoreError> {
    if !subnets_of_vpc_in_txn(tx, vpc).await?.is_empty() {
        return Ok(None);
    }
    Ok(offences_in_txn(tx, vpc).await?.first().map(Offence::what))
}

/// As if it had subnets.
async fn offences_in_txn(tx: &mut Tx, vpc: &str) -> Result<BTreeSet<Offence>, StoreError> {
    let gateway = internet_gateway_of_vpc_in_txn(tx, vpc).await?.map(|gateway| gateway.id);
    let mut offences = BTreeSet::new();
    if gateway.is_none() {
        offences.insert(Offence::NoGateway);
    }
    routes_astray_in_txn(tx, vpc, gateway.as_deref(), &mut offences).await?;
    acls_that_refuse_in_txn(tx, vpc, &mut offences).await?;
    Ok(offences)
}

/// Of the main table and those that subnets go by.
async fn routes_astray_in_txn(
    tx: &mut Tx,
    vpc: &str,
    gateway: Option<&str>,
    offences: &mut BTreeSet<Offence>,
) -> Result<(), StoreError> {
    for table in route_tables_of_vpc_in_txn(tx, vpc).await? {
        if route_table_user_in_txn(tx, &table.id).await?.is_none() {
            continue;
        }
        let routes = routes_of_table_in_txn(tx, &table.id).await?;
        let leads_out = |route: &Route| Some(route.target.as_str()) == gateway;
        if !routes.iter().any(|route| route.destination == EVERYWHERE && leads_out(route)) {
            offences.insert(Offence::NoWayOut { table: table.id.clone() });
        }
        offences.extend(routes.into_iter().filter(|route| !leads_out(route)).map(|route| Offence::Astray {
            table: route.route_table_id,
            destination: route.destination,
            target: route.target,
        }));
    }
    Ok(())
}

/// Of the default ACL, by which a new subnet goes, and those that subnets go by.
async fn acls_that_refuse_in_txn(
    tx: &mut Tx,
    vpc: &str,
    offences: &mut BTreeSet<Offence>,
) -> Result<(), StoreError> {
    for acl in network_acls_of_vpc_in_txn(tx, vpc).await? {
        if !acl.is_default && network_acl_user_in_txn(tx, &acl.id).await?.is_none() {
            continue;
        }
        for egress in [false, true] {
            if !lets_everything_through(&network_acl_entries_in_txn(tx, &acl.id, egress).await?) {
                offences.insert(Offence::Refuses { acl: acl.id.clone(), egress });
            }
        }
    }
    Ok(())
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
