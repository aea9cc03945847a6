//! The facts that this node was told: what the networks of its guests' ports let through.
//!
//! They come from the cc alone and are kept ([`crate::store::FactsFile`]), so that a node whose cc is away
//! goes on by what it knew. Who enforces them reads [`NodeFacts::table`] and waits on [`NodeFacts::changed`].
//!
//! What is told comes into force also where it cannot be written, above all because the disk is full: a rule that
//! was revoked must not live on for that. [`NodeFacts::keep`] writes it later. A node that is started anew before
//! then stands where its file does, and whoever tells it sees that.

mod pool;

pub use pool::{FactPool, PooledFacts};

use crate::drive::ports;
use crate::store::FactsFile;
use karri_proto::internal::ApiError;
use karri_proto::internal::facts::{FactsAt, FactsPage};
use karri_proto::network::{Epochs, FactChange, FactKey, FactTable, Receiver, Taken};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;

/// Whoever is further behind looks at everything.
const KEYS_REMEMBERED_MAX: usize = 4_096;

pub struct NodeFacts {
    receiving: Mutex<Receiving>,
    table: RwLock<Arc<FactTable>>,
    recent: Mutex<Recent>,
    version: watch::Sender<u64>,
}

/// Keys by the version in which they changed.
#[derive(Default)]
struct Recent {
    keys: VecDeque<(u64, FactKey)>,
    /// All that changed after this version is here.
    since: u64,
}

struct Receiving {
    receiver: Receiver,
    keeping: Keeping,
}

enum Keeping {
    File(FactsFile),
    Memory,
    /// Of a simulated node: there may be hundreds in the process, with the same facts.
    Pool(PooledFacts),
}

impl NodeFacts {
    /// What was kept in `directory`. A damaged file is set aside, and its facts are asked for anew.
    pub fn open(directory: &Path) -> io::Result<Arc<Self>> {
        let (file, at, table) = FactsFile::open(directory)?;
        Ok(Self::new(at, table, Keeping::File(file)))
    }

    pub fn in_memory() -> Arc<Self> {
        Self::new(FactsAt::default(), FactTable::default(), Keeping::Memory)
    }

    /// Nobody enforces these, so [`NodeFacts::table`] stays empty.
    pub fn pooled(facts: PooledFacts) -> Arc<Self> {
        Self::new(FactsAt::default(), FactTable::default(), Keeping::Pool(facts))
    }

    fn new(at: FactsAt, table: FactTable, keeping: Keeping) -> Arc<Self> {
        Arc::new(Self {
            receiving: Mutex::new(Receiving { receiver: Receiver::new(Epochs::Growing, at), keeping }),
            table: RwLock::new(Arc::new(table)),
            recent: Mutex::default(),
            version: watch::channel(0).0,
        })
    }

    /// What is in force now. Not to be held for long: a change then copies all of it.
    pub fn table(&self) -> Arc<FactTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The table's version, which grows with every change of it. It begins at 0 with what was kept.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The keys that changed after that version, up to now; one may come twice. `None`: it may be any.
    pub fn changed_since(&self, version: u64) -> Option<Vec<FactKey>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if version < recent.since {
            return None;
        }
        let after = recent.keys.iter().filter(|(at, _)| *at > version);
        Some(after.map(|(_, key)| key.clone()).collect())
    }

    /// Whether a cc has ever told this node anything.
    pub fn is_told(&self) -> bool {
        self.at().epoch != 0
    }

    pub fn at(&self) -> FactsAt {
        self.receiving.lock().unwrap_or_else(PoisonError::into_inner).receiver.at()
    }

    /// Durable when it returns, or for [`NodeFacts::keep`] to write. Blocking.
    pub fn put(&self, page: FactsPage) -> Result<FactsAt, ApiError> {
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let Receiving { receiver, keeping } = &mut *receiving;
        match receiver.take(page)? {
            Taken::Nothing => {}
            Taken::Changes(at, changes) => {
                match keeping {
                    Keeping::File(file) => tell_if_not(file.append(at, &changes, || self.table())),
                    Keeping::Memory => {}
                    Keeping::Pool(facts) => facts.apply(&changes),
                }
                receiver.settled(at);
                if !matches!(keeping, Keeping::Pool(_)) {
                    self.apply(changes);
                }
            }
            Taken::Everything(at, changes) => {
                if let Keeping::Pool(facts) = keeping {
                    facts.replace(&changes);
                } else {
                    let mut table = FactTable::default();
                    changes.into_iter().for_each(|change| drop(table.apply(change)));
                    if let Keeping::File(file) = keeping {
                        tell_if_not(file.replace(at, &table));
                    }
                    self.replace(table);
                }
                receiver.settled(at);
            }
        }
        Ok(receiver.stands())
    }

    /// Writes what could not be written when it was told. Blocking.
    pub fn keep(&self) -> io::Result<()> {
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let Receiving { receiver, keeping: Keeping::File(file) } = &mut *receiving else { return Ok(()) };
        if file.is_behind() {
            file.replace(receiver.at(), &self.table())?;
            tracing::info!("what was told of networks is written");
        }
        Ok(())
    }

    fn apply(&self, changes: Vec<FactChange>) {
        if changes.is_empty() {
            return;
        }
        let keys: Vec<FactKey> = changes.iter().map(FactChange::key).collect();
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let facts = Arc::make_mut(&mut *table);
        changes.into_iter().for_each(|change| drop(facts.apply(change)));
        drop(table);
        let next = *self.version.borrow() + 1;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.keys.extend(keys.into_iter().map(|key| (next, key)));
        while recent.keys.len() > KEYS_REMEMBERED_MAX {
            let dropped = recent.keys.pop_front();
            recent.since = dropped.map_or(next, |(version, _)| version);
        }
        drop(recent);
        self.version.send_replace(next);
    }

    fn replace(&self, table: FactTable) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        let next = *self.version.borrow() + 1;
        *self.recent.lock().unwrap_or_else(PoisonError::into_inner) =
            Recent { keys: VecDeque::new(), since: next };
        self.version.send_replace(next);
    }
}

fn tell_if_not(written: io::Result<()>) {
    if let Err(error) = written {
        tracing::warn!(%error, "what was told of networks is in force, but cannot be written yet");
    }
}

impl ports::Facts for NodeFacts {
    fn table(&self) -> Arc<FactTable> {
        self.table()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::network::{Fact, PortFact};

    fn key(number: usize) -> FactKey {
        FactKey::Port(format!("eni-{number:08x}").parse().unwrap())
    }

    fn put(number: usize) -> FactChange {
        let FactKey::Port(id) = key(number) else { unreachable!() };
        let vpc = "vpc-00000001".parse().unwrap();
        FactChange::Put(Fact::Port(PortFact { id, vpc, addresses: Vec::new(), groups: Vec::new() }))
    }

    fn page(epoch: u64, from: Option<u64>, to: u64, changes: Vec<FactChange>) -> FactsPage {
        FactsPage { epoch, from, to, caught_up: true, changes }
    }

    #[test]
    fn a_reader_hears_which_keys_changed_since_it_looked() {
        let facts = NodeFacts::in_memory();
        let changed = facts.changed();
        assert_eq!((*changed.borrow(), facts.is_told()), (0, false));
        facts.put(page(1, None, 1, vec![put(1)])).unwrap();
        assert!(changed.has_changed().unwrap() && facts.is_told());
        assert_eq!(facts.changed_since(0), None, "everything was told anew");
        let seen = *changed.borrow();
        facts.put(page(1, Some(1), 2, vec![put(2)])).unwrap();
        facts.put(page(1, Some(2), 3, vec![FactChange::Gone(key(1))])).unwrap();
        assert_eq!(facts.changed_since(seen), Some(vec![key(2), key(1)]));
        assert_eq!(facts.changed_since(seen + 1), Some(vec![key(1)]));
        assert_eq!(facts.changed_since(*changed.borrow()), Some(Vec::new()));
        assert_eq!(facts.table().ports().count(), 1);
    }

    #[test]
    fn a_reader_that_is_far_behind_looks_at_everything() {
        let facts = NodeFacts::in_memory();
        facts.put(page(1, None, 1, Vec::new())).unwrap();
        let pages = KEYS_REMEMBERED_MAX / 1_000 + 1;
        for number in 0..pages {
            let changes = (0..1_000).map(|port| put(number * 1_000 + port)).collect();
            let from = 1 + number as u64;
            facts.put(page(1, Some(from), from + 1, changes)).unwrap();
        }
        let newest = *facts.changed().borrow();
        assert_eq!(facts.changed_since(1), None);
        assert_eq!(facts.changed_since(newest - 1).map(|keys| keys.len()), Some(1_000));
    }

    #[test]
    fn a_page_that_changes_nothing_wakes_nobody() {
        let facts = NodeFacts::in_memory();
        facts.put(page(1, None, 1, vec![put(1)])).unwrap();
        let mut changed = facts.changed();
        changed.mark_unchanged();
        facts.put(page(1, Some(1), 2, Vec::new())).unwrap();
        facts.put(page(1, Some(1), 3, vec![put(2)])).unwrap(); // it does not begin there
        assert!(!changed.has_changed().unwrap());
        assert_eq!(facts.at(), FactsAt { epoch: 1, at: 2 });
    }

    #[test]
    fn what_was_told_outlasts_the_process_and_what_was_half_told_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let facts = NodeFacts::open(directory.path()).unwrap();
        facts.put(page(1, None, 1, vec![put(1)])).unwrap();
        facts.put(page(1, Some(1), 2, vec![put(2)])).unwrap();
        let half = FactsPage { caught_up: false, ..page(5, None, 1, vec![put(3)]) };
        assert_eq!(facts.put(half).unwrap(), FactsAt { epoch: 5, at: 1 });
        let table = facts.table();
        drop(facts);
        let again = NodeFacts::open(directory.path()).unwrap();
        assert_eq!((again.at(), again.table()), (FactsAt { epoch: 1, at: 2 }, table));
        let rest = page(5, Some(1), 2, vec![put(4)]);
        assert_eq!(again.put(rest).unwrap(), FactsAt { epoch: 1, at: 2 }, "its beginning is lost");
    }

    #[test]
    fn what_cannot_be_written_is_in_force_and_is_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("facts");
        let facts = NodeFacts::open(directory.path()).unwrap();
        facts.put(page(1, None, 1, vec![put(1), put(2)])).unwrap();
        let before = std::fs::read(&file).unwrap();
        // Nothing can be written to it, and it cannot be replaced either.
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        let told = facts.put(page(1, Some(1), 2, vec![FactChange::Gone(key(1))])).unwrap();
        assert_eq!(told, FactsAt { epoch: 1, at: 2 });
        assert_eq!(facts.table().ports().count(), 1);
        facts.keep().unwrap_err();
        let anew = facts.put(page(2, None, 1, vec![put(3)])).unwrap();
        assert_eq!((anew, facts.table().ports().count()), (FactsAt { epoch: 2, at: 1 }, 1));

        // A process that dies now begins where the file stands, and says so.
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("facts"), before).unwrap();
        assert_eq!(NodeFacts::open(other.path()).unwrap().at(), FactsAt { epoch: 1, at: 1 });

        std::fs::remove_dir(&file).unwrap();
        facts.put(page(2, Some(1), 2, vec![put(4)])).unwrap();
        facts.keep().unwrap();
        let table = facts.table();
        drop(facts);
        let again = NodeFacts::open(directory.path()).unwrap();
        assert_eq!((again.at(), again.table()), (FactsAt { epoch: 2, at: 2 }, table));
    }
}
