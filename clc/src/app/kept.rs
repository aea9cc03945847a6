//! Encoded answers that are kept until what they tell changes.
//!
//! An answer belongs to a question and to a count of changes; when the count has moved, the next to ask
//! makes it anew, once, while others wait for it. Bounded by bytes: the longest unused goes first.

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A slot itself costs something, also when its answer is small.
const SLOT_BYTES: usize = 256;

type Question = [u8; 32];

#[derive(Debug)]
struct Slot {
    changes: u64,
    answer: OnceLock<Bytes>,
}

#[derive(Debug, Default)]
struct Slots {
    clock: u64,
    bytes: usize,
    by_question: HashMap<Question, (u64, Arc<Slot>)>,
}

#[derive(Debug)]
pub struct KeptAnswers {
    bytes_max: usize,
    slots: Mutex<Slots>,
}

impl KeptAnswers {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, slots: Mutex::default() }
    }

    /// The answer to a question as of `changes`, made by `make` unless it is there.
    pub fn get(&self, question: Question, changes: u64, make: impl FnOnce() -> Bytes) -> Bytes {
        let slot = self.slot(question, changes);
        let mut made = false;
        let answer = slot.answer.get_or_init(|| {
            made = true;
            make()
        });
        if made {
            self.account(answer.len());
        }
        answer.clone()
    }

    fn slot(&self, question: Question, changes: u64) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.clock += 1;
        let now = slots.clock;
        if let Some((used, slot)) = slots.by_question.get_mut(&question)
            && slot.changes >= changes
        {
            *used = now;
            return slot.clone();
        }
        let slot = Arc::new(Slot { changes, answer: OnceLock::new() });
        slots.bytes += SLOT_BYTES;
        if let Some((_, old)) = slots.by_question.insert(question, (now, slot.clone())) {
            slots.drop_slot(&old);
        }
        slot
    }

    fn account(&self, bytes: usize) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.bytes += bytes;
        while slots.bytes > self.bytes_max && slots.drop_longest_unused() {}
    }
}

impl Slots {
    fn drop_slot(&mut self, slot: &Slot) {
        let held = SLOT_BYTES + slot.answer.get().map_or(0, Bytes::len);
        self.bytes = self.bytes.saturating_sub(held);
    }

    fn drop_longest_unused(&mut self) -> bool {
        let oldest =
            self.by_question.iter().min_by_key(|(_, (used, _))| *used).map(|(question, _)| *question);
        let Some((_, slot)) = oldest.and_then(|question| self.by_question.remove(&question)) else {
            self.bytes = 0;
            return false;
        };
        self.drop_slot(&slot);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_made_once_per_change() {
        let kept = KeptAnswers::new(1 << 20);
        let mut made = 0;
        for changes in [1, 1, 2, 2, 2] {
            kept.get([0; 32], changes, || {
                made += 1;
                Bytes::from(vec![0; 10])
            });
        }
        assert_eq!(made, 2);
        kept.get([1; 32], 2, || {
            made += 1;
            Bytes::new()
        });
        assert_eq!(made, 3);
    }

    #[test]
    fn the_longest_unused_answer_goes_first() {
        let kept = KeptAnswers::new(3000);
        let ask = |question: u8| {
            let mut made = false;
            kept.get([question; 32], 1, || {
                made = true;
                Bytes::from(vec![0; 1000])
            });
            made
        };
        assert!(ask(1) && ask(2));
        assert!(!ask(1));
        assert!(ask(3), "pushes 2 out");
        assert!(!ask(1));
        assert!(ask(2));
    }

    #[test]
    fn bytes_are_counted_down_when_answers_go() {
        let kept = KeptAnswers::new(10_000);
        for changes in 0..1000 {
            kept.get([0; 32], changes, || Bytes::from(vec![0; 1000]));
        }
        assert_eq!(kept.slots.lock().unwrap().bytes, 1000 + SLOT_BYTES);
    }
}
