//! Where a route leads to: a range, or the ranges of a prefix list.

use super::{Put, already};
use crate::app::App;
use crate::app::prefix_list::Family;
use crate::store::Tx;
use crate::store::prefix_list::prefix_list_fetch_in_txn;
use crate::store::route_table::RouteTable;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::PrefixListId;
use karri_proto::network::Net4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Net(Net4),
    List(PrefixListId),
}

impl Destination {
    /// EC2's word for what it is, where there is none.
    pub fn word(&self) -> &'static str {
        match self {
            Destination::Net(_) => "destination-cidr-block",
            Destination::List(_) => "destination-prefix-list-id",
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Destination::Net(net) => write!(f, "{net}"),
            Destination::List(list) => write!(f, "{list}"),
        }
    }
}

impl App {
    /// Whether a table may have a route there.
    pub(super) async fn destination_in_txn(
        &self,
        tx: &mut Tx,
        table: &RouteTable,
        destination: &Destination,
        put: Put,
    ) -> Result<(), Fault> {
        match destination {
            Destination::Net(net) => {
                let ranges = self.ranges_in_txn(tx, &table.vpc_id).await?;
                if put == Put::New && ranges.contains(net) {
                    return Err(already(destination));
                }
                beyond_vpc(&ranges, net)
            }
            Destination::List(id) => {
                let found = prefix_list_fetch_in_txn(tx, id.as_str()).await?;
                let list = found.filter(|list| list.account == table.account);
                match list.ok_or_else(|| id.not_found())?.family {
                    Family::Ipv4 => Ok(()),
                    Family::Ipv6 => {
                        let sentence =
                            format!("Routes of IPv6 are not supported, and {id} is a list of IPv6");
                        Err(Fault::new(FaultCode::UnsupportedOperation, sentence))
                    }
                }
            }
        }
    }
}

/// What lies in the VPC is reached within it.
fn beyond_vpc(ranges: &[Net4], net: &Net4) -> Result<(), Fault> {
    if !ranges.iter().any(|range| net.is_within(range)) {
        return Ok(());
    }
    let sentence = format!(
        "The destination CIDR block {net} is equal to or more specific than one of this VPC's CIDR blocks. Routes \
         within a VPC are not supported."
    );
    Err(Fault::new(FaultCode::UnsupportedOperation, sentence))
}
