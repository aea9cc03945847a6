//! Kept answers: once per change, in parts, within bounds.

use super::*;
use crate::app::instance::sample;

const EDGES: Edges = Edges { opens: true, closes: true };

fn part(text_bytes: usize) -> Part {
    Part::new(&[], EDGES, Bytes::from(vec![0; text_bytes]))
}

/// Whether the answer had to be made.
fn ask(kept: &KeptAnswers, question: u8, changes: u64) -> bool {
    asks(kept, "one", question, changes)
}

fn asks(kept: &KeptAnswers, account: &str, question: u8, changes: u64) -> bool {
    let mut made = false;
    let parts = kept.get(
        account,
        [question; 32],
        || changes,
        |_| {
            made = true;
            vec![part(1000)]
        },
    );
    assert_eq!(parts.len(), 1);
    made
}

#[test]
fn an_answer_is_made_once_per_change() {
    let kept = KeptAnswers::new(1 << 20);
    let made = [1, 1, 2, 2, 2, 1].map(|changes| ask(&kept, 0, changes));
    assert_eq!(made, [true, false, true, false, false, false]);
    assert!(ask(&kept, 1, 2), "another question");
}

#[test]
fn the_longest_unused_answer_goes_first() {
    let kept = KeptAnswers::new(3000);
    assert!(ask(&kept, 1, 1) && ask(&kept, 2, 1));
    assert!(!ask(&kept, 1, 1));
    assert!(ask(&kept, 3, 1), "pushes 2 out");
    assert!(!ask(&kept, 1, 1));
    assert!(ask(&kept, 2, 1));
}

#[test]
fn who_asks_much_pushes_out_its_own_answers_only() {
    let kept = KeptAnswers::new(20_000);
    assert!(asks(&kept, "quiet", 0, 1) && asks(&kept, "other", 1, 1));
    for question in 2..=255 {
        assert!(asks(&kept, "loud", question, 1));
    }
    assert!(!asks(&kept, "quiet", 0, 1) && !asks(&kept, "other", 1, 1));
    assert!(!asks(&kept, "loud", 255, 1), "what it asked last is there");
    assert!(asks(&kept, "loud", 2, 1), "what it asked first is not");
    let slots = kept.slots();
    assert!(slots.bytes <= 20_000);
    let counted: usize = slots.by_account.values().map(|keeps| keeps.bytes).sum();
    assert_eq!((counted, slots.by_bytes.len()), (slots.bytes, 3));
}

#[test]
fn an_answer_that_is_larger_than_all_room_is_given_and_not_kept() {
    let kept = KeptAnswers::new(500);
    assert!(ask(&kept, 1, 1) && ask(&kept, 1, 1));
    let slots = kept.slots();
    assert_eq!((slots.bytes, slots.by_account.len(), slots.by_bytes.len()), (0, 0, 0));
}

#[test]
fn bytes_are_counted_down_when_answers_are_replaced() {
    let kept = KeptAnswers::new(10_000);
    for changes in 0..1000 {
        ask(&kept, 0, changes);
    }
    assert_eq!(kept.slots().bytes, ANSWER_BYTES + part(1000).bytes());
}

#[test]
fn a_part_is_taken_over_until_one_of_its_rows_changes() {
    let kept = KeptAnswers::new(1 << 20);
    let row = |change| Arc::new(Instance { change, ..sample::instance() });
    let told = |changes, row: Arc<Instance>, edges| {
        let run = [row];
        let mut taken = false;
        kept.get(
            "one",
            [0; 32],
            || changes,
            |before| {
                let found = before.part(&run, edges);
                taken = found.is_some();
                vec![found.unwrap_or_else(|| Part::new(&run, edges, Bytes::new()))]
            },
        );
        taken
    };
    assert!(!told(1, row(7), EDGES));
    assert!(told(2, row(7), EDGES), "only others changed");
    assert!(!told(3, row(8), EDGES));
    assert!(!told(4, row(8), Edges { opens: true, closes: false }), "its reservation goes on");
    assert!(told(5, row(8), Edges { opens: true, closes: false }));
}

#[test]
fn who_asks_while_an_answer_is_made_waits_for_it() {
    let kept = KeptAnswers::new(1 << 20);
    let made = std::sync::atomic::AtomicUsize::new(0);
    let together = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                together.wait();
                kept.get(
                    "one",
                    [0; 32],
                    || 1,
                    |_| {
                        made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        vec![part(1)]
                    },
                );
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
}
