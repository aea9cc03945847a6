//! Five hundred nodes and twenty thousand ports in one group that refers to itself: what a launch costs.

use super::teller::label;
use super::tests::{group, port, port_id, rule};
use super::*;
use std::time::{Duration, Instant};

const NODES: u32 = 500;
const PORTS: u32 = 20_000;
const LAUNCHES: u32 = 1_000;
/// Launched between two pages to a node: a hundred a second, at the pace of so large a cluster.
const GATHERED: u32 = 200;
const BYTES_MAX: u64 = 96 << 20;

fn name(node: u32) -> String {
    format!("node-{node}")
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Of this thread: other tests run beside it.
fn cpu() -> Duration {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(spent.split(' ').next().unwrap().parse().unwrap())
}

#[derive(Default)]
struct Sent {
    pages: u64,
    changes: u64,
    bytes: u64,
}

/// What is due is sent in its form on the wire, and arrives.
fn tell(facts: &mut Facts, node: &str, sent: &mut Sent) {
    while facts.due(node).is_some() {
        let Some(page) = facts.page(node, 1) else { return };
        let body = serde_json::to_vec(&page.wire()).unwrap();
        sent.pages += 1;
        sent.changes += page.changes.len() as u64;
        sent.bytes += body.len() as u64;
        let to = FactsAt { epoch: page.epoch, at: page.to };
        facts.answered(node, to, to, 1);
    }
}

/// All nodes stand where the last life of the cluster controller left them.
fn cluster() -> Facts {
    let all = (1..=PORTS).map(|number| port(number, &[1])).chain([rule(1, 1, Some(1))]);
    let mut facts =
        Facts::load(StoredFacts { at: FactsAt { epoch: 1, at: 1 }, facts: all.collect() }, Limits::default());
    for number in 1..=PORTS {
        facts.port_placed(&port_id(number), &name(number % NODES));
    }
    facts.loaded();
    let interest = Interest { groups: [group(1)].into(), peers: [group(1)].into(), ..Interest::default() };
    let part = label(facts.shelf.digest_of(&interest));
    for node in (0..NODES).map(name) {
        let question = facts.page(&node, 1).unwrap();
        let to = FactsAt { epoch: question.epoch, at: question.to };
        facts.answered(&node, to, FactsAt { epoch: 7, at: part }, 1);
        tell(&mut facts, &node, &mut Sent::default());
        assert_eq!(facts.due(&node), None);
    }
    facts
}

#[test]
fn a_launch_among_twenty_thousand_is_told_to_five_hundred_nodes_cheaply() {
    let empty = resident_bytes();
    let mut facts = cluster();
    let bytes = resident_bytes().saturating_sub(empty);
    let (began, spent) = (Instant::now(), cpu());
    let (mut own, mut others) = (Sent::default(), Sent::default());
    for number in PORTS + 1..=PORTS + LAUNCHES {
        let at = facts.at().at;
        let changes = vec![FactChange::Put(port(number, &[1]))];
        let page = FactsPage { epoch: 1, from: Some(at), to: at + 1, caught_up: true, changes };
        facts.put(page).unwrap();
        facts.take_changes();
        let home = name(number % NODES);
        facts.port_placed(&port_id(number), &home);
        tell(&mut facts, &home, &mut own);
        if number % GATHERED == 0 {
            (0..NODES).for_each(|node| tell(&mut facts, &name(node), &mut others));
        }
    }
    let spent = cpu() - spent;
    let pages = own.pages + others.pages;
    println!(
        "{LAUNCHES} launches: {pages} pages, {} changes, {} MiB; {spent:?} of CPU in {:?}; {} MiB in all",
        own.changes + others.changes,
        (own.bytes + others.bytes) >> 20,
        began.elapsed(),
        bytes >> 20,
    );
    assert!((0..NODES).all(|node| facts.due(&name(node)).is_none()));
    // Every node is told of every launch once: no more is told, and in few pages.
    assert_eq!(own.changes + others.changes, u64::from(NODES * LAUNCHES));
    assert!(pages <= u64::from(LAUNCHES + NODES * LAUNCHES / GATHERED), "{pages}");
    assert!(bytes < BYTES_MAX, "{bytes} bytes");
}
