//! Private addresses beside an interface's first.

use super::{App, Caller, Interface, MORE, Secondary, put_newer};
use crate::app::instance::Instance;
use crate::app::taken::{For, Taken};
use crate::store::Tx;
use crate::store::network_change::{network_gone_in_txn, network_touch_in_txn, networks_turn_in_txn};
use crate::store::port::{port_address_delete_in_txn, port_address_move_in_txn, port_at_in_txn};
use crate::store::public_address::public_address_lead_in_txn;
use crate::store::subnet::subnet_fetch_in_txn;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::NetworkInterfaceId;
use karri_proto::instance::SecondaryAddress;
use karri_proto::network::ShapeKey;
use std::net::Ipv4Addr;

#[derive(Debug, Clone)]
pub struct AssignOrder {
    pub interface: NetworkInterfaceId,
    pub secondary: Secondary,
    /// Whether another interface may have it already, and loses it.
    pub reassign: bool,
}

/// The interface as it is now, and what it got.
#[derive(Debug)]
pub struct Assigned {
    pub interface: Interface,
    pub addresses: Vec<Ipv4Addr>,
}

/// Addresses that interfaces have stay with them unless the request says otherwise.
async fn unassigned_in_txn(tx: &mut Tx, network: &str, wanted: &Secondary) -> Result<(), Fault> {
    let mut taken = Vec::new();
    for address in wanted.asked().into_iter().flatten() {
        if port_at_in_txn(tx, network, address).await?.is_some() {
            taken.push(address.to_string());
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    Err(Fault::invalid_parameter(format!("[{}] assigned, but move is not allowed.", taken.join(", "))))
}

impl App {
    pub async fn addresses_assign(&self, caller: Caller<'_>, order: &AssignOrder) -> Result<Assigned, Fault> {
        let _held = self.networks_held.read().await;
        let (mut tx, number) = self.store.begin_numbered().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let mut interface = self.interface_in_txn(&mut tx, caller, &order.interface).await?;
        self.needs_managed(&interface.zone, MORE)?;
        let count = interface.port.addresses().count() + order.secondary.count();
        self.check_addresses(&interface, count)?;
        if !order.reassign {
            unassigned_in_txn(&mut tx, &interface.network(), &order.secondary).await?;
        }
        let (mut addresses, mut taken, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for asked in order.secondary.asked() {
            let moved = match asked.filter(|_| order.reassign) {
                Some(address) => {
                    self.address_leave_in_txn(&mut tx, number, caller, &interface, address).await?
                }
                None => None,
            };
            let new = match moved {
                Some((moved, changed)) => {
                    put_newer(&mut written, changed);
                    moved
                }
                None => {
                    let place = self.address_more_in_txn(&mut tx, &interface, asked).await?;
                    let new = SecondaryAddress { address: place.address, public: None };
                    taken.push(place);
                    new
                }
            };
            if let Some(public) = &new.public {
                let key = ShapeKey::Address(public.address);
                match interface.holder.is_some() {
                    true => network_touch_in_txn(&mut tx, change, &key).await?,
                    false => network_gone_in_txn(&mut tx, change, &key).await?,
                }
            }
            addresses.push(new.address);
            interface.port.secondary.push(new);
        }
        put_newer(&mut written, self.interface_write_in_txn(&mut tx, number, caller, &interface).await?);
        self.networks_commit(tx, false).await?;
        taken.iter_mut().for_each(Taken::keep);
        self.adopt(written);
        Ok(Assigned { interface, addresses })
    }

    async fn address_more_in_txn(
        &self,
        tx: &mut Tx,
        interface: &Interface,
        asked: Option<Ipv4Addr>,
    ) -> Result<Taken<'_>, Fault> {
        let subnet = subnet_fetch_in_txn(tx, interface.port.subnet_id.as_str()).await?;
        let subnet = subnet.ok_or_else(|| interface.port.subnet_id.not_found())?;
        let instance = interface.holder.as_ref().map(|one| one.id.as_str());
        let whose = For { port: interface.port.id.as_str(), instance };
        self.address_take_in_txn(tx, &subnet, whose, asked).await
    }

    /// Takes an address from another interface of the owner's, with what leads to it. None: nobody has it.
    async fn address_leave_in_txn(
        &self,
        tx: &mut Tx,
        number: i64,
        caller: Caller<'_>,
        to: &Interface,
        address: Ipv4Addr,
    ) -> Result<Option<(SecondaryAddress, Vec<Instance>)>, Fault> {
        let Some(holder) = port_at_in_txn(tx, &to.network(), address).await? else { return Ok(None) };
        let taken = || {
            let sentence = format!("Address {address} is in use.");
            Fault::new(FaultCode::InvalidIpAddressInUse, sentence)
        };
        let holder: NetworkInterfaceId = holder.parse()?;
        // Of the flat network, others have addresses, too.
        let mut from = self.interface_in_txn(tx, caller, &holder).await.map_err(|_| taken())?;
        let place = from.port.secondary.iter().position(|one| one.address == address);
        let place = place.filter(|_| from.account == to.account && from.port.id != to.port.id);
        let moved = from.port.secondary.remove(place.ok_or_else(taken)?);
        let written = self.interface_write_in_txn(tx, number, caller, &from).await?;
        let instance = to.holder.as_ref().map(|one| one.id.as_str());
        port_address_move_in_txn(tx, from.port.id.as_str(), address, to.port.id.as_str(), instance).await?;
        Ok(Some((moved, written)))
    }

    pub async fn addresses_unassign(
        &self,
        caller: Caller<'_>,
        id: &NetworkInterfaceId,
        addresses: &[Ipv4Addr],
    ) -> Result<(), Fault> {
        let (mut tx, number) = self.store.begin_numbered().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let mut interface = self.interface_in_txn(&mut tx, caller, id).await?;
        if addresses.contains(&interface.port.private_ip) {
            let sentence = format!("The primary private address of {id} cannot be unassigned.");
            return Err(Fault::invalid_parameter(sentence));
        }
        let has = |address: &Ipv4Addr| interface.port.secondary.iter().any(|one| one.address == *address);
        let strange: Vec<String> =
            addresses.iter().filter(|address| !has(address)).map(Ipv4Addr::to_string).collect();
        if !strange.is_empty() {
            let sentence = format!("Some of [{}] are not assigned to interface [{id}]", strange.join(", "));
            return Err(Fault::invalid_parameter(sentence));
        }
        for one in interface.port.secondary.extract_if(.., |one| addresses.contains(&one.address)) {
            port_address_delete_in_txn(&mut tx, id.as_str(), one.address).await?;
            if let Some(public) = one.public {
                public_address_lead_in_txn(&mut tx, public.address, None).await?;
                network_gone_in_txn(&mut tx, change, &ShapeKey::Address(public.address)).await?;
            }
        }
        self.interface_put(tx, number, caller, &interface, false).await?;
        let (mut book, network) = (self.book(), interface.network());
        addresses.iter().for_each(|address| book.addresses.release(&network, *address));
        Ok(())
    }
}
