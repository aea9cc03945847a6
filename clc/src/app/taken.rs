//! An address of a subnet for a port, in the book and in its row.

use super::address::{Cidr, network_name};
use super::{App, no_address};
use crate::store::Tx;
use crate::store::port::{PortAddress, port_address_insert_in_txn};
use crate::store::subnet::Subnet;
use karri_proto::fault::{Fault, FaultCode};
use std::net::Ipv4Addr;

/// Another controller on the same database may take an address first; then others are tried.
const ADDRESS_ATTEMPTS_MAX: usize = 5;

/// An address that is taken, and given back unless it is kept.
pub struct Taken<'a> {
    app: &'a App,
    network: String,
    pub address: Ipv4Addr,
    kept: bool,
}

impl Taken<'_> {
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.app.book().addresses.release(&self.network, self.address);
        }
    }
}

/// Whose an address is to be.
#[derive(Debug, Clone, Copy)]
pub struct For<'a> {
    pub port: &'a str,
    pub instance: Option<&'a str>,
}

impl App {
    /// A free address of the subnet, or the very one that is asked for, with its row.
    pub async fn address_take_in_txn(
        &self,
        tx: &mut Tx,
        subnet: &Subnet,
        whose: For<'_>,
        asked: Option<Ipv4Addr>,
    ) -> Result<Taken<'_>, Fault> {
        let cluster = self.clusters.by_zone(&subnet.zone).ok_or_else(no_address)?;
        let network = network_name(subnet.tag, &subnet.id, &cluster.name);
        let range = Cidr::parse(&subnet.cidr).ok_or_else(no_address)?;
        for _ in 0..ADDRESS_ATTEMPTS_MAX {
            let address = self.book().address(&network, range, asked)?;
            let (network, cluster) = (network.clone(), cluster.name.as_str());
            let row = PortAddress {
                port: whose.port,
                cluster,
                network: &network,
                address,
                instance: whose.instance,
            };
            if port_address_insert_in_txn(tx, row).await? {
                return Ok(Taken { app: self, network, address, kept: false });
            }
            // Somebody has it: it stays taken.
            if asked.is_some() {
                let sentence = format!("Address {address} is in use.");
                return Err(Fault::new(FaultCode::InvalidIpAddressInUse, sentence));
            }
        }
        Err(Fault::internal("other controllers took every address that was tried"))
    }
}
