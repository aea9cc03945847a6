//! One instance as the cluster sees it: what the clc wants, where it is placed, what was heard of it.
//!
//! ```text
//!                 place                    report Running
//!   (no node) ───────────► on a node, ran=no ───────────► on a node, ran=yes
//!       ▲                        │                              │
//!       └── Failed there, or ────┘                              │ Failed: Failed
//!           the node is lost: attempt+1, never there again      │ Gone, desired Terminated: Gone
//! ```
//!
//! An instance that ran stays with its node: its disk is there.

use karri_proto::ids::{InstanceId, NetworkInterfaceId, VpcId};
use karri_proto::instance::{
    CaptureReport, Desired, InstanceIntent, InstanceReport, Phase, StateReason, private_name,
};
use karri_proto::network::SegmentTag;
use karri_proto::resources::Need;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What DHCP must know of one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub mac: String,
    pub address: Ipv4Addr,
    /// None: on the flat network.
    pub segment: Option<Segment>,
}

/// Where a port is that is not on the flat network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub tag: SegmentTag,
    pub vpc: VpcId,
}

/// Everything but the specification, which stays in the store: memory per instance must stay small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: InstanceId,
    pub generation: u64,
    pub desired: Desired,
    pub reboots_wanted: u64,
    pub request_id: String,
    pub need: Need,
    pub leases: Vec<Lease>,
    /// Shared: rows are copied with every change.
    pub ports: Arc<[NetworkInterfaceId]>,
    pub hostname: String,

    pub attempt: u32,
    pub node: Option<String>,
    /// Nodes it was taken away from; it never goes back to one of them.
    pub tried: Vec<String>,
    /// It was seen running (or stopped, with a disk) on its node.
    pub ran: bool,
    /// When it was last accepted, placed or taken away.
    pub since_ms: i64,

    pub phase: Phase,
    pub reason: Option<StateReason>,
    pub reboots: u64,
    /// Of the copy of the root disk that the intent asks for.
    pub capture: Option<CaptureReport>,
    /// Its place in the numbering of reports.
    pub sequence: u64,

    /// The newest (generation, attempt) its node has answered for. Not stored: after a restart every
    /// node tells everything once.
    pub seen: Option<(u64, u32)>,
}

impl Row {
    fn new(intent: &InstanceIntent, now_ms: i64) -> Self {
        let mut row = Self {
            id: intent.id.clone(),
            generation: 0,
            desired: intent.desired,
            reboots_wanted: 0,
            request_id: String::new(),
            need: Need::default(),
            leases: Vec::new(),
            ports: Arc::default(),
            hostname: String::new(),
            attempt: 0,
            node: None,
            tried: Vec::new(),
            ran: false,
            since_ms: now_ms,
            phase: Phase::Preparing,
            reason: None,
            // What an instance had been rebooted before it came here was carried out before it came here.
            reboots: intent.reboots,
            capture: None,
            sequence: 0,
            seen: None,
        };
        row.take_intent(intent);
        row
    }

    /// The half of a row that is read from the intent: at acceptance, and when the store is loaded.
    pub fn take_intent(&mut self, intent: &InstanceIntent) {
        self.generation = intent.generation;
        self.desired = intent.desired;
        self.reboots_wanted = intent.reboots;
        self.request_id.clone_from(&intent.request_id);
        self.capture = self.capture.take().filter(|seen| intent.capture.as_ref() == Some(&seen.task));
        self.need = intent.spec.need;
        self.hostname.clone_from(&intent.spec.hostname);
        let lease = |port: &karri_proto::instance::PortSpec| Lease {
            mac: port.mac.clone(),
            address: port.private_ip,
            segment: (port.segment != 0).then(|| Segment { tag: port.segment, vpc: port.vpc_id.clone() }),
        };
        self.leases = intent.spec.ports.iter().map(lease).collect();
        self.ports = intent.spec.ports.iter().map(|port| port.id.clone()).collect();
    }

    /// What the guest is called by one of its addresses.
    pub fn name_of(&self, lease: &Lease) -> String {
        match self.leases.first() {
            Some(first) if first != lease => private_name(&self.hostname, lease.address),
            _ => self.hostname.clone(),
        }
    }

    /// What the clc is told.
    pub fn report(&self) -> InstanceReport {
        InstanceReport {
            id: self.id.clone(),
            generation: self.generation,
            attempt: self.attempt,
            phase: self.phase,
            node: self.node.clone(),
            reason: self.reason.clone(),
            reboots: self.reboots,
            capture: self.capture.clone(),
        }
    }

    /// What it holds of its node. A stopped instance holds its disk alone; whether there is room to start it
    /// again is the cloud controller's to say, which keeps the same account.
    pub fn held(&self) -> Option<(&str, Need)> {
        let node = self.node.as_deref()?;
        match self.phase {
            Phase::Gone | Phase::Failed => None,
            Phase::Stopped => Some((node, Need { disk_gib: self.need.disk_gib, ..Need::default() })),
            Phase::Preparing | Phase::Running | Phase::Stopping | Phase::Terminating => {
                Some((node, self.need))
            }
        }
    }

    /// Its node has answered for what is wanted now.
    pub fn is_answered(&self) -> bool {
        self.seen.is_some_and(|seen| seen >= (self.generation, self.attempt))
    }

    /// The same row without the volatile part: equal means nothing durable changed.
    pub fn is_durably(&self, other: &Row) -> bool {
        let mut copy = other.clone();
        copy.seen = self.seen;
        copy.sequence = self.sequence;
        *self == copy
    }

    /// Taken away from its node before it ever ran.
    pub fn release(&mut self, reason: StateReason, now_ms: i64) {
        self.tried.extend(self.node.take());
        self.attempt += 1;
        self.seen = None;
        self.since_ms = now_ms;
        self.reason = Some(reason);
        self.phase = waiting_phase(Phase::Preparing, self.desired);
    }

    pub fn place(&mut self, node: String, now_ms: i64) {
        self.node = Some(node);
        self.seen = None;
        self.since_ms = now_ms;
    }

    /// A final phase leaves nothing on any node; should a node still have something, it is a stray there.
    pub fn settle(&mut self, phase: Phase, reason: Option<StateReason>) {
        self.phase = phase;
        if phase.is_final() {
            self.node = None;
            self.seen = None;
        }
        self.reason = reason.or(self.reason.take());
    }
}

/// The half of a stored row that its intent holds; the store fills in the rest.
pub fn stored(intent: &InstanceIntent) -> Row {
    Row::new(intent, 0)
}

/// What an intent changes. `None`: it is not newer than what is known.
pub fn accept(known: Option<&Row>, intent: &InstanceIntent, now_ms: i64) -> Option<Row> {
    let Some(known) = known else {
        let mut row = Row::new(intent, now_ms);
        row.phase = waiting_phase(Phase::Preparing, intent.desired);
        return Some(row);
    };
    if intent.generation <= known.generation {
        return None;
    }
    let mut row = known.clone();
    row.take_intent(intent);
    if row.node.is_none() {
        row.since_ms = now_ms;
    }
    match row.phase {
        Phase::Gone => {}
        Phase::Failed if row.desired != Desired::Terminated => {}
        // Nothing is left of it anywhere: terminating it is done.
        Phase::Failed => row.phase = Phase::Gone,
        // After a lost database: the node told what became of this very intent before it came here again.
        _ if known.seen.is_some_and(|seen| seen >= (row.generation, row.attempt)) => {}
        phase => {
            row.phase = waiting_phase(phase, row.desired);
            row.reason = None;
        }
    }
    Some(row)
}

/// The phase between accepting an intent and hearing of it: never one that an older intent reached
/// and the new one could be mistaken to have reached.
fn waiting_phase(before: Phase, desired: Desired) -> Phase {
    match (desired, before) {
        (Desired::Running, Phase::Running) => Phase::Running,
        (Desired::Running, _) => Phase::Preparing,
        (Desired::Stopped, Phase::Stopped) => Phase::Stopped,
        (Desired::Stopped, _) => Phase::Stopping,
        (Desired::Terminated, _) => Phase::Terminating,
    }
}

/// What a report from the instance's own node changes. `None`: nothing.
///
/// One that does not cover what is wanted says that the node must be told, even if it had answered before:
/// it may have lost its records. If it was only overtaken by that answer, telling once more does no harm.
pub fn absorb(known: &Row, report: &InstanceReport, now_ms: i64) -> Option<Row> {
    if known.phase.is_final() {
        return None;
    }
    let mut row = known.clone();
    row.seen = Some((report.generation, report.attempt));
    if !report.covers(known.generation, known.attempt) {
        return (row != *known).then_some(row);
    }
    match report.phase {
        Phase::Failed | Phase::Gone if row.desired == Desired::Terminated => {
            row.settle(Phase::Gone, report.reason.clone());
        }
        Phase::Failed | Phase::Gone => {
            let reason = report.reason.clone().unwrap_or_else(|| failed_reason(report.phase));
            if row.ran {
                row.settle(Phase::Failed, Some(reason));
            } else {
                row.release(reason, now_ms);
            }
        }
        phase => {
            row.phase = phase;
            row.reason.clone_from(&report.reason);
            row.reboots = row.reboots.max(report.reboots);
            row.capture.clone_from(&report.capture);
            row.ran |= matches!(phase, Phase::Running | Phase::Stopping | Phase::Stopped);
        }
    }
    (row != *known).then_some(row)
}

/// The node has accepted what is wanted, or something newer.
pub fn acknowledge(known: &Row, report: &InstanceReport) -> Option<Row> {
    let heard = (report.generation, report.attempt);
    let news = report.covers(known.generation, known.attempt) && known.seen.is_none_or(|seen| seen < heard);
    news.then(|| Row { seen: Some(heard), ..known.clone() })
}

fn failed_reason(phase: Phase) -> StateReason {
    let what = if phase == Phase::Gone { "the node no longer has it" } else { "the node could not start it" };
    StateReason::new("Server.InternalError", format!("Server.InternalError: {what}"))
}
