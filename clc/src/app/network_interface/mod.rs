//! Network interfaces: those of instances, and those that are attached to nothing.
//!
//! ```text
//!   create ──► available ──attach──► in-use ──detach──► detaching ──the cluster knows──► available ──delete──► gone
//!   launch ────────────────────────► in-use ──termination──► gone, or available when it outlives its instance
//! ```
//!
//! One that is an instance's is part of the instance's specification, with what is told of it in `said`; one that is not has
//! a row of its own, one that is just being detached too. Whoever changes either has taken the instances' turn, so an interface is in one place always.

mod address;
mod attach;
mod attribute;
mod create;
mod detach;

pub use address::{AssignOrder, Assigned};
pub use attach::AttachOrder;
pub use attribute::{InterfaceWish, source_dest_check_set};
pub use create::{InterfaceOrder, Secondary};
pub use detach::Joined;

use super::App;
use super::address::network_of;
use super::instance::control::Caller;
use super::instance::said::About;
use super::instance::{Instance, State};
use crate::store::instance::{instances_change_in_txn, instances_fetch_in_txn};
use crate::store::nat_gateway::nat_gateway_of_port_in_txn;
use crate::store::network_interface::{
    Leaving, NetworkInterface, network_interface_fetch_in_txn, network_interface_update_in_txn,
};
use crate::store::port::port_instance_in_txn;
use crate::store::{StoreError, Tx};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{InstanceId, NetworkInterfaceId};
use karri_proto::instance::PortSpec;
use std::sync::Arc;

/// What only a managed network has, as a refusal says it.
pub const MORE: &str = "Network interfaces and addresses beside an instance's first are";

/// EC2's text limit.
pub const DESCRIPTION_CHARS_MAX: usize = 255;

/// A network interface, wherever it lies.
#[derive(Debug, Clone)]
pub struct Interface {
    pub account: String,
    pub cluster: String,
    pub zone: String,
    pub port: PortSpec,
    pub about: About,
    pub holder: Option<Instance>,
    /// Whose it was last, if the cluster has yet to hear that it is so no more.
    pub leaving: Option<Leaving>,
}

impl Interface {
    fn alone(row: NetworkInterface) -> Self {
        let NetworkInterface { account, cluster, zone, port, description, leaving } = row;
        let about = About { description, ..About::default() };
        Self { account, cluster, zone, port, about, holder: None, leaving }
    }

    /// None: the instance has no such interface.
    pub fn of(instance: Instance, port: Option<&NetworkInterfaceId>) -> Option<Self> {
        let port = instance.spec.ports.iter().find(|own| port.is_none_or(|port| own.id == *port))?.clone();
        Some(Self {
            account: instance.account.clone(),
            cluster: instance.cluster.clone(),
            zone: instance.zone.clone(),
            about: instance.about(&port),
            port,
            holder: Some(instance),
            leaving: None,
        })
    }

    fn row(&self) -> NetworkInterface {
        NetworkInterface {
            account: self.account.clone(),
            cluster: self.cluster.clone(),
            zone: self.zone.clone(),
            port: self.port.clone(),
            description: self.about.description.clone(),
            leaving: self.leaving.clone(),
        }
    }

    pub fn network(&self) -> String {
        network_of(&self.port, &self.cluster)
    }
}

impl Interface {
    /// An instance has it, or may still have it.
    pub fn is_in_use(&self) -> bool {
        self.holder.is_some() || self.leaving.is_some()
    }
}

pub fn in_use(id: &NetworkInterfaceId) -> Fault {
    Fault::new(FaultCode::InvalidNetworkInterfaceInUse, format!("Interface: [{id}] in use."))
}

/// Where an instance is named and one of its interfaces is meant.
pub fn several_interfaces(id: &InstanceId) -> Fault {
    let sentence = format!(
        "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the \
         operation instead."
    );
    Fault::new(FaultCode::InvalidInstanceId, sentence)
}

impl App {
    /// One that no instance has, or has only as far as its cluster knows.
    pub fn interface_of_row(&self, row: NetworkInterface) -> Interface {
        let mut interface = Interface::alone(row);
        interface.leaving = interface.leaving.filter(|leaving| {
            let holder = self.instances.get(&leaving.instance);
            holder.is_some_and(|one| one.state != State::Terminated && one.acknowledged < leaving.generation)
        });
        interface
    }

    /// One that the caller may act on.
    pub async fn interface_in_txn(
        &self,
        tx: &mut Tx,
        caller: Caller<'_>,
        id: &NetworkInterfaceId,
    ) -> Result<Interface, Fault> {
        if let Some(row) = network_interface_fetch_in_txn(tx, id.as_str()).await? {
            let seen = Some(row).filter(|row| caller.may_touch_of(&row.account));
            return seen.map(|row| self.interface_of_row(row)).ok_or_else(|| id.not_found());
        }
        let owner = nat_gateway_of_port_in_txn(tx, id.as_str()).await?;
        if owner.is_some_and(|owner| caller.may_touch_of(&owner)) {
            let sentence = "You do not have permission to access the specified resource.";
            return Err(Fault::new(FaultCode::AuthFailure, sentence));
        }
        let holder = port_instance_in_txn(tx, id.as_str()).await?;
        let holder: InstanceId =
            holder.and_then(|holder| holder.parse().ok()).ok_or_else(|| id.not_found())?;
        let instance = self.instance_in_txn(tx, caller, &holder).await?;
        instance.and_then(|one| Interface::of(one, Some(id))).ok_or_else(|| id.not_found())
    }

    /// One that lives, if the caller may act on it.
    async fn instance_in_txn(
        &self,
        tx: &mut Tx,
        caller: Caller<'_>,
        id: &InstanceId,
    ) -> Result<Option<Instance>, StoreError> {
        let found = instances_fetch_in_txn(tx, std::slice::from_ref(id)).await?.pop();
        Ok(found.filter(|one| caller.may_touch_of(&one.account) && one.state != State::Terminated))
    }

    /// The only interface of an instance, which may be over.
    pub async fn sole_interface_in_txn(
        &self,
        tx: &mut Tx,
        caller: Caller<'_>,
        id: &InstanceId,
    ) -> Result<Interface, Fault> {
        let found = instances_fetch_in_txn(tx, std::slice::from_ref(id)).await?.pop();
        let instance = found.filter(|one| caller.may_touch_of(&one.account)).ok_or_else(|| id.not_found())?;
        if instance.spec.ports.len() > 1 {
            return Err(several_interfaces(id));
        }
        Interface::of(instance, None).ok_or_else(|| id.not_found())
    }

    /// Writes it where it lies. `number` is that of the instances' turn. Returns the instances to adopt after the commit.
    pub async fn interface_write_in_txn(
        &self,
        tx: &mut Tx,
        number: i64,
        caller: Caller<'_>,
        interface: &Interface,
    ) -> Result<Vec<Instance>, Fault> {
        let Some(holder) = &interface.holder else {
            network_interface_update_in_txn(tx, &interface.row()).await?;
            return Ok(Vec::new());
        };
        let ids = std::slice::from_ref(&holder.id);
        let change = |instances: &mut [Instance]| {
            let changed = instances.iter_mut().map(|one| put(one, interface, caller.request_id));
            Ok::<_, Fault>(changed.collect())
        };
        instances_change_in_txn(tx, number, ids, change).await
    }

    /// As `interface_write_in_txn`, and that is all. `dry`: not after all.
    async fn interface_put(
        &self,
        mut tx: Tx,
        number: i64,
        caller: Caller<'_>,
        interface: &Interface,
        dry: bool,
    ) -> Result<(), Fault> {
        let written = self.interface_write_in_txn(&mut tx, number, caller, interface).await?;
        self.networks_commit(tx, dry).await?;
        if !dry {
            self.adopt(written);
        }
        Ok(())
    }

    /// More addresses than its instance's type lets it have, or than any.
    fn check_addresses(&self, interface: &Interface, count: usize) -> Result<(), Fault> {
        let most = match &interface.holder {
            Some(instance) => self.addresses_most(&instance.spec.instance_type),
            None => self.limits.addresses_per_interface,
        };
        check_count(count, most)
    }

    /// More addresses than such an instance's interface may have.
    pub fn check_addresses_for(&self, instance_type: &str, port: &PortSpec) -> Result<(), Fault> {
        check_count(port.addresses().count(), self.addresses_most(instance_type))
    }

    /// How many addresses an interface may have. A type that was taken out of the catalogue has no limit of its own.
    pub fn addresses_most(&self, instance_type: &str) -> usize {
        let most = self.limits.addresses_per_interface;
        let own = self
            .catalogue
            .get(instance_type)
            .map_or(most, |kind| usize::try_from(kind.addresses_per_interface).unwrap_or(usize::MAX));
        own.min(most)
    }
}

/// Instances that one transaction has written several times, as they were written last.
pub fn put_newer(written: &mut Vec<Instance>, newer: Vec<Instance>) {
    written.retain(|one| newer.iter().all(|new| new.id != one.id));
    written.extend(newer);
}

pub fn check_count(count: usize, most: usize) -> Result<(), Fault> {
    if count <= most {
        return Ok(());
    }
    let sentence = format!("Number of private addresses will exceed limit ({most}).");
    Err(Fault::new(FaultCode::PrivateIpAddressLimitExceeded, sentence))
}

/// True: the instance is changed. Its node hears of what the port is; what else is told of it is the owner's alone.
fn put(instance: &mut Instance, interface: &Interface, request_id: &str) -> bool {
    let about_is_new = instance.about(&interface.port) != interface.about;
    if about_is_new {
        instance.said.interfaces.insert(interface.port.id.clone(), interface.about.clone());
    }
    let ports = instance.spec.ports.iter();
    let Some(place) = ports.zip(0..).find(|(port, _)| port.id == interface.port.id).map(|(_, place)| place)
    else {
        return false;
    };
    let port_is_new = instance.spec.ports[place] != interface.port;
    if port_is_new {
        Arc::make_mut(&mut instance.spec).ports[place] = interface.port.clone();
        instance.advance(request_id);
    }
    about_is_new || port_is_new
}
