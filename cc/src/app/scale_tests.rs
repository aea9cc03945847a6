//! Twenty thousand instances on five hundred nodes: what they cost in memory, and the time to look at.

use crate::app::book::{Book, Settings, Snapshot};
use crate::app::node::NodeRecord;
use crate::app::placement::Policy;
use crate::app::samples::{facts, intent};
use karri_proto::instance::{InstanceReport, Phase};
use karri_proto::internal::instances::{Cursor, ReportPage};
use std::time::Instant;

const SETTINGS: Settings = Settings { policy: Policy::LeastLoaded, node_lost_ms: 60_000, tunnels: false };
const NODES: u32 = 500;
const INSTANCES: u32 = 20_000;
const BYTES_PER_INSTANCE_MAX: u64 = 6 * 1024;

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn page(asked: Cursor, restarted: bool, reports: Vec<InstanceReport>) -> ReportPage {
    let next = Cursor { epoch: 1, sequence: asked.sequence + 1 };
    ReportPage { next, restarted, caught_up: true, reports, resources: None }
}

fn launch(book: &mut Book, number: u32) {
    let accepted = book.put(intent(number), 0).unwrap();
    let node = accepted.node.clone().unwrap();
    assert!(!book.tasks(&node, 32).is_empty());
    let asked = book.node(&node).unwrap().cursor;
    let running = InstanceReport { phase: Phase::Running, ..accepted };
    book.node_page(&node, asked, page(asked, false, vec![running]), 0);
    book.take_changes();
}

#[test]
fn twenty_thousand_instances_fit() {
    let mut book = Book::load(Snapshot::default(), SETTINGS, 0);
    for number in 0..NODES {
        let name = format!("node-{number}");
        let record = NodeRecord {
            owner: name.clone(),
            url: format!("https://{name}"),
            tunnel: None,
            facts: facts(&name, 64),
        };
        book.hello(record, 0).unwrap();
        book.node_page(&name, Cursor::default(), page(Cursor::default(), true, Vec::new()), 0);
    }
    let empty = resident_bytes();
    let mut began = Instant::now();
    for number in 1..=INSTANCES {
        launch(&mut book, number);
        if number % 5_000 == 0 {
            println!("{number} instances; the last 5,000 took {:?}", began.elapsed());
            began = Instant::now();
        }
    }
    let each = resident_bytes().saturating_sub(empty) / u64::from(INSTANCES);
    println!("{each} bytes each");
    assert!(each < BYTES_PER_INSTANCE_MAX, "{each} bytes per instance");
    let began = Instant::now();
    book.tick(1);
    println!("a tick takes {:?}", began.elapsed());
}
