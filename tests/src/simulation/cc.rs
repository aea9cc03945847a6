//! The cluster controller: its book over maps for a database.

use super::wire::Body;
use karri_cc::app::book::{Book, Changes, Settings, Snapshot, Task};
use karri_cc::app::facts::{Limits, StoredFacts};
use karri_cc::app::node::{Node, NodeRecord};
use karri_cc::app::placement::Policy;
use karri_cc::app::plan::NodeCondition;
use karri_cc::app::row::Row;
use karri_cc::app::stray::stray_intent;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{InstanceIntent, Phase};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::facts::FactsAt;
use karri_proto::internal::instances::Cursor;
use karri_proto::network::{FactChange, FactKey, FactTable};
use std::collections::{BTreeMap, BTreeSet};

/// Small, so that reports come in several pages.
const REPORTS_PER_PAGE: usize = 3;
const TASKS_PER_ROUND: usize = 32;
/// Small too: nodes are told everything now and then.
const FACT_LIMITS: Limits = Limits { page_max: 5, log_max: 8 };
const RETRY_MS: i64 = 1_000;
/// Ticks that come later than this say that the controller itself was away. Four seconds are a tick here.
const AWAY_MS: i64 = 5_000;
const SETTINGS: Settings = Settings { policy: Policy::LeastLoaded, node_lost_ms: 60_000, tunnels: false };

#[derive(Debug)]
pub struct Cc {
    pub disk: Disk,
    pub life: u64,
    pub run: Option<Run>,
    /// A node that was taken for lost although it was the controller that was away.
    pub wronged: Option<usize>,
    /// An instance that was placed anew while a node was known to have it.
    pub placed_twice: Option<InstanceId>,
}

#[derive(Debug, Default)]
pub struct Disk {
    pub rows: BTreeMap<InstanceId, Row>,
    pub intents: BTreeMap<InstanceId, InstanceIntent>,
    nodes: BTreeMap<String, NodeRecord>,
    tombstones: BTreeMap<InstanceId, i64>,
    left_behind: BTreeSet<(String, InstanceId)>,
    facts: BTreeMap<FactKey, FactChange>,
    facts_at: FactsAt,
    sequence: u64,
    /// Lost databases so far; names this one's numbering.
    pub losses: u64,
}

/// Lost in a crash.
#[derive(Debug)]
pub struct Run {
    pub book: Book,
    pub calls: BTreeMap<u64, Call>,
    under_way: BTreeSet<(usize, InstanceId)>,
    retry_at: BTreeMap<usize, i64>,
    polling: BTreeSet<usize>,
    telling: BTreeSet<usize>,
    ticked_ms: i64,
    /// How long it was there to hear somebody.
    awake_ms: i64,
    /// By node: how long it was there when the node last answered.
    answered: BTreeMap<usize, i64>,
}

#[derive(Debug, Clone)]
pub struct Call {
    pub node: usize,
    pub what: Asked,
    pub at_ms: i64,
}

#[derive(Debug, Clone)]
pub enum Asked {
    /// With where the node's reports stood.
    Task(Cursor, Task),
    Poll(Cursor),
    Facts(FactsAt),
}

pub fn node_name(node: usize) -> String {
    format!("node-{node}")
}

impl Disk {
    fn commit(&mut self, changes: Changes) {
        for (id, row) in changes.rows {
            match row {
                Some(row) => drop(self.rows.insert(id, Row { seen: None, ..row })),
                None => {
                    self.rows.remove(&id);
                    self.intents.remove(&id);
                }
            }
        }
        self.intents.extend(changes.intents);
        for (id, until_ms) in changes.tombstones {
            match until_ms {
                Some(until_ms) => self.tombstones.insert(id, until_ms),
                None => self.tombstones.remove(&id),
            };
        }
        for (left, there) in changes.left_behind {
            match there {
                true => self.left_behind.insert(left),
                false => self.left_behind.remove(&left),
            };
        }
        for (name, record) in changes.nodes {
            match record {
                Some(record) => self.nodes.insert(name, record),
                None => self.nodes.remove(&name),
            };
        }
        for (key, value) in changes.facts.values {
            match value.and_then(|json| serde_json::from_str(&json).ok()) {
                Some(put) => self.facts.insert(key, put),
                None => self.facts.remove(&key),
            };
        }
        self.facts_at = changes.facts.at.unwrap_or(self.facts_at);
        self.sequence = changes.sequence.unwrap_or(self.sequence);
    }

    pub fn facts_table(&self) -> FactTable {
        let mut table = FactTable::default();
        self.facts.values().for_each(|put| drop(table.apply(put.clone())));
        table
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            rows: self.rows.values().cloned().collect(),
            nodes: self.nodes.values().cloned().collect(),
            tombstones: self.tombstones.clone().into_iter().collect(),
            left_behind: self.left_behind.clone().into_iter().collect(),
            facts: StoredFacts { at: self.facts_at, facts: self.facts_table().facts().collect() },
            names: None,
            epoch: self.losses + 1,
            sequence: self.sequence,
        }
    }
}

impl Cc {
    pub fn new() -> Self {
        Self { disk: Disk::default(), life: 0, run: None, wronged: None, placed_twice: None }
    }

    pub fn start(&mut self, now_ms: i64) {
        self.life += 1;
        self.run = Some(Run {
            book: Book::load_with(self.disk.snapshot(), SETTINGS, FACT_LIMITS, now_ms),
            calls: BTreeMap::new(),
            under_way: BTreeSet::new(),
            retry_at: BTreeMap::new(),
            polling: BTreeSet::new(),
            telling: BTreeSet::new(),
            ticked_ms: now_ms,
            awake_ms: 0,
            answered: BTreeMap::new(),
        });
        self.commit(false);
    }

    /// The machine comes back with an empty database.
    pub fn lose_database(&mut self) {
        self.run = None;
        self.disk = Disk { losses: self.disk.losses + 1, ..Disk::default() };
    }

    /// Makes durable what the book has changed. `crash`: the machine dies instead.
    fn commit(&mut self, crash: bool) {
        if crash {
            self.run = None;
        } else if let Some(run) = &mut self.run {
            let changes = run.book.take_changes();
            let mut placed = changes.rows.values().flatten().filter(|row| !row.ran);
            let twice = placed.find(|row| {
                let before = self.disk.rows.get(&row.id).and_then(|row| row.node.as_ref());
                row.node.as_ref() != before && is_elsewhere(&run.book, row)
            });
            self.placed_twice = self.placed_twice.take().or_else(|| twice.map(|row| row.id.clone()));
            self.disk.commit(changes);
        }
    }

    /// What another controller asks. `None`: it died over it.
    pub fn asked(&mut self, body: Body, now_ms: i64, crash: bool) -> Option<Body> {
        let book = &mut self.run.as_mut()?.book;
        let answer = match body {
            Body::Put(intent) => Body::PutDone(book.put(*intent, now_ms).map_err(|_| ApiErrorKind::Conflict)),
            Body::Forget(id) => {
                Body::ForgetDone(book.forget(&id, now_ms).map_err(|_| ApiErrorKind::Conflict))
            }
            Body::Poll(cursor) => Body::Page(book.page(cursor, REPORTS_PER_PAGE)),
            Body::Facts(page) => Body::FactsDone(book.facts_put(*page).map_err(|error| error.kind)),
            Body::Hello(record) => {
                let _ = book.hello(*record, now_ms);
                Body::HelloDone
            }
            _ => return None,
        };
        self.commit(crash);
        self.run.as_ref().map(|_| answer)
    }

    pub fn tick(&mut self, now_ms: i64) {
        if let Some(run) = &mut self.run {
            let gap_ms = now_ms - std::mem::replace(&mut run.ticked_ms, now_ms);
            run.awake_ms += if gap_ms > AWAY_MS { 0 } else { gap_ms };
            run.book.tick(now_ms);
            self.wronged = self.wronged.or_else(|| self.run.as_ref()?.wronged());
            self.commit(false);
        }
    }

    /// The next calls to make to a node, each instance in one at most.
    pub fn calls(&mut self, node: usize, next_call: &mut u64, now_ms: i64) -> Vec<(u64, Body)> {
        let Some(run) = &mut self.run else { return Vec::new() };
        let name = node_name(node);
        let mut out = Vec::new();
        let mut call = |run: &mut Run, what: Asked, body: Body| {
            *next_call += 1;
            run.calls.insert(*next_call, Call { node, what, at_ms: now_ms });
            out.push((*next_call, body));
        };
        if let Some(cursor) = run.book.node(&name).map(|known| known.cursor)
            && run.polling.insert(node)
        {
            call(run, Asked::Poll(cursor), Body::Poll(cursor));
        }
        if run.retry_at.get(&node).is_some_and(|at| *at > now_ms) {
            return out;
        }
        let cursor = run.book.node(&name).map(|known| known.cursor).unwrap_or_default();
        if !run.telling.contains(&node)
            && let Some(page) = run.book.facts_page(&name, now_ms)
        {
            run.telling.insert(node);
            let to = FactsAt { epoch: page.epoch, at: page.to };
            call(run, Asked::Facts(to), Body::Facts(Box::new(page.plain())));
        }
        for task in run.book.tasks(&name, TASKS_PER_ROUND) {
            if run.under_way.contains(&(node, task.id().clone())) {
                continue;
            }
            if let Some(body) = body_of(&self.disk, &task) {
                run.under_way.insert((node, task.id().clone()));
                let body = Body::ForLife(cursor.epoch, Box::new(body));
                call(run, Asked::Task(cursor, task), body);
            }
        }
        out
    }

    pub fn answered(&mut self, call: u64, body: Body, now_ms: i64, crash: bool) {
        let Some(run) = &mut self.run else { return };
        let Some(Call { node, what, .. }) = run.calls.remove(&call) else { return };
        let name = node_name(node);
        run.answered.insert(node, run.awake_ms);
        match (what, body) {
            (Asked::Poll(cursor), Body::Page(page)) => {
                run.polling.remove(&node);
                run.book.node_page(&name, cursor, page, now_ms);
            }
            (Asked::Task(cursor, task), body) => {
                run.under_way.remove(&(node, task.id().clone()));
                let answer = match body {
                    Body::PutDone(answer) => answer.map(Some),
                    Body::ForgetDone(answer) => answer.map(|()| None),
                    _ => return,
                };
                if answer.is_err() {
                    run.retry_at.insert(node, now_ms + RETRY_MS);
                }
                run.book.node_answer(&name, cursor, &task, answer, now_ms);
            }
            (Asked::Facts(to), Body::FactsDone(answer)) => {
                run.telling.remove(&node);
                if answer.is_err() {
                    run.retry_at.insert(node, now_ms + RETRY_MS);
                }
                run.book.facts_answered(&name, to, answer, now_ms);
            }
            _ => {}
        }
        self.commit(crash);
    }

    /// No answer came.
    pub fn failed(&mut self, call: u64, now_ms: i64) {
        let Some(run) = &mut self.run else { return };
        let Some(Call { node, what, .. }) = run.calls.remove(&call) else { return };
        match what {
            Asked::Poll(_) => {
                run.polling.remove(&node);
                run.book.node_unreachable(&node_name(node));
            }
            Asked::Facts(_) => {
                run.telling.remove(&node);
                run.retry_at.insert(node, now_ms + RETRY_MS);
            }
            Asked::Task(cursor, task) => {
                run.under_way.remove(&(node, task.id().clone()));
                run.retry_at.insert(node, now_ms + RETRY_MS);
                run.book.node_answer(&node_name(node), cursor, &task, Err(ApiErrorKind::Unreachable), now_ms);
            }
        }
        self.commit(false);
    }
}

impl Run {
    fn wronged(&self) -> Option<usize> {
        (0..super::NODES).find(|node| {
            let answered_ms = self.answered.get(node).unwrap_or(&0);
            let known = self.book.node(&node_name(*node));
            let lost = known.is_some_and(|known| known.condition == NodeCondition::Lost);
            lost && self.awake_ms - answered_ms < SETTINGS.node_lost_ms
        })
    }
}

/// Another node than its own has told of it, and it was not taken from there.
fn is_elsewhere(book: &Book, row: &Row) -> bool {
    let has_it = |node: &&Node| {
        let stray = node.strays.get(&row.id).map(|stray| stray.report.phase);
        let living = stray.is_some_and(|phase| !phase.is_final() && phase != Phase::Terminating);
        living && node.condition == NodeCondition::Present
    };
    let mut others = book.nodes().filter(has_it).map(|node| &node.record.facts.name);
    row.node.is_some() && others.any(|name| Some(name) != row.node.as_ref() && !row.tried.contains(name))
}

/// As the loop that speaks to nodes does it.
fn body_of(disk: &Disk, task: &Task) -> Option<Body> {
    let stored = disk.intents.get(task.id()).cloned();
    match task {
        Task::Push { generation, attempt, .. } => {
            let stored = stored.filter(|intent| intent.generation == *generation)?;
            Some(Body::Put(Box::new(InstanceIntent { attempt: *attempt, ..stored })))
        }
        Task::Terminate { id, generation, attempt } => {
            Some(Body::Put(Box::new(stray_intent(stored, id, *generation, *attempt))))
        }
        Task::Forget { id } => Some(Body::Forget(id.clone())),
    }
}
