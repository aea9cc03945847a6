//! One node: its records, its drives, and what both the API and the loops need of them.
//!
//! A process hosts one real node or many simulated ones.

use crate::app::owner_tag::Owner;
use crate::app::plan::{Guest, Limits};
use crate::app::record::{Acceptance, Change, Record, Tombstone, accept};
use crate::app::user_network::UserNetwork;
use crate::drive::hypervisor::{FoundGuest, Hypervisor};
use crate::drive::ports::{Bridges, Port, Ports, TapNames};
use crate::drive::storage::{Storage, blobs_of};
use crate::facts::NodeFacts;
use crate::store::{Journal, Store, is_full};
use karri_proto::ids::InstanceId;
use karri_proto::instance::{Desired, Digest, InstanceIntent, InstanceReport, Phase};
use karri_proto::internal::ApiError;
use karri_proto::runtime::clock::Clock;
use karri_proto::runtime::metrics::Metrics;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, Semaphore};

const WRITER_LOCKS: usize = 64;
/// Steps under way at once: each may be a qemu-img, an ebtables and a starting QEMU.
pub const STEPS_MAX: usize = 8;
pub const FETCHES_MAX: usize = 16;

pub struct Drives {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub ports: Arc<dyn Ports>,
    pub storage: Arc<dyn Storage>,
}

pub struct Node {
    pub name: String,
    pub owner: Owner,
    pub names: TapNames,
    pub bridges: Bridges,
    /// Guests are behind it instead of on bridges.
    pub user_network: Option<UserNetwork>,
    pub boot_id: String,
    pub limits: Limits,
    pub store: Store,
    pub journal: Journal,
    pub facts: Arc<NodeFacts>,
    pub drives: Drives,
    pub metrics: Arc<Metrics>,
    pub steps: Semaphore,
    pub fetches: Semaphore,
    /// One writer of an instance's record at a time; a few locks serve all instances.
    writers: [Mutex<()>; WRITER_LOCKS],
    /// Instances that have something to do.
    pub live: Mutex<HashMap<InstanceId, Live>>,
    /// Of instances whose rules or taps stand, or may.
    plugged: Mutex<HashMap<InstanceId, PluggedPorts>>,
    /// Domains of ours whose record is lost: reported as they are, for the cc to decide. One that has vanished
    /// stays until the cc has heard of it.
    strays: Mutex<HashMap<InstanceId, FoundGuest>>,
    foreign: Mutex<Vec<String>>,
}

/// What a process remembers of an instance while it works on it. Losing it costs only time.
#[derive(Default)]
pub struct Live {
    pub busy: bool,
    /// Something changed since the worker last looked.
    pub dirty: bool,
    pub wake_at: Option<Instant>,
    pub asked_off: Option<Instant>,
    pub reboot: Option<(Instant, bool)>,
    /// Since when a guest that should run is seen to be off.
    pub down_since: Option<Instant>,
    pub complaint: Option<String>,
    /// When this process first looked at the intent that was accepted then.
    pub looked: Option<(i64, Instant)>,
    pub changed: Arc<Notify>,
}

/// What is plugged of an instance.
#[derive(Default)]
struct PluggedPorts {
    ports: Vec<Port>,
    /// They are all, and whole, and the guest's too where it runs.
    settled: bool,
}

pub struct NodeParts {
    pub name: String,
    pub owner: Owner,
    pub bridges: Bridges,
    pub user_network: Option<UserNetwork>,
    pub boot_id: String,
    pub limits: Limits,
    pub store: Store,
    pub facts: Arc<NodeFacts>,
    pub drives: Drives,
    pub metrics: Arc<Metrics>,
}

/// Deadlines count by it, so it does not follow the system's clock when that is set.
pub fn now_unix_ms() -> i64 {
    Clock::of_process().now_ms()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    pub fn new(parts: NodeParts) -> Arc<Self> {
        Arc::new(Self {
            names: TapNames::new(&parts.owner),
            name: parts.name,
            owner: parts.owner,
            bridges: parts.bridges,
            user_network: parts.user_network,
            boot_id: parts.boot_id,
            limits: parts.limits,
            store: parts.store,
            // Unique among the lives of this node, as the clock moves on between them.
            journal: Journal::new(u64::try_from(now_unix_ms()).unwrap_or(1)),
            facts: parts.facts,
            drives: parts.drives,
            metrics: parts.metrics,
            steps: Semaphore::new(STEPS_MAX),
            fetches: Semaphore::new(FETCHES_MAX),
            writers: std::array::from_fn(|_| Mutex::new(())),
            live: Mutex::default(),
            plugged: Mutex::default(),
            strays: Mutex::default(),
            foreign: Mutex::default(),
        })
    }

    fn writer(&self, id: &InstanceId) -> MutexGuard<'_, ()> {
        let mut hasher = std::hash::DefaultHasher::new();
        id.hash(&mut hasher);
        let slot = usize::try_from(hasher.finish() % WRITER_LOCKS as u64).unwrap_or(0);
        locked(&self.writers[slot])
    }

    /// Takes an intent in: durable when it returns. Blocking.
    pub fn accept(&self, intent: InstanceIntent) -> Result<(InstanceReport, bool), ApiError> {
        let id = intent.id.clone();
        let _writer = self.writer(&id);
        let known = self.store.record(&id);
        let tombstone = self.store.tombstone(&id);
        match accept(known.as_deref(), tombstone.as_deref(), intent, now_unix_ms()) {
            Acceptance::New(record) => {
                let report = record.report(&self.name);
                let launches = known.is_none() && record.intent.desired == Desired::Running;
                self.store.record_put(*record).map_err(|error| match launches && is_full(&error) {
                    true => ApiError::full(format!("the node's disk is full: {error}")),
                    false => ApiError::internal(error),
                })?;
                locked(&self.strays).remove(&id);
                self.journal.touch(&id);
                Ok((report, true))
            }
            Acceptance::Known => match known {
                Some(record) => Ok((record.report(&self.name), false)),
                None => Err(ApiError::internal("a known instance without a record")),
            },
            Acceptance::Buried(report) => Ok((report, false)),
            Acceptance::Refused(why) => Err(ApiError::conflict(why)),
        }
    }

    /// Remembers a change, unless the intent it was made for is no longer the newest. Blocking.
    pub fn record(&self, planned: &Record, change: Change) -> std::io::Result<bool> {
        let id = &planned.intent.id;
        let _writer = self.writer(id);
        let Some(current) = self.store.record(id) else { return Ok(false) };
        if current.intent != planned.intent {
            return Ok(false);
        }
        let next = current.after(change);
        if next != *current {
            self.store.record_put(next)?;
            self.journal.touch(id);
        }
        Ok(true)
    }

    /// Blocking.
    pub fn forget(&self, id: &InstanceId) -> Result<(), ApiError> {
        let _writer = self.writer(id);
        let Some(record) = self.store.record(id) else {
            self.stray_forget(id);
            return Ok(());
        };
        if !record.phase().is_final() {
            return Err(ApiError::conflict(format!("{id} is not gone yet")));
        }
        let tombstone = Tombstone { report: record.report(&self.name), buried_at_unix_ms: now_unix_ms() };
        self.store.record_bury(id, tombstone).map_err(ApiError::internal)?;
        self.journal.forget(id);
        locked(&self.live).remove(id);
        Ok(())
    }

    /// What is to be told of an instance now.
    pub fn report(&self, id: &InstanceId) -> Option<InstanceReport> {
        if let Some(record) = self.store.record(id) {
            return Some(record.report(&self.name));
        }
        let strays = locked(&self.strays);
        let FoundGuest { tag, guest } = strays.get(id)?;
        let phase = match guest {
            Guest::Running => Phase::Running,
            Guest::Absent => Phase::Gone,
            Guest::Off { .. } | Guest::Unknown => Phase::Stopped,
        };
        Some(InstanceReport {
            id: id.clone(),
            // Not the tag's: whoever wants this guest is to say so again, for its record is lost.
            generation: 0,
            attempt: 0,
            phase,
            node: Some(self.name.clone()),
            reason: None,
            reboots: tag.reboots,
            capture: None,
        })
    }

    /// Images that instances stand on, or will.
    pub fn pinned(&self) -> HashSet<Digest> {
        let records = self.store.records();
        let holders = records.iter().filter(|record| record.holds_images());
        holders.flat_map(|r| blobs_of(&r.intent.spec).map(|blob| blob.digest.clone())).collect()
    }

    pub fn is_plugged(&self, id: &InstanceId) -> bool {
        locked(&self.plugged).contains_key(id)
    }

    /// Whether just these are plugged, as they are.
    pub fn has_plugged(&self, id: &InstanceId, ports: &[Port]) -> bool {
        locked(&self.plugged).get(id).is_some_and(|known| known.settled && known.ports == ports)
    }

    /// Those that are or may be, as far as this life of the process knows.
    pub fn plugged_ports(&self, id: &InstanceId) -> Vec<Port> {
        locked(&self.plugged).get(id).map_or_else(Vec::new, |known| known.ports.clone())
    }

    /// These are about to be plugged, beside those that are: half a port is to be taken away too. None at all: what there is
    /// was plugged by an earlier life of the process.
    pub fn note_plugging(&self, id: &InstanceId, ports: &[Port]) {
        let mut plugged = locked(&self.plugged);
        let known = plugged.entry(id.clone()).or_default();
        known.settled = false;
        known.ports.retain(|old| ports.iter().all(|port| port.tap != old.tap));
        known.ports.extend_from_slice(ports);
    }

    /// These are, and no others.
    pub fn note_plugged(&self, id: &InstanceId, ports: Vec<Port>) {
        locked(&self.plugged).insert(id.clone(), PluggedPorts { ports, settled: true });
    }

    pub fn note_unplugged(&self, id: &InstanceId) {
        locked(&self.plugged).remove(id);
    }

    pub fn foreign_guests(&self) -> Vec<String> {
        locked(&self.foreign).clone()
    }

    pub fn set_foreign_guests(&self, names: Vec<String>) {
        *locked(&self.foreign) = names;
    }

    /// Notes a domain without a record; true if this is news.
    pub fn note_stray(&self, found: &FoundGuest) -> bool {
        let id = &found.tag.id;
        let mut strays = locked(&self.strays);
        if strays.get(id) == Some(found) {
            return false;
        }
        strays.insert(id.clone(), found.clone());
        drop(strays);
        self.journal.touch(id);
        true
    }

    /// Strays that are not among these guests any more are told as gone, until the cc has heard of it.
    pub fn note_strays_gone(&self, found: &HashSet<InstanceId>) {
        let mut strays = locked(&self.strays);
        let gone =
            strays.iter_mut().filter(|(id, stray)| stray.guest != Guest::Absent && !found.contains(*id));
        for (id, stray) in gone {
            stray.guest = Guest::Absent;
            tracing::info!(instance_id = %id, "the guest without a record is gone");
            self.journal.touch(id);
        }
    }

    fn stray_forget(&self, id: &InstanceId) {
        let mut strays = locked(&self.strays);
        if strays.get(id).is_some_and(|stray| stray.guest == Guest::Absent) {
            strays.remove(id);
            self.journal.forget(id);
        }
    }

    pub fn live(&self) -> MutexGuard<'_, HashMap<InstanceId, Live>> {
        locked(&self.live)
    }
}
