//! What an instance that stops or is over leaves behind of its networks.

use super::network_change::{network_gone_in_txn, networks_turn_in_txn};
use super::network_interface::{NetworkInterface, network_interface_insert_in_txn};
use super::public_address::{public_address_delete_in_txn, public_address_lead_in_txn};
use super::route_table::route_tables_to_in_txn;
use super::told::touched_in_txn;
use super::{StoreError, Tx};
use crate::app::instance::{Instance, State};
use karri_proto::instance::{PortSpec, PublicPort};
use karri_proto::network::ShapeKey;
use std::sync::Arc;

/// One that does not run has no public address of its own. One that is over has none at all, routes to it lead nowhere, and
/// the interfaces that outlive it are by themselves, with what leads to them.
pub(super) async fn networks_leave_in_txn(tx: &mut Tx, instance: &mut Instance) -> Result<(), StoreError> {
    let over = instance.state == State::Terminated;
    if !over && instance.state != State::Stopped {
        return Ok(());
    }
    let Leaving { lost, waiting } = leaving(instance, over);
    let mut tables = Vec::new();
    for port in instance.spec.ports.iter().filter(|_| over) {
        tables.extend(route_tables_to_in_txn(tx, port.id.as_str()).await?);
    }
    if !(lost.is_empty() && waiting.is_empty() && tables.is_empty()) {
        let change = networks_turn_in_txn(tx).await?;
        for public in &lost {
            match public.elastic {
                true => public_address_lead_in_txn(tx, public.address, None).await?,
                false => public_address_delete_in_txn(tx, public.address).await?,
            }
        }
        for public in lost.iter().chain(&waiting) {
            network_gone_in_txn(tx, change, &ShapeKey::Address(public.address)).await?;
        }
        for table in &tables {
            touched_in_txn(tx, change, ShapeKey::RouteTable, table).await?;
        }
        for port in &mut Arc::make_mut(&mut instance.spec).ports {
            drop_public(port, &lost);
        }
    }
    if over { interfaces_leave_in_txn(tx, instance).await } else { Ok(()) }
}

/// Public addresses of an instance.
#[derive(Default)]
struct Leaving {
    /// They lead nowhere from now on.
    lost: Vec<PublicPort>,
    /// They stay with their interfaces, and lead somewhere again with those.
    waiting: Vec<PublicPort>,
}

fn leaving(instance: &Instance, over: bool) -> Leaving {
    let mut leaving = Leaving::default();
    for port in &instance.spec.ports {
        let stays = !over || instance.about(port).keep;
        for public in port.addresses().filter_map(|(_, public)| public.cloned()) {
            match public.elastic && stays {
                false => leaving.lost.push(public),
                true if over => leaving.waiting.push(public),
                true => {}
            }
        }
    }
    leaving
}

fn drop_public(port: &mut PortSpec, lost: &[PublicPort]) {
    let more = port.secondary.iter_mut().map(|one| &mut one.public);
    for public in std::iter::once(&mut port.public).chain(more) {
        *public = public.take().filter(|public| !lost.contains(public));
    }
}

async fn interfaces_leave_in_txn(tx: &mut Tx, instance: &mut Instance) -> Result<(), StoreError> {
    if !instance.spec.ports.iter().any(|port| instance.about(port).keep) {
        return Ok(());
    }
    let ports = std::mem::take(&mut Arc::make_mut(&mut instance.spec).ports);
    for port in ports {
        let about = instance.about(&port);
        if !about.keep {
            Arc::make_mut(&mut instance.spec).ports.push(port);
            continue;
        }
        instance.said.interfaces.remove(&port.id);
        let left = NetworkInterface {
            account: instance.account.clone(),
            cluster: instance.cluster.clone(),
            zone: instance.zone.clone(),
            port: PortSpec { device_index: 0, ..port },
            description: about.description,
            leaving: None,
        };
        network_interface_insert_in_txn(tx, &left).await?;
    }
    Ok(())
}
