//! What clusters of one zone are told of each other: where their hosts are, and the zone's own cluster the ports of the
//! others that its routers serve. Pure.

use karri_proto::ids::NetworkInterfaceId;
use karri_proto::network::{ClusterHosts, Fact, FactKey, FarPort, Shape, ShapeKey};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Where a cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub zone: String,
    /// The zone is another cluster's.
    pub extends: bool,
    /// Where its hosts take packets of segments, in order.
    pub tunnels: Vec<Ipv4Addr>,
}

#[derive(Debug, Clone, Default)]
pub struct Beside {
    sites: BTreeMap<String, Site>,
    /// Of ports in clusters that extend a zone: as they are told, and their clusters.
    far: HashMap<NetworkInterfaceId, (FarPort, Arc<str>)>,
}

impl Beside {
    /// Clusters that are in another zone than before, or are otherwise in it. `None`: nothing is otherwise.
    pub fn sites_are(&mut self, sites: BTreeMap<String, Site>) -> Option<BTreeSet<String>> {
        if self.sites == sites {
            return None;
        }
        let place = |site: Option<&Site>| site.map(|site| (site.zone.clone(), site.extends));
        let names = self.sites.keys().chain(sites.keys());
        let moved = names.filter(|name| place(self.sites.get(*name)) != place(sites.get(*name)));
        let moved = moved.cloned().collect();
        self.sites = sites;
        Some(moved)
    }

    pub fn extends(&self, cluster: &str) -> bool {
        self.sites.get(cluster).is_some_and(|site| site.extends)
    }

    fn are_in_one_zone(&self, one: &str, other: &str) -> bool {
        let zone = |cluster: &str| self.sites.get(cluster).map(|site| &site.zone);
        one != other && zone(one).is_some() && zone(one) == zone(other)
    }

    /// Whether the routers of the one are those of ports in the other.
    pub fn serves(&self, cluster: &str, home: &str) -> bool {
        self.are_in_one_zone(cluster, home) && !self.extends(cluster) && self.extends(home)
    }

    /// What that cluster is told.
    pub fn keys(&self, cluster: &str) -> impl Iterator<Item = FactKey> {
        let has_hosts = move |(other, site): &(&String, &Site)| {
            !site.tunnels.is_empty() && self.are_in_one_zone(cluster, other)
        };
        let hosts = self.sites.iter().filter(has_hosts).map(|(other, _)| FactKey::Hosts(other.clone()));
        let far = self.far.iter().filter(move |(_, (_, home))| self.serves(cluster, home));
        hosts.chain(far.map(|(id, _)| FactKey::Shape(ShapeKey::Far(id.clone()))))
    }

    pub fn hosts(&self, cluster: &str) -> Option<Fact> {
        let tunnels = self.sites.get(cluster)?.tunnels.clone();
        Some(Fact::Hosts(ClusterHosts { cluster: cluster.to_owned(), tunnels }))
    }

    pub fn far(&self, id: &NetworkInterfaceId) -> Option<Fact> {
        self.far.get(id).map(|(far, _)| Fact::Shape(Shape::Far(far.clone())))
    }

    /// A port is now so, in that cluster. False: that is no news.
    pub fn far_set(&mut self, id: &NetworkInterfaceId, now: Option<(FarPort, &str)>) -> bool {
        match now.filter(|(_, home)| self.extends(home)) {
            Some((far, home)) => {
                let now = (far, Arc::from(home));
                self.far.insert(id.clone(), now.clone()) != Some(now)
            }
            None => self.far.remove(id).is_some(),
        }
    }

    /// The cluster that a port is in, if it extends a zone.
    pub fn home(&self, id: &NetworkInterfaceId) -> Option<&str> {
        self.far.get(id).map(|(_, home)| &**home)
    }
}
