//! The latest changes of facts, numbered in this life of the cluster controller. Whoever is further behind
//! than the log reaches is told everything.

use super::shelf::Change;
use std::collections::VecDeque;

#[derive(Debug)]
pub struct Log {
    first: u64,
    changes: VecDeque<Change>,
    max: usize,
}

impl Log {
    pub fn new(max: usize) -> Self {
        Self { first: 1, changes: VecDeque::new(), max }
    }

    /// The number that the change gets.
    pub fn push(&mut self, change: Change) -> u64 {
        if self.changes.len() >= self.max {
            self.changes.pop_front();
            self.first += 1;
        }
        self.changes.push_back(change);
        self.next() - 1
    }

    /// The number of the change that comes next.
    pub fn next(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// From that number on, in their order. `None`: they are not all remembered.
    pub fn since(&self, number: u64) -> Option<impl Iterator<Item = &Change>> {
        let known = usize::try_from(number.checked_sub(self.first)?).ok()?;
        Some(self.changes.iter().skip(known))
    }
}
