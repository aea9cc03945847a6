//! Network interfaces given to instances.

use super::{App, Caller, Interface, MORE, in_use};
use crate::app::instance::said::{About, Attachment};
use crate::app::instance::{Instance, State};
use crate::app::now_ms;
use crate::store::instance::instances_change_in_txn;
use crate::store::network_change::{network_touch_in_txn, networks_turn_in_txn};
use crate::store::network_interface::network_interface_attach_in_txn;
use crate::store::told::routes_to_touched_in_txn;
use crate::store::vpc::vpc_fetch_in_txn;
use crate::store::{StoreError, Tx};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{InstanceId, NetworkInterfaceAttachmentId, NetworkInterfaceId};
use karri_proto::instance::PortSpec;
use karri_proto::network::ShapeKey;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachOrder {
    pub interface: NetworkInterfaceId,
    pub instance: InstanceId,
    pub device_index: u32,
    pub network_card: u32,
}

impl App {
    /// With the id of the attachment.
    pub async fn interface_attach(
        &self,
        caller: Caller<'_>,
        order: &AttachOrder,
        dry: bool,
    ) -> Result<String, Fault> {
        let (mut tx, number) = self.store.begin_numbered().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let interface = self.interface_in_txn(&mut tx, caller, &order.interface).await?;
        let instance = self.instance_in_txn(&mut tx, caller, &order.instance).await?;
        let instance = instance.ok_or_else(|| order.instance.not_found())?;
        self.check_attach(&interface, &instance, order)?;
        network_interface_attach_in_txn(&mut tx, order.interface.as_str(), instance.id.as_str()).await?;
        for public in interface.port.addresses().filter_map(|(_, public)| public) {
            network_touch_in_txn(&mut tx, change, &ShapeKey::Address(public.address)).await?;
        }
        routes_to_touched_in_txn(&mut tx, change, order.interface.as_str()).await?;
        let vpc = vpc_fetch_in_txn(&mut tx, interface.port.vpc_id.as_str()).await?;
        let more_vpc_cidrs = vpc.map(|vpc| vpc.further_ranges()).unwrap_or_default();
        let id = NetworkInterfaceAttachmentId::random(&mut rand::thread_rng());
        let put = |instance: &mut Instance| {
            instance.advance(caller.request_id);
            let attachment = Attachment { id: id.clone(), at_ms: now_ms(), generation: instance.generation };
            let about = About { keep: true, attachment: Some(attachment), ..interface.about.clone() };
            instance.said.interfaces.insert(order.interface.clone(), about);
            let more_vpc_cidrs = more_vpc_cidrs.clone();
            let device_index = order.device_index;
            let port = PortSpec { device_index, more_vpc_cidrs, ..interface.port.clone() };
            let ports = &mut Arc::make_mut(&mut instance.spec).ports;
            ports.push(port);
            ports.sort_by_key(|port| port.device_index);
        };
        self.holder_write(tx, number, &instance.id, put, dry).await?;
        if !dry {
            let (interface, instance_id) = (order.interface.as_str(), instance.id.as_str());
            tracing::info!(interface, instance_id, attachment = id.as_str(), "network interface attached");
        }
        Ok(id.to_string())
    }

    /// The instance that is to have an interface from now on, or to have it no more.
    pub(super) async fn holder_write(
        &self,
        mut tx: Tx,
        number: i64,
        id: &InstanceId,
        put: impl Fn(&mut Instance),
        dry: bool,
    ) -> Result<(), Fault> {
        let written = instances_change_in_txn(&mut tx, number, std::slice::from_ref(id), |instances| {
            instances.iter_mut().for_each(&put);
            Ok::<_, StoreError>(vec![true; instances.len()])
        });
        let written = written.await?;
        self.networks_commit(tx, dry).await?;
        if !dry {
            self.adopt(written);
        }
        Ok(())
    }

    fn check_attach(
        &self,
        interface: &Interface,
        instance: &Instance,
        order: &AttachOrder,
    ) -> Result<(), Fault> {
        if interface.is_in_use() {
            return Err(in_use(&order.interface));
        }
        self.needs_managed(&instance.zone, MORE)?;
        if !matches!(instance.state, State::Running | State::Stopped) {
            let sentence = format!("Instance '{}' is not 'running' or 'stopped'.", instance.id);
            return Err(Fault::new(FaultCode::IncorrectState, sentence));
        }
        let apart = |what: &str| {
            let sentence = format!(
                "You may not attach a network interface to an instance if they are not in the same {what}"
            );
            Fault::new(FaultCode::InvalidParameterCombination, sentence)
        };
        if interface.zone != instance.zone {
            return Err(apart("availability zone"));
        }
        if instance.spec.ports.iter().any(|port| port.vpc_id != interface.port.vpc_id) {
            return Err(apart("VPC"));
        }
        let index = order.device_index;
        if instance.spec.ports.iter().any(|port| port.device_index == index) {
            let sentence = format!(
                "Instance '{}' already has an interface attached at device index '{index}'.",
                instance.id
            );
            return Err(Fault::invalid_parameter(sentence));
        }
        self.check_places(&instance.spec.instance_type, instance.spec.ports.len() + 1, &[index])?;
        if order.network_card != 0 {
            let (card, kind) = (order.network_card, &instance.spec.instance_type);
            let sentence = format!("Network card index {card} exceeds the limit for {kind}");
            return Err(Fault::new(FaultCode::AttachmentLimitExceeded, sentence));
        }
        self.check_addresses_for(&instance.spec.instance_type, &interface.port)
    }

    /// So many interfaces, at these places.
    pub fn check_places(&self, instance_type: &str, count: usize, indices: &[u32]) -> Result<(), Fault> {
        let Some(most) = self.catalogue.get(instance_type).map(|kind| kind.interfaces) else { return Ok(()) };
        if count > usize::try_from(most).unwrap_or(usize::MAX) {
            let sentence = format!("Interface count {count} exceeds the limit for {instance_type}");
            return Err(Fault::new(FaultCode::AttachmentLimitExceeded, sentence));
        }
        match indices.iter().find(|index| **index >= DEVICE_INDEX_END) {
            None => Ok(()),
            Some(index) => {
                let last = DEVICE_INDEX_END - 1;
                let sentence =
                    format!("Invalid device index '{index}': expecting a number from 0 to {last}.");
                Err(Fault::invalid_parameter(sentence))
            }
        }
    }
}

/// More than any type's interfaces.
const DEVICE_INDEX_END: u32 = 128;
