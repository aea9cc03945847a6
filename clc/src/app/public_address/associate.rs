//! Elastic addresses led to network interfaces, and away from them.

use super::Named;
use crate::app::App;
use crate::app::instance::control::Caller;
use crate::app::instance::{Instance, State};
use crate::app::names::public_dns_name;
use crate::app::network_interface::{Interface, put_newer};
use crate::store::Tx;
use crate::store::internet_gateway::internet_gateway_of_vpc_in_txn;
use crate::store::network_change::{network_gone_in_txn, network_touch_in_txn, networks_turn_in_txn};
use crate::store::public_address::{
    Holder, PublicAddress, public_address_by_ip_in_txn, public_address_delete_in_txn,
    public_address_lead_in_txn,
};
use crate::store::vpc::vpc_fetch_in_txn;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{AddressAssociationId, InstanceId, NetworkInterfaceId};
use karri_proto::instance::PublicPort;
use karri_proto::network::ShapeKey;
use std::net::Ipv4Addr;

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
    /// None: the interface's first.
    pub private_ip: Option<Ipv4Addr>,
    /// Whether either may have another partner already.
    pub reassociate: bool,
}

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
        let goal = self.goal_in_txn(&mut tx, caller, &order.goal).await?;
        let private = private_of(&goal, order.private_ip)?;
        self.needs_managed(&goal.zone, "Elastic IP addresses are")?;
        let vpc = vpc_fetch_in_txn(&mut tx, goal.port.vpc_id.as_str()).await?;
        let vpc = vpc.ok_or_else(|| goal.port.vpc_id.not_found())?;
        if internet_gateway_of_vpc_in_txn(&mut tx, &vpc.id).await?.is_none() {
            let sentence = format!("Network {} is not attached to any internet gateway", vpc.id);
            return Err(Fault::new(FaultCode::GatewayNotAttached, sentence));
        }
        if let Some(id) = same(&address, &goal, private) {
            return Ok(id);
        }
        let mut written = Vec::new();
        if let Some(holder) = &address.leads_to {
            check_leaves(&address, holder, order)?;
            written = self.port_loses_in_txn(&mut tx, number, caller, holder).await?;
            public_address_lead_in_txn(&mut tx, address.ip, None).await?;
        }
        // As it is now, if it was led elsewhere on the same interface.
        let mut goal = self.interface_in_txn(&mut tx, caller, &goal.port.id).await?;
        let present = goal.port.public_of_mut(private).and_then(|public| public.take());
        self.clear_port_in_txn(&mut tx, change, &goal, present, order).await?;
        let holder = Holder {
            association_id: Some(AddressAssociationId::random(&mut rand::thread_rng()).to_string()),
            port_id: goal.port.id.to_string(),
            private_ip: private,
            vpc_id: vpc.id.clone(),
            subnet_id: goal.port.subnet_id.to_string(),
            instance_id: goal.holder.as_ref().map(|instance| instance.id.to_string()),
            nat_gateway_id: None,
        };
        public_address_lead_in_txn(&mut tx, address.ip, Some(&holder)).await?;
        let key = ShapeKey::Address(address.ip);
        match goal.holder.is_some() {
            true => network_touch_in_txn(&mut tx, change, &key).await?,
            false => network_gone_in_txn(&mut tx, change, &key).await?, // there is nobody to reach yet
        }
        if let Some(public) = goal.port.public_of_mut(private) {
            let name = public_dns_name(address.ip, &self.region, &vpc);
            *public = Some(PublicPort { address: address.ip, name, elastic: true });
        }
        put_newer(&mut written, self.interface_write_in_txn(&mut tx, number, caller, &goal).await?);
        self.networks_commit(tx, dry).await?;
        if !dry {
            self.adopt(written);
        }
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
        let written = self.port_loses_in_txn(&mut tx, number, caller, holder).await?;
        public_address_lead_in_txn(&mut tx, address.ip, None).await?;
        network_gone_in_txn(&mut tx, change, &ShapeKey::Address(address.ip)).await?;
        self.networks_commit(tx, dry).await?;
        if !dry {
            self.adopt(written);
        }
        Ok(())
    }

    async fn goal_in_txn(&self, tx: &mut Tx, caller: Caller<'_>, goal: &Goal) -> Result<Interface, Fault> {
        match goal {
            Goal::Instance(id) => self.sole_interface_in_txn(tx, caller, id).await,
            Goal::Interface(id) => self.interface_in_txn(tx, caller, id).await,
        }
    }

    /// What leads to the private address already: an elastic address leads nowhere then, an instance's own is given back.
    async fn clear_port_in_txn(
        &self,
        tx: &mut Tx,
        change: i64,
        goal: &Interface,
        present: Option<PublicPort>,
        order: &Order,
    ) -> Result<(), Fault> {
        let Some(public) = present else { return Ok(()) };
        let Some(present) = public_address_by_ip_in_txn(tx, public.address).await? else { return Ok(()) };
        match &present.allocation_id {
            Some(_) if !order.reassociate => {
                let association = present.leads_to.and_then(|to| to.association_id).unwrap_or_default();
                return Err(already_associated(goal.port.id.as_str(), &association));
            }
            Some(_) => public_address_lead_in_txn(tx, present.ip, None).await?,
            None => public_address_delete_in_txn(tx, present.ip).await?,
        }
        network_gone_in_txn(tx, change, &ShapeKey::Address(present.ip)).await?;
        Ok(())
    }

    /// Nothing leads any more to what an address led to.
    async fn port_loses_in_txn(
        &self,
        tx: &mut Tx,
        number: i64,
        caller: Caller<'_>,
        holder: &Holder,
    ) -> Result<Vec<Instance>, Fault> {
        let mut interface = self.interface_in_txn(tx, caller, &holder.port_id.parse()?).await?;
        if let Some(public) = interface.port.public_of_mut(holder.private_ip) {
            *public = None;
        }
        self.interface_write_in_txn(tx, number, caller, &interface).await
    }
}

fn already_associated(resource: &str, association: &str) -> Fault {
    let sentence = format!("resource {resource} is already associated with associate-id {association}");
    Fault::new(FaultCode::ResourceAlreadyAssociated, sentence)
}

/// The association that is asked for, if it is there.
fn same(address: &PublicAddress, goal: &Interface, private: Ipv4Addr) -> Option<String> {
    let holder = address.leads_to.as_ref()?;
    let here = holder.port_id == goal.port.id.as_str() && holder.private_ip == private;
    holder.association_id.clone().filter(|_| here)
}

/// Whether the address may be taken from what it leads to.
fn check_leaves(address: &PublicAddress, holder: &Holder, order: &Order) -> Result<(), Fault> {
    if !order.reassociate {
        let association = holder.association_id.as_deref().unwrap_or_default();
        let resource = address.allocation_id.as_deref().unwrap_or_default();
        return Err(already_associated(resource, association));
    }
    refuse_nat(holder)
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

/// Which of the interface's addresses is meant.
fn private_of(goal: &Interface, asked: Option<Ipv4Addr>) -> Result<Ipv4Addr, Fault> {
    if let Some(instance) = &goal.holder
        && matches!(instance.state, State::Terminated | State::ShuttingDown)
    {
        let (id, state) = (&instance.id, instance.state.as_str());
        let sentence =
            format!("The instance '{id}' is not in a state in which it can have an address. ({state})");
        return Err(Fault::new(FaultCode::IncorrectInstanceState, sentence));
    }
    let Some(asked) = asked else { return Ok(goal.port.private_ip) };
    let own = goal.port.addresses().any(|(address, _)| address == asked);
    let strange = || Fault::invalid_parameter(format!("{} has no private address {asked}", goal.port.id));
    if own { Ok(asked) } else { Err(strange()) }
}
