//! A node: its own decisions over maps for its disk, its hypervisor and its network.

use super::cc::node_name;
use super::clc::BAD_DIGEST;
use super::wire::Body;
use karri_cc::app::node::NodeRecord;
use karri_nc::app::plan::{Guest, Limits, Observed, OffReason, RebootSeen, Step, plan, server_reason};
use karri_nc::app::record::{Acceptance, Change, Record, State, Tombstone, accept};
use karri_nc::store::Journal;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{Desired, InstanceIntent, InstanceReport, Phase, TOMBSTONE_KEEP_SECS};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::facts::{FactsAt, FactsPage};
use karri_proto::internal::instances::{Cursor, ReportPage};
use karri_proto::network::{Epochs, FactTable, Receiver, Taken};
use karri_proto::resources::{Need, NodeFacts};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};

const REPORTS_PER_PAGE: usize = 3;
pub const CAPACITY: Need = Need { vcpus: 6, memory_mib: 6, disk_gib: 12 };
pub const LIMITS: Limits = Limits {
    prepare_ms: 120_000,
    stop_ms: 30_000,
    terminate_ms: 30_000,
    reboot_ms: 30_000,
    capture_ms: 120_000,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimGuest {
    pub guest: Guest,
    pub generation: u64,
    pub attempt: u32,
    pub reboots: u64,
    /// Hears no request to shut down or reboot.
    deaf: bool,
}

#[derive(Debug)]
pub struct Node {
    pub number: usize,
    // On its disk.
    pub records: BTreeMap<InstanceId, Record>,
    pub tombstones: BTreeMap<InstanceId, Tombstone>,
    pub disks: BTreeSet<InstanceId>,
    pub facts: FactTable,
    facts_at: FactsAt,
    // In its kernel: lost with the power.
    pub guests: BTreeMap<InstanceId, SimGuest>,
    /// By port.
    pub taps: BTreeSet<String>,
    boot: u32,
    // In the process: lost when it dies.
    pub life: u64,
    pub run: Option<Run>,
    // What the world does to it.
    pub power: bool,
    pub cut_off: bool,
    pub dead: bool,
    /// An instance that had run, and whose disk was made anew, or removed though nobody wanted it terminated.
    pub data_lost: Option<InstanceId>,
    /// Guests that shut themselves down before anybody could write down that they run.
    ended_early: BTreeSet<(InstanceId, u64, u32)>,
    /// One of them that was started again.
    pub restarted: Option<InstanceId>,
    /// Its disk was replaced once: what it no longer knows of may have been started again.
    pub amnesiac: bool,
}

pub struct Run {
    journal: Journal,
    plugged: BTreeSet<InstanceId>,
    live: BTreeMap<InstanceId, Live>,
    strays: BTreeMap<InstanceId, SimGuest>,
    /// Steps planned and not yet carried out.
    pub planned: BTreeMap<InstanceId, (Record, Step)>,
    pub greeting: bool,
    receiver: Receiver,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("planned", &self.planned).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Live {
    asked_off_ms: Option<i64>,
    reboot: Option<(i64, bool)>,
    down_since_ms: Option<i64>,
}

fn span(from_ms: i64, now_ms: i64) -> u64 {
    u64::try_from(now_ms - from_ms).unwrap_or(0)
}

impl Node {
    pub fn new(number: usize) -> Self {
        Self {
            number,
            records: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            disks: BTreeSet::new(),
            facts: FactTable::default(),
            facts_at: FactsAt::default(),
            guests: BTreeMap::new(),
            taps: BTreeSet::new(),
            boot: 1,
            life: 0,
            run: None,
            power: true,
            cut_off: false,
            dead: false,
            data_lost: None,
            ended_early: BTreeSet::new(),
            restarted: None,
            amnesiac: false,
        }
    }

    /// A new life of the process adopts what the last one left.
    pub fn start(&mut self) {
        self.life += 1;
        let journal = Journal::new(self.life);
        let mut plugged = BTreeSet::new();
        let mut owned = BTreeSet::new();
        for (id, record) in &self.records {
            journal.touch(id);
            for port in record.intent.spec.ports.iter().map(|port| port.id.to_string()) {
                if self.taps.contains(&port) {
                    plugged.insert(id.clone());
                }
                owned.insert(port);
            }
        }
        self.taps.retain(|tap| owned.contains(tap)); // orphans are removed
        self.run = Some(Run {
            journal,
            plugged,
            live: BTreeMap::new(),
            strays: BTreeMap::new(),
            planned: BTreeMap::new(),
            greeting: false,
            receiver: Receiver::new(Epochs::Growing, self.facts_at),
        });
    }

    pub fn power_off(&mut self) {
        self.power = false;
        self.run = None;
        self.guests.clear();
        self.ended_early.clear();
        self.taps.clear();
        self.boot += 1;
    }

    /// Its state directory is lost, and with it the disks; guests run on with what they have open.
    pub fn lose_records(&mut self) {
        self.run = None;
        self.records.clear();
        self.disks.clear();
        self.facts = FactTable::default();
        self.facts_at = FactsAt::default();
        self.tombstones.clear();
        self.ended_early.clear();
        self.amnesiac = true;
    }

    /// The disk of one instance that is off is damaged.
    pub fn lose_disk(&mut self) {
        let off = self.disks.iter().find(|id| !self.is_running(id)).cloned();
        off.into_iter().for_each(|id| drop(self.disks.take(&id)));
    }

    /// It is up with the newest intent, and nobody has asked it to go off or reboot.
    pub fn is_settled(&self, id: &InstanceId, generation: u64) -> bool {
        let record = self.records.get(id).filter(|record| record.intent.generation == generation);
        let up = record.is_some_and(|r| matches!(r.state, State::Up { stopping: false, .. }));
        up && self.is_running(id) && record.is_some_and(|record| record.reboots == record.intent.reboots)
    }

    pub fn is_reachable(&self) -> bool {
        self.power && !self.cut_off && !self.dead
    }

    pub fn hello(&self) -> Body {
        let name = node_name(self.number);
        let facts = NodeFacts {
            name: name.clone(),
            total: CAPACITY,
            accelerator: String::new(),
            hypervisor: String::new(),
            version: String::new(),
            foreign_guests: Vec::new(),
        };
        Body::Hello(Box::new(NodeRecord {
            owner: name.clone(),
            url: format!("https://{name}"),
            tunnel: None,
            facts,
        }))
    }

    /// What the cluster controller asks.
    pub fn asked(&mut self, body: Body, now_ms: i64) -> Option<Body> {
        let life = self.run.as_ref()?.journal.epoch();
        match body {
            Body::ForLife(meant, body) if meant == life => self.asked(*body, now_ms),
            Body::ForLife(_, body) => match *body {
                Body::Put(_) => Some(Body::PutDone(Err(ApiErrorKind::Internal))),
                _ => Some(Body::ForgetDone(Err(ApiErrorKind::Internal))),
            },
            Body::Put(intent) => Some(Body::PutDone(self.put(*intent, now_ms))),
            Body::Forget(id) => Some(Body::ForgetDone(self.forget(&id, now_ms))),
            Body::Poll(cursor) => Some(Body::Page(self.page(cursor)?)),
            Body::Facts(page) => Some(Body::FactsDone(self.told(*page))),
            _ => None,
        }
    }

    fn put(&mut self, intent: InstanceIntent, now_ms: i64) -> Result<InstanceReport, ApiErrorKind> {
        let id = intent.id.clone();
        let name = node_name(self.number);
        let known = self.records.get(&id);
        match accept(known, self.tombstones.get(&id), intent, now_ms) {
            Acceptance::New(record) => {
                let report = record.report(&name);
                self.records.insert(id.clone(), *record);
                if let Some(run) = &mut self.run {
                    run.strays.remove(&id);
                    run.journal.touch(&id);
                }
                Ok(report)
            }
            Acceptance::Known => Ok(known.ok_or(ApiErrorKind::Internal)?.report(&name)),
            Acceptance::Buried(report) => Ok(report),
            Acceptance::Refused(_) => Err(ApiErrorKind::Conflict),
        }
    }

    /// As `NodeFacts` does it.
    fn told(&mut self, page: FactsPage) -> Result<FactsAt, ApiErrorKind> {
        let run = self.run.as_mut().ok_or(ApiErrorKind::Unreachable)?;
        let (at, changes) = match run.receiver.take(page).map_err(|error| error.kind)? {
            Taken::Nothing => return Ok(run.receiver.stands()),
            Taken::Changes(at, changes) => (at, changes),
            Taken::Everything(at, changes) => {
                self.facts = FactTable::default();
                (at, changes)
            }
        };
        changes.into_iter().for_each(|change| drop(self.facts.apply(change)));
        self.facts_at = at;
        run.receiver.settled(at);
        Ok(run.receiver.stands())
    }

    fn forget(&mut self, id: &InstanceId, now_ms: i64) -> Result<(), ApiErrorKind> {
        let Some(record) = self.records.get(id) else { return Ok(()) };
        if !record.phase().is_final() {
            return Err(ApiErrorKind::Conflict);
        }
        let report = record.report(&node_name(self.number));
        self.tombstones.insert(id.clone(), Tombstone { report, buried_at_unix_ms: now_ms });
        self.records.remove(id);
        if let Some(run) = &mut self.run {
            run.journal.forget(id);
            run.live.remove(id);
        }
        Ok(())
    }

    fn page(&self, after: Cursor) -> Option<ReportPage> {
        let run = self.run.as_ref()?;
        let page = run.journal.page(after, REPORTS_PER_PAGE);
        Some(ReportPage {
            next: page.next,
            restarted: page.restarted,
            caught_up: page.caught_up,
            reports: page.changed.iter().filter_map(|id| self.report(id)).collect(),
            resources: None,
        })
    }

    fn report(&self, id: &InstanceId) -> Option<InstanceReport> {
        let name = node_name(self.number);
        if let Some(record) = self.records.get(id) {
            return Some(record.report(&name));
        }
        let stray = self.run.as_ref()?.strays.get(id)?;
        Some(InstanceReport {
            id: id.clone(),
            generation: 0,
            attempt: 0,
            phase: if stray.guest == Guest::Running { Phase::Running } else { Phase::Stopped },
            node: Some(name),
            reason: None,
            reboots: stray.reboots,
            capture: None,
            addresses: Vec::new(),
        })
    }

    /// Looks for guests without a record, and drops old tombstones.
    pub fn look_around(&mut self, now_ms: i64) {
        self.tombstones.retain(|_, stone| now_ms - stone.buried_at_unix_ms <= TOMBSTONE_KEEP_SECS * 1000);
        let Some(run) = &mut self.run else { return };
        let ownerless: Vec<InstanceId> =
            self.guests.keys().filter(|id| !self.records.contains_key(id)).cloned().collect();
        for id in ownerless {
            let guest = self.guests[&id].clone();
            let covers = |stone: &Tombstone| stone.report.covers(guest.generation, guest.attempt);
            if self.tombstones.get(&id).is_some_and(covers) {
                self.guests.remove(&id);
            } else if run.strays.get(&id) != Some(&guest) {
                run.strays.insert(id.clone(), guest);
                run.journal.touch(&id);
            }
        }
    }

    /// Looks at one instance and plans its next step. `false`: it rests.
    pub fn plan_step(&mut self, id: &InstanceId, now_ms: i64) -> bool {
        let Some(record) = self.records.get(id).cloned() else { return false };
        if self.run.as_ref().is_none_or(|run| run.planned.contains_key(id)) {
            return false;
        }
        let seen = self.observe(&record, now_ms);
        let step = plan(&record, &seen, &LIMITS);
        if matches!(step, Step::Rest | Step::Wait { .. }) {
            return false;
        }
        if let Some(run) = &mut self.run {
            run.planned.insert(id.clone(), (record, step));
        }
        true
    }

    pub fn rests(&mut self, id: &InstanceId, now_ms: i64) -> bool {
        let Some(record) = self.records.get(id).cloned() else { return true };
        let seen = self.observe(&record, now_ms);
        plan(&record, &seen, &LIMITS) == Step::Rest
    }

    /// What it is still at though the time for that is over.
    pub fn overdue(&mut self, id: &InstanceId, now_ms: i64) -> Option<&'static str> {
        let record = self.records.get(id).cloned()?;
        let seen = self.observe(&record, now_ms);
        let late = |limit_ms: u64| seen.waited_ms >= limit_ms;
        let reboots = record.intent.reboots > record.reboots;
        match (record.intent.desired, self.is_running(id)) {
            (Desired::Running, false) if record.phase() == Phase::Preparing && late(LIMITS.prepare_ms) => {
                Some("prepares")
            }
            (Desired::Running, true)
                if reboots && seen.reboot.is_some_and(|seen| seen.asked_ms >= LIMITS.reboot_ms) =>
            {
                Some("reboots")
            }
            (Desired::Stopped, true) if late(LIMITS.stop_ms) => Some("stops"),
            (Desired::Terminated, true) if late(LIMITS.terminate_ms) => Some("is terminated"),
            _ => None,
        }
    }

    fn observe(&mut self, record: &Record, now_ms: i64) -> Observed {
        let id = &record.intent.id;
        let guest = self.guests.get(id).map_or(Guest::Absent, |guest| guest.guest.clone());
        let accepted_ms = span(record.accepted_at_unix_ms, now_ms);
        let disk = self.disks.contains(id);
        let mut seen = Observed {
            images: false,
            disk,
            files: disk,
            copy: false,
            ports: false,
            ports_right: false,
            boot_id: self.boot.to_string(),
            waited_ms: accepted_ms,
            accepted_ms,
            asked_ms: None,
            reboot: None,
            guest,
        };
        let Some(run) = &mut self.run else { return seen };
        let live = run.live.entry(id.clone()).or_default();
        let was_up = matches!(record.state, State::Up { .. }) && record.intent.desired == Desired::Running;
        if was_up && seen.guest != Guest::Running {
            seen.waited_ms = span(*live.down_since_ms.get_or_insert(now_ms), now_ms);
        } else {
            live.down_since_ms = None;
        }
        seen.images = record.intent.spec.boot.root.digest != *BAD_DIGEST;
        seen.ports = run.plugged.contains(id);
        seen.ports_right = seen.ports; // they never change here
        seen.asked_ms = live.asked_off_ms.map(|at| span(at, now_ms));
        seen.reboot = live.reboot.map(|(at, done)| RebootSeen { asked_ms: span(at, now_ms), done });
        seen
    }

    /// Carries out the planned step. What builds may fail: `unlucky` is the chance in a hundred.
    pub fn carry_out(&mut self, id: &InstanceId, rng: &mut StdRng, unlucky: u32, now_ms: i64) {
        let planned = self.run.as_mut().and_then(|run| run.planned.remove(id));
        let Some((record, step)) = planned else { return };
        let builds =
            matches!(step, Step::FetchImages { .. } | Step::MakeDisk | Step::PlugPorts | Step::StartGuest);
        if builds && rng.gen_ratio(unlucky, 100) {
            if rng.gen_bool(0.5) {
                self.save(&record, record.failed_start(server_reason("bad luck")));
            }
            return;
        }
        self.carry_out_luckily(record, step, rng, now_ms);
    }

    fn carry_out_luckily(&mut self, record: Record, step: Step, rng: &mut StdRng, now_ms: i64) {
        let id = record.intent.id.clone();
        let ports: Vec<String> = record.intent.spec.ports.iter().map(|port| port.id.to_string()).collect();
        let Some(run) = &mut self.run else { return };
        let live = run.live.entry(id.clone()).or_default();
        match step {
            Step::Rest | Step::Wait { .. } => {}
            // Nobody asks for copies here.
            Step::Capture { .. } | Step::DropCopy => {}
            Step::Record(change) => self.save(&record, change),
            Step::FetchImages { .. } => self.save(&record, record.failed_start(server_reason("bad image"))),
            Step::MakeDisk => {
                if record.has_run {
                    self.data_lost = Some(id.clone());
                }
                self.disks.insert(id);
            }
            Step::PlugPorts | Step::ChangePorts => {
                run.plugged.insert(id);
                self.taps.extend(ports);
            }
            Step::StartGuest if !self.disks.contains(&id) => {
                self.save(&record, record.failed_start(server_reason("no disk")));
            }
            Step::StartGuest => {
                let intent = &record.intent;
                let start = (id.clone(), intent.generation, intent.attempt);
                if record.state == State::Fresh && self.ended_early.contains(&start) {
                    self.restarted = Some(id.clone());
                }
                let guest = SimGuest {
                    guest: Guest::Running,
                    generation: intent.generation,
                    attempt: intent.attempt,
                    reboots: intent.reboots,
                    deaf: rng.gen_ratio(1, 4),
                };
                if let Some((_, done)) = &mut live.reboot {
                    *done = true;
                }
                self.guests.insert(id, guest);
            }
            Step::AskShutdown => {
                live.asked_off_ms = Some(now_ms);
                self.goes_off(&id, OffReason::GuestShutDown, false);
            }
            Step::ForceOff => self.goes_off(&id, OffReason::Destroyed, true),
            Step::AskReboot => {
                let hears = self.guests.get(&id).is_some_and(|guest| !guest.deaf);
                live.reboot = Some((now_ms, hears));
            }
            Step::Reset => live.reboot = Some((now_ms, true)),
            Step::Undefine => {
                if self.guests.get(&id).is_some_and(|guest| guest.guest != Guest::Running) {
                    self.guests.remove(&id);
                }
            }
            Step::UnplugPorts => {
                self.taps.retain(|tap| !ports.contains(tap));
                run.plugged.remove(&id);
            }
            Step::RemoveFiles => {
                if record.has_run && record.intent.desired != Desired::Terminated {
                    self.data_lost = Some(id.clone());
                }
                self.disks.remove(&id);
            }
        }
    }

    /// The guest's own doing, or somebody's behind our back. A deaf guest must be forced.
    pub fn goes_off(&mut self, id: &InstanceId, why: OffReason, force: bool) {
        if let Some(guest) = self.guests.get_mut(id)
            && guest.guest == Guest::Running
            && (force || !guest.deaf)
        {
            guest.guest = Guest::Off { why, generation: guest.generation };
        }
    }

    fn save(&mut self, planned: &Record, change: Change) {
        let id = &planned.intent.id;
        let Some(current) = self.records.get(id).filter(|current| current.intent == planned.intent) else {
            return;
        };
        let next = current.after(change);
        if next != *current {
            self.records.insert(id.clone(), next);
            if let Some(run) = &self.run {
                run.journal.touch(id);
            }
        }
    }

    /// Its user shuts it down faster than anybody looks.
    pub fn ends_early(&mut self, id: &InstanceId) {
        if self.records.get(id).is_none_or(|record| record.state != State::Fresh) {
            return;
        }
        if let Some(guest) = self.guests.get(id).filter(|guest| guest.guest == Guest::Running) {
            self.ended_early.insert((id.clone(), guest.generation, guest.attempt));
            self.goes_off(id, OffReason::GuestShutDown, true);
        }
    }

    pub fn is_running(&self, id: &InstanceId) -> bool {
        self.guests.get(id).is_some_and(|guest| guest.guest == Guest::Running)
    }
}
