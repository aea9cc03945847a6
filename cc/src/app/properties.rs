//! Random lives of a cluster: whatever is asked, heard or lost, the book adds up.

use crate::app::book::{Book, Changes, Settings, Snapshot, Task};
use crate::app::node::NodeRecord;
use crate::app::placement::Policy;
use crate::app::row::Row;
use crate::app::samples::{facts, instance_id, intent};
use karri_proto::ids::InstanceId;
use karri_proto::instance::{Desired, InstanceReport, Phase};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::instances::{Cursor, ReportPage};
use karri_proto::resources::Need;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SETTINGS: Settings = Settings { policy: Policy::LeastLoaded, node_lost_ms: 60_000, tunnels: false };
const NODES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Event {
    Put { number: u32, generation: u64, desired: Desired },
    Forget { number: u32 },
    Hello { node: usize },
    Telling { node: usize, reports: Vec<(u32, Phase, u64, u32)>, restarted: bool },
    Answer { node: usize, kind: Option<ApiErrorKind> },
    Unreachable { node: usize },
    Later { ms: i64 },
    Crash,
}

fn desired() -> impl Strategy<Value = Desired> {
    prop_oneof![Just(Desired::Running), Just(Desired::Stopped), Just(Desired::Terminated)]
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Preparing),
        Just(Phase::Running),
        Just(Phase::Stopping),
        Just(Phase::Stopped),
        Just(Phase::Terminating),
        Just(Phase::Gone),
        Just(Phase::Failed),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let report = (0..4u32, phase(), 0..5u64, 0..4u32);
    let kind = prop_oneof![
        Just(None),
        Just(Some(ApiErrorKind::Full)),
        Just(Some(ApiErrorKind::Conflict)),
        Just(Some(ApiErrorKind::Unreachable)),
    ];
    prop_oneof![
        4 => (0..4u32, 1..5u64, desired())
            .prop_map(|(number, generation, desired)| Event::Put { number, generation, desired }),
        1 => (0..4u32).prop_map(|number| Event::Forget { number }),
        3 => (0..3usize).prop_map(|node| Event::Hello { node }),
        4 => (0..3usize, proptest::collection::vec(report, 0..3), any::<bool>())
            .prop_map(|(node, reports, restarted)| Event::Telling { node, reports, restarted }),
        3 => (0..3usize, kind).prop_map(|(node, kind)| Event::Answer { node, kind }),
        1 => (0..3usize).prop_map(|node| Event::Unreachable { node }),
        2 => (0..70_000i64).prop_map(|ms| Event::Later { ms }),
        1 => Just(Event::Crash),
    ]
}

/// The store, as a map.
#[derive(Default)]
struct Disk {
    rows: BTreeMap<InstanceId, Row>,
    nodes: BTreeMap<String, NodeRecord>,
    tombstones: BTreeMap<InstanceId, i64>,
    left_behind: BTreeSet<(String, InstanceId)>,
    sequence: u64,
}

impl Disk {
    fn commit(&mut self, changes: Changes) {
        for (id, row) in changes.rows {
            match row {
                Some(row) => self.rows.insert(id, Row { seen: None, ..row }),
                None => self.rows.remove(&id),
            };
        }
        for (id, until) in changes.tombstones {
            match until {
                Some(until) => self.tombstones.insert(id, until),
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
        self.sequence = changes.sequence.unwrap_or(self.sequence);
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            rows: self.rows.values().cloned().collect(),
            nodes: self.nodes.values().cloned().collect(),
            tombstones: self.tombstones.clone().into_iter().collect(),
            left_behind: self.left_behind.clone().into_iter().collect(),
            facts: Default::default(),
            names: None,
            epoch: 1,
            sequence: self.sequence,
        }
    }
}

fn carry_out(book: &mut Book, disk: &mut Disk, event: Event, now_ms: &mut i64) {
    match event {
        Event::Put { number, generation, desired } => {
            let intent = karri_proto::instance::InstanceIntent { generation, desired, ..intent(number) };
            if let Ok(report) = book.put(intent, *now_ms) {
                assert!(report.generation >= generation);
            }
        }
        Event::Forget { number } => {
            let id = instance_id(number);
            if book.forget(&id, *now_ms).is_ok() {
                assert!(book.row(&id).is_none());
            }
        }
        Event::Hello { node } => {
            let name = NODES[node];
            let record = NodeRecord {
                owner: name.into(),
                url: format!("https://{name}"),
                tunnel: None,
                facts: facts(name, 2),
            };
            book.hello(record, *now_ms).unwrap();
        }
        Event::Telling { node, reports, restarted } => {
            let Some(cursor) = book.node(NODES[node]).map(|node| node.cursor) else { return };
            let report = |(number, phase, generation, attempt)| InstanceReport {
                id: instance_id(number),
                generation,
                attempt,
                phase,
                node: None,
                reason: None,
                reboots: 0,
                capture: None,
                addresses: Vec::new(),
            };
            let page = ReportPage {
                next: Cursor { epoch: 1, sequence: cursor.sequence + 1 },
                restarted,
                caught_up: true,
                reports: reports.into_iter().map(report).collect(),
                resources: None,
            };
            book.node_page(NODES[node], cursor, page, *now_ms);
        }
        Event::Answer { node, kind } => {
            let Some(task) = book.tasks(NODES[node], 10).into_iter().next() else { return };
            let Some(asked) = book.node(NODES[node]).map(|node| node.cursor) else { return };
            let answer = kind.map_or(Ok(accepted(&task)), Err);
            book.node_answer(NODES[node], asked, &task, answer, *now_ms);
        }
        Event::Unreachable { node } => book.node_unreachable(NODES[node]),
        Event::Later { ms } => {
            for step in std::iter::repeat_n(4_000, 20).scan(ms, |left, step| {
                let now = step.min(*left);
                *left -= now;
                (now > 0).then_some(now)
            }) {
                *now_ms += step;
                book.tick(*now_ms);
                disk.commit(book.take_changes());
            }
        }
        Event::Crash => *book = Book::load(disk.snapshot(), SETTINGS, *now_ms),
    }
}

fn accepted(task: &Task) -> Option<InstanceReport> {
    let (Task::Push { id, generation, attempt } | Task::Terminate { id, generation, attempt }) = task else {
        return None;
    };
    Some(InstanceReport {
        id: id.clone(),
        generation: *generation,
        attempt: *attempt,
        phase: Phase::Preparing,
        node: None,
        reason: None,
        reboots: 0,
        capture: None,
        addresses: Vec::new(),
    })
}

/// What must hold at any time.
fn check(book: &Book, disk: &Disk, before: &BTreeMap<InstanceId, Row>) {
    let mut used: BTreeMap<&str, Need> = BTreeMap::new();
    for row in book.rows() {
        if let Some((node, need)) = row.held() {
            let sum = used.entry(node).or_default();
            *sum = *sum + need;
        }
        assert!(!row.phase.is_final() || row.node.is_none(), "a final phase leaves nothing on a node");
        assert!(row.node.as_ref().is_none_or(|node| !row.tried.contains(node)), "never back to a node");
        assert!(!book.is_tombstoned(&row.id), "the dead do not rise");
        assert_eq!(
            disk.rows.get(&row.id),
            Some(&Row { seen: None, ..row.clone() }),
            "memory is what is stored"
        );
        if let Some(old) = before.get(&row.id) {
            assert!((row.generation, row.attempt) >= (old.generation, old.attempt), "numbers only grow");
            assert!(row.attempt == old.attempt || !old.ran, "what ran stays where it is");
            assert!(!old.phase.is_final() || row.phase.is_final(), "an end is an end");
        }
    }
    assert_eq!(disk.rows.len(), book.rows().count());
    for node in book.nodes() {
        let name = node.record.facts.name.as_str();
        assert_eq!(node.used, used.remove(name).unwrap_or_default(), "{name}");
    }
    let told = book.page(Cursor::default(), 100);
    let count = disk.rows.len() + book.strangers_count();
    assert_eq!(told.reports.len(), count, "every row and every stranger is told once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_book_adds_up(events in proptest::collection::vec(event(), 1..60)) {
        let mut disk = Disk::default();
        let mut now_ms = 1;
        let mut book = Book::load(disk.snapshot(), SETTINGS, now_ms);
        for event in events {
            let before = disk.rows.clone();
            carry_out(&mut book, &mut disk, event, &mut now_ms);
            disk.commit(book.take_changes());
            check(&book, &disk, &before);
        }
    }
}
