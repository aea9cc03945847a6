//! The node's own durable state.
//!
//! ```text
//!   state_dir/instances/ID/intent.json   the record: what is wanted and how far it is
//!   state_dir/tombstones/ID.json         what was forgotten, for an hour
//!   state_dir/facts                      what the networks of its ports let through (facts.rs)
//!   state_dir/reserve                    room for the records on a full disk
//! ```
//!
//! Every file is replaced whole, so that a crash at any point leaves the old one or the new one. All
//! records are also in memory; a change is durable before it is visible there.

mod facts;
mod journal;
mod reserve;

pub use facts::FactsFile;
pub use journal::{Journal, Page};
pub use reserve::is_full;

use crate::app::record::{Record, Tombstone};
use karri_proto::ids::InstanceId;
use karri_proto::instance::TOMBSTONE_KEEP_SECS;
use karri_proto::runtime::files::{create_passable, write_secret};
use reserve::Reserve;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::drive::storage::files::RECORD_FILE;

pub struct Store {
    /// Nothing is written when there is none.
    directory: Option<PathBuf>,
    reserve: Option<Reserve>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    records: HashMap<InstanceId, Arc<Record>>,
    tombstones: HashMap<InstanceId, Arc<Tombstone>>,
}

impl Store {
    pub fn in_memory() -> Self {
        Self { directory: None, reserve: None, inner: Mutex::default() }
    }

    /// Reads what is there and removes what a crash has left half made.
    pub fn open(directory: &Path) -> io::Result<Self> {
        // The user of QEMU passes through these to its disks; what else is there is not its to read.
        create_passable(directory)?;
        create_passable(&directory.join("instances"))?;
        std::fs::create_dir_all(directory.join("tombstones"))?;
        let reserve = Some(Reserve::open(directory));
        let store = Self { directory: Some(directory.to_owned()), reserve, inner: Mutex::default() };
        let mut inner = Inner::default();
        for (id, path) in entries(&directory.join("instances"), "")? {
            match read::<Record>(&path.join(RECORD_FILE))? {
                Some(record) => drop(inner.records.insert(id, Arc::new(record))),
                None => {
                    tracing::warn!(instance_id = %id, "removing the directory of an instance without a record");
                    std::fs::remove_dir_all(&path)?;
                }
            }
        }
        for (id, path) in entries(&directory.join("tombstones"), ".json")? {
            match read::<Tombstone>(&path)? {
                Some(tombstone) => drop(inner.tombstones.insert(id, Arc::new(tombstone))),
                None => std::fs::remove_file(&path)?,
            }
        }
        *store.lock() = inner;
        store.burials_finish()?;
        Ok(store)
    }

    /// A record beside a stone that covers it: the crash came between the two steps of a burial.
    fn burials_finish(&self) -> io::Result<()> {
        for record in self.records() {
            let intent = &record.intent;
            let stone = self.tombstone(&intent.id);
            let covered = |s: &Arc<Tombstone>| s.report.covers(intent.generation, intent.attempt);
            if let Some(stone) = stone.filter(covered) {
                self.record_bury(&intent.id, stone.as_ref().clone())?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instance_directory(&self, id: &InstanceId) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join("instances").join(id.as_str()))
    }

    fn tombstone_file(&self, id: &InstanceId) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join("tombstones").join(format!("{id}.json")))
    }

    pub fn record(&self, id: &InstanceId) -> Option<Arc<Record>> {
        self.lock().records.get(id).cloned()
    }

    pub fn records(&self) -> Vec<Arc<Record>> {
        self.lock().records.values().cloned().collect()
    }

    pub fn tombstone(&self, id: &InstanceId) -> Option<Arc<Tombstone>> {
        self.lock().tombstones.get(id).cloned()
    }

    /// Durable when it returns. Callers take care that one instance has one writer at a time.
    pub fn record_put(&self, record: Record) -> io::Result<()> {
        let id = record.intent.id.clone();
        if let Some(directory) = self.instance_directory(&id) {
            let json = serde_json::to_vec(&record).map_err(io::Error::other)?;
            if directory.exists() {
                self.write(&directory.join(RECORD_FILE), &json)?;
            } else {
                write_first(&directory, &json).inspect_err(|_| drop(std::fs::remove_dir_all(&directory)))?;
            }
        }
        self.lock().records.insert(id, Arc::new(record));
        Ok(())
    }

    /// On a full disk with the room that is kept for it.
    fn write(&self, path: &Path, json: &[u8]) -> io::Result<()> {
        match write_secret(path, json) {
            Err(error) if is_full(&error) && self.reserve.as_ref().is_some_and(Reserve::give_up) => {
                write_secret(path, json)
            }
            other => other,
        }
    }

    /// Replaces a record by its tombstone: first the stone, then the record goes.
    pub fn record_bury(&self, id: &InstanceId, tombstone: Tombstone) -> io::Result<()> {
        if let (Some(file), Some(directory)) = (self.tombstone_file(id), self.instance_directory(id)) {
            self.write(&file, &serde_json::to_vec(&tombstone).map_err(io::Error::other)?)?;
            match std::fs::remove_dir_all(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.reserve.iter().for_each(Reserve::fill); // something has just become free
        let mut inner = self.lock();
        inner.records.remove(id);
        inner.tombstones.insert(id.clone(), Arc::new(tombstone));
        Ok(())
    }

    /// Drops stones that no late message can need any more.
    pub fn tombstones_purge(&self, now_unix_ms: i64) -> io::Result<usize> {
        self.reserve.iter().for_each(Reserve::fill);
        let oldest = now_unix_ms - TOMBSTONE_KEEP_SECS * 1000;
        let old: Vec<InstanceId> = {
            let inner = self.lock();
            let old = inner.tombstones.iter().filter(|(_, stone)| stone.buried_at_unix_ms < oldest);
            old.map(|(id, _)| id.clone()).collect()
        };
        for id in &old {
            if let Some(file) = self.tombstone_file(id) {
                match std::fs::remove_file(file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            self.lock().tombstones.remove(id);
        }
        Ok(old.len())
    }
}

/// An instance that is new here: it gets none of the room that is kept for those that are.
fn write_first(directory: &Path, json: &[u8]) -> io::Result<()> {
    create_passable(directory)?;
    write_secret(&directory.join(RECORD_FILE), json)?;
    sync_parent(directory)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Entries named by an instance id; others are not ours and are left alone.
fn entries(directory: &Path, suffix: &str) -> io::Result<Vec<(InstanceId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(id) = name.strip_suffix(suffix).and_then(|name| name.parse().ok()) {
            found.push((id, path));
        }
    }
    Ok(found)
}

/// None: it was never finished. A file that cannot be understood stops the start: better no node
/// than one that forgets its guests.
fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(json) => serde_json::from_slice(&json)
            .map(Some)
            .map_err(|e| io::Error::other(format!("{}: {e}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::record::Change;
    use crate::app::sample;

    fn record() -> Record {
        Record::new(sample::intent(), 5)
    }

    fn stone(record: &Record) -> Tombstone {
        Tombstone { report: record.report("node-1"), buried_at_unix_ms: 5 }
    }

    #[test]
    fn what_was_put_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        Store::open(directory.path()).unwrap().record_put(record()).unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.record(&record().intent.id).as_deref(), Some(&record()));
    }

    #[test]
    fn user_data_is_nobody_elses_to_read_and_disks_can_be_reached() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.record_put(record()).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let instances = directory.path().join("instances");
        let own = instances.join(record().intent.id.as_str());
        assert_eq!((mode(directory.path()), mode(&instances), mode(&own)), (0o711, 0o711, 0o711));
        assert_eq!(mode(&own.join(RECORD_FILE)), 0o600);
        store.record_put(record().after(Change::Gone)).unwrap();
        assert_eq!(mode(&own.join(RECORD_FILE)), 0o600);
    }

    #[test]
    fn a_crash_before_the_record_is_whole_leaves_no_instance() {
        let directory = tempfile::tempdir().unwrap();
        let half = directory.path().join("instances").join(record().intent.id.as_str());
        std::fs::create_dir_all(&half).unwrap();
        std::fs::write(half.join(".intent.json.new"), "{\"inten").unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert!(store.records().is_empty() && !half.exists());
    }

    #[test]
    fn a_crash_while_the_record_is_replaced_leaves_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        Store::open(directory.path()).unwrap().record_put(record()).unwrap();
        let path = directory.path().join("instances").join(record().intent.id.as_str());
        std::fs::write(path.join(".intent.json.new"), "{\"inten").unwrap();
        assert_eq!(Store::open(directory.path()).unwrap().records().len(), 1);
    }

    #[test]
    fn a_crash_between_the_steps_of_a_burial_is_finished_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let gone = record().after(Change::Gone);
        let id = gone.intent.id.clone();
        Store::open(directory.path()).unwrap().record_put(gone.clone()).unwrap();
        let file = directory.path().join("tombstones").join(format!("{id}.json"));
        write_secret(&file, &serde_json::to_vec(&stone(&gone)).unwrap()).unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert!(store.record(&id).is_none() && store.tombstone(&id).is_some());
        assert!(!directory.path().join("instances").join(id.as_str()).exists());
    }

    #[test]
    fn an_instance_put_again_after_its_stone_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.record_put(record()).unwrap();
        store.record_bury(&record().intent.id, stone(&record())).unwrap();
        let mut next = record();
        next.intent.attempt += 1;
        store.record_put(next).unwrap();
        assert_eq!(Store::open(directory.path()).unwrap().records().len(), 1);
    }

    #[test]
    fn stones_stand_for_their_time() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.record_bury(&record().intent.id, stone(&record())).unwrap();
        assert_eq!(store.tombstones_purge(5 + TOMBSTONE_KEEP_SECS * 1000).unwrap(), 0);
        assert_eq!(store.tombstones_purge(6 + TOMBSTONE_KEEP_SECS * 1000).unwrap(), 1);
        assert!(Store::open(directory.path()).unwrap().tombstone(&record().intent.id).is_none());
    }

    #[test]
    fn a_record_that_cannot_be_understood_stops_the_start_and_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("instances").join(record().intent.id.as_str());
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join(RECORD_FILE), "nonsense").unwrap();
        let error = Store::open(directory.path()).err().unwrap().to_string();
        assert!(error.contains("intent.json"), "{error}");
    }

    #[test]
    fn without_a_directory_nothing_is_written() {
        let store = Store::in_memory();
        store.record_put(record()).unwrap();
        store.record_bury(&record().intent.id, stone(&record())).unwrap();
        assert!(store.records().is_empty() && store.tombstone(&record().intent.id).is_some());
    }
}
