//! A launch's network interfaces beyond what every launch has: further ones, further addresses, and those that were there
//! before.

use super::resolve::Resolved;
use super::{App, Order};
use crate::app::instance::Instance;
use crate::app::instance::control::Caller;
use crate::app::instance::said::{About, Attachment};
use crate::app::network_interface::{Interface, InterfaceOrder, Secondary, check_count, in_use};
use crate::app::tag::{Taggable, Tags};
use crate::app::taken::{For, Taken};
use crate::store::Tx;
use crate::store::launch::Launch;
use crate::store::network_change::{network_touch_in_txn, networks_turn_in_txn};
use crate::store::network_interface::network_interface_attach_in_txn;
use crate::store::port::port_hold_in_txn;
use crate::store::subnet::Subnet;
use crate::store::tag::tags_put_in_txn;
use crate::store::told::routes_to_touched_in_txn;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{NetworkInterfaceAttachmentId, NetworkInterfaceId};
use karri_proto::instance::{PortSpec, SecondaryAddress};
use karri_proto::network::ShapeKey;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What is said of the first interface, beside what every launch says.
#[derive(Debug, Clone, Default)]
pub struct First {
    pub existing: Option<NetworkInterfaceId>,
    pub secondary: Secondary,
    /// It outlives its instance.
    pub keep: bool,
}

/// Another one.
#[derive(Debug, Clone)]
pub enum More {
    Existing { device_index: u32, id: NetworkInterfaceId, keep: bool },
    New { device_index: u32, order: PortOrder },
}

/// One that is to be made.
#[derive(Debug, Clone, Default)]
pub struct PortOrder {
    /// None: the first one's.
    pub subnet_id: Option<String>,
    pub group_ids: Vec<String>,
    pub private_ip: Option<Ipv4Addr>,
    pub description: String,
    pub secondary: Secondary,
    pub keep: bool,
}

impl More {
    fn device_index(&self) -> u32 {
        match self {
            More::Existing { device_index, .. } | More::New { device_index, .. } => *device_index,
        }
    }
}

impl Order {
    pub(super) fn has_more_ports(&self) -> bool {
        let First { existing, secondary, keep } = &self.first;
        existing.is_some() || secondary.count() > 0 || *keep || !self.more.is_empty()
    }

    fn caller(&self) -> Caller<'_> {
        Caller { account: &self.account, administrator: self.administrator, request_id: &self.request_id }
    }
}

impl App {
    /// What is more than the type has, before anything is reserved.
    pub(super) fn check_ports(&self, order: &Order) -> Result<(), Fault> {
        let indices: Vec<u32> = order.more.iter().map(More::device_index).collect();
        self.check_places(&order.instance_type, 1 + order.more.len(), &indices)?;
        let of_more = order.more.iter().filter_map(|more| match more {
            More::New { order, .. } => Some(&order.secondary),
            More::Existing { .. } => None,
        });
        let most = self.addresses_most(&order.instance_type);
        let mut all = std::iter::once(&order.first.secondary).chain(of_more);
        all.try_for_each(|secondary| check_count(1 + secondary.count(), most))
    }

    pub(super) async fn existing_first(&self, order: &Order) -> Result<Option<Interface>, Fault> {
        let Some(id) = &order.first.existing else { return Ok(None) };
        let mut tx = self.store.begin().await?;
        self.interface_alone_in_txn(&mut tx, order, id).await.map(Some)
    }

    /// One of the account's own that is attached to nothing.
    async fn interface_alone_in_txn(
        &self,
        tx: &mut Tx,
        order: &Order,
        id: &NetworkInterfaceId,
    ) -> Result<Interface, Fault> {
        let interface = self.interface_in_txn(tx, order.caller(), id).await?;
        if interface.account != order.account {
            return Err(id.not_found());
        }
        if interface.is_in_use() {
            return Err(in_use(id));
        }
        Ok(interface)
    }

    /// Puts the further ports and addresses into the launch's instances, and takes the addresses.
    pub(super) async fn ports_more_in_txn<'a>(
        &'a self,
        tx: &mut Tx,
        order: &Order,
        resolved: &Resolved,
        launch: &mut Launch,
        taken: &mut Vec<Taken<'a>>,
    ) -> Result<(), Fault> {
        let Launch { instances, taken: placed, .. } = launch;
        for instance in instances {
            let Some(subnet) = resolved.subnet(&instance.zone) else { continue };
            self.first_more_in_txn(tx, order, subnet, instance, taken).await?;
            for more in &order.more {
                let port = match more {
                    More::Existing { id, .. } => {
                        let found = self.interface_alone_in_txn(tx, order, id).await?;
                        check_beside(instance, &found)?;
                        instance.said.interfaces.insert(id.clone(), given(&found.about, keeps(more)));
                        found.port
                    }
                    More::New { order: wanted, .. } => {
                        let port = self.port_new_in_txn(tx, order, wanted, subnet, instance, taken).await?;
                        let (description, keep) = (wanted.description.clone(), wanted.keep);
                        let about = About { description, keep, attachment: None };
                        instance.said.interfaces.insert(port.id.clone(), about);
                        port
                    }
                };
                self.check_addresses_for(&order.instance_type, &port)?;
                placed.push(port.id.clone());
                let port = PortSpec { device_index: more.device_index(), ..port };
                Arc::make_mut(&mut instance.spec).ports.push(port);
            }
        }
        Ok(())
    }

    async fn first_more_in_txn<'a>(
        &'a self,
        tx: &mut Tx,
        order: &Order,
        subnet: &Subnet,
        instance: &mut Instance,
        taken: &mut Vec<Taken<'a>>,
    ) -> Result<(), Fault> {
        let about = match &order.first.existing {
            // It may have been attached since it was looked up.
            Some(id) => given(&self.interface_alone_in_txn(tx, order, id).await?.about, order.first.keep),
            None => {
                let description = instance.said.port_description.clone();
                About { description, keep: order.first.keep, attachment: None }
            }
        };
        let Some(port) = Arc::make_mut(&mut instance.spec).ports.first_mut() else { return Ok(()) };
        let whose = For { port: port.id.as_str(), instance: None };
        for asked in order.first.secondary.asked() {
            let place = self.address_take_in_txn(tx, subnet, whose, asked).await?;
            port.secondary.push(SecondaryAddress { address: place.address, public: None });
            taken.push(place);
        }
        self.check_addresses_for(&order.instance_type, port)?; // one that was there may have more
        instance.said.interfaces.insert(port.id.clone(), about);
        Ok(())
    }

    async fn port_new_in_txn<'a>(
        &'a self,
        tx: &mut Tx,
        order: &Order,
        wanted: &PortOrder,
        first: &Subnet,
        instance: &Instance,
        taken: &mut Vec<Taken<'a>>,
    ) -> Result<PortSpec, Fault> {
        let subnet = match &wanted.subnet_id {
            Some(id) => self.subnet_seen_in_txn(tx, order.caller(), id).await?,
            None => first.clone(),
        };
        if subnet.account != order.account || subnet.zone != instance.zone || subnet.vpc_id != first.vpc_id {
            return Err(apart());
        }
        let asked = InterfaceOrder {
            subnet: subnet.id.clone(),
            groups: wanted.group_ids.clone(),
            private_ip: wanted.private_ip,
            secondary: wanted.secondary.clone(),
            description: String::new(),
            tags: Tags::new(),
        };
        let (port, places) = self.port_make_in_txn(tx, &subnet, &asked).await?;
        taken.extend(places);
        Ok(port)
    }

    /// The instances are written: the rows of their further ports and addresses are theirs.
    pub(super) async fn ports_hold_in_txn(
        &self,
        tx: &mut Tx,
        order: &Order,
        instances: &[Instance],
    ) -> Result<(), Fault> {
        let change = networks_turn_in_txn(tx).await?;
        for instance in instances {
            for (port, place) in instance.spec.ports.iter().zip(0..) {
                let (id, holder) = (port.id.as_str(), instance.id.as_str());
                let existing = instance.about(port).attachment.is_some();
                if !existing {
                    port_hold_in_txn(tx, id, Some(holder)).await?;
                    if place > 0 {
                        let kind = Taggable::NetworkInterface;
                        tags_put_in_txn(tx, &instance.account, kind, id, &order.port_tags).await?;
                    }
                    continue;
                }
                network_interface_attach_in_txn(tx, id, holder).await?;
                for public in port.addresses().filter_map(|(_, public)| public) {
                    network_touch_in_txn(tx, change, &ShapeKey::Address(public.address)).await?;
                }
                routes_to_touched_in_txn(tx, change, id).await?;
            }
        }
        Ok(())
    }
}

fn keeps(more: &More) -> bool {
    match more {
        More::Existing { keep, .. } => *keep,
        More::New { order, .. } => order.keep,
    }
}

fn apart() -> Fault {
    let sentence = "All network interfaces of an instance must be in one availability zone and one VPC.";
    Fault::new(FaultCode::InvalidParameterCombination, sentence)
}

/// What is told of one that was there before the launch.
fn given(about: &About, keep: bool) -> About {
    let attachment = Attachment {
        id: NetworkInterfaceAttachmentId::random(&mut rand::thread_rng()),
        at_ms: crate::app::now_ms(),
        generation: 1,
    };
    About { description: about.description.clone(), keep, attachment: Some(attachment) }
}

fn check_beside(instance: &Instance, found: &Interface) -> Result<(), Fault> {
    let first = instance.spec.ports.first();
    let together = found.zone == instance.zone && first.is_none_or(|port| port.vpc_id == found.port.vpc_id);
    let twice = instance.spec.ports.iter().any(|port| port.id == found.port.id);
    match (together, twice) {
        (true, false) => Ok(()),
        (_, true) => Err(in_use(&found.port.id)),
        (false, false) => Err(apart()),
    }
}
