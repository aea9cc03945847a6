//! What the host itself has for public addresses: routes to those that routers carry, and translation for those
//! of ports on the flat network.

use super::Router;
use karri_proto::network::{PublicAddress, Subnet};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Public addresses of the cluster, as far as the host has to do with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Of ports on the flat network: public to private.
    pub flat: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Of routers.
    pub routed: Vec<Ipv4Addr>,
}

/// `flat`: addresses, with the subnet of the flat network that each leads to.
pub fn outside<'a>(
    zone: &str,
    flat: impl IntoIterator<Item = (&'a PublicAddress, &'a Subnet)>,
    routers: impl IntoIterator<Item = &'a Router>,
) -> Outside {
    let here = flat.into_iter().filter(|(_, subnet)| subnet.tag == 0 && subnet.zone == zone);
    let flat = here.map(|(address, _)| (address.public, address.private)).collect();
    let mut routed: Vec<Ipv4Addr> =
        routers.into_iter().flat_map(|router| router.public.keys().copied()).collect();
    routed.sort();
    routed.dedup();
    Outside { flat, routed }
}
