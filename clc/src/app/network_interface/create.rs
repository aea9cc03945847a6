//! Network interfaces made by themselves, and taken away.

use super::{App, Caller, Interface, MORE, check_count};
use crate::app::address::{mac_of, network_of};
use crate::app::creation::{made_before_in_txn, made_in_txn};
use crate::app::image::task::Token;
use crate::app::instance::said::About;
use crate::app::security_group::DEFAULT;
use crate::app::tag::{Taggable, Tags};
use crate::app::taken::{For, Taken};
use crate::store::creation_token::creation_token_drop_in_txn;
use crate::store::network_change::networks_turn_in_txn;
use crate::store::network_interface::{
    NetworkInterface, network_interface_count_in_txn, network_interface_delete_in_txn,
    network_interface_insert_in_txn,
};
use crate::store::public_address::public_address_lead_in_txn;
use crate::store::security_group::group_by_name_in_txn;
use crate::store::subnet::Subnet;
use crate::store::tag::{tags_drop_in_txn, tags_put_in_txn};
use crate::store::told::routes_to_touched_in_txn;
use crate::store::vpc::vpc_fetch_in_txn;
use crate::store::{StoreError, Tx};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{NetworkInterfaceId, SecurityGroupId};
use karri_proto::instance::{PortSpec, SecondaryAddress};
use std::net::Ipv4Addr;

/// What a user asks for.
#[derive(Debug, Clone, Default)]
pub struct InterfaceOrder {
    pub subnet: String,
    pub groups: Vec<String>,
    pub private_ip: Option<Ipv4Addr>,
    pub secondary: Secondary,
    pub description: String,
    pub tags: Tags,
}

/// Addresses beside the first: these, or so many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secondary {
    These(Vec<Ipv4Addr>),
    Some(usize),
}

impl Default for Secondary {
    fn default() -> Self {
        Self::Some(0)
    }
}

impl Secondary {
    pub fn count(&self) -> usize {
        match self {
            Secondary::These(addresses) => addresses.len(),
            Secondary::Some(count) => *count,
        }
    }

    /// For each, the one that is asked for.
    pub fn asked(&self) -> Vec<Option<Ipv4Addr>> {
        match self {
            Secondary::These(addresses) => addresses.iter().copied().map(Some).collect(),
            Secondary::Some(count) => vec![None; *count],
        }
    }
}

impl App {
    pub async fn interface_create(
        &self,
        caller: Caller<'_>,
        order: &InterfaceOrder,
        token: &Token,
        dry: bool,
    ) -> Result<Interface, Fault> {
        // Its subnet and groups stay while it is made.
        let _held = self.networks_held.read().await;
        let (mut tx, _) = self.store.begin_numbered().await?;
        networks_turn_in_txn(&mut tx).await?;
        if let Some(earlier) = made_before_in_txn(&mut tx, caller.account, token).await? {
            return self.interface_in_txn(&mut tx, caller, &earlier.parse()?).await;
        }
        let subnet = self.subnet_seen_in_txn(&mut tx, caller, &order.subnet).await?;
        self.needs_managed(&subnet.zone, MORE)?;
        check_count(1 + order.secondary.count(), self.limits.addresses_per_interface)?;
        let limit = self.limits.network_interfaces_per_account;
        if network_interface_count_in_txn(&mut tx, &subnet.account).await? >= limit {
            let sentence = format!("The maximum number of network interfaces has been reached ({limit}).");
            return Err(Fault::new(FaultCode::NetworkInterfaceLimitExceeded, sentence));
        }
        let (port, mut taken) = self.port_make_in_txn(&mut tx, &subnet, order).await?;
        let cluster = self.clusters.by_zone(&subnet.zone).ok_or_else(crate::app::no_address)?;
        let interface = Interface {
            account: subnet.account.clone(),
            cluster: cluster.name.clone(),
            zone: subnet.zone.clone(),
            port,
            about: About { description: order.description.clone(), ..About::default() },
            holder: None,
            leaving: None,
        };
        network_interface_insert_in_txn(&mut tx, &interface.row()).await?;
        let id = interface.port.id.as_str();
        tags_put_in_txn(&mut tx, &interface.account, Taggable::NetworkInterface, id, &order.tags).await?;
        made_in_txn(&mut tx, caller.account, token, id).await?;
        self.networks_commit(tx, dry).await?;
        if !dry {
            taken.iter_mut().for_each(Taken::keep);
            tracing::info!(interface = id, account = interface.account, "network interface created");
        }
        Ok(interface)
    }

    /// A port of the subnet with the rows of its addresses.
    pub async fn port_make_in_txn(
        &self,
        tx: &mut Tx,
        subnet: &Subnet,
        order: &InterfaceOrder,
    ) -> Result<(PortSpec, Vec<Taken<'_>>), Fault> {
        let groups = match order.groups.is_empty() {
            true => default_group_in_txn(tx, subnet).await?,
            false => self.groups_of_port_in_txn(tx, &subnet.account, &subnet.vpc_id, &order.groups).await?,
        };
        let vpc = vpc_fetch_in_txn(tx, &subnet.vpc_id).await?;
        let vpc = vpc.ok_or_else(|| StoreError::corrupt("VPC of a subnet", &subnet.id))?;
        let id = NetworkInterfaceId::random(&mut rand::thread_rng());
        let whose = For { port: id.as_str(), instance: None };
        let mut taken = vec![self.address_take_in_txn(tx, subnet, whose, order.private_ip).await?];
        for asked in order.secondary.asked() {
            taken.push(self.address_take_in_txn(tx, subnet, whose, asked).await?);
        }
        let first = taken[0].address;
        let more = taken[1..].iter();
        let port = PortSpec {
            mac: mac_of(first),
            private_ip: first,
            subnet_id: subnet.id.parse()?,
            segment: subnet.tag,
            subnet_cidr: subnet.cidr.clone(),
            vpc_id: vpc.id.parse()?,
            more_vpc_cidrs: vpc.further_ranges(),
            vpc_cidr: vpc.cidr,
            gateway: subnet.gateway,
            groups,
            public: None,
            device_index: 0,
            learns_address: false,
            forwarded: Vec::new(),
            secondary: more.map(|one| SecondaryAddress { address: one.address, public: None }).collect(),
            source_dest_check: true,
            id,
        };
        Ok((port, taken))
    }

    /// Of one that is no more.
    pub fn interface_addresses_release(&self, gone: &NetworkInterface) {
        let (mut book, network) = (self.book(), network_of(&gone.port, &gone.cluster));
        gone.port.addresses().for_each(|(address, _)| book.addresses.release(&network, address));
    }

    /// Not while it is attached.
    pub async fn interface_delete(
        &self,
        caller: Caller<'_>,
        id: &NetworkInterfaceId,
        dry: bool,
    ) -> Result<(), Fault> {
        let (mut tx, _) = self.store.begin_numbered().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let interface = self.interface_in_txn(&mut tx, caller, id).await?;
        if interface.is_in_use() {
            let sentence = format!("Network interface '{id}' is currently in use.");
            return Err(Fault::invalid_parameter(sentence));
        }
        network_interface_delete_in_txn(&mut tx, id.as_str()).await?;
        for public in interface.port.addresses().filter_map(|(_, public)| public) {
            public_address_lead_in_txn(&mut tx, public.address, None).await?;
        }
        routes_to_touched_in_txn(&mut tx, change, id.as_str()).await?;
        tags_drop_in_txn(&mut tx, id.as_str()).await?;
        creation_token_drop_in_txn(&mut tx, id.as_str()).await?;
        self.networks_commit(tx, dry).await?;
        if !dry {
            self.interface_addresses_release(&interface.row());
            tracing::info!(interface = %id, account = interface.account, "network interface deleted");
        }
        Ok(())
    }
}

/// That of the subnet's VPC.
async fn default_group_in_txn(tx: &mut Tx, subnet: &Subnet) -> Result<Vec<(SecurityGroupId, String)>, Fault> {
    let found = group_by_name_in_txn(tx, &subnet.vpc_id, DEFAULT).await?;
    let group = found.ok_or_else(|| StoreError::corrupt("default group of a VPC", &subnet.vpc_id))?;
    Ok(vec![(group.id.parse()?, group.name)])
}
