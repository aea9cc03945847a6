//! The router of a VPC in this cluster: what it is to be like, as a function of rows and configuration.
//!
//! ```text
//!   leases, shapes, Site ─► input.rs ─► ways.rs     where each subnet's packets go, by prefix
//!                                        │
//!                    Router (mod.rs) ◄───┼─ routes.rs   the kernel's routes that follow from the ways
//!                                        ├─ chains.rs   iptables: marks, translation, what is refused
//!                                        ├─ acl.rs      network ACLs as chains
//!                                        ├─ naming.rs   what names are served
//!                                        └─ names.rs    names of links and of the namespace
//! ```
//!
//! A router is there while the VPC has living ports or a NAT gateway in this zone, with a leg in each subnet
//! that has some. All of a zone's routers are in the cluster that the zone is; ports of others that extend it are told. It is a network namespace: its tables are its own, so that ranges of VPCs may be equal.
//!
//! A packet that a subnet's routes lead out is *marked* on its way in, by its destination as the guest wrote it:
//! by the internet gateway or by which NAT gateway. What is translated and what is refused later follows from
//! the mark, also where the translated destination is in the VPC itself.

mod acl;
mod chains;
mod flat;
mod input;
pub mod names;
mod naming;
mod routes;
mod ways;

pub use flat::{FlatPart, Outside, flat_naming, outside};
pub use input::{Input, Lease};
pub use naming::Naming;
pub use routes::{MAIN_TABLE, NEXT_HOP, Route, Via, table_of};

use crate::drive::Host;
use karri_proto::ids::VpcId;
use karri_proto::network::{DhcpOptions, Net4, SegmentTag};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What is the same for all routers of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub zone: String,
    /// The zone is another cluster's: its routers are there.
    pub extends: bool,
    /// The flat network's; names of links begin with it.
    pub bridge: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    pub vpc: VpcId,
    pub legs: BTreeMap<SegmentTag, Leg>,
    pub routes: Vec<Route>,
    /// For iptables-restore; takes the place of all that was in the namespace's tables.
    pub tables: String,
    /// Public addresses that lead here, and whose they are; none: a NAT gateway's.
    pub public: BTreeMap<Ipv4Addr, Option<Ipv4Addr>>,
    pub naming: Naming,
}

/// A router's end in a subnet, and what it serves there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    pub tag: SegmentTag,
    pub range: Net4,
    pub gateway: Ipv4Addr,
    pub dhcp: DhcpOptions,
    /// Names are answered, by the gateway.
    pub dns: bool,
    pub hosts: Vec<Host>,
}

/// `None`: the cluster needs none, or has not been told of the VPC, or another one has the routers of the zone.
pub fn router(input: &Input, site: &Site) -> Option<Router> {
    let legs = legs(input, site);
    if site.extends || legs.is_empty() {
        return None;
    }
    let plan = ways::Plan::new(input, site, &legs);
    Some(Router {
        vpc: input.vpc.id.clone(),
        routes: routes::routes(&plan),
        tables: chains::tables(&plan).to_string(),
        naming: naming(input, &plan),
        public: plan.public(),
        legs,
    })
}

/// What is in another zone keeps its public address: there is no way to its private one.
fn naming(input: &Input, plan: &ways::Plan) -> Naming {
    let named = plan.addresses.iter().filter(|_| input.vpc.dns_hostnames);
    Naming {
        region: input.names.clone(),
        ranges: input.vpc.ranges.iter().copied().collect(),
        inside: named.map(|address| (address.public, address.private)).collect(),
    }
}

fn legs(input: &Input, site: &Site) -> BTreeMap<SegmentTag, Leg> {
    let here = input.subnets.iter().filter(|subnet| subnet.zone == site.zone && subnet.tag != 0);
    let needed = here.filter_map(|subnet| {
        let hosts: Vec<Host> = input.hosts_of(subnet.tag).collect();
        let has_nat = input.nats.values().any(|nat| nat.subnet == subnet.id);
        let leg = Leg {
            tag: subnet.tag,
            range: subnet.range,
            gateway: gateway_of(subnet.range)?,
            dhcp: input.vpc.dhcp.clone(),
            dns: input.vpc.dns_support,
            hosts,
        };
        (has_nat || !leg.hosts.is_empty()).then_some((subnet.tag, leg))
    });
    needed.collect()
}

/// The first address behind that of the range itself. `None`: there is no room for it.
fn gateway_of(range: Net4) -> Option<Ipv4Addr> {
    (range.prefix < 31).then(|| Ipv4Addr::from(u32::from(range.address).saturating_add(1)))
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;
