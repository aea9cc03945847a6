//! All facts, and of each cluster what it needs and is told. Pure.

use super::beside::{Beside, Site};
use super::part::{All, Homes, Part};
use super::telling::Page;
use crate::store::network_change::NetworkChanges;
use crate::store::security_group::RuleChanges;
use karri_proto::ids::{NetworkInterfaceId, SecurityGroupId, SecurityGroupRuleId};
use karri_proto::internal::facts::{FactsPage, WireChange};
use karri_proto::network::{
    Fact, FactChange, FactKey, FactTable, FarPort, GroupRule, PortFact, Shape, ShapeKey,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Of one page.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub facts: usize,
    /// As they are sent. One alone may be more.
    pub bytes: usize,
}

#[derive(Default)]
pub struct Table {
    pub(super) facts: FactTable,
    pub(super) homes: Homes,
    beside: Beside,
    parts: BTreeMap<Arc<str>, Part>,
    /// Of each rule that names a prefix list: the facts that it is told as.
    spread: HashMap<SecurityGroupRuleId, Vec<FactKey>>,
}

impl Table {
    /// Those that have something to hear of it.
    fn each_part(&mut self, mut change: impl FnMut(&mut Part, All<'_>)) -> Vec<String> {
        let mut stirred = Vec::new();
        for (cluster, part) in &mut self.parts {
            let before = part.told.at();
            let all = All { facts: &self.facts, homes: &self.homes, beside: &self.beside, cluster };
            change(part, all);
            if part.told.at() != before {
                stirred.push(cluster.to_string());
            }
        }
        stirred
    }

    /// A port is now so, in that cluster; None: it is no more. Returns the clusters that have something to hear.
    pub fn port_set(&mut self, id: &NetworkInterfaceId, now: Option<(PortFact, &str)>) -> Vec<String> {
        let old_home = self.homes.get(id).cloned();
        let new_home = now.as_ref().map(|(_, cluster)| self.home(cluster));
        let now = now.map(|(port, _)| port);
        if self.facts.port(id) == now.as_ref() && old_home == new_home {
            return Vec::new();
        }
        match &new_home {
            Some(home) => drop(self.homes.insert(id.clone(), home.clone())),
            None => drop(self.homes.remove(id)),
        }
        let change = now
            .clone()
            .map_or(FactChange::Gone(FactKey::Port(id.clone())), |port| FactChange::Put(Fact::Port(port)));
        let old = match self.facts.apply(change) {
            Some(Fact::Port(old)) => Some(old),
            _ => None,
        };
        self.each_part(|part, all| {
            let groups = |port: &Option<PortFact>, home: &Option<Arc<str>>| {
                let own = home.as_deref() == Some(all.cluster);
                port.iter().filter(|_| own).flat_map(|port| port.groups.clone()).collect::<Vec<_>>()
            };
            // First those that come: what both need is not told of twice.
            groups(&now, &new_home).iter().for_each(|group| part.joined(group, all));
            groups(&old, &old_home).iter().for_each(|group| part.left(group, all));
            part.port(id, now.as_ref(), all);
        })
    }

    /// Returns the clusters that have something to hear, and first those whose ports are to be set anew.
    pub fn sites_are(&mut self, sites: BTreeMap<String, Site>) -> (BTreeSet<String>, Vec<String>) {
        let Some(moved) = self.beside.sites_are(sites) else { return Default::default() };
        (moved, self.each_part(Part::beside))
    }

    /// A port in a segment is now so, in that cluster; None: it is no more, or in none.
    pub fn far_set(&mut self, id: &NetworkInterfaceId, now: Option<(FarPort, &str)>) -> Vec<String> {
        if !self.beside.far_set(id, now) {
            return Vec::new();
        }
        let key = FactKey::Shape(ShapeKey::Far(id.clone()));
        self.each_part(|part, all| {
            match all.beside.home(id).is_some_and(|home| all.beside.serves(all.cluster, home)) {
                true => part.told.put(key.clone()),
                false => part.told.remove(&key),
            }
        })
    }

    fn home(&mut self, cluster: &str) -> Arc<str> {
        if let Some((name, _)) = self.parts.get_key_value(cluster) {
            return name.clone();
        }
        // One that has no port yet needs the shapes, and what it is told of those beside it.
        let name: Arc<str> = cluster.into();
        let mut part = Part::default();
        self.facts.shapes().for_each(|shape| part.told.put(FactKey::Shape(shape.key())));
        self.beside.keys(cluster).for_each(|key| part.told.put(key));
        self.parts.insert(name.clone(), part);
        name
    }

    fn rule_set(&mut self, change: FactChange) {
        let new = match &change {
            FactChange::Put(Fact::Rule(rule)) => Some(rule.clone()),
            _ => None,
        };
        let old = match self.facts.apply(change) {
            Some(Fact::Rule(rule)) => Some(rule),
            _ => None,
        };
        if old != new {
            self.each_part(|part, all| part.rule(old.as_ref(), new.as_ref(), all));
        }
    }

    pub fn rules_changed(&mut self, changes: RuleChanges) {
        let RuleChanges { whole, rules, lists, gone, .. } = changes;
        let told: Vec<_> = rules.into_iter().map(|rule| (rule.facts(&lists), rule)).collect();
        if whole {
            let there = told.iter().flat_map(|(facts, _)| facts).map(GroupRule::key);
            let there: HashSet<FactKey> = there.collect();
            self.spread.clear();
            let known = self.facts.facts().map(|fact| fact.key());
            let rules = known.filter(|key| matches!(key, FactKey::Rule { .. }));
            let gone: Vec<FactKey> = rules.filter(|key| !there.contains(key)).collect();
            gone.into_iter().for_each(|key| self.rule_set(FactChange::Gone(key)));
        }
        for (facts, rule) in told {
            self.rule_told_as(FactKey::Rule { group: rule.group, rule: rule.id }, facts);
        }
        gone.into_iter().for_each(|key| self.rule_told_as(key, Vec::new()));
    }

    /// The rule of that key is told as these facts, whatever it was told as before.
    fn rule_told_as(&mut self, key: FactKey, facts: Vec<GroupRule>) {
        let FactKey::Rule { rule: id, .. } = &key else { return };
        let before = self.spread.remove(id).unwrap_or_default();
        let id = id.clone();
        let now: Vec<FactKey> = facts.iter().map(GroupRule::key).collect();
        facts.into_iter().for_each(|fact| self.rule_set(FactChange::Put(Fact::Rule(fact))));
        let there: HashSet<&FactKey> = now.iter().collect();
        for other in before.iter().chain([&key]).filter(|other| !there.contains(other)) {
            self.rule_set(FactChange::Gone(other.clone()));
        }
        if !there.is_empty() && !there.contains(&key) {
            self.spread.insert(id, now);
        }
    }

    /// Every cluster is told of every shape.
    fn shape_set(&mut self, key: ShapeKey, now: Option<Shape>) {
        if self.facts.shape(&key) == now.as_ref() {
            return;
        }
        let key = FactKey::Shape(key);
        let there = now.is_some();
        self.facts.apply(now.map_or(FactChange::Gone(key.clone()), |now| FactChange::Put(Fact::Shape(now))));
        for part in self.parts.values_mut() {
            match there {
                true => part.told.put(key.clone()),
                false => part.told.remove(&key),
            }
        }
    }

    pub fn networks_changed(&mut self, changes: NetworkChanges) {
        if changes.whole {
            let there: HashSet<ShapeKey> = changes.shapes.iter().map(Shape::key).collect();
            let known = self.facts.shapes().map(Shape::key);
            let gone: Vec<ShapeKey> = known.filter(|key| !there.contains(key)).collect();
            gone.into_iter().for_each(|key| self.shape_set(key, None));
        }
        changes.shapes.into_iter().for_each(|shape| self.shape_set(shape.key(), Some(shape)));
        changes.gone.into_iter().for_each(|key| self.shape_set(key, None));
    }

    pub fn has_members(&self, group: &SecurityGroupId) -> bool {
        self.facts.members_of(group).next().is_some()
    }

    fn fact(&self, key: &FactKey) -> Option<Fact> {
        match key {
            FactKey::Port(id) => self.facts.port(id).cloned().map(Fact::Port),
            FactKey::Rule { group, rule } => self.facts.rule(group, rule).cloned().map(Fact::Rule),
            FactKey::Shape(ShapeKey::Far(id)) => self.beside.far(id),
            FactKey::Shape(key) => self.facts.shape(key).cloned().map(Fact::Shape),
            FactKey::Hosts(cluster) => self.beside.hosts(cluster),
        }
    }

    pub fn page(&mut self, epoch: u64, cluster: &str, from: Option<u64>, most: Most) -> FactsPage {
        let home = self.home(cluster);
        let (mut changes, mut bytes) = (Vec::new(), 0);
        let fits = |key: &FactKey, there: bool| {
            let change = match self.fact(key).filter(|_| there) {
                Some(fact) => FactChange::Put(fact),
                None => FactChange::Gone(key.clone()),
            };
            bytes += WireChange::new(&change).json().len();
            let fits = changes.is_empty() || changes.len() < most.facts && bytes <= most.bytes;
            if fits {
                changes.push(change);
            }
            fits
        };
        let page = self.parts.get(&home).map(|part| part.told.page(from, fits));
        let Page { to, caught_up } = page.unwrap_or(Page { to: 0, caught_up: true });
        FactsPage { epoch, from, to, caught_up, changes }
    }

    pub fn heard(&mut self, cluster: &str, at: u64) {
        if let Some(part) = self.parts.get_mut(cluster) {
            part.told.heard(at);
        }
    }

    pub fn reaches(&self, cluster: &str, at: u64) -> bool {
        self.parts.get(cluster).is_some_and(|part| part.told.reaches(at))
    }
}
