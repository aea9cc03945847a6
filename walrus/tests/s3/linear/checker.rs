//! Whether a history of operations on one key is linearizable: whether each of them can be given one instant
//! between its call and its return such that every answer is what a single register would have answered.
//!
//! A search after Wing and Gong that goes through the history in the order of time and holds every
//! configuration it could be in: the register's value, and which of the operations under way have had their
//! instant. Configurations are a set, so none is looked at twice; an answer that no configuration can give is
//! the violation.

use std::collections::{BTreeMap, BTreeSet};

/// Which of all values that were ever put; nothing: no object.
pub type Value = Option<u32>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    /// GET, or what a list told of the key.
    Read(Value),
    Put(u32),
    Delete,
    /// PUT if there is no object; whether it was taken.
    PutIfAbsent(u32, bool),
    PutIfMatch {
        put: u32,
        expected: u32,
        answer: Matched,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matched {
    Taken,
    Another,
    Absent,
}

#[derive(Debug, Clone, Copy)]
pub struct Op {
    pub client: usize,
    pub called_ns: u64,
    /// Nothing: whether it was carried out is unknown. It may be at any later time, or never.
    pub returned_ns: Option<u64>,
    pub did: Did,
}

/// The operation whose answer cannot be.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    pub op: usize,
}

impl Did {
    /// The register afterwards, if it can have answered so.
    fn apply(self, value: Value) -> Option<Value> {
        match self {
            Did::Read(read) => (read == value).then_some(value),
            Did::Put(put) => Some(Some(put)),
            Did::Delete => Some(None),
            Did::PutIfAbsent(put, true) => value.is_none().then_some(Some(put)),
            Did::PutIfAbsent(_, false) => value.is_some().then_some(value),
            Did::PutIfMatch { put, expected, answer } => match (answer, value) {
                (Matched::Taken, Some(now)) if now == expected => Some(Some(put)),
                (Matched::Another, Some(now)) if now != expected => Some(value),
                (Matched::Absent, None) => Some(value),
                _ => None,
            },
        }
    }
}

/// A value, and the operations under way that have had their instant.
type Configuration = (Value, BTreeSet<usize>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    // Before a return of the same instant: they overlap.
    Call,
    Return,
}

/// The register is empty before.
pub fn check(history: &[Op]) -> Result<(), Violation> {
    let calls = history.iter().enumerate().map(|(op, one)| (one.called_ns, Event::Call, op));
    let returns =
        history.iter().enumerate().filter_map(|(op, one)| Some((one.returned_ns?, Event::Return, op)));
    let mut events: Vec<_> = calls.chain(returns).collect();
    events.sort_unstable();
    let mut under_way: BTreeMap<usize, Did> = BTreeMap::new();
    let mut possible: BTreeSet<Configuration> = [(None, BTreeSet::new())].into();
    for (_, event, op) in events {
        match event {
            Event::Call => drop(under_way.insert(op, history[op].did)),
            Event::Return => {
                possible = returned(op, closed(possible, &under_way));
                under_way.remove(&op);
            }
        }
        if possible.is_empty() {
            return Err(Violation { op });
        }
    }
    Ok(())
}

/// All that can be when any of the operations under way have their instants, in any order.
fn closed(possible: BTreeSet<Configuration>, under_way: &BTreeMap<usize, Did>) -> BTreeSet<Configuration> {
    let mut todo: Vec<Configuration> = possible.iter().cloned().collect();
    let mut all = possible;
    while let Some((value, done)) = todo.pop() {
        for (op, did) in under_way.iter().filter(|(op, _)| !done.contains(op)) {
            let Some(next) = did.apply(value) else { continue };
            let mut done = done.clone();
            done.insert(*op);
            if all.insert((next, done.clone())) {
                todo.push((next, done));
            }
        }
    }
    all
}

/// What remains possible when `op` has had its instant by now.
fn returned(op: usize, possible: BTreeSet<Configuration>) -> BTreeSet<Configuration> {
    let with = possible.into_iter().filter_map(|(value, mut done)| done.remove(&op).then_some((value, done)));
    with.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operations as (call, return, what), return 0 for never.
    fn is_fine(ops: &[(u64, u64, Did)]) -> bool {
        let op = |(client, (call, end, did)): (usize, &(u64, u64, Did))| Op {
            client,
            called_ns: *call,
            returned_ns: (*end > 0).then_some(*end),
            did: *did,
        };
        check(&ops.iter().enumerate().map(op).collect::<Vec<_>>()).is_ok()
    }

    use Did::{Delete, Put, PutIfAbsent, Read};

    fn put_if(put: u32, expected: u32, answer: Matched) -> Did {
        Did::PutIfMatch { put, expected, answer }
    }

    #[test]
    fn histories_of_one_after_the_other() {
        assert!(is_fine(&[]));
        assert!(is_fine(&[
            (1, 2, Read(None)),
            (3, 4, Put(1)),
            (5, 6, Read(Some(1))),
            (7, 8, Delete),
            (9, 10, Read(None))
        ]));
        assert!(!is_fine(&[(1, 2, Put(1)), (3, 4, Read(None))]), "a lost write");
        assert!(!is_fine(&[(1, 2, Put(1)), (3, 4, Put(2)), (5, 6, Read(Some(1)))]), "a stale read");
        assert!(!is_fine(&[(1, 2, Put(1)), (3, 4, Delete), (5, 6, Read(Some(1)))]), "a delete undone");
        assert!(!is_fine(&[(1, 2, Read(Some(1))), (3, 4, Put(1))]), "read before it was written");
        assert!(!is_fine(&[(1, 2, Read(Some(9)))]), "never written");
    }

    #[test]
    fn what_overlaps_may_be_in_any_order_but_in_one() {
        for read in [None, Some(1)] {
            assert!(is_fine(&[(1, 9, Put(1)), (2, 3, Read(read))]));
        }
        let two = [(1, 9, Put(1)), (1, 9, Put(2))];
        assert!(is_fine(&[&two[..], &[(10, 11, Read(Some(1)))]].concat()));
        let flip = [(10, 11, Read(Some(1))), (12, 13, Read(Some(2)))];
        assert!(!is_fine(&[&two[..], &flip].concat()), "settled on both");
        assert!(!is_fine(&[(1, 20, Put(1)), (2, 3, Read(Some(1))), (4, 5, Read(None))]), "new, then old");
        assert!(is_fine(&[(1, 20, Put(1)), (2, 9, Read(Some(1))), (4, 5, Read(None))]), "these two overlap");
    }

    #[test]
    fn of_conditional_writes_one_wins() {
        assert!(is_fine(&[(1, 9, PutIfAbsent(1, true)), (1, 9, PutIfAbsent(2, false))]));
        assert!(!is_fine(&[(1, 9, PutIfAbsent(1, true)), (1, 9, PutIfAbsent(2, true))]), "two winners");
        assert!(!is_fine(&[(1, 9, PutIfAbsent(1, false)), (1, 9, PutIfAbsent(2, false))]), "no winner");
        assert!(is_fine(&[(1, 9, PutIfAbsent(1, true)), (1, 9, PutIfAbsent(2, true)), (1, 9, Delete)]));
        let swap =
            |answer| [(1, 2, Put(1)), (3, 9, put_if(2, 1, Matched::Taken)), (3, 9, put_if(3, 1, answer))];
        assert!(is_fine(&swap(Matched::Another)));
        assert!(!is_fine(&swap(Matched::Taken)), "a lost update");
        assert!(!is_fine(&swap(Matched::Absent)), "there always was one");
        assert!(is_fine(&[(1, 2, put_if(2, 1, Matched::Absent))]));
    }

    #[test]
    fn what_was_never_answered_may_be_done_late_or_never() {
        let unknown = (1, 0, Put(1));
        assert!(is_fine(&[unknown, (2, 3, Read(None)), (4, 5, Read(Some(1)))]));
        assert!(is_fine(&[unknown, (2, 3, Read(None)), (4, 5, Read(None))]));
        let undone = [unknown, (2, 3, Read(Some(1))), (4, 5, Delete), (6, 7, Read(Some(1)))];
        assert!(!is_fine(&undone), "not twice");
    }

    #[test]
    fn the_violation_is_the_answer_that_cannot_be() {
        let op = |at, did| Op { client: 0, called_ns: at, returned_ns: Some(at + 1), did };
        let history = [op(1, Put(1)), op(3, Read(Some(1))), op(5, Read(None)), op(7, Read(Some(1)))];
        assert_eq!(check(&history), Err(Violation { op: 2 }));
    }
}
