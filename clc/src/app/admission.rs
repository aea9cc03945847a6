//! The system resource state: who may still come in.
//!
//! Nodes' totals are as their clusters report them; what is taken is what our own rows hold, so a launch
//! that nobody has heard of yet already counts. *Reserve* holds room for a launch, *commit* is the row in
//! the database, *rollback* is `release`. A hold sits on the node where it would fit best and moves when
//! the cluster reports where the instance really is; one that is only presumed there makes way.
//!
//! Pure: no IO, no clock. Every step costs the nodes of one cluster at most, never all instances.

use karri_proto::ids::InstanceId;
use karri_proto::resources::{Need, NodeResources};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Debug, Default)]
pub struct Ledger {
    clusters: BTreeMap<String, ClusterBook>,
    holds: HashMap<InstanceId, Hold>,
}

#[derive(Debug, Default)]
struct ClusterBook {
    zone: String,
    /// A cluster that is silent gets nothing new.
    answers: bool,
    nodes: BTreeMap<String, NodeBook>,
    /// Holds that are on no known node.
    adrift: BTreeSet<InstanceId>,
}

#[derive(Debug, Default)]
struct NodeBook {
    total: Need,
    alive: bool,
    /// The sum of the holds here. May exceed the total: capacity can shrink under what was given out.
    used: Need,
    /// Those of the holds here that no cluster has confirmed.
    presumed: BTreeSet<InstanceId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hold {
    cluster: String,
    node: Option<String>,
    need: Need,
    /// The cluster has said that it is on this node.
    confirmed: bool,
}

/// What a launch asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub need: Need,
    /// None: any, the emptiest first.
    pub zone: Option<&'a str>,
    pub min: usize,
    /// One id for each instance at most.
    pub ids: &'a [InstanceId],
    /// By cluster, how many it may take at most for other reasons than room. None: as many as fit.
    pub most: Option<&'a HashMap<String, usize>>,
}

impl Wish<'_> {
    fn most(&self, cluster: &str) -> usize {
        self.most.map_or(usize::MAX, |most| most.get(cluster).copied().unwrap_or(0))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub id: InstanceId,
    pub cluster: String,
    pub zone: String,
    /// Where it would fit; the cluster decides.
    pub node: String,
}

/// There is room for fewer than asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    pub room: usize,
}

impl NodeBook {
    fn free(&self) -> Need {
        if self.alive { self.total - self.used } else { Need::default() }
    }
}

impl ClusterBook {
    fn slots(&self, need: Need) -> u64 {
        if !self.answers {
            return 0;
        }
        self.nodes.values().map(|node| need.slots(node.free())).sum()
    }

    /// The node with the most room for it.
    fn roomiest(&self, need: Need) -> Option<&str> {
        let fitting = self.nodes.iter().filter(|(_, node)| node.alive && need.fits(node.free()));
        let (name, _) =
            fitting.max_by_key(|(name, node)| (need.slots(node.free()), Reverse(name.as_str())))?;
        Some(name)
    }
}

impl Ledger {
    pub fn cluster_known(&mut self, cluster: &str, zone: &str) {
        let book = self.clusters.entry(cluster.to_owned()).or_default();
        zone.clone_into(&mut book.zone);
    }

    /// True: that is news.
    pub fn cluster_answers(&mut self, cluster: &str, answers: bool) -> bool {
        let book = self.clusters.get_mut(cluster);
        book.is_some_and(|book| std::mem::replace(&mut book.answers, answers) != answers)
    }

    /// The nodes as their cluster reports them. A node that is no longer named keeps what is held on it,
    /// and has no room.
    pub fn nodes_reported(&mut self, cluster: &str, nodes: &[NodeResources]) {
        let Some(book) = self.clusters.get_mut(cluster) else { return };
        for (name, node) in &mut book.nodes {
            if !nodes.iter().any(|reported| reported.facts.name == *name) {
                node.alive = false;
            }
        }
        for reported in nodes {
            let node = book.nodes.entry(reported.facts.name.clone()).or_default();
            node.total = reported.facts.total;
            node.alive = reported.alive;
        }
        book.nodes
            .retain(|_, node| node.alive || node.total != Need::default() || node.used != Need::default());
        self.settle_adrift(cluster);
    }

    /// Gives holds without a node a place, now that there may be one.
    fn settle_adrift(&mut self, cluster: &str) {
        let adrift = self.clusters.get(cluster).map(|book| book.adrift.clone()).unwrap_or_default();
        for id in adrift {
            self.settle(cluster, &id);
        }
    }

    /// False: there is no room for it.
    fn settle(&mut self, cluster: &str, id: &InstanceId) -> bool {
        let Some(hold) = self.holds.get(id).cloned() else { return false };
        let book = self.clusters.get(cluster);
        let node = book.and_then(|book| book.roomiest(hold.need)).map(str::to_owned);
        if let Some(node) = &node {
            self.hold(id, cluster, Some(node), hold.need, false);
        }
        node.is_some()
    }

    /// Holds room for as many as fit, at least `min`; or holds nothing.
    pub fn reserve(&mut self, wish: Wish<'_>) -> Result<Vec<Place>, Short> {
        let mut places = Vec::with_capacity(wish.ids.len());
        for cluster in self.emptiest_first(wish) {
            self.fill(&cluster, wish, &mut places);
        }
        if places.len() >= wish.min.max(1) {
            return Ok(places);
        }
        for place in &places {
            self.take_out(&place.id);
        }
        Err(Short { room: places.len() })
    }

    /// The zones that would take as many as are needed, sorted.
    pub fn zones_with_room(&self, wish: Wish<'_>) -> Vec<String> {
        let mut room: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, book) in &self.clusters {
            let most = u64::try_from(wish.most(name)).unwrap_or(u64::MAX);
            let of_zone = room.entry(&book.zone).or_default();
            *of_zone = of_zone.saturating_add(book.slots(wish.need).min(most));
        }
        let count = u64::try_from(wish.min).unwrap_or(u64::MAX);
        let roomy = room.into_iter().filter(|(_, room)| *room >= count);
        roomy.map(|(zone, _)| zone.to_owned()).collect()
    }

    fn emptiest_first(&self, wish: Wish<'_>) -> Vec<String> {
        let fits_zone = |book: &ClusterBook| wish.zone.is_none_or(|zone| zone == book.zone);
        let mut names: Vec<(u64, &String)> = self
            .clusters
            .iter()
            .filter(|(_, book)| fits_zone(book))
            .filter(|(name, _)| wish.most(name) > 0)
            .map(|(name, book)| (book.slots(wish.need), name))
            .filter(|(slots, _)| *slots > 0)
            .collect();
        names.sort_by_key(|(slots, name)| (Reverse(*slots), *name));
        names.into_iter().map(|(_, name)| name.clone()).collect()
    }

    fn fill(&mut self, cluster: &str, wish: Wish<'_>, places: &mut Vec<Place>) {
        let until = places.len().saturating_add(wish.most(cluster));
        while let Some(id) = wish.ids.get(places.len()).filter(|_| places.len() < until) {
            let Some(book) = self.clusters.get(cluster) else { return };
            let Some(node) = book.roomiest(wish.need).map(str::to_owned) else { return };
            let zone = book.zone.clone();
            self.hold(id, cluster, Some(&node), wish.need, false);
            places.push(Place { id: id.clone(), cluster: cluster.to_owned(), zone, node });
        }
    }

    /// Grows an existing hold in its place, for a stopped instance that is started; false: no room.
    pub fn grow(&mut self, id: &InstanceId, need: Need) -> bool {
        let Some(hold) = self.holds.get(id).cloned() else { return false };
        let Some(book) = self.clusters.get(&hold.cluster) else { return false };
        let fits = match hold.node.as_ref().and_then(|name| book.nodes.get(name)) {
            Some(node) => book.answers && need.fits(node.free() + hold.need),
            None => book.slots(need) > 0,
        };
        if fits {
            let node = hold.node.or_else(|| book.roomiest(need).map(str::to_owned));
            self.hold(id, &hold.cluster, node.as_deref(), need, hold.confirmed);
        }
        fits
    }

    /// What a row says: it holds this much, on this node if the cluster has said so. Idempotent.
    pub fn observe(&mut self, id: &InstanceId, cluster: &str, node: Option<&str>, need: Need) {
        let before = self.holds.get(id).filter(|hold| hold.cluster == cluster);
        let confirmed = node.is_some() || before.is_some_and(|hold| hold.confirmed);
        let node = node.map(str::to_owned).or_else(|| before?.node.clone());
        let node = node.or_else(|| self.clusters.get(cluster)?.roomiest(need).map(str::to_owned));
        self.hold(id, cluster, node.as_deref(), need, confirmed);
        if let Some(node) = node.filter(|_| confirmed) {
            self.make_way(cluster, &node);
        }
    }

    /// Reports come one by one: until all have come, a hold that is presumed on a node can stand where
    /// another really is. It goes where there is room, or the room there would be given away twice.
    fn make_way(&mut self, cluster: &str, node: &str) {
        while let Some(id) = self.first_too_many(cluster, node) {
            let Some(hold) = self.holds.get(&id).cloned() else { return };
            self.take_out(&id);
            let room = self.clusters.get(cluster).and_then(|book| book.roomiest(hold.need));
            let room = room.unwrap_or(node).to_owned();
            self.hold(&id, cluster, Some(&room), hold.need, false);
            if room == node {
                return;
            }
        }
    }

    /// A presumed hold on a node that has more holds than it can carry.
    fn first_too_many(&self, cluster: &str, node: &str) -> Option<InstanceId> {
        let node = self.clusters.get(cluster)?.nodes.get(node)?;
        if node.used.fits(node.total) { None } else { node.presumed.first().cloned() }
    }

    fn hold(&mut self, id: &InstanceId, cluster: &str, node: Option<&str>, need: Need, confirmed: bool) {
        self.take_out(id);
        let book = self.clusters.entry(cluster.to_owned()).or_default();
        match node {
            Some(name) => {
                let node = book.nodes.entry(name.to_owned()).or_default();
                node.used = node.used + need;
                if !confirmed {
                    node.presumed.insert(id.clone());
                }
            }
            None => drop(book.adrift.insert(id.clone())),
        }
        let hold = Hold { cluster: cluster.to_owned(), node: node.map(str::to_owned), need, confirmed };
        self.holds.insert(id.clone(), hold);
    }

    /// Rollback, or the end of an instance. Idempotent. What came when there was no room has the first claim on
    /// what becomes free.
    pub fn release(&mut self, id: &InstanceId) {
        let cluster = self.holds.get(id).map(|hold| hold.cluster.clone());
        self.take_out(id);
        // In their order, as far as it goes: this is asked often.
        while let Some(cluster) = &cluster
            && let Some(first) = self.clusters.get(cluster).and_then(|book| book.adrift.first().cloned())
            && self.settle(cluster, &first)
        {}
    }

    fn take_out(&mut self, id: &InstanceId) {
        let Some(hold) = self.holds.remove(id) else { return };
        let Some(book) = self.clusters.get_mut(&hold.cluster) else { return };
        match hold.node.and_then(|name| book.nodes.get_mut(&name)) {
            Some(node) => {
                node.used = node.used - hold.need;
                node.presumed.remove(id);
            }
            None => drop(book.adrift.remove(id)),
        }
    }

    /// Free and total slots of a need in a cluster: the paper's describeResources.
    pub fn slots(&self, cluster: &str, need: Need) -> (u64, u64) {
        let Some(book) = self.clusters.get(cluster) else { return (0, 0) };
        let alive = book.nodes.values().filter(|node| node.alive);
        (book.slots(need), alive.map(|node| need.slots(node.total)).sum())
    }

    pub fn is_held(&self, id: &InstanceId) -> bool {
        self.holds.contains_key(id)
    }

    /// What is held on a node, summed anew: for checks.
    pub fn used_on(&self, cluster: &str, node: &str) -> Need {
        let here = |hold: &&Hold| hold.cluster == cluster && hold.node.as_deref() == Some(node);
        self.holds.values().filter(here).fold(Need::default(), |sum, hold| sum + hold.need)
    }

    /// A node's free room, for checks.
    pub fn free_on(&self, cluster: &str, node: &str) -> Option<Need> {
        Some(self.clusters.get(cluster)?.nodes.get(node)?.free())
    }

    pub fn holds_count(&self) -> usize {
        self.holds.len()
    }

    /// Every node's name and free room in a cluster.
    pub fn free(&self, cluster: &str) -> BTreeMap<String, Need> {
        let nodes = self.clusters.get(cluster).map(|book| &book.nodes);
        nodes.into_iter().flatten().map(|(name, node)| (name.clone(), node.free())).collect()
    }

    /// Sums every hold anew and compares: for tests and simulations.
    pub fn check(&self) -> Result<(), String> {
        for (cluster, book) in &self.clusters {
            for (name, node) in &book.nodes {
                let here = |hold: &&Hold| hold.cluster == *cluster && hold.node.as_ref() == Some(name);
                let sum = self.holds.values().filter(here).fold(Need::default(), |sum, hold| sum + hold.need);
                let presumed = self.holds.iter().filter(|(_, hold)| here(hold) && !hold.confirmed);
                if presumed.map(|(id, _)| id.clone()).collect::<BTreeSet<_>>() != node.presumed {
                    return Err(format!("{cluster}/{name}: {:?} presumed", node.presumed));
                }
                if sum != node.used {
                    return Err(format!("{cluster}/{name}: booked {:?}, held {sum:?}", node.used));
                }
            }
            let adrift = self.holds.iter().filter(|(_, h)| h.cluster == *cluster && h.node.is_none());
            let adrift: BTreeSet<InstanceId> = adrift.map(|(id, _)| id.clone()).collect();
            if adrift != book.adrift {
                return Err(format!("{cluster}: {:?} adrift booked, {adrift:?} held", book.adrift));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
