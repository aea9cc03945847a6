//! The kernel's routes: a table for each leg, asked for what comes in by it.

use super::ways::{Plan, Way};
use karri_proto::network::{Net4, SegmentTag};
use std::net::Ipv4Addr;

/// The host, as every router sees it.
pub const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);
pub const MAIN_TABLE: u32 = 254;
/// Below are the kernel's own numbers, and people's.
const TABLES_BEGIN: u32 = 1_000_000;

/// The number of the table of a leg.
pub fn table_of(tag: SegmentTag) -> u32 {
    TABLES_BEGIN + tag
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub table: u32,
    pub to: Net4,
    pub via: Via,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// On the leg's segment.
    Leg(SegmentTag),
    Port(SegmentTag, Ipv4Addr),
    /// By the host.
    Up,
    Unreachable,
    Blackhole,
}

pub fn routes(plan: &Plan) -> Vec<Route> {
    let mut routes = vec![Route { table: MAIN_TABLE, to: Net4::EVERYWHERE, via: Via::Up }];
    for side in &plan.sides {
        let table = table_of(side.leg.tag);
        routes.extend(side.ways.iter().map(|(to, way)| Route { table, to: *to, via: via(*way) }));
    }
    routes.sort();
    routes
}

fn via(way: Way) -> Via {
    match way {
        Way::Leg(tag) => Via::Leg(tag),
        Way::Port(tag, address) => Via::Port(tag, address),
        Way::Internet | Way::Nat(_) => Via::Up,
        Way::Elsewhere => Via::Unreachable,
        Way::Nowhere => Via::Blackhole,
    }
}
