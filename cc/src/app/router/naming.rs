//! Names that are served, in a VPC's segments and on the flat network: as the region has them, and what of them
//! leads elsewhere than they say.

use karri_proto::network::{Net4, RegionNames};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Naming {
    /// None: the cloud controller has not told of it yet.
    pub region: Option<Arc<RegionNames>>,
    /// Each address of these has a private name.
    pub ranges: BTreeSet<Net4>,
    /// Public addresses whose names lead to private ones for who asks here. Those of others say what they lead to.
    pub inside: BTreeMap<Ipv4Addr, Ipv4Addr>,
}
