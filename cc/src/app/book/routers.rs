//! The book and the routers of VPCs: which instances have ports where, and what of that has changed.

use super::Book;
use crate::app::router::{Input, Lease};
use crate::app::row::Row;
use karri_proto::ids::{InstanceId, SubnetId, VpcId};
use karri_proto::network::{PublicAddress, RegionNames, Shape, Subnet};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Index {
    /// Living instances with ports in segments.
    members: HashMap<VpcId, BTreeSet<InstanceId>>,
    changed: BTreeSet<VpcId>,
    /// Whoever asks knows nothing of what is here.
    everything: bool,
    version: u64,
    /// Of all nodes of the zone, in order.
    tunnels: Arc<[Ipv4Addr]>,
    /// None: the cloud controller has not told yet.
    names: Option<Arc<RegionNames>>,
}

impl Index {
    pub fn new(names: Option<RegionNames>) -> Self {
        Self {
            members: HashMap::new(),
            changed: BTreeSet::new(),
            everything: true,
            version: 1,
            tunnels: Arc::default(),
            names: names.map(Arc::new),
        }
    }
}

/// What has changed since it was last asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterNews {
    /// VPCs that are not named are no more.
    pub everything: bool,
    pub vpcs: BTreeMap<VpcId, VpcNews>,
    pub tunnels: Arc<[Ipv4Addr]>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VpcNews {
    pub input: Option<Input>,
    /// Public addresses that lead to the flat network, in this cluster or another.
    pub flat: Vec<(PublicAddress, Subnet)>,
}

impl Book {
    /// Grows whenever there is router news.
    pub fn routers_version(&self) -> u64 {
        self.routers.version
    }

    /// Where nodes take packets of segments.
    pub fn tunnels(&self) -> Arc<[Ipv4Addr]> {
        self.routers.tunnels.clone()
    }

    pub fn take_router_news(&mut self) -> RouterNews {
        let everything = std::mem::take(&mut self.routers.everything);
        let mut vpcs = std::mem::take(&mut self.routers.changed);
        if everything {
            vpcs.extend(self.facts.shaped().chain(self.routers.members.keys()).cloned());
        }
        let news = vpcs.into_iter().map(|vpc| {
            let news = self.vpc_news(&vpc);
            (vpc, news)
        });
        RouterNews { everything, vpcs: news.collect(), tunnels: self.tunnels() }
    }

    /// Of everything that is known; nothing of it is taken.
    pub fn router_news_all(&self) -> RouterNews {
        let vpcs: BTreeSet<&VpcId> = self.facts.shaped().chain(self.routers.members.keys()).collect();
        let news = vpcs.into_iter().map(|vpc| (vpc.clone(), self.vpc_news(vpc)));
        RouterNews { everything: true, vpcs: news.collect(), tunnels: self.tunnels() }
    }

    pub fn subnet(&self, id: &SubnetId) -> Option<Subnet> {
        let mut shapes = self.facts.shaped().flat_map(|vpc| self.facts.shapes_of(vpc));
        shapes.find_map(|shape| match shape {
            Shape::Subnet(subnet) if subnet.id == *id => Some(subnet.clone()),
            _ => None,
        })
    }

    fn vpc_news(&self, vpc: &VpcId) -> VpcNews {
        let ids = self.routers.members.get(vpc).into_iter().flatten();
        let leases = ids.filter_map(|id| self.rows.get(id)).flat_map(|row| leases(row, vpc)).collect();
        let subnets = self.facts.shapes_of(vpc).filter_map(|shape| match shape {
            Shape::Subnet(subnet) if subnet.tag == 0 => Some((&subnet.id, subnet)),
            _ => None,
        });
        let subnets: BTreeMap<_, &Subnet> = subnets.collect();
        let flat = self.facts.shapes_of(vpc).filter_map(|shape| match shape {
            Shape::Address(address) => {
                subnets.get(&address.subnet).map(|subnet| (address.clone(), (*subnet).clone()))
            }
            _ => None,
        });
        let input = Input::new(self.facts.shapes_of(vpc), leases);
        let named = |input| Input { names: self.routers.names.clone(), ..input };
        VpcNews { flat: flat.collect(), input: input.map(named) }
    }

    pub(super) fn routers_moved(&mut self, old: Option<&Row>, new: &Row) {
        let before = old.map(living).unwrap_or_default();
        let after = living(new);
        if before == after && old.is_none_or(|old| old.leases == new.leases && old.hostname == new.hostname) {
            return;
        }
        for vpc in &before {
            if let Some(members) = self.routers.members.get_mut(vpc) {
                members.remove(&new.id);
                if members.is_empty() {
                    self.routers.members.remove(vpc);
                }
            }
        }
        for vpc in &after {
            self.routers.members.entry(vpc.clone()).or_default().insert(new.id.clone());
        }
        let changed = before.into_iter().chain(after).collect();
        self.routers_changed(changed);
    }

    pub(super) fn routers_reshaped(&mut self) {
        let changed = self.facts.take_reshaped();
        self.routers_changed(changed);
    }

    fn routers_changed(&mut self, vpcs: BTreeSet<VpcId>) {
        if !vpcs.is_empty() {
            self.routers.version += 1;
            self.routers.changed.extend(vpcs);
        }
    }

    /// What the cloud controller says that addresses are called.
    pub fn names_told(&mut self, names: RegionNames) {
        if self.routers.names.as_deref() != Some(&names) {
            let names = Arc::new(names);
            self.changes.names = Some(names.clone());
            self.routers.names = Some(names);
            self.routers.everything = true; // each VPC serves them
            self.routers.version += 1;
        }
    }

    /// A node came, went, or takes packets elsewhere; or hosts of another cluster of the zone do.
    pub(super) fn tunnels_changed(&mut self) {
        let nodes = self.nodes.values().filter_map(|node| node.record.tunnel);
        let tunnels: BTreeSet<Ipv4Addr> = nodes.chain(self.facts.tunnels()).collect();
        let tunnels: Arc<[Ipv4Addr]> = tunnels.into_iter().collect();
        if self.routers.tunnels != tunnels {
            self.routers.tunnels = tunnels;
            self.routers.version += 1;
        }
    }
}

/// VPCs in whose segments it has ports while it lives.
fn living(row: &Row) -> BTreeSet<VpcId> {
    if row.phase.is_final() {
        return BTreeSet::new();
    }
    row.leases.iter().filter_map(|lease| Some(lease.segment.as_ref()?.vpc.clone())).collect()
}

fn leases<'a>(row: &'a Row, vpc: &'a VpcId) -> impl Iterator<Item = Lease> + 'a {
    row.leases.iter().zip(row.ports.iter()).filter_map(move |(lease, port)| {
        let segment = lease.segment.as_ref().filter(|segment| segment.vpc == *vpc)?;
        Some(Lease {
            tag: segment.tag,
            port: port.clone(),
            mac: lease.mac.clone(),
            address: lease.address,
            hostname: row.name_of(lease),
        })
    })
}

#[cfg(test)]
#[path = "routers_tests.rs"]
mod tests;
