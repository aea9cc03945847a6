//! What networks let through: told by the clc, kept here, told on to each node as far as its ports need it.
//!
//! ```text
//!   part.rs         what a node needs: a function of all facts and of the ports that are placed there
//!   shelf.rs        all facts, indexed by group
//!   log.rs          the latest changes
//!   difference.rs   what leads from one part to another
//!   teller.rs       one node: where it stands, and the page that is on its way
//! ```
//!
//! A change costs what it touches: the nodes that need it are found by its groups, and each is told with its
//! next page. Like the book, this decides and notes what must be durable; it does not store or send.

mod difference;
mod log;
mod part;
mod shelf;
mod teller;

pub use part::part;
pub use teller::{Haste, Page, Told};

use karri_proto::ids::{NetworkInterfaceId, SecurityGroupId, VpcId};
use karri_proto::internal::ApiError;
use karri_proto::internal::facts::{FACTS_PER_PAGE_MAX, FactsAt, FactsPage};
use karri_proto::network::{Epochs, Fact, FactChange, FactKey, Receiver, Shape, Taken};
use log::Log;
use part::Interest;
use shelf::{Change, Shelf};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use teller::{All, Teller};

/// Some seconds of the busiest launching.
const LOG_MAX: usize = 8_192;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub page_max: usize,
    pub log_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { page_max: FACTS_PER_PAGE_MAX, log_max: LOG_MAX }
    }
}

/// What the store gives back.
#[derive(Debug, Clone, Default)]
pub struct StoredFacts {
    pub at: FactsAt,
    pub facts: Vec<Fact>,
}

/// What must be durable. `None` deletes; a value is a [`FactChange::Put`] in JSON.
#[derive(Debug, Clone, Default)]
pub struct FactChanges {
    pub values: BTreeMap<FactKey, Option<String>>,
    pub at: Option<FactsAt>,
}

impl FactChanges {
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.at.is_none()
    }
}

#[derive(Debug)]
pub struct Facts {
    limits: Limits,
    receiver: Receiver,
    shelf: Shelf,
    log: Log,
    tellers: HashMap<String, Teller>,
    /// Nodes by the ports that are placed there.
    homes: HashMap<NetworkInterfaceId, Vec<String>>,
    /// Nodes by the groups whose rules they are told, and by those whose members.
    by_rules: HashMap<SecurityGroupId, BTreeSet<String>>,
    by_members: HashMap<SecurityGroupId, BTreeSet<String>>,
    changes: FactChanges,
    woken: BTreeSet<String>,
    /// VPCs whose shape has changed.
    reshaped: BTreeSet<VpcId>,
    /// The hosts of other clusters are others.
    rehosted: bool,
}

impl Facts {
    pub fn load(stored: StoredFacts, limits: Limits) -> Self {
        let mut shelf = Shelf::default();
        for fact in stored.facts {
            shelf.apply(FactChange::Put(fact));
        }
        Self {
            limits,
            receiver: Receiver::new(Epochs::Any, stored.at),
            shelf,
            log: Log::new(limits.log_max),
            tellers: HashMap::new(),
            homes: HashMap::new(),
            by_rules: HashMap::new(),
            by_members: HashMap::new(),
            changes: FactChanges::default(),
            woken: BTreeSet::new(),
            reshaped: BTreeSet::new(),
            rehosted: false,
        }
    }

    /// What the cloud controller tells.
    pub fn put(&mut self, page: FactsPage) -> Result<FactsAt, ApiError> {
        match self.receiver.take(page)? {
            Taken::Nothing => {}
            Taken::Changes(at, changes) => {
                changes.into_iter().for_each(|change| self.apply(change));
                self.settled(at);
            }
            Taken::Everything(at, changes) => {
                let mut told: BTreeMap<FactKey, Fact> = BTreeMap::new();
                for change in changes {
                    match change {
                        FactChange::Put(fact) => drop(told.insert(fact.key(), fact)),
                        FactChange::Gone(key) => drop(told.remove(&key)),
                    }
                }
                let gone: BTreeSet<FactKey> =
                    self.shelf.keys().filter(|key| !told.contains_key(key)).collect();
                gone.into_iter().for_each(|key| self.apply(FactChange::Gone(key)));
                told.into_values().for_each(|fact| self.apply(FactChange::Put(fact)));
                self.settled(at);
            }
        }
        Ok(self.receiver.stands())
    }

    fn settled(&mut self, at: FactsAt) {
        if self.receiver.at() != at {
            self.changes.at = Some(at);
        }
        self.receiver.settled(at);
    }

    fn apply(&mut self, change: FactChange) {
        let Some(change) = self.shelf.apply(change) else { return };
        let stored = change.after.as_ref().map(|entry| entry.wire.json().to_owned());
        self.changes.values.insert(change.key.clone(), stored);
        if let FactKey::Shape(_) = &change.key {
            // No node is told: a burst of them must not push what nodes are told out of the log.
            let vpcs = change.before.iter().chain(&change.after).filter_map(|entry| entry.vpc());
            return self.reshaped.extend(vpcs.cloned());
        }
        if let FactKey::Hosts(_) = &change.key {
            self.rehosted = true;
            return;
        }
        self.mark(&change);
        self.log.push(change);
    }

    /// Notes the change, which gets the log's next number, at those nodes that it concerns.
    fn mark(&mut self, change: &Change) {
        let number = self.log.next();
        let tellers = &mut self.tellers;
        let woken = &mut self.woken;
        let mut concerns = |names: Option<&BTreeSet<String>>, haste| {
            for name in names.into_iter().flatten() {
                if tellers.get_mut(name).is_some_and(|teller| teller.concerned(number, haste)) {
                    woken.insert(name.clone());
                }
            }
        };
        match &change.key {
            FactKey::Shape(_) | FactKey::Hosts(_) => {}
            FactKey::Rule { group, .. } => concerns(self.by_rules.get(group), Haste::Now),
            FactKey::Port(id) => {
                let groups = change.before.iter().chain(&change.after).flat_map(|entry| entry.groups());
                groups.for_each(|group| concerns(self.by_members.get(group), Haste::Paced));
                for name in self.homes.get(id).into_iter().flatten() {
                    if tellers.get_mut(name).is_some_and(|teller| teller.concerned(number, Haste::Now)) {
                        woken.insert(name.clone());
                    }
                }
            }
        }
    }

    /// Everything that was stored is here: nodes and ports too.
    pub fn loaded(&mut self) {
        let names: Vec<String> = self.tellers.keys().cloned().collect();
        for name in names {
            self.teller(&name, 0, |teller, all| teller.expect(all));
        }
    }

    /// It is to be told what its ports need, now and from now on.
    pub fn node_known(&mut self, name: &str) {
        self.tellers.entry(name.to_owned()).or_insert_with(Teller::new);
        self.woken.insert(name.to_owned());
    }

    /// Somebody who would tell it could not, and can perhaps now.
    pub fn node_waits(&mut self, name: &str) {
        self.woken.insert(name.to_owned());
    }

    /// It may have lost what it was told.
    pub fn node_doubted(&mut self, name: &str) {
        if self.tellers.get_mut(name).is_some_and(Teller::doubt) {
            self.woken.insert(name.to_owned());
        }
    }

    pub fn node_forgotten(&mut self, name: &str) {
        let Some(teller) = self.tellers.remove(name) else { return };
        self.index(name, teller.interest(), &Interest::default());
        for id in teller.ports() {
            if let Some(homes) = self.homes.get_mut(id) {
                homes.retain(|home| home != name);
            }
        }
        self.homes.retain(|_, homes| !homes.is_empty());
    }

    pub fn port_placed(&mut self, id: &NetworkInterfaceId, node: &str) {
        self.homes.entry(id.clone()).or_default().push(node.to_owned());
        let teller = self.tellers.entry(node.to_owned()).or_insert_with(Teller::new);
        if teller.port_placed(id) {
            self.woken.insert(node.to_owned());
        }
    }

    pub fn port_removed(&mut self, id: &NetworkInterfaceId, node: &str) {
        if let Some(homes) = self.homes.get_mut(id) {
            if let Some(place) = homes.iter().position(|home| home == node) {
                homes.swap_remove(place);
            }
            if homes.is_empty() {
                self.homes.remove(id);
            }
        }
        if self.tellers.get_mut(node).is_some_and(|teller| teller.port_removed(id)) {
            self.woken.insert(node.to_owned());
        }
    }

    /// How soon the node is to be told something; `None`: it has what it needs.
    pub fn due(&self, node: &str) -> Option<Haste> {
        self.tellers.get(node)?.due()
    }

    /// What to tell a node now: the same again until [`Facts::answered`] says what became of it.
    pub fn page(&mut self, node: &str, now_ms: i64) -> Option<Arc<Page>> {
        self.teller(node, now_ms, |teller, all| teller.page(all)).flatten()
    }

    /// What a node answered to the page that leads `to`. A failure of the call says nothing.
    pub fn answered(&mut self, node: &str, to: FactsAt, stands: FactsAt, now_ms: i64) {
        self.teller(node, now_ms, |teller, all| teller.answered(to, stands, all));
    }

    /// The node has no use for what it was sent.
    pub fn refused(&mut self, node: &str, now_ms: i64) {
        self.teller(node, now_ms, |teller, _| teller.refused());
    }

    /// Keeps the index of who needs what.
    fn teller<T>(
        &mut self,
        node: &str,
        now_ms: i64,
        ask: impl FnOnce(&mut Teller, &All<'_>) -> T,
    ) -> Option<T> {
        let all = All { shelf: &self.shelf, log: &self.log, page_max: self.limits.page_max, now_ms };
        let teller = self.tellers.get_mut(node)?;
        let before = teller.interest().clone();
        let answer = ask(teller, &all);
        let after = teller.interest().clone();
        if before != after {
            self.index(node, &before, &after);
        }
        Some(answer)
    }

    fn index(&mut self, node: &str, before: &Interest, after: &Interest) {
        reindex(&mut self.by_rules, node, &before.groups, &after.groups);
        reindex(&mut self.by_members, node, &before.peers, &after.peers);
    }

    pub fn take_changes(&mut self) -> FactChanges {
        std::mem::take(&mut self.changes)
    }

    /// Nodes that are to be told something, or sooner than before.
    pub fn take_woken(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.woken)
    }

    /// VPCs of which something is otherwise than before.
    pub fn take_reshaped(&mut self) -> BTreeSet<VpcId> {
        std::mem::take(&mut self.reshaped)
    }

    /// Whether the hosts of other clusters have changed since it was last asked.
    pub fn take_rehosted(&mut self) -> bool {
        std::mem::take(&mut self.rehosted)
    }

    /// Where the hosts of the zone's other clusters take packets of segments.
    pub fn tunnels(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.shelf.hosts().flat_map(|hosts| hosts.tunnels.iter().copied())
    }

    pub fn shapes_of(&self, vpc: &VpcId) -> impl Iterator<Item = &Shape> {
        self.shelf.shapes_of(vpc)
    }

    /// VPCs of which anything is known.
    pub fn shaped(&self) -> impl Iterator<Item = &VpcId> {
        self.shelf.shaped()
    }

    pub fn at(&self) -> FactsAt {
        self.receiver.at()
    }

    pub fn counts(&self) -> Counts {
        Counts {
            rules: self.shelf.rules_count(),
            ports: self.shelf.ports_count(),
            nodes_behind: self.tellers.values().filter(|teller| teller.due().is_some()).count(),
        }
    }
}

/// For the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub rules: usize,
    pub ports: usize,
    pub nodes_behind: usize,
}

fn reindex(
    index: &mut HashMap<SecurityGroupId, BTreeSet<String>>,
    node: &str,
    before: &BTreeSet<SecurityGroupId>,
    after: &BTreeSet<SecurityGroupId>,
) {
    for group in before.difference(after) {
        if let Some(nodes) = index.get_mut(group) {
            nodes.remove(node);
            if nodes.is_empty() {
                index.remove(group);
            }
        }
    }
    for group in after.difference(before) {
        index.entry(group.clone()).or_default().insert(node.to_owned());
    }
}

#[cfg(test)]
mod scale_tests;
#[cfg(test)]
mod tests;
