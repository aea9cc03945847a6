//! NAT gateways: what lets instances without a public address reach out.
//!
//! ```text
//!   create ──► pending ──► available ──delete──► deleting ──► deleted ──(an hour)──► gone
//!          └─► failed ──(an hour)──► gone
//! ```
//!
//! Pending and deleting are how EC2 tells of what clusters are just hearing; nothing waits for them.

use super::creation::{made_before_in_txn, made_in_txn};
use super::image::task::Token;
use super::instance::control::Caller;
use super::public_address::Named;
use super::tag::{Taggable, Tags};
use super::taken::For;
use super::vpc::not_in_default_vpc;
use super::{App, address, now_ms, steady_ms};
use crate::store::Tx;
use crate::store::creation_token::creation_token_drop_in_txn;
use crate::store::internet_gateway::internet_gateway_of_vpc_in_txn;
use crate::store::nat_gateway::{
    NatAddress, NatFailure, NatGateway, nat_gateway_count_in_txn, nat_gateway_end_in_txn,
    nat_gateway_fetch_in_txn, nat_gateway_insert_in_txn,
};
use crate::store::network_change::networks_turn_in_txn;
use crate::store::public_address::{Holder, PublicAddress, public_address_lead_in_txn};
use crate::store::subnet::Subnet;
use crate::store::tag::tags_put_in_txn;
use crate::store::told::{gone_in_txn, routes_to_touched_in_txn, touched_in_txn};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{AddressAssociationId, AllocationId, NatGatewayId, NetworkInterfaceId};
use karri_proto::network::ShapeKey;
use std::net::Ipv4Addr;

/// How long pending and deleting are told.
const SETTLING_MS: i64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatState {
    Pending,
    Failed,
    Available,
    Deleting,
    Deleted,
}

impl NatState {
    pub fn as_str(self) -> &'static str {
        match self {
            NatState::Pending => "pending",
            NatState::Failed => "failed",
            NatState::Available => "available",
            NatState::Deleting => "deleting",
            NatState::Deleted => "deleted",
        }
    }
}

/// `now_ms` by the clock that never jumps.
pub fn nat_state(one: &NatGateway, now_ms: i64) -> NatState {
    let settled = one.settled_ms <= now_ms;
    match (one.deleted_ms.is_some(), one.failure.is_some()) {
        (true, _) if settled => NatState::Deleted,
        (true, _) => NatState::Deleting,
        (false, true) if settled => NatState::Failed,
        (false, false) if settled => NatState::Available,
        (false, _) => NatState::Pending,
    }
}

/// What a user asks for.
#[derive(Debug, Clone)]
pub struct NatOrder {
    pub subnet: String,
    /// None: a private one.
    pub allocation: Option<AllocationId>,
    pub private_ip: Option<Ipv4Addr>,
    pub tags: Tags,
}

impl App {
    pub async fn nat_gateway_create(
        &self,
        caller: Caller<'_>,
        order: &NatOrder,
        token: &Token,
        dry: bool,
    ) -> Result<NatGateway, Fault> {
        // Its subnet stays while it is made.
        let _held = self.networks_held.read().await;
        let (mut tx, _) = self.store.begin_numbered().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        if let Some(earlier) = made_before_in_txn(&mut tx, caller.account, token).await? {
            return nat_gateway_fetch_in_txn(&mut tx, &earlier).await?.ok_or_else(|| not_found(&earlier));
        }
        let subnet = self.subnet_seen_in_txn(&mut tx, caller, &order.subnet).await?;
        self.needs_managed(&subnet.zone, "NAT gateways are")?;
        if subnet.is_flat() {
            return Err(not_in_default_vpc("A NAT gateway"));
        }
        let limit = self.limits.nat_gateways_per_zone;
        if nat_gateway_count_in_txn(&mut tx, &subnet.account, &subnet.zone).await? >= limit {
            let sentence = format!(
                "The maximum number of NAT gateways in the Availability Zone has been reached ({limit})."
            );
            return Err(Fault::new(FaultCode::NatGatewayLimitExceeded, sentence));
        }
        let address = match &order.allocation {
            Some(id) => {
                let named = Named::Allocation(id.clone());
                Some(self.public_address_seen_in_txn(&mut tx, caller, &named).await?)
            }
            None => None,
        };
        let mut gateway = new(&subnet);
        gateway.failure = failure_in_txn(&mut tx, &subnet, address.as_ref()).await?;
        let mut taken = None;
        if gateway.failure.is_some() {
            gateway.purge_ms = Some(self.out_of_sight_ms());
        } else {
            let whose = For { port: &gateway.port_id, instance: None };
            let place = self.address_take_in_txn(&mut tx, &subnet, whose, order.private_ip).await?;
            gateway.private_ip = place.address;
            taken = Some(place);
            if let Some(address) = &address {
                gateway.public = Some(lead_in_txn(&mut tx, &gateway, address).await?);
            }
            touched_in_txn(&mut tx, change, ShapeKey::Nat, &gateway.id).await?;
        }
        nat_gateway_insert_in_txn(&mut tx, &gateway).await?;
        tags_put_in_txn(&mut tx, &gateway.account, Taggable::NatGateway, &gateway.id, &order.tags).await?;
        made_in_txn(&mut tx, caller.account, token, &gateway.id).await?;
        self.networks_commit(tx, dry).await?;
        if let Some(taken) = taken.as_mut().filter(|_| !dry) {
            taken.keep();
        }
        tracing::info!(nat_gateway = gateway.id, account = gateway.account, "NAT gateway created");
        Ok(gateway)
    }

    fn out_of_sight_ms(&self) -> i64 {
        let secs = self.limits.terminated_visible_secs;
        steady_ms().saturating_add(i64::try_from(secs.saturating_mul(1000)).unwrap_or(i64::MAX))
    }

    pub async fn nat_gateway_delete(&self, caller: Caller<'_>, id: &str, dry: bool) -> Result<(), Fault> {
        let id: NatGatewayId = id.parse()?;
        let (mut tx, _) = self.store.begin_numbered().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let found = nat_gateway_fetch_in_txn(&mut tx, id.as_str()).await?;
        let seen = found.filter(|one| one.deleted_ms.is_none() && caller.may_touch_of(&one.account));
        let mut gateway = seen.ok_or_else(|| id.not_found())?;
        let there = gateway.is_there();
        gateway.deleted_ms = Some(now_ms());
        gateway.settled_ms = steady_ms().saturating_add(SETTLING_MS);
        gateway.purge_ms = Some(self.out_of_sight_ms());
        nat_gateway_end_in_txn(&mut tx, &gateway).await?;
        creation_token_drop_in_txn(&mut tx, &gateway.id).await?;
        if let Some(public) = &gateway.public {
            public_address_lead_in_txn(&mut tx, public.ip, None).await?;
        }
        if there {
            gone_in_txn(&mut tx, change, ShapeKey::Nat, &gateway.id).await?;
            routes_to_touched_in_txn(&mut tx, change, &gateway.id).await?;
        }
        self.networks_commit(tx, dry).await?;
        if !dry && there {
            self.nat_address_free(&gateway).await?;
            tracing::info!(nat_gateway = gateway.id, account = gateway.account, "NAT gateway deleted");
        }
        Ok(())
    }

    async fn nat_address_free(&self, gateway: &NatGateway) -> Result<(), Fault> {
        let Some(cluster) = self.clusters.by_zone(&gateway.zone) else { return Ok(()) };
        let tag = self.store.subnet_fetch(&gateway.subnet_id).await?.map_or(0, |subnet| subnet.tag);
        let network = address::network_name(tag, &gateway.subnet_id, &cluster.name);
        self.book().addresses.release(&network, gateway.private_ip);
        Ok(())
    }
}

fn not_found(id: &str) -> Fault {
    Fault::new(FaultCode::NatGatewayNotFound, format!("NatGateway {id} was not found"))
}

fn new(subnet: &Subnet) -> NatGateway {
    let rng = &mut rand::thread_rng();
    NatGateway {
        id: NatGatewayId::random(rng).to_string(),
        account: subnet.account.clone(),
        vpc_id: subnet.vpc_id.clone(),
        subnet_id: subnet.id.clone(),
        zone: subnet.zone.clone(),
        port_id: NetworkInterfaceId::random(rng).to_string(),
        private_ip: Ipv4Addr::UNSPECIFIED,
        public: None,
        failure: None,
        created_ms: now_ms(),
        deleted_ms: None,
        settled_ms: steady_ms().saturating_add(SETTLING_MS),
        purge_ms: None,
    }
}

/// Why it cannot be made: EC2 tells that by its state.
async fn failure_in_txn(
    tx: &mut Tx,
    subnet: &Subnet,
    address: Option<&PublicAddress>,
) -> Result<Option<NatFailure>, Fault> {
    let failure =
        |code: FaultCode, message: String| Some(NatFailure { code: code.as_str().to_owned(), message });
    let Some(address) = address else { return Ok(None) };
    if address.leads_to.is_some() {
        let id = address.allocation_id.as_deref().unwrap_or_default();
        let sentence = format!("Elastic IP address [{id}] is already associated");
        return Ok(failure(FaultCode::ResourceAlreadyAssociated, sentence));
    }
    if internet_gateway_of_vpc_in_txn(tx, &subnet.vpc_id).await?.is_none() {
        let sentence = format!("Network {} has no Internet gateway attached", subnet.vpc_id);
        return Ok(failure(FaultCode::GatewayNotAttached, sentence));
    }
    Ok(None)
}

async fn lead_in_txn(
    tx: &mut Tx,
    gateway: &NatGateway,
    address: &PublicAddress,
) -> Result<NatAddress, Fault> {
    let association = AddressAssociationId::random(&mut rand::thread_rng()).to_string();
    let holder = Holder {
        association_id: Some(association.clone()),
        port_id: gateway.port_id.clone(),
        private_ip: gateway.private_ip,
        vpc_id: gateway.vpc_id.clone(),
        subnet_id: gateway.subnet_id.clone(),
        instance_id: None,
        nat_gateway_id: Some(gateway.id.clone()),
    };
    public_address_lead_in_txn(tx, address.ip, Some(&holder)).await?;
    let allocation_id = address.allocation_id.clone().unwrap_or_default();
    Ok(NatAddress { ip: address.ip, allocation_id, association_id: association })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_told_by_its_times() {
        let subnet = Subnet {
            id: "subnet-00000001".into(),
            account: "000000000001".into(),
            vpc_id: "vpc-00000001".into(),
            zone: "a".into(),
            cidr: "10.0.0.0/24".into(),
            gateway: Ipv4Addr::new(10, 0, 0, 1),
            is_default: false,
            tag: 5,
            map_public_ip: false,
        };
        let mut one = new(&subnet);
        let at = one.settled_ms;
        assert_eq!((nat_state(&one, at - 1), nat_state(&one, at)), (NatState::Pending, NatState::Available));
        one.failure = Some(NatFailure { code: "x".into(), message: "y".into() });
        assert_eq!((nat_state(&one, at - 1), nat_state(&one, at)), (NatState::Pending, NatState::Failed));
        one.deleted_ms = Some(0);
        assert_eq!((nat_state(&one, at - 1), nat_state(&one, at)), (NatState::Deleting, NatState::Deleted));
    }
}
