//! Network interfaces taken from instances.
//!
//! From then on the instance's specification lacks it, and the interface has a row of its own. It is *detaching* until the
//! cluster has durably accepted that, as it is attaching until the cluster has accepted the contrary: before, nobody else can
//! have it, for it would be on the wire twice. `Force` waits for nobody.

use super::{App, Caller, Interface};
use crate::app::instance::{Instance, State};
use crate::store::network_change::{network_gone_in_txn, networks_turn_in_txn};
use crate::store::network_interface::{
    Leaving, network_interface_insert_in_txn, network_interface_leaving_in_txn, network_interface_left_in_txn,
};
use crate::store::told::routes_to_touched_in_txn;
use crate::store::{StoreError, Tx};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{InstanceId, NetworkInterfaceAttachmentId, NetworkInterfaceId};
use karri_proto::network::ShapeKey;
use std::sync::Arc;

/// What an attachment joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub instance: InstanceId,
    pub interface: NetworkInterfaceId,
}

impl App {
    /// What the caller's attachment joins, also one that is being undone.
    pub async fn attached(
        &self,
        caller: Caller<'_>,
        id: &NetworkInterfaceAttachmentId,
    ) -> Result<Joined, Fault> {
        if let Some(joined) = self.attached_now(caller, id) {
            return Ok(joined);
        }
        let row = self.store.network_interface_leaving(id.as_str()).await?;
        let row = row.filter(|row| caller.may_touch_of(&row.account));
        let interface = row.map(|row| self.interface_of_row(row)).ok_or_else(|| id.not_found())?;
        let leaving = interface.leaving.ok_or_else(|| id.not_found())?;
        Ok(Joined { instance: leaving.instance, interface: interface.port.id })
    }

    fn attached_now(&self, caller: Caller<'_>, id: &NetworkInterfaceAttachmentId) -> Option<Joined> {
        let known = match caller.administrator {
            true => self.instances.everyones(),
            false => self.instances.of_account(caller.account),
        };
        let living = known.iter().filter(|one| one.state != State::Terminated);
        let mut ports = living.flat_map(|one| one.spec.ports.iter().map(move |port| (one, port)));
        let (one, port) = ports.find(|(one, port)| one.attachment_id(port) == id.as_str())?;
        Some(Joined { instance: one.id.clone(), interface: port.id.clone() })
    }

    pub async fn interface_detach(
        &self,
        caller: Caller<'_>,
        id: &NetworkInterfaceAttachmentId,
        force: bool,
        dry: bool,
    ) -> Result<(), Fault> {
        let (mut tx, number) = self.store.begin_numbered().await?;
        self.catch_up_in_txn(&mut tx, number).await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let Some(Joined { instance, interface: port }) = self.attached_now(caller, id) else {
            return self.detach_again(tx, caller, id, force, dry).await;
        };
        let interface = self.interface_in_txn(&mut tx, caller, &port).await?;
        let holder = interface.holder.as_ref().ok_or_else(|| id.not_found())?;
        if holder.attachment_id(&interface.port) != id.as_str() {
            return Err(id.not_found());
        }
        if interface.port.device_index == 0 {
            let sentence = "The network interface at device index 0 cannot be detached.";
            return Err(Fault::new(FaultCode::OperationNotPermitted, sentence));
        }
        for public in interface.port.addresses().filter_map(|(_, public)| public) {
            network_gone_in_txn(&mut tx, change, &ShapeKey::Address(public.address)).await?;
        }
        routes_to_touched_in_txn(&mut tx, change, port.as_str()).await?;
        let mut row = interface.row();
        row.port.device_index = 0;
        row.leaving = (!force).then(|| leaving(&interface, holder, id));
        network_interface_insert_in_txn(&mut tx, &row).await?;
        let put = |instance: &mut Instance| {
            instance.said.interfaces.remove(&port);
            Arc::make_mut(&mut instance.spec).ports.retain(|own| own.id != port);
            instance.advance(caller.request_id);
        };
        self.holder_write(tx, number, &instance, put, dry).await?;
        if !dry {
            let (interface, instance_id) = (port.as_str(), instance.as_str());
            tracing::info!(interface, instance_id, force, "network interface detached");
        }
        Ok(())
    }

    /// One that is being detached already: so it is, unless nobody is to be waited for any more.
    async fn detach_again(
        &self,
        mut tx: Tx,
        caller: Caller<'_>,
        id: &NetworkInterfaceAttachmentId,
        force: bool,
        dry: bool,
    ) -> Result<(), Fault> {
        let row = network_interface_leaving_in_txn(&mut tx, id.as_str()).await?;
        let row = row.filter(|row| caller.may_touch_of(&row.account)).ok_or_else(|| id.not_found())?;
        let interface = self.interface_of_row(row);
        if interface.leaving.is_none() {
            return Err(id.not_found());
        }
        if force && !dry {
            network_interface_left_in_txn(&mut tx, interface.port.id.as_str()).await?;
            tx.commit().await.map_err(StoreError::from)?;
            tracing::info!(
                interface = interface.port.id.as_str(),
                "nobody is asked for the network interface"
            );
        }
        Ok(())
    }
}

fn leaving(interface: &Interface, holder: &Instance, id: &NetworkInterfaceAttachmentId) -> Leaving {
    Leaving {
        attachment: id.to_string(),
        instance: holder.id.clone(),
        generation: holder.generation + 1,
        attached_ms: holder.attached_ms(&interface.port),
        device_index: interface.port.device_index,
        keep: interface.about.keep,
    }
}
