//! All instances and nodes of the cluster in memory, indexed so that a change costs the same with ten
//! instances as with twenty thousand.
//!
//! The book decides and writes down what must be made durable ([`Book::take_changes`]); it does not
//! store, send or look at a clock. Its user makes the changes durable *before* it answers anyone or
//! carries out a [`Task`]. Lost in a crash, it is loaded from what was stored, and the nodes tell the rest.

mod clc;
mod facts;
mod index;
mod leaving;
mod left_behind;
mod nodes;
mod placing;
mod routers;
mod strangers;

pub use leaving::NotForgotten;
pub use routers::{RouterNews, VpcNews};

use crate::app::facts::{FactChanges, Facts, Limits, StoredFacts};
use crate::app::node::{Node, NodeRecord};
use crate::app::placement::Policy;
use crate::app::row::Row;
use karri_proto::ids::InstanceId;
use karri_proto::instance::InstanceIntent;
use karri_proto::internal::nodes::NODE_SILENT_MAX;
use karri_proto::network::RegionNames;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub const NODES_MAX: usize = 2_000;
/// Ticks come twice a second. When they do not, it is this process that was away, not every node.
const TICK_GAP_MAX_MS: i64 = 5_000;
const TOMBSTONES_PURGED_PER_TICK: usize = 1_000;
/// Tombstones wait for nodes that are away, but not without end: more than these crumble at their time.
const TOMBSTONES_WAITING_MAX: usize = 200_000;

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub policy: Policy,
    /// A node that has answered nothing for this long is lost.
    pub node_lost_ms: i64,
    /// Segments go from host to host by tunnels, each node at its own address.
    pub tunnels: bool,
}

/// What the store gives back after a restart.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub rows: Vec<Row>,
    pub nodes: Vec<NodeRecord>,
    pub tombstones: Vec<(InstanceId, i64)>,
    /// Forgotten nodes, and what each had.
    pub left_behind: Vec<(String, InstanceId)>,
    pub facts: StoredFacts,
    pub names: Option<RegionNames>,
    /// Made once, when the store is.
    pub epoch: u64,
    pub sequence: u64,
}

/// What must be durable before anybody hears of it. `None` deletes.
#[derive(Debug, Default, Clone)]
pub struct Changes {
    pub rows: BTreeMap<InstanceId, Option<Row>>,
    pub intents: BTreeMap<InstanceId, InstanceIntent>,
    pub nodes: BTreeMap<String, Option<NodeRecord>>,
    pub tombstones: BTreeMap<InstanceId, Option<i64>>,
    /// By node and instance; `false` deletes.
    pub left_behind: BTreeMap<(String, InstanceId), bool>,
    pub facts: FactChanges,
    pub names: Option<Arc<RegionNames>>,
    pub sequence: Option<u64>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.nodes.is_empty()
            && self.tombstones.is_empty()
            && self.left_behind.is_empty()
            && self.facts.is_empty()
            && self.names.is_none()
            && self.sequence.is_none()
    }
}

/// One thing to tell a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// The stored intent, with this attempt.
    Push {
        id: InstanceId,
        generation: u64,
        attempt: u32,
    },
    /// Terminate a guest that should not be there.
    Terminate {
        id: InstanceId,
        generation: u64,
        attempt: u32,
    },
    Forget {
        id: InstanceId,
    },
}

impl Task {
    pub fn id(&self) -> &InstanceId {
        match self {
            Task::Push { id, .. } | Task::Terminate { id, .. } | Task::Forget { id } => id,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the instance was terminated and forgotten")]
    Forgotten,
    #[error("the instance is not in a final phase")]
    NotFinal,
    #[error("another certificate speaks for this node")]
    NotTheOwner,
    #[error("another node answers at this address")]
    AddressTaken,
    #[error("the cluster has as many nodes as it can take")]
    TooManyNodes,
}

#[derive(Debug)]
pub struct Book {
    settings: Settings,
    rows: HashMap<InstanceId, Row>,
    nodes: BTreeMap<String, Node>,
    by_sequence: BTreeMap<u64, InstanceId>,
    unplaced: BTreeSet<InstanceId>,
    /// Launched before this life began, and placed nowhere yet: first heard of in it, or left over from the
    /// last one.
    unclaimed: BTreeSet<InstanceId>,
    /// Guests of nobody, with the number by which each is told.
    strangers: HashMap<InstanceId, u64>,
    tombstones: HashMap<InstanceId, i64>,
    /// Without those of what was left behind, which have no end yet.
    tombstones_by_end: BTreeSet<(i64, InstanceId)>,
    /// By forgotten node.
    left_behind: BTreeMap<String, BTreeSet<InstanceId>>,
    epoch: u64,
    sequence: u64,
    resources_sequence: u64,
    resources_changed: bool,
    leases_version: u64,
    started_ms: i64,
    ticked_ms: i64,
    facts: Facts,
    /// Nodes that are to be told about networks, and may not be yet.
    facts_held: BTreeSet<String>,
    routers: routers::Index,
    changes: Changes,
    woken: BTreeSet<String>,
}

impl Book {
    pub fn load(snapshot: Snapshot, settings: Settings, now_ms: i64) -> Self {
        Self::load_with(snapshot, settings, Limits::default(), now_ms)
    }

    /// With other limits of what is told about networks.
    pub fn load_with(snapshot: Snapshot, settings: Settings, limits: Limits, now_ms: i64) -> Self {
        let mut book = Self {
            settings,
            rows: HashMap::with_capacity(snapshot.rows.len()),
            nodes: BTreeMap::new(),
            by_sequence: BTreeMap::new(),
            unplaced: BTreeSet::new(),
            unclaimed: BTreeSet::new(),
            strangers: HashMap::new(),
            tombstones: HashMap::new(),
            tombstones_by_end: BTreeSet::new(),
            left_behind: BTreeMap::new(),
            epoch: snapshot.epoch,
            sequence: snapshot.sequence,
            resources_sequence: 0,
            resources_changed: true,
            leases_version: 1,
            started_ms: now_ms,
            ticked_ms: now_ms,
            facts: Facts::load(snapshot.facts, limits),
            facts_held: BTreeSet::new(),
            routers: routers::Index::new(snapshot.names),
            changes: Changes::default(),
            woken: BTreeSet::new(),
        };
        for record in snapshot.nodes {
            book.woken.insert(record.facts.name.clone());
            book.facts.node_known(&record.facts.name);
            book.nodes.insert(record.facts.name.clone(), Node::new(record, now_ms));
        }
        for (node, id) in snapshot.left_behind {
            book.left_behind.entry(node).or_default().insert(id);
        }
        for (id, until) in snapshot.tombstones {
            if !book.is_left_behind(&id) {
                book.tombstones_by_end.insert((until, id.clone()));
            }
            book.tombstones.insert(id, until);
        }
        for row in snapshot.rows {
            // Its claim may have been waited for when the last life ended.
            if row.node.is_none() && row.attempt == 0 && !row.phase.is_final() {
                book.unclaimed.insert(row.id.clone());
            }
            book.index(&row);
            book.ports_moved(None, &row);
            book.routers_moved(None, &row);
            book.rows.insert(row.id.clone(), row);
        }
        book.facts.loaded();
        book.tunnels_changed();
        let mut ids: Vec<InstanceId> = book.rows.keys().cloned().collect();
        ids.sort(); // the same rows lead to the same decisions
        ids.iter().for_each(|id| book.replan(id, now_ms));
        book
    }

    /// Time has passed: nodes fall silent, patience ends, tombstones crumble.
    pub fn tick(&mut self, now_ms: i64) {
        self.own_absence(now_ms);
        // First all nodes, then their instances: nothing is moved from one silent node to the next.
        let lost: Vec<String> = self.nodes.keys().cloned().collect();
        let lost: Vec<String> = lost.into_iter().filter(|name| self.node_tick(name, now_ms)).collect();
        for name in lost {
            self.replan_node(&name, now_ms);
        }
        if now_ms - self.started_ms >= silent_max_ms() {
            self.unclaimed.clear();
        }
        for id in self.unplaced.clone() {
            self.replan(&id, now_ms);
        }
        self.left_behind_crumble();
        self.tombstones_purge(now_ms);
        self.facts_tick();
        if self.resources_changed {
            self.resources_changed = false;
            self.resources_sequence = self.next_sequence();
        }
    }

    /// A node that is away may come back with what was terminated meanwhile, and only its tombstone then says
    /// that it is to go.
    fn tombstones_purge(&mut self, now_ms: i64) {
        let few = self.tombstones.len() <= TOMBSTONES_WAITING_MAX;
        if few && !self.nodes.values().all(|node| node.synced) {
            return;
        }
        let needed = |id: &InstanceId| few && self.nodes.values().any(|node| node.strays.contains_key(id));
        let due = self.tombstones_by_end.iter().take_while(|(end, _)| *end <= now_ms);
        let due = due.take(TOMBSTONES_PURGED_PER_TICK).filter(|(_, id)| !needed(id));
        for (until, id) in due.cloned().collect::<Vec<_>>() {
            self.tombstones_by_end.remove(&(until, id.clone()));
            self.tombstones.remove(&id);
            self.changes.tombstones.insert(id, None);
        }
    }

    pub fn take_changes(&mut self) -> Changes {
        Changes { facts: self.facts.take_changes(), ..std::mem::take(&mut self.changes) }
    }

    /// Nodes that there may be something to tell.
    pub fn take_woken(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.woken)
    }

    pub fn row(&self, id: &InstanceId) -> Option<&Row> {
        self.rows.get(id)
    }

    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    pub fn nodes_count(&self) -> usize {
        self.nodes.len()
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Grows whenever [`Book::rows`] may hold other leases.
    pub fn leases_version(&self) -> u64 {
        self.leases_version
    }

    pub fn is_tombstoned(&self, id: &InstanceId) -> bool {
        self.tombstones.contains_key(id)
    }
}

fn silent_max_ms() -> i64 {
    i64::try_from(NODE_SILENT_MAX.as_millis()).unwrap_or(i64::MAX)
}
