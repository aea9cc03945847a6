//! What the host itself has for public addresses: routes to those that routers carry, and translation for those
//! of ports on the flat network.

use super::{Router, Site};
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
    site: &Site,
    flat: impl IntoIterator<Item = (&'a PublicAddress, &'a Subnet)>,
    routers: impl IntoIterator<Item = &'a Router>,
) -> Outside {
    // On the flat network of a cluster that extends a zone there is nobody.
    let is_here = |subnet: &Subnet| subnet.tag == 0 && subnet.zone == site.zone && !site.extends;
    let here = flat.into_iter().filter(|(_, subnet)| is_here(subnet));
    let flat = here.map(|(address, _)| (address.public, address.private)).collect();
    let mut routed: Vec<Ipv4Addr> =
        routers.into_iter().flat_map(|router| router.public.keys().copied()).collect();
    routed.sort();
    routed.dedup();
    Outside { flat, routed }
}
