//! What the host itself has for public addresses: routes to those that routers carry, and translation for those
//! of ports on the flat network. And the names that are served there.

use super::{Input, Naming, Router, Site};
use karri_proto::network::{Net4, PublicAddress, RegionNames, Subnet};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Public addresses of the cluster, as far as the host has to do with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Of ports on the flat network: public to private.
    pub flat: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Of routers.
    pub routed: Vec<Ipv4Addr>,
}

/// What one VPC has on flat networks, this cluster's and those of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlatPart {
    addresses: Vec<(PublicAddress, Subnet)>,
    ranges: BTreeSet<Net4>,
    /// Names of its public addresses lead to the private ones.
    dns_hostnames: bool,
}

impl FlatPart {
    /// `input`: None if little is known of the VPC.
    pub fn new(addresses: Vec<(PublicAddress, Subnet)>, input: Option<&Input>) -> Self {
        let subnets = input.into_iter().flat_map(|input| &input.subnets);
        Self {
            addresses,
            ranges: subnets.filter(|subnet| subnet.tag == 0).map(|subnet| subnet.range).collect(),
            dns_hostnames: input.is_some_and(|input| input.vpc.dns_hostnames),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.ranges.is_empty()
    }

    pub fn addresses(&self) -> impl Iterator<Item = (&PublicAddress, &Subnet)> {
        self.addresses.iter().map(|(address, subnet)| (address, subnet))
    }
}

/// On the flat network of a cluster that extends a zone there is nobody.
fn is_here(site: &Site, subnet: &Subnet) -> bool {
    subnet.tag == 0 && subnet.zone == site.zone && !site.extends
}

/// `flat`: addresses, with the subnet of the flat network that each leads to.
pub fn outside<'a>(
    site: &Site,
    flat: impl IntoIterator<Item = (&'a PublicAddress, &'a Subnet)>,
    routers: impl IntoIterator<Item = &'a Router>,
) -> Outside {
    let here = flat.into_iter().filter(|(_, subnet)| is_here(site, subnet));
    let flat = here.map(|(address, _)| (address.public, address.private)).collect();
    let mut routed: Vec<Ipv4Addr> =
        routers.into_iter().flat_map(|router| router.public.keys().copied()).collect();
    routed.sort();
    routed.dedup();
    Outside { flat, routed }
}

/// Names of private addresses are those of the flat networks of all zones, though each is a network of its own.
pub fn flat_naming<'a>(
    site: &Site,
    region: Option<Arc<RegionNames>>,
    parts: impl IntoIterator<Item = &'a FlatPart>,
) -> Naming {
    let mut naming = Naming { region, ..Naming::default() };
    for part in parts {
        naming.ranges.extend(&part.ranges);
        let here = part.addresses().filter(|(_, subnet)| part.dns_hostnames && is_here(site, subnet));
        naming.inside.extend(here.map(|(address, _)| (address.public, address.private)));
    }
    naming
}

#[cfg(test)]
mod tests {
    use super::super::samples::{A, ELSEWHERE, address, input, lease, site, subnet, usual, vpc};
    use super::*;
    use karri_proto::network::{Shape, Vpc};

    fn part(dns_hostnames: bool) -> FlatPart {
        let flat = |tag| Subnet { tag: 0, ..subnet(tag) };
        let mut shapes = usual();
        shapes[0] = Shape::Vpc(Vpc { dns_hostnames, ..vpc() });
        shapes.extend([Shape::Subnet(flat(A)), Shape::Subnet(flat(ELSEWHERE))]);
        let one = |public, tag| (address(public, &lease(tag, 5)), flat(tag));
        let addresses = vec![one([198, 18, 0, 5], A), one([198, 18, 0, 6], ELSEWHERE)];
        FlatPart::new(addresses, Some(&input(&shapes)))
    }

    #[test]
    fn names_of_public_addresses_of_this_zone_lead_to_private_ones_where_the_vpc_has_such_names() {
        let region = RegionNames { domain: "ec2.internal".to_owned(), ..RegionNames::default() };
        let region = Some(Arc::new(region));
        let named = flat_naming(&site(), region.clone(), [&part(true)]);
        assert_eq!(named.region, region);
        let ranges = [A, ELSEWHERE].map(|tag| subnet(tag).range);
        assert_eq!(named.ranges, ranges.into(), "of all zones, and of no segment");
        assert_eq!(named.inside, [([198, 18, 0, 5].into(), [10, 0, 0, 5].into())].into());
        let nameless = flat_naming(&site(), region, [&part(false)]);
        assert_eq!(nameless, Naming { inside: BTreeMap::new(), ..named });
    }
}
