//! The public address that an instance has from its start to its stop.

use super::no_public_address;
use crate::app::App;
use crate::app::instance::{Instance, State};
use crate::app::names::public_dns_name;
use crate::store::network_change::{network_touch_in_txn, networks_turn_in_txn};
use crate::store::public_address::{own_address, public_address_insert_in_txn, public_addresses_take_in_txn};
use crate::store::vpc::{Vpc, vpc_fetch_in_txn};
use crate::store::{StoreError, Tx};
use karri_proto::fault::Fault;
use karri_proto::ids::InstanceId;
use karri_proto::instance::PublicPort;
use karri_proto::network::ShapeKey;
use std::collections::HashMap;
use std::net::Ipv4Addr;

pub fn own_public_port(ip: Ipv4Addr, region: &str, vpc: &Vpc) -> PublicPort {
    PublicPort { address: ip, name: public_dns_name(ip, region, vpc), elastic: false }
}

impl App {
    /// So many free addresses, for instances of one launch. They are the launch's once it is committed.
    pub async fn own_addresses_in_txn(&self, tx: &mut Tx, count: usize) -> Result<Vec<Ipv4Addr>, Fault> {
        let found = public_addresses_take_in_txn(tx, &self.public_ranges, count).await?;
        if found.len() < count { Err(no_public_address()) } else { Ok(found) }
    }

    /// Those of the instances, which are about to be started, that get an address with their start.
    pub async fn own_addresses_of_started_in_txn(
        &self,
        tx: &mut Tx,
        instances: &[Instance],
    ) -> Result<HashMap<InstanceId, PublicPort>, Fault> {
        let wants = |one: &&Instance| {
            // As EC2 has it, one that got further interfaces gets no other address of its own.
            let bare = matches!(one.spec.ports.as_slice(), [port] if port.public.is_none());
            one.state == State::Stopped && one.said.public_address && bare
        };
        let wanting: Vec<&Instance> = instances.iter().filter(wants).collect();
        if wanting.is_empty() {
            return Ok(HashMap::new());
        }
        let change = networks_turn_in_txn(tx).await?;
        let addresses = self.own_addresses_in_txn(tx, wanting.len()).await?;
        let mut given = HashMap::new();
        for (instance, ip) in wanting.into_iter().zip(addresses) {
            let Some(port) = instance.spec.ports.first() else { continue };
            public_address_insert_in_txn(tx, &own_address(instance, port, ip)).await?;
            network_touch_in_txn(tx, change, &ShapeKey::Address(ip)).await?;
            let vpc = vpc_fetch_in_txn(tx, port.vpc_id.as_str()).await?;
            let vpc = vpc.ok_or_else(|| StoreError::corrupt("VPC of a port", &port.vpc_id))?;
            given.insert(instance.id.clone(), own_public_port(ip, &self.region, &vpc));
        }
        Ok(given)
    }
}
