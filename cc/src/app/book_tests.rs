//! Races that a book must survive, one by one.

use crate::app::book::{Book, NotForgotten, Refusal, Settings, Snapshot, Task};
use crate::app::node::{NodeRecord, UNKNOWN_STRAYS_MAX, bounded, is_of};
use crate::app::placement::Policy;
use crate::app::samples::{facts, intent, next};
use karri_proto::instance::{
    Desired, InstanceIntent, InstanceReport, LearntAddress, Phase, StateReason, TOMBSTONE_KEEP_SECS,
};
use karri_proto::internal::instances::{Cursor, ReportPage};

const SETTINGS: Settings = Settings { policy: Policy::FirstFit, node_lost_ms: 60_000, tunnels: false };

/// Of the nodes' reports, wherever they stand in it.
const LIFE: Cursor = Cursor { epoch: 1, sequence: 0 };

fn record(name: &str, vcpus: u32) -> NodeRecord {
    NodeRecord { owner: name.into(), url: format!("https://{name}"), tunnel: None, facts: facts(name, vcpus) }
}

fn book(nodes: &[&str]) -> Book {
    let mut book = Book::load(Snapshot { epoch: 9, ..Snapshot::default() }, SETTINGS, 0);
    for name in nodes {
        book.hello(record(name, 2), 0).unwrap();
        tell(&mut book, name, Vec::new(), true, 0);
    }
    book
}

fn tell(book: &mut Book, node: &str, reports: Vec<InstanceReport>, restarted: bool, now_ms: i64) {
    let asked = book.node(node).unwrap().cursor;
    let next = Cursor { epoch: 1, sequence: asked.sequence + 1 };
    book.node_page(
        node,
        asked,
        ReportPage { next, restarted, caught_up: true, reports, resources: None },
        now_ms,
    );
}

fn report(intent: &InstanceIntent, attempt: u32, phase: Phase) -> InstanceReport {
    InstanceReport {
        id: intent.id.clone(),
        generation: intent.generation,
        attempt,
        phase,
        node: None,
        reason: None,
        reboots: 0,
        capture: None,
        addresses: Vec::new(),
    }
}

fn phase(book: &Book, intent: &InstanceIntent) -> Phase {
    book.row(&intent.id).unwrap().phase
}

#[test]
fn an_answer_that_a_page_has_overtaken_does_not_turn_back_time() {
    let mut book = book(&["a"]);
    let wanted = intent(1);
    book.put(wanted.clone(), 0).unwrap();
    let task = book.tasks("a", 9).remove(0);
    tell(&mut book, "a", vec![report(&wanted, 0, Phase::Running)], false, 1);
    book.node_answer("a", LIFE, &task, Ok(Some(report(&wanted, 0, Phase::Preparing))), 2);
    assert_eq!(phase(&book, &wanted), Phase::Running);
    assert_eq!(book.tasks("a", 9), []);
}

/// Else an instance that the node has lost would be taken for one that it has accepted, for good.
#[test]
fn an_answer_of_an_earlier_life_of_the_node_says_nothing_of_this_one() {
    let mut book = book(&["a"]);
    let wanted = intent(1);
    book.put(wanted.clone(), 0).unwrap();
    let push = book.tasks("a", 9);
    let asked = book.node("a").unwrap().cursor;
    let restarted = |epoch| ReportPage {
        next: Cursor { epoch, sequence: 0 },
        restarted: true,
        caught_up: true,
        reports: Vec::new(),
        resources: None,
    };
    book.node_page("a", asked, restarted(2), 1); // it has lost its records
    book.node_answer("a", asked, &push[0], Ok(Some(report(&wanted, 0, Phase::Preparing))), 2);
    assert_eq!(book.tasks("a", 9), push, "it is told again");
    let asked = book.node("a").unwrap().cursor;
    book.node_answer("a", asked, &push[0], Ok(Some(report(&wanted, 0, Phase::Preparing))), 3);
    assert_eq!(book.tasks("a", 9), []);
}

#[test]
fn a_report_of_an_older_generation_is_not_taken_for_the_new_one() {
    let mut book = book(&["a"]);
    let wanted = intent(1);
    book.put(wanted.clone(), 0).unwrap();
    tell(&mut book, "a", vec![report(&wanted, 0, Phase::Running)], false, 1);
    let stop = next(&wanted, Desired::Stopped);
    let start = next(&stop, Desired::Running);
    book.put(stop.clone(), 2).unwrap();
    book.put(start.clone(), 3).unwrap();
    tell(&mut book, "a", vec![report(&stop, 0, Phase::Stopped)], false, 4);
    assert_eq!(phase(&book, &start), Phase::Preparing, "not: the guest shut itself down");
    tell(&mut book, "a", vec![report(&start, 0, Phase::Running)], false, 5);
    assert_eq!(phase(&book, &start), Phase::Running);
}

/// An intent from before a lost database arrives first, then the node's telling, then the intent that the node has
/// long carried out: nothing more will come of it, so what the node told is the answer.
#[test]
fn what_the_node_told_of_an_intent_before_the_intent_came_is_its_answer() {
    let mut book = book(&["a"]);
    let first = intent(1);
    let newest = next(&first, Desired::Running);
    book.put(first, 0).unwrap();
    tell(&mut book, "a", vec![report(&newest, 0, Phase::Stopped)], false, 1); // its guest shut itself down
    book.put(newest.clone(), 2).unwrap();
    assert_eq!((phase(&book, &newest), book.row(&newest.id).unwrap().generation), (Phase::Stopped, 2));
    assert_eq!(book.tasks("a", 9), []);
    let start = next(&newest, Desired::Running);
    book.put(start.clone(), 3).unwrap();
    assert_eq!((phase(&book, &start), book.tasks("a", 9).len()), (Phase::Preparing, 1));
}

#[test]
fn a_page_that_answers_an_older_cursor_is_dropped() {
    let mut book = book(&["a"]);
    let wanted = intent(1);
    book.put(wanted.clone(), 0).unwrap();
    let asked = book.node("a").unwrap().cursor;
    tell(&mut book, "a", vec![report(&wanted, 0, Phase::Running)], false, 1);
    let late = ReportPage {
        next: asked,
        restarted: false,
        caught_up: true,
        reports: vec![report(&wanted, 0, Phase::Preparing)],
        resources: None,
    };
    book.node_page("a", asked, late, 2);
    assert_eq!(phase(&book, &wanted), Phase::Running);
}

#[test]
fn nothing_is_pushed_before_the_node_has_told_what_it_has() {
    let mut book = book(&["a"]);
    book.put(intent(1), 0).unwrap();
    book.node_unreachable("a");
    assert_eq!(book.tasks("a", 9), []);
    tell(&mut book, "a", vec![report(&intent(1), 0, Phase::Running)], true, 2);
    assert_eq!(book.tasks("a", 9), [], "it had it already");
}

#[test]
fn a_stranger_is_told_and_left_alone_until_it_is_claimed() {
    let mut book = book(&["a"]);
    let heard = book.page(Cursor::default(), 9).next;
    tell(&mut book, "a", vec![report(&intent(1), 2, Phase::Running)], false, 0);
    assert_eq!(book.tasks("a", 9), []);
    wait(&mut book, 0, 1_000_000);
    assert_eq!(book.tasks("a", 9), [], "nobody has said that it is to go");
    let page = book.page(heard, 9);
    let told = &page.reports[0];
    let seen = (told.generation, told.attempt, told.phase, told.node.as_deref());
    assert_eq!(seen, (0, 0, Phase::Running, Some("a")), "no acknowledgement");
    let claimed = book.put(intent(1), 2).unwrap();
    assert_eq!((claimed.phase, claimed.node.as_deref(), claimed.attempt), (Phase::Running, Some("a"), 2));
    assert_eq!((book.tasks("a", 9).len(), book.strangers_count()), (0, 0));
    assert_eq!(book.page(page.next, 9).reports, [claimed]);
}

#[test]
fn a_node_that_invents_guests_is_listened_to_only_so_far() {
    let mut book = book(&["a"]);
    let buried = intent(999_999);
    book.put(next(&buried, Desired::Terminated), 0).unwrap();
    book.forget(&buried.id, 0).unwrap();
    let most = u32::try_from(UNKNOWN_STRAYS_MAX).unwrap();
    let mut invented: Vec<_> = (1..=most + 50).map(|n| report(&intent(n), 0, Phase::Running)).collect();
    invented.push(report(&buried, 0, Phase::Running));
    tell(&mut book, "a", invented, true, 1);
    assert_eq!(book.node("a").unwrap().strays.len(), UNKNOWN_STRAYS_MAX + 1);
    assert!(matches!(&book.tasks("a", 9)[..], [Task::Terminate { id, .. }] if *id == buried.id));
}

#[test]
fn a_long_reason_is_cut() {
    let mut told = report(&intent(1), 0, Phase::Failed);
    told.reason = Some(StateReason::new(&"C".repeat(5_000), "ü".repeat(100_000)));
    let reason = bounded(told.clone()).reason.unwrap();
    assert_eq!((reason.code.chars().count(), reason.message.chars().count()), (129, 1_001));
    told.reason = Some(StateReason::new("Server.InternalError", "short"));
    assert_eq!(bounded(told.clone()), told);
}

#[test]
fn a_stranger_that_is_known_to_be_over_is_ended() {
    let mut book = book(&["a"]);
    let ended = next(&intent(1), Desired::Terminated);
    // Even by an intent that is no newer than what it runs by.
    let runs = InstanceIntent { generation: ended.generation, ..intent(1) };
    tell(&mut book, "a", vec![report(&runs, 2, Phase::Running)], false, 0);
    book.put(ended.clone(), 1).unwrap();
    let push = Task::Push { id: ended.id.clone(), generation: ended.generation, attempt: 3 };
    assert_eq!(book.tasks("a", 9), [push]);
    tell(&mut book, "a", vec![report(&ended, 3, Phase::Gone)], false, 2);
    assert_eq!(phase(&book, &ended), Phase::Gone);
}

#[test]
fn a_tombstone_stands_until_every_node_has_told_what_it_has() {
    let mut book = book(&["a", "b"]);
    let wanted = intent(1);
    book.put(wanted.clone(), 0).unwrap();
    tell(&mut book, "a", vec![report(&wanted, 0, Phase::Running)], false, 1);
    book.node_unreachable("a");
    wait(&mut book, 0, 62_000);
    book.put(next(&wanted, Desired::Terminated), 62_000).unwrap();
    book.forget(&wanted.id, 62_000).unwrap();
    let later = 62_000 + 2 * TOMBSTONE_KEEP_SECS * 1000;
    wait(&mut book, 62_000, later);
    assert!(book.is_tombstoned(&wanted.id));
    tell(&mut book, "a", vec![report(&wanted, 0, Phase::Running)], true, later);
    let ends = Task::Terminate { id: wanted.id.clone(), generation: 1, attempt: 1 };
    greet(&mut book, "a", later);
    assert_eq!(book.tasks("a", 9), [ends]);
    tell(&mut book, "a", vec![report(&wanted, 1, Phase::Gone)], false, later);
    book.node_answer("a", LIFE, &Task::Forget { id: wanted.id.clone() }, Ok(None), later);
    book.tick(later + 500);
    assert!(!book.is_tombstoned(&wanted.id));
}

#[test]
fn a_failing_instance_is_tried_on_three_nodes_and_then_given_up() {
    let mut book = book(&["a", "b", "c", "d"]);
    let wanted = intent(1);
    book.put(wanted.clone(), 20_000).unwrap();
    for (attempt, node) in [(0, "a"), (1, "b"), (2, "c")] {
        assert_eq!(book.row(&wanted.id).unwrap().node.as_deref(), Some(node));
        tell(&mut book, node, vec![report(&wanted, attempt, Phase::Failed)], false, 20_000);
        assert_eq!(book.tasks(node, 9), [Task::Forget { id: wanted.id.clone() }]);
    }
    assert_eq!(phase(&book, &wanted), Phase::Failed);
    assert!(book.row(&wanted.id).unwrap().reason.is_some());
}

#[test]
fn what_ran_and_failed_is_not_started_anew_elsewhere() {
    let mut book = book(&["a", "b"]);
    let wanted = intent(1);
    book.put(wanted.clone(), 0).unwrap();
    tell(&mut book, "a", vec![report(&wanted, 0, Phase::Running)], false, 1);
    tell(&mut book, "a", vec![report(&wanted, 0, Phase::Failed)], false, 2);
    assert_eq!(phase(&book, &wanted), Phase::Failed);
}

/// Lets time pass as it does: with ticks.
fn wait(book: &mut Book, from_ms: i64, to_ms: i64) {
    (from_ms..=to_ms).step_by(2_000).for_each(|now_ms| book.tick(now_ms));
}

#[test]
fn a_silent_node_is_lost_and_what_never_ran_moves() {
    let mut book = book(&["a"]);
    book.put(intent(1), 0).unwrap();
    wait(&mut book, 0, 58_000);
    book.hello(record("b", 2), 58_000).unwrap();
    tell(&mut book, "b", Vec::new(), true, 58_000);
    assert_eq!(book.row(&intent(1).id).unwrap().node.as_deref(), Some("a"));
    wait(&mut book, 58_000, 62_000);
    assert_eq!(book.row(&intent(1).id).unwrap().node.as_deref(), Some("b"));
    assert!(!book.node("a").unwrap().alive);
}

#[test]
fn a_process_that_stood_still_blames_no_node() {
    let mut book = book(&["a", "b"]);
    book.put(intent(1), 0).unwrap();
    wait(&mut book, 0, 2_000);
    book.tick(500_000);
    let row = book.row(&intent(1).id).unwrap();
    assert_eq!((row.node.as_deref(), row.attempt), (Some("a"), 0));
    assert!(book.node("a").unwrap().alive);
}

fn greet(book: &mut Book, name: &str, now_ms: i64) {
    book.hello(record(name, 2), now_ms).unwrap();
}

#[test]
fn what_an_earlier_database_had_placed_is_not_placed_again() {
    let mut book = Book::load(Snapshot { epoch: 9, ..Snapshot::default() }, SETTINGS, 5_000);
    greet(&mut book, "a", 5_000);
    tell(&mut book, "a", Vec::new(), true, 5_000);
    let old = intent(1); // launched at 0, before this life
    book.put(old.clone(), 5_100).unwrap();
    assert_eq!(book.row(&old.id).unwrap().node, None, "some node may have it");
    greet(&mut book, "b", 6_000);
    tell(&mut book, "b", vec![report(&old, 1, Phase::Running)], true, 6_000);
    let row = book.row(&old.id).unwrap();
    assert_eq!((row.node.as_deref(), row.phase, row.attempt), (Some("b"), Phase::Running, 1));
    assert_eq!(book.tasks("b", 9), []);

    let other = intent(2);
    book.put(other.clone(), 6_100).unwrap();
    wait(&mut book, 6_100, 14_000);
    greet(&mut book, "a", 14_000);
    assert_eq!(book.row(&other.id).unwrap().node, None);
    wait(&mut book, 14_000, 16_000);
    assert!(book.row(&other.id).unwrap().node.is_some(), "nobody claimed it");
}

#[test]
fn a_node_that_is_gone_is_forgotten_with_what_it_had_only_by_force() {
    let mut book = book(&["a", "b"]);
    let (ran, ending, fresh, elsewhere) = (intent(1), intent(2), intent(3), intent(4));
    book.put(ran.clone(), 0).unwrap();
    book.put(ending.clone(), 0).unwrap(); // two fit on a node, the first node is filled first
    let told = vec![report(&ran, 0, Phase::Running), report(&ending, 0, Phase::Running)];
    tell(&mut book, "a", told, false, 1);
    book.put(elsewhere.clone(), 1).unwrap();
    assert_eq!(book.row(&elsewhere.id).unwrap().node.as_deref(), Some("b"));
    assert_eq!(book.node_forget("c", true, 1), Err(NotForgotten::Unknown("c".into())));
    assert_eq!(book.node_forget("a", true, 1), Err(NotForgotten::Alive("a".into())));

    book.put(next(&ending, Desired::Terminated), 2).unwrap();
    for now_ms in (2_000..=12_000).step_by(2_000) {
        book.hello(record("b", 4), now_ms).unwrap();
        book.tick(now_ms);
    }
    assert!(!book.node("a").unwrap().alive);
    let refused = book.node_forget("a", false, 12_000).unwrap_err();
    assert!(refused.to_string().contains("2 instances"), "{refused}");
    assert_eq!(phase(&book, &ran), Phase::Running);

    book.take_changes();
    book.node_forget("a", true, 12_000).unwrap();
    assert_eq!(phase(&book, &ran), Phase::Failed);
    assert!(book.row(&ran.id).unwrap().reason.as_ref().unwrap().message.contains("removed"));
    assert_eq!(phase(&book, &ending), Phase::Gone);
    assert_eq!(book.row(&elsewhere.id).unwrap().node.as_deref(), Some("b"));
    assert_eq!(book.take_changes().nodes["a"], None, "not known after a restart either");
    book.tick(12_500);
    assert_eq!(book.resources().nodes.len(), 1);
    book.put(fresh.clone(), 13_000).unwrap();
    assert_eq!(book.row(&fresh.id).unwrap().node.as_deref(), Some("b"));

    // It returns after all: what still runs there belongs to nobody.
    book.hello(record("a", 2), 14_000).unwrap();
    tell(&mut book, "a", vec![report(&ran, 0, Phase::Running)], true, 14_000);
    assert_eq!(phase(&book, &ran), Phase::Failed);
    assert!(matches!(&book.tasks("a", 9)[..], [Task::Terminate { id, .. }] if *id == ran.id));
}

#[test]
fn a_forgotten_node_that_returns_after_the_tombstones_time_is_told_to_end_what_it_has() {
    let mut book = book(&["a"]);
    let wanted = intent(1);
    book.put(wanted.clone(), 0).unwrap();
    tell(&mut book, "a", vec![report(&wanted, 0, Phase::Running)], false, 1);
    wait(&mut book, 0, 12_000);
    book.node_forget("a", true, 12_000).unwrap();
    book.forget(&wanted.id, 13_000).unwrap();
    let late = 13_000 + 3 * TOMBSTONE_KEEP_SECS * 1000;
    book.tick(late);

    // In the next life too.
    let left_behind: Vec<_> = book.take_changes().left_behind.into_keys().collect();
    assert_eq!(left_behind, [("a".to_owned(), wanted.id.clone())]);
    let tombstones = vec![(wanted.id.clone(), 13_000 + TOMBSTONE_KEEP_SECS * 1000)];
    let snapshot = Snapshot { epoch: 9, tombstones, left_behind, ..Snapshot::default() };
    let mut book = Book::load(snapshot, SETTINGS, late);
    book.tick(late + 1_000);

    book.hello(record("a", 2), late + 2_000).unwrap();
    tell(&mut book, "a", vec![report(&wanted, 0, Phase::Running)], true, late + 2_000);
    let task = book.tasks("a", 9).remove(0);
    assert!(matches!(&task, Task::Terminate { id, .. } if *id == wanted.id));
    assert_eq!(book.strangers_count(), 0);

    // Once it is gone there, nothing is kept for it any more.
    book.node_answer("a", LIFE, &task, Ok(Some(report(&wanted, 1, Phase::Gone))), late + 3_000);
    let task = book.tasks("a", 9).remove(0);
    assert_eq!(task, Task::Forget { id: wanted.id.clone() });
    book.node_answer("a", LIFE, &task, Ok(None), late + 3_000);
    tell(&mut book, "a", Vec::new(), false, late + 4_000);
    book.tick(late + 4_000);
    assert!(!book.is_tombstoned(&wanted.id));
    assert!(book.take_changes().left_behind.values().all(|there| !there));
}

#[test]
fn what_never_ran_on_a_forgotten_node_is_placed_elsewhere() {
    let mut book = book(&["a"]);
    book.put(intent(1), 0).unwrap();
    wait(&mut book, 0, 12_000);
    book.hello(record("b", 2), 12_000).unwrap();
    tell(&mut book, "b", Vec::new(), true, 12_000);
    book.node_forget("a", true, 12_000).unwrap();
    let row = book.row(&intent(1).id).unwrap();
    assert_eq!((row.node.as_deref(), row.phase), (Some("b"), Phase::Preparing));
}

#[test]
fn a_claim_is_waited_for_in_the_next_life_too() {
    let mut book = Book::load(Snapshot { epoch: 9, ..Snapshot::default() }, SETTINGS, 5_000);
    let old = intent(1); // launched at 0, before this life
    book.put(old.clone(), 5_100).unwrap();
    let rows = book.rows().cloned().collect();
    let mut book = Book::load(Snapshot { epoch: 9, rows, ..Snapshot::default() }, SETTINGS, 6_000);
    greet(&mut book, "a", 6_000);
    tell(&mut book, "a", Vec::new(), true, 6_000);
    assert_eq!(book.row(&old.id).unwrap().node, None, "some node may have it");
    wait(&mut book, 6_000, 15_000);
    greet(&mut book, "a", 15_000);
    wait(&mut book, 15_000, 17_000);
    assert_eq!(book.row(&old.id).unwrap().node.as_deref(), Some("a"), "nobody claimed it");
}

#[test]
fn what_its_node_does_not_have_is_looked_for_before_it_is_placed_anew() {
    let mut book = book(&["a", "b"]);
    let wanted = intent(1);
    book.put(wanted.clone(), 0).unwrap();
    assert_eq!(book.row(&wanted.id).unwrap().node.as_deref(), Some("a"));
    tell(&mut book, "b", vec![report(&wanted, 0, Phase::Running)], false, 10);
    tell(&mut book, "a", vec![report(&wanted, 0, Phase::Failed)], false, 20);
    let row = book.row(&wanted.id).unwrap();
    assert_eq!((row.node.as_deref(), row.ran), (Some("b"), true));
    assert!(book.node("b").unwrap().strays.is_empty());
}

#[test]
fn a_node_speaks_from_its_own_address_and_of_itself() {
    let mut book = book(&["a", "b"]);
    let borrowed = NodeRecord { url: "https://a".into(), ..record("b", 2) };
    assert_eq!(book.hello(borrowed.clone(), 1), Err(Refusal::AddressTaken));
    assert_eq!(book.node("b").unwrap().record.url, "https://b");
    for now_ms in (2_000..=14_000).step_by(2_000) {
        greet(&mut book, "b", now_ms);
        book.tick(now_ms);
    }
    book.hello(borrowed, 14_000).unwrap(); // whoever had it before is silent
    let of = |node: Option<&str>| InstanceReport {
        node: node.map(str::to_owned),
        ..report(&intent(1), 0, Phase::Running)
    };
    assert!(is_of(&of(Some("a")), "a") && is_of(&of(None), "a") && !is_of(&of(Some("b")), "a"));
}

#[test]
fn an_address_that_the_site_has_given_is_told_on() {
    let mut book = book(&["a"]);
    let wanted = intent(1);
    book.put(wanted.clone(), 0).unwrap();
    tell(&mut book, "a", vec![report(&wanted, 0, Phase::Running)], false, 1);
    let from = book.page(Cursor::default(), 9).next;
    let port = wanted.spec.ports[0].id.clone();
    let addresses = vec![LearntAddress { port, address: [192, 0, 2, 9].into() }];
    let learnt = InstanceReport { addresses: addresses.clone(), ..report(&wanted, 0, Phase::Running) };
    tell(&mut book, "a", vec![learnt.clone()], false, 2);
    let news = book.page(from, 9);
    assert_eq!(news.reports.len(), 1);
    assert_eq!(news.reports[0].addresses, addresses);
    // The same again is no news.
    tell(&mut book, "a", vec![learnt], false, 3);
    assert_eq!(book.page(news.next, 9).reports, []);
}
