//! The order in which instances changed: what the cc reads with a cursor.
//!
//! It lives in memory. A restart begins a new epoch, and readers then hear everything once.

use karri_proto::ids::InstanceId;
use karri_proto::internal::instances::Cursor;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

pub struct Journal {
    epoch: u64,
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    last: u64,
    by_sequence: BTreeMap<u64, InstanceId>,
    by_id: HashMap<InstanceId, u64>,
}

/// Which instances changed after a cursor, each once, in the order of their newest change.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub next: Cursor,
    pub restarted: bool,
    pub caught_up: bool,
    pub changed: Vec<InstanceId>,
}

impl Journal {
    pub fn new(epoch: u64) -> Self {
        Self { epoch, inner: Mutex::default(), newest: watch::channel(0).0 }
    }

    /// Names this life.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn touch(&self, id: &InstanceId) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.last += 1;
        let sequence = inner.last;
        if let Some(old) = inner.by_id.insert(id.clone(), sequence) {
            inner.by_sequence.remove(&old);
        }
        inner.by_sequence.insert(sequence, id.clone());
        self.newest.send_replace(sequence);
    }

    /// A forgotten instance is told of no more.
    pub fn forget(&self, id: &InstanceId) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sequence) = inner.by_id.remove(id) {
            inner.by_sequence.remove(&sequence);
        }
    }

    pub fn page(&self, after: Cursor, count_max: usize) -> Page {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let restarted = after.epoch != self.epoch;
        let start = if restarted { 0 } else { after.sequence };
        let mut rest = inner.by_sequence.range(start.saturating_add(1)..);
        let taken: Vec<(u64, InstanceId)> =
            rest.by_ref().take(count_max).map(|(sequence, id)| (*sequence, id.clone())).collect();
        let caught_up = rest.next().is_none();
        let sequence = match taken.last() {
            _ if caught_up => inner.last,
            Some((sequence, _)) => *sequence,
            None => start,
        };
        let next = Cursor { epoch: self.epoch, sequence };
        Page { next, restarted, caught_up, changed: taken.into_iter().map(|(_, id)| id).collect() }
    }

    /// Returns when there is something after `cursor` (at once if it is of another epoch).
    pub async fn changed_after(&self, cursor: Cursor) {
        if cursor.epoch == self.epoch {
            // An error means that the journal is gone, and with it the wait.
            let _ = self.newest.subscribe().wait_for(|newest| *newest > cursor.sequence).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> InstanceId {
        format!("i-{n:08x}").parse().unwrap()
    }

    #[test]
    fn pages_tell_each_change_once_and_in_its_newest_place() {
        let journal = Journal::new(7);
        for n in [1, 2, 3, 1] {
            journal.touch(&id(n));
        }
        let first = journal.page(Cursor::default(), 2);
        assert!(first.restarted && !first.caught_up);
        assert_eq!(first.changed, [id(2), id(3)]);
        let second = journal.page(first.next, 2);
        assert!(!second.restarted && second.caught_up);
        assert_eq!(second.changed, [id(1)]);
        assert_eq!(journal.page(second.next, 2).changed, []);
    }

    #[test]
    fn a_cursor_of_another_life_hears_everything() {
        let journal = Journal::new(7);
        journal.touch(&id(1));
        let page = journal.page(Cursor { epoch: 6, sequence: 99 }, 10);
        assert!(page.restarted && page.caught_up);
        assert_eq!(page.changed, [id(1)]);
    }

    #[test]
    fn the_forgotten_are_not_told() {
        let journal = Journal::new(7);
        journal.touch(&id(1));
        journal.forget(&id(1));
        assert_eq!(journal.page(Cursor::default(), 10).changed, []);
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken_by_a_change() {
        let journal = std::sync::Arc::new(Journal::new(7));
        let waiting = journal.clone();
        let reader =
            tokio::spawn(async move { waiting.changed_after(Cursor { epoch: 7, sequence: 0 }).await });
        journal.touch(&id(1));
        tokio::time::timeout(std::time::Duration::from_secs(5), reader).await.unwrap().unwrap();
    }
}
