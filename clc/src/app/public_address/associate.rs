//! Elastic addresses led to instances, and away from them.

use super::{Named, public_dns_name};
use crate::app::App;
use crate::app::instance::control::Caller;
use crate::app::instance::{Instance, State};
use crate::store::instance::{instances_change_in_txn, instances_fetch_in_txn};
use crate::store::internet_gateway::internet_gateway_of_vpc_in_txn;
use crate::store::network_change::{network_gone_in_txn, network_touch_in_txn, networks_turn_in_txn};
use crate::store::public_address::{
    Holder, PublicAddress, public_address_by_ip_in_txn, public_address_delete_in_txn,
    public_address_lead_in_txn,
};
use crate::store::security_group::port_instance_in_txn;
use crate::store::vpc::vpc_fetch_in_txn;
use crate::store::{StoreError, Tx};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{AddressAssociationId, InstanceId, NetworkInterfaceId};
use karri_proto::instance::{PortSpec, PublicPort};
use karri_proto::network::ShapeKey;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Where an address is to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    Instance(InstanceId),
    Interface(NetworkInterfaceId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub address: Named,
    pub goal: Goal,
    pub private_ip: Option<Ipv4Addr>,
    /// Whether either may have another partner already.
    pub reassociate: bool,
}

/// By port: what is to lead to it from outside.
type Changes = HashMap<NetworkInterfaceId, Option<PublicPort>>;

impl App {
    /// With the id of the association.
    pub async fn address_associate(
        &self,
        caller: Caller<'_>,
        order: &Order,
        dry: bool,
    ) -> Result<String, Fault> {
        let (mut tx, number) = self.store.begin_numbered().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let address = self.public_address_seen_in_txn(&mut tx, caller, &order.address).await?;
        let (instance, port) = goal_in_txn(&mut tx, caller, &order.goal).await?;
        check_goal(&instance, &port, order)?;
        self.needs_managed(&instance.zone, "Elastic IP addresses are")?;
        let vpc = vpc_fetch_in_txn(&mut tx, port.vpc_id.as_str()).await?;
        let vpc = vpc.ok_or_else(|| port.vpc_id.not_found())?;
        if internet_gateway_of_vpc_in_txn(&mut tx, &vpc.id).await?.is_none() {
            let sentence = format!("Network {} is not attached to any internet gateway", vpc.id);
            return Err(Fault::new(FaultCode::GatewayNotAttached, sentence));
        }
        if let Some(id) = same(&address, &port) {
            return Ok(id);
        }
        let mut changes = Changes::new();
        let mut touched = vec![instance.id.clone()];
        leave_old_in_txn(&mut tx, &address, order, &mut changes, &mut touched).await?;
        self.clear_port_in_txn(&mut tx, change, &port, order).await?;
        let holder = Holder {
            association_id: Some(AddressAssociationId::random(&mut rand::thread_rng()).to_string()),
            port_id: port.id.to_string(),
            private_ip: port.private_ip,
            vpc_id: vpc.id.clone(),
            subnet_id: port.subnet_id.to_string(),
            instance_id: Some(instance.id.to_string()),
            nat_gateway_id: None,
        };
        public_address_lead_in_txn(&mut tx, address.ip, Some(&holder)).await?;
        network_touch_in_txn(&mut tx, change, &ShapeKey::Address(address.ip)).await?;
        let name = public_dns_name(address.ip, &self.region, &vpc);
        changes.insert(port.id, Some(PublicPort { address: address.ip, name, elastic: true }));
        self.ports_write(tx, number, caller, &touched, changes, dry).await?;
        Ok(holder.association_id.unwrap_or_default())
    }

    pub async fn address_disassociate(
        &self,
        caller: Caller<'_>,
        named: &Named,
        dry: bool,
    ) -> Result<(), Fault> {
        let (mut tx, number) = self.store.begin_numbered().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let address = self.public_address_seen_in_txn(&mut tx, caller, named).await?;
        let Some(holder) = &address.leads_to else {
            let sentence = format!("The address '{}' is not associated with anything.", address.ip);
            return Err(Fault::new(FaultCode::InvalidAssociationIdNotFound, sentence));
        };
        refuse_nat(holder)?;
        let (mut changes, mut touched) = (Changes::new(), Vec::new());
        port_loses(holder, &mut changes, &mut touched);
        public_address_lead_in_txn(&mut tx, address.ip, None).await?;
        network_gone_in_txn(&mut tx, change, &ShapeKey::Address(address.ip)).await?;
        self.ports_write(tx, number, caller, &touched, changes, dry).await
    }

    /// What leads to the port already: an elastic address leads nowhere then, an instance's own is given back.
    async fn clear_port_in_txn(
        &self,
        tx: &mut Tx,
        change: i64,
        port: &PortSpec,
        order: &Order,
    ) -> Result<(), Fault> {
        let Some(public) = &port.public else { return Ok(()) };
        let Some(present) = public_address_by_ip_in_txn(tx, public.address).await? else { return Ok(()) };
        match &present.allocation_id {
            Some(_) if !order.reassociate => {
                let sentence = format!(
                    "resource {} is already associated with associate-id {}",
                    port.id,
                    present.leads_to.and_then(|to| to.association_id).unwrap_or_default()
                );
                return Err(Fault::new(FaultCode::ResourceAlreadyAssociated, sentence));
            }
            Some(_) => public_address_lead_in_txn(tx, present.ip, None).await?,
            None => public_address_delete_in_txn(tx, present.ip).await?,
        }
        network_gone_in_txn(tx, change, &ShapeKey::Address(present.ip)).await?;
        Ok(())
    }

    /// The instances that are concerned are written, and everything is committed.
    async fn ports_write(
        &self,
        mut tx: Tx,
        number: i64,
        caller: Caller<'_>,
        ids: &[InstanceId],
        changes: Changes,
        dry: bool,
    ) -> Result<(), Fault> {
        let written = instances_change_in_txn(&mut tx, number, ids, |instances| {
            let changed = instances.iter_mut().map(|instance| {
                let changed = ports_change(instance, &changes);
                if changed {
                    instance.advance(caller.request_id);
                }
                changed
            });
            Ok::<_, StoreError>(changed.collect())
        });
        let written = written.await?;
        self.networks_commit(tx, dry).await?;
        if !dry {
            self.adopt(written);
        }
        Ok(())
    }
}

fn ports_change(instance: &mut Instance, changes: &Changes) -> bool {
    let mut changed = false;
    let known = |port: &PortSpec| changes.get(&port.id).filter(|public| **public != port.public).cloned();
    if instance.state == State::Terminated || !instance.spec.ports.iter().any(|port| known(port).is_some()) {
        return false;
    }
    for port in &mut Arc::make_mut(&mut instance.spec).ports {
        if let Some(public) = known(port) {
            port.public = public;
            changed = true;
        }
    }
    changed
}

/// The association that is asked for, if it is there.
fn same(address: &PublicAddress, port: &PortSpec) -> Option<String> {
    let holder = address.leads_to.as_ref()?;
    let here = holder.port_id == port.id.as_str() && holder.private_ip == port.private_ip;
    holder.association_id.clone().filter(|_| here)
}

/// The address is taken from what it leads to.
async fn leave_old_in_txn(
    tx: &mut Tx,
    address: &PublicAddress,
    order: &Order,
    changes: &mut Changes,
    touched: &mut Vec<InstanceId>,
) -> Result<(), Fault> {
    let Some(holder) = &address.leads_to else { return Ok(()) };
    if !order.reassociate {
        let sentence = format!(
            "resource {} is already associated with associate-id {}",
            address.allocation_id.as_deref().unwrap_or_default(),
            holder.association_id.as_deref().unwrap_or_default()
        );
        return Err(Fault::new(FaultCode::ResourceAlreadyAssociated, sentence));
    }
    refuse_nat(holder)?;
    port_loses(holder, changes, touched);
    public_address_lead_in_txn(tx, address.ip, None).await?;
    Ok(())
}

/// A NAT gateway keeps its address for as long as it is there.
fn refuse_nat(holder: &Holder) -> Result<(), Fault> {
    match &holder.nat_gateway_id {
        None => Ok(()),
        Some(id) => {
            let sentence =
                format!("You do not have permission to access the specified resource: it is {id}'s.");
            Err(Fault::new(FaultCode::AuthFailure, sentence))
        }
    }
}

fn port_loses(holder: &Holder, changes: &mut Changes, touched: &mut Vec<InstanceId>) {
    if let Ok(port) = holder.port_id.parse() {
        changes.insert(port, None);
    }
    let id = holder.instance_id.as_ref().and_then(|id| id.parse().ok());
    touched.extend(id.filter(|id| !touched.contains(id)));
}

/// The instance, and which of its ports.
async fn goal_in_txn(tx: &mut Tx, caller: Caller<'_>, goal: &Goal) -> Result<(Instance, PortSpec), Fault> {
    let (id, port) = match goal {
        Goal::Instance(id) => (Some(id.clone()), None),
        Goal::Interface(port) => {
            let id = port_instance_in_txn(tx, port.as_str()).await?;
            (id.and_then(|id| id.parse().ok()), Some(port))
        }
    };
    let missing = || match goal {
        Goal::Instance(id) => id.not_found(),
        Goal::Interface(port) => port.not_found(),
    };
    let id: InstanceId = id.ok_or_else(missing)?;
    let found = instances_fetch_in_txn(tx, std::slice::from_ref(&id)).await?.pop();
    let instance = found.filter(|one| caller.may_touch_of(&one.account)).ok_or_else(missing)?;
    let own = &instance.spec.ports;
    let one = own.iter().find(|own| port.is_none_or(|port| own.id == *port)).cloned().ok_or_else(missing)?;
    Ok((instance, one))
}

fn check_goal(instance: &Instance, port: &PortSpec, order: &Order) -> Result<(), Fault> {
    if matches!(instance.state, State::Terminated | State::ShuttingDown) {
        let (id, state) = (&instance.id, instance.state.as_str());
        let sentence =
            format!("The instance '{id}' is not in a state in which it can have an address. ({state})");
        return Err(Fault::new(FaultCode::IncorrectInstanceState, sentence));
    }
    match order.private_ip {
        Some(asked) if asked != port.private_ip => {
            let sentence = format!("{} has no private address {asked}", port.id);
            Err(Fault::invalid_parameter(sentence))
        }
        _ => Ok(()),
    }
}
