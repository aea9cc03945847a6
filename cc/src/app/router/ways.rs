//! Where a subnet's packets go: by the longest prefix that holds their destination.
//!
//! A way through a NAT gateway is what that gateway's own subnet makes of it: what does not lead to the internet
//! from there leads nowhere.

use super::{Input, Leg, Site};
use karri_proto::ids::NatGatewayId;
use karri_proto::network::{Acl, Nat, Net4, PublicAddress, RouteTarget, SegmentTag, Subnet};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A subnet in which the router has a leg.
    Leg(SegmentTag),
    /// Of the VPC, and nothing of it is here.
    Elsewhere,
    Internet,
    /// By the NAT gateway with this public address.
    Nat(Ipv4Addr),
    /// To the port with this address, whatever the packet's destination.
    Port(SegmentTag, Ipv4Addr),
    Nowhere,
}

impl Way {
    /// What a packet is marked with that goes it. Public addresses stay what they are when others come and go.
    pub fn mark(self) -> u32 {
        match self {
            Way::Internet => INTERNET_MARK,
            Way::Nat(public) => u32::from(public),
            Way::Leg(_) | Way::Elsewhere | Way::Port(..) | Way::Nowhere => 0,
        }
    }
}

/// No NAT gateway has the address 0.0.0.1.
pub const INTERNET_MARK: u32 = 1;

/// Longer prefixes first: the first that holds an address decides.
pub type Ways = Vec<(Net4, Way)>;

/// One subnet with a leg, and what is decided for it.
#[derive(Debug)]
pub struct Side<'a> {
    pub leg: &'a Leg,
    pub ways: Ways,
    /// None: it has not been told, and nothing passes.
    pub acl: Option<&'a Acl>,
}

#[derive(Debug)]
pub struct Plan<'a> {
    pub sides: Vec<Side<'a>>,
    pub addresses: Vec<&'a PublicAddress>,
    /// Public addresses of NAT gateways here, and the subnets that they are in.
    pub nats: Vec<(Ipv4Addr, SegmentTag)>,
}

impl<'a> Plan<'a> {
    pub fn new(input: &'a Input, site: &Site, legs: &'a BTreeMap<SegmentTag, Leg>) -> Self {
        let attached = input.vpc.internet_gateway.is_some();
        let finder = Finder { input, site, legs, attached };
        let here = input.subnets.iter().filter_map(|subnet| Some((subnet, legs.get(&subnet.tag)?)));
        let sides = here.map(|(subnet, leg)| Side {
            leg,
            ways: finder.ways(subnet),
            acl: input.acls.get(&subnet.acl),
        });
        let is_here = |address: &&PublicAddress| {
            let subnet = input.subnets.iter().find(|subnet| subnet.id == address.subnet);
            attached && subnet.is_some_and(|subnet| legs.contains_key(&subnet.tag))
        };
        let nats = input.nats.values().filter_map(|nat| {
            let subnet = input.subnets.iter().find(|subnet| subnet.id == nat.subnet)?;
            Some((finder.public_of(nat)?, subnet.tag))
        });
        Self {
            sides: sides.collect(),
            addresses: input.addresses.iter().filter(is_here).collect(),
            nats: nats.collect(),
        }
    }

    pub fn public(&self) -> BTreeMap<Ipv4Addr, Option<Ipv4Addr>> {
        let nats = self.nats.iter().map(|(public, _)| (*public, None));
        nats.chain(self.addresses.iter().map(|address| (address.public, Some(address.private)))).collect()
    }
}

struct Finder<'a> {
    input: &'a Input,
    site: &'a Site,
    legs: &'a BTreeMap<SegmentTag, Leg>,
    /// To the internet.
    attached: bool,
}

impl Finder<'_> {
    fn ways(&self, subnet: &Subnet) -> Ways {
        let own = self.targets(subnet);
        let mut ways = Ways::new();
        for (to, target) in &own {
            match target {
                Target::Known(way) => ways.push((*to, *way)),
                Target::Nat(nat) => {
                    let deeper = own.iter().filter(|(other, _)| other.is_within(*to) && *other != to);
                    let deeper: Vec<Net4> = deeper.map(|(other, _)| *other).collect();
                    ways.extend(self.through(nat, *to, &deeper));
                }
            }
        }
        ways.sort_by_key(|(net, _)| (u8::MAX - net.prefix, *net));
        ways
    }

    /// What a table says of each prefix.
    fn targets(&self, subnet: &Subnet) -> BTreeMap<Net4, Target> {
        let nowhere = Target::Known(Way::Nowhere);
        // Link-local addresses are on no way but the host's own.
        let link_local = Net4 { address: Ipv4Addr::new(169, 254, 0, 0), prefix: 16 };
        let mut targets = BTreeMap::from([(Net4::EVERYWHERE, nowhere.clone())]);
        let ranges = self.input.vpc.ranges.iter();
        targets.extend(ranges.map(|range| (*range, Target::Known(Way::Elsewhere))));
        targets.extend(self.legs.values().map(|leg| (leg.range, Target::Known(Way::Leg(leg.tag)))));
        let table = self.input.tables.get(&subnet.route_table);
        for route in table.into_iter().flat_map(|table| &table.routes) {
            targets.insert(route.to, self.target(&route.target));
        }
        targets.insert(link_local, nowhere);
        targets
    }

    fn target(&self, target: &RouteTarget) -> Target {
        Target::Known(match target {
            RouteTarget::Internet if self.attached => Way::Internet,
            RouteTarget::Nat(id) if self.attached => return Target::Nat(id.clone()),
            RouteTarget::Interface(port) => match self.input.lease_of(port) {
                Some(lease) if self.legs.contains_key(&lease.tag) => Way::Port(lease.tag, lease.address),
                _ => Way::Nowhere,
            },
            RouteTarget::Internet | RouteTarget::Nat(_) | RouteTarget::Blackhole => Way::Nowhere,
        })
    }

    /// The public address of a NAT gateway that is this cluster's to carry.
    fn public_of(&self, nat: &Nat) -> Option<Ipv4Addr> {
        let subnet = self.input.subnets.iter().find(|subnet| subnet.id == nat.subnet)?;
        nat.public.filter(|_| self.attached && subnet.zone == self.site.zone && subnet.tag != 0)
    }

    /// What becomes of `to` behind a NAT gateway, but for what `deeper` routes lead elsewhere before.
    fn through(&self, id: &NatGatewayId, to: Net4, deeper: &[Net4]) -> Ways {
        let found = self.input.nats.get(id).and_then(|nat| {
            let subnet = self.input.subnets.iter().find(|subnet| subnet.id == nat.subnet)?;
            Some((self.public_of(nat)?, self.targets(subnet)))
        });
        let Some((public, targets)) = found else { return vec![(to, Way::Nowhere)] };
        let behind = |target: &Target| match target {
            Target::Known(Way::Internet) => Way::Nat(public),
            Target::Known(_) | Target::Nat(_) => Way::Nowhere,
        };
        let holding = targets.iter().filter(|(net, _)| to.is_within(**net)).max_by_key(|(net, _)| net.prefix);
        let mut ways = vec![(to, holding.map_or(Way::Nowhere, |(_, target)| behind(target)))];
        let inside = targets.iter().filter(|(net, _)| net.is_within(to) && **net != to);
        let inside = inside.filter(|(net, _)| !deeper.iter().any(|deep| net.is_within(*deep)));
        ways.extend(inside.map(|(net, target)| (*net, behind(target))));
        ways
    }
}

#[derive(Debug, Clone)]
enum Target {
    Known(Way),
    Nat(NatGatewayId),
}
