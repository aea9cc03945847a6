//! All facts of the cluster, each once in memory and in its form on the wire, indexed by group.

use super::part::{Interest, peer_group};
use karri_proto::ids::{NetworkInterfaceId, SecurityGroupId, SecurityGroupRuleId, VpcId};
use karri_proto::internal::facts::WireChange;
use karri_proto::network::{ClusterHosts, Fact, FactChange, FactKey, Shape, ShapeKey};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Debug)]
pub struct Entry {
    pub fact: Fact,
    pub wire: WireChange,
    digest: u64,
}

impl Entry {
    fn new(fact: Fact) -> Self {
        let change = FactChange::Put(fact);
        let wire = WireChange::new(&change);
        let digest = digest(&[wire.json().as_bytes()]);
        let FactChange::Put(fact) = change else { unreachable!("just made") };
        Self { fact, wire, digest }
    }

    /// Those that a port is in.
    pub fn groups(&self) -> &[SecurityGroupId] {
        match &self.fact {
            Fact::Port(port) => &port.groups,
            Fact::Rule(_) | Fact::Shape(_) | Fact::Hosts(_) => &[],
        }
    }

    /// Of which a shape is a part.
    pub fn vpc(&self) -> Option<&VpcId> {
        match &self.fact {
            Fact::Shape(shape) => Some(shape.vpc()),
            Fact::Port(_) | Fact::Rule(_) | Fact::Hosts(_) => None,
        }
    }

    /// To which a rule refers.
    pub fn peer(&self) -> Option<&SecurityGroupId> {
        match &self.fact {
            Fact::Rule(rule) => peer_group(&rule.peer),
            Fact::Port(_) | Fact::Shape(_) | Fact::Hosts(_) => None,
        }
    }
}

/// The same in every version and on every host.
fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    let sum: [u8; 32] = hash.finalize().into();
    u64::from_be_bytes(*sum.first_chunk().expect("32 bytes hold 8"))
}

/// What became of a fact. One of the two is there.
#[derive(Debug)]
pub struct Change {
    pub key: FactKey,
    pub before: Option<Arc<Entry>>,
    pub after: Option<Arc<Entry>>,
}

/// Facts by their ids, and the sum of their digests.
#[derive(Debug)]
struct Summed<K> {
    by_id: BTreeMap<K, Arc<Entry>>,
    sum: u64,
}

impl<K: Ord> Default for Summed<K> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), sum: 0 }
    }
}

impl<K: Ord> Summed<K> {
    fn insert(&mut self, id: K, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        self.sum = self.sum.wrapping_add(entry.digest);
        let before = self.by_id.insert(id, entry);
        self.sum = self.sum.wrapping_sub(before.as_ref().map_or(0, |before| before.digest));
        before
    }

    fn remove(&mut self, id: &K) -> Option<Arc<Entry>> {
        let before = self.by_id.remove(id);
        self.sum = self.sum.wrapping_sub(before.as_ref().map_or(0, |before| before.digest));
        before
    }
}

#[derive(Debug, Default)]
pub struct Shelf {
    rules: HashMap<SecurityGroupId, Summed<SecurityGroupRuleId>>,
    ports: HashMap<NetworkInterfaceId, Arc<Entry>>,
    members: HashMap<SecurityGroupId, Summed<NetworkInterfaceId>>,
    shapes: BTreeMap<ShapeKey, Arc<Entry>>,
    shapes_of: HashMap<VpcId, BTreeMap<ShapeKey, Arc<Entry>>>,
    /// By the cluster's name.
    hosts: BTreeMap<String, Arc<Entry>>,
}

impl Shelf {
    /// `None`: it was so already.
    pub fn apply(&mut self, change: FactChange) -> Option<Change> {
        let key = change.key();
        let before = self.get(&key).cloned();
        let after = match change {
            FactChange::Put(fact) if before.as_ref().is_some_and(|before| before.fact == fact) => {
                return None;
            }
            FactChange::Put(fact) => Some(Arc::new(Entry::new(fact))),
            FactChange::Gone(_) if before.is_none() => return None,
            FactChange::Gone(_) => None,
        };
        match &key {
            FactKey::Rule { group, rule } => self.set_rule(group, rule, after.clone()),
            FactKey::Port(id) => self.set_port(id, before.as_deref(), after.clone()),
            FactKey::Shape(key) => self.set_shape(key, before.as_deref(), after.clone()),
            FactKey::Hosts(cluster) => match &after {
                Some(entry) => drop(self.hosts.insert(cluster.clone(), entry.clone())),
                None => drop(self.hosts.remove(cluster)),
            },
        }
        Some(Change { key, before, after })
    }

    fn set_rule(&mut self, group: &SecurityGroupId, rule: &SecurityGroupRuleId, after: Option<Arc<Entry>>) {
        let rules = self.rules.entry(group.clone()).or_default();
        match after {
            Some(entry) => drop(rules.insert(rule.clone(), entry)),
            None => drop(rules.remove(rule)),
        }
        if rules.by_id.is_empty() {
            self.rules.remove(group);
        }
    }

    fn set_port(&mut self, id: &NetworkInterfaceId, before: Option<&Entry>, after: Option<Arc<Entry>>) {
        for group in before.map(Entry::groups).unwrap_or_default() {
            if let Some(members) = self.members.get_mut(group) {
                members.remove(id);
                if members.by_id.is_empty() {
                    self.members.remove(group);
                }
            }
        }
        let Some(entry) = after else { return drop(self.ports.remove(id)) };
        for group in entry.groups() {
            self.members.entry(group.clone()).or_default().insert(id.clone(), entry.clone());
        }
        self.ports.insert(id.clone(), entry);
    }

    fn set_shape(&mut self, key: &ShapeKey, before: Option<&Entry>, after: Option<Arc<Entry>>) {
        if let Some(vpc) = before.and_then(Entry::vpc)
            && let Some(shapes) = self.shapes_of.get_mut(vpc)
        {
            shapes.remove(key);
            if shapes.is_empty() {
                self.shapes_of.remove(vpc);
            }
        }
        let Some(entry) = after else { return drop(self.shapes.remove(key)) };
        if let Some(vpc) = entry.vpc() {
            self.shapes_of.entry(vpc.clone()).or_default().insert(key.clone(), entry.clone());
        }
        self.shapes.insert(key.clone(), entry);
    }

    pub fn shapes_of(&self, vpc: &VpcId) -> impl Iterator<Item = &Shape> {
        self.shapes_of.get(vpc).into_iter().flat_map(BTreeMap::values).filter_map(|entry| match &entry.fact {
            Fact::Shape(shape) => Some(shape),
            Fact::Rule(_) | Fact::Port(_) | Fact::Hosts(_) => None,
        })
    }

    /// Of the other clusters of the zone.
    pub fn hosts(&self) -> impl Iterator<Item = &ClusterHosts> {
        self.hosts.values().filter_map(|entry| match &entry.fact {
            Fact::Hosts(hosts) => Some(hosts),
            Fact::Rule(_) | Fact::Port(_) | Fact::Shape(_) => None,
        })
    }

    pub fn shaped(&self) -> impl Iterator<Item = &VpcId> {
        self.shapes_of.keys()
    }

    pub fn get(&self, key: &FactKey) -> Option<&Arc<Entry>> {
        match key {
            FactKey::Rule { group, rule } => self.rules.get(group)?.by_id.get(rule),
            FactKey::Port(id) => self.ports.get(id),
            FactKey::Shape(shape) => self.shapes.get(shape),
            FactKey::Hosts(cluster) => self.hosts.get(cluster),
        }
    }

    pub fn port(&self, id: &NetworkInterfaceId) -> Option<&Arc<Entry>> {
        self.ports.get(id)
    }

    pub fn rules_of(&self, group: &SecurityGroupId) -> impl Iterator<Item = &Arc<Entry>> {
        self.rules.get(group).into_iter().flat_map(|rules| rules.by_id.values())
    }

    pub fn members_of(
        &self,
        group: &SecurityGroupId,
    ) -> impl Iterator<Item = (&NetworkInterfaceId, &Arc<Entry>)> {
        self.members.get(group).into_iter().flat_map(|members| &members.by_id)
    }

    pub fn keys(&self) -> impl Iterator<Item = FactKey> {
        let rules = self.rules.values().flat_map(|rules| rules.by_id.values());
        let others = self.ports.values().chain(self.shapes.values()).chain(self.hosts.values());
        rules.chain(others).map(|entry| entry.fact.key())
    }

    pub fn rules_count(&self) -> usize {
        self.rules.values().map(|rules| rules.by_id.len()).sum()
    }

    pub fn ports_count(&self) -> usize {
        self.ports.len()
    }

    /// Equal for equal parts, and hardly ever for others. Its cost is that of the interest, not of the part.
    pub fn digest_of(&self, interest: &Interest) -> u64 {
        let mut sum: u64 = 0;
        let mut add = |kind: u8, id: &str, value: u64| {
            sum = sum.wrapping_add(digest(&[&[kind], id.as_bytes(), &value.to_be_bytes()]));
        };
        for group in &interest.groups {
            self.rules.get(group).into_iter().for_each(|rules| add(0, group.as_str(), rules.sum));
        }
        for group in &interest.peers {
            self.members.get(group).into_iter().for_each(|members| add(1, group.as_str(), members.sum));
        }
        let own = interest.ports.iter().filter_map(|id| Some((id, self.ports.get(id)?)));
        for (id, entry) in own.filter(|(_, entry)| !interest.has_member(entry.groups())) {
            add(2, id.as_str(), entry.digest);
        }
        sum
    }
}
