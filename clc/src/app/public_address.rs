//! Public addresses: elastic ones, which an account keeps, and those that instances have while they run.
//!
//! What an address leads to is written in its own row and, for the guest and its owner to see, in the specification of the
//! instance; both in one transaction, in the turn of instances and then of networks.

mod associate;
pub mod own;

pub use associate::{Goal, Order};

use super::App;
use super::instance::control::Caller;
use super::tag::{Taggable, Tags};
use crate::store::Tx;
use crate::store::network_change::networks_turn_in_txn;
use crate::store::public_address::{
    PublicAddress, elastic_address_count_in_txn, public_address_by_allocation_in_txn,
    public_address_by_association_in_txn, public_address_by_ip_in_txn, public_address_delete_in_txn,
    public_address_insert_in_txn, public_addresses_take_in_txn,
};
use crate::store::tag::{tags_drop_in_txn, tags_put_in_txn};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{AddressAssociationId, AllocationId};
use std::net::Ipv4Addr;

/// How a request names an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    Allocation(AllocationId),
    /// As EC2-Classic had it.
    Ip(Ipv4Addr),
    Association(AddressAssociationId),
}

pub fn no_public_address() -> Fault {
    let sentence = "Not enough public addresses are available to satisfy the request.";
    Fault::new(FaultCode::InsufficientAddressCapacity, sentence)
}

pub fn ip_not_found(ip: impl std::fmt::Display) -> Fault {
    Fault::new(FaultCode::InvalidAddressNotFound, format!("Address '{ip}' not found."))
}

impl App {
    pub async fn public_address_seen_in_txn(
        &self,
        tx: &mut Tx,
        caller: Caller<'_>,
        named: &Named,
    ) -> Result<PublicAddress, Fault> {
        let (found, missing) = match named {
            Named::Allocation(id) => {
                (public_address_by_allocation_in_txn(tx, id.as_str()).await?, id.not_found())
            }
            Named::Association(id) => {
                (public_address_by_association_in_txn(tx, id.as_str()).await?, id.not_found())
            }
            Named::Ip(ip) => (public_address_by_ip_in_txn(tx, *ip).await?, ip_not_found(ip)),
        };
        let elastic = found.filter(|one| one.allocation_id.is_some()).ok_or_else(|| missing.clone())?;
        if caller.may_touch_of(&elastic.account) {
            return Ok(elastic);
        }
        match named {
            // Who names an address knows already that there is one.
            Named::Ip(ip) => {
                let sentence = format!("The address '{ip}' does not belong to you.");
                Err(Fault::new(FaultCode::AuthFailure, sentence))
            }
            Named::Allocation(_) | Named::Association(_) => Err(missing),
        }
    }

    /// `asked`: this one or none.
    pub async fn address_allocate(
        &self,
        account: &str,
        asked: Option<Ipv4Addr>,
        tags: &Tags,
        dry: bool,
    ) -> Result<PublicAddress, Fault> {
        self.needs_a_managed_zone("Elastic IP addresses are")?;
        let mut tx = self.store.begin().await?;
        networks_turn_in_txn(&mut tx).await?;
        let limit = self.limits.elastic_addresses_per_account;
        if elastic_address_count_in_txn(&mut tx, account).await? >= limit {
            let sentence = "The maximum number of addresses has been reached.";
            return Err(Fault::new(FaultCode::AddressLimitExceeded, sentence));
        }
        let ip = match asked {
            Some(ip) if self.public_ranges.iter().any(|range| range.contains(&u32::from(ip))) => ip,
            Some(ip) => return Err(ip_not_found(ip)),
            None => *public_addresses_take_in_txn(&mut tx, &self.public_ranges, 1)
                .await?
                .first()
                .ok_or_else(no_public_address)?,
        };
        let id = AllocationId::random(&mut rand::thread_rng()).to_string();
        let address = PublicAddress {
            ip,
            account: account.to_owned(),
            allocation_id: Some(id.clone()),
            leads_to: None,
        };
        if !public_address_insert_in_txn(&mut tx, &address).await? {
            let sentence = format!("Address {ip} is in use.");
            return Err(Fault::new(FaultCode::InvalidIpAddressInUse, sentence));
        }
        tags_put_in_txn(&mut tx, account, Taggable::ElasticIp, &id, tags).await?;
        self.networks_commit(tx, dry).await?;
        Ok(address)
    }

    /// Not while it leads anywhere.
    pub async fn address_release(&self, caller: Caller<'_>, named: &Named, dry: bool) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        networks_turn_in_txn(&mut tx).await?;
        let address = self.public_address_seen_in_txn(&mut tx, caller, named).await?;
        if address.leads_to.is_some() {
            let sentence = format!("Address {} is in use.", address.ip);
            return Err(Fault::new(FaultCode::InvalidIpAddressInUse, sentence));
        }
        public_address_delete_in_txn(&mut tx, address.ip).await?;
        tags_drop_in_txn(&mut tx, address.allocation_id.as_deref().unwrap_or_default()).await?;
        self.networks_commit(tx, dry).await
    }
}
