//! What a node durably knows of one instance, and how that changes.
//!
//! ```text
//!   Fresh ──► Up ──► Ended ──► Up …       the guest ran, went off, was started again
//!     │        │        │
//!     ▼        └────────┴──► Gone         terminated; nothing is left but this record
//!   Failing ──► Failed                    could never be started; freed, then reported
//! ```
//!
//! A guest that has run once and cannot be started again is `Ended` with a reason, not `Failed`: its
//! disk is the user's.
//!
//! A copy of the disk that the intent asks for is taken while the guest is off, and like a reboot changes nothing of all
//! that: a guest that is `Up` is off for a while, and started again.

use karri_proto::ids::BundleTaskId;
use karri_proto::instance::{
    CaptureReport, CaptureState, Desired, InstanceIntent, InstanceReport, LearntAddress, Phase, StateReason,
};
use serde::{Deserialize, Serialize};

const NO_BOOT: &str = "";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Accepted; nothing has run yet.
    Fresh,
    /// The guest was seen running in this boot of the host. `stopping`: we have asked it to go off. In no boot: it is
    /// off for a copy of its disk, which is over.
    Up {
        boot_id: String,
        stopping: bool,
    },
    /// The guest is off since this generation.
    Ended {
        generation: u64,
        reason: Option<StateReason>,
    },
    /// Cannot be started; what it took is being freed.
    Failing {
        reason: StateReason,
    },
    Failed {
        reason: StateReason,
    },
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub intent: InstanceIntent,
    pub state: State,
    /// The guest has run, so its disk may hold what cannot be made again.
    pub has_run: bool,
    /// The reboots carried out so far.
    pub reboots: u64,
    /// When the intent came; deadlines count from here.
    pub accepted_at_unix_ms: i64,
    /// Of the copy that the intent asks for.
    #[serde(default)]
    pub capture: Option<CaptureReport>,
}

/// What stays of a forgotten instance, so that a late intent cannot raise it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    pub report: InstanceReport,
    pub buried_at_unix_ms: i64,
}

/// What became of an intent that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// To be stored before anybody is told.
    New(Box<Record>),
    /// Known, or older than what is known.
    Known,
    /// Of an instance that was forgotten.
    Buried(InstanceReport),
    /// It would raise the dead.
    Refused(String),
}

/// What an intent makes of what is known.
pub fn accept(
    known: Option<&Record>,
    tombstone: Option<&Tombstone>,
    intent: InstanceIntent,
    now_unix_ms: i64,
) -> Acceptance {
    let Some(known) = known else {
        return match tombstone {
            Some(grave) if grave.report.covers(intent.generation, intent.attempt) => {
                Acceptance::Buried(grave.report.clone())
            }
            _ => Acceptance::New(Box::new(Record::new(intent, now_unix_ms))),
        };
    };
    let old = &known.intent;
    if (intent.generation, intent.attempt) <= (old.generation, old.attempt) {
        return Acceptance::Known;
    }
    if old.desired == Desired::Terminated && intent.desired != Desired::Terminated {
        return Acceptance::Refused(format!("{} is terminated", intent.id));
    }
    let state = match &known.state {
        // A new placement or a new wish may succeed where the last one failed.
        State::Failing { .. } | State::Failed { .. } if intent.desired != Desired::Terminated => State::Fresh,
        other => other.clone(),
    };
    let intent = if intent.desired == Desired::Terminated {
        // What is to be taken away is what was made here. Of a guest that should not be here, the cc may
        // know no more than the id.
        InstanceIntent { spec: old.spec.clone(), account: old.account.clone(), ..intent }
    } else {
        intent
    };
    let intent = with_learnt(intent, old);
    let capture = known.capture.clone().filter(|seen| intent.capture.as_ref() == Some(&seen.task));
    let accepted_at_unix_ms = now_unix_ms;
    Acceptance::New(Box::new(Record { intent, state, accepted_at_unix_ms, capture, ..known.clone() }))
}

/// What the site has given to its ports stays until it gives something else.
fn with_learnt(mut intent: InstanceIntent, old: &InstanceIntent) -> InstanceIntent {
    for port in intent.spec.ports.iter_mut().filter(|port| port.learns_address) {
        if let Some(before) = old.spec.ports.iter().find(|before| before.id == port.id) {
            port.private_ip = before.private_ip;
        }
    }
    intent
}

/// One thing that happened and must be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Up {
        boot_id: String,
        stopping: bool,
    },
    Ended(Option<StateReason>),
    Failing(StateReason),
    Failed,
    Gone,
    Rebooted,
    Capture(CaptureState),
    /// The site has given a port its address.
    Address(LearntAddress),
}

impl Record {
    pub fn new(intent: InstanceIntent, now_unix_ms: i64) -> Self {
        let reboots = intent.reboots; // those were of another node's guest
        let accepted_at_unix_ms = now_unix_ms;
        Self { intent, state: State::Fresh, has_run: false, reboots, accepted_at_unix_ms, capture: None }
    }

    /// The record after `change`.
    pub fn after(&self, change: Change) -> Record {
        let mut next = self.clone();
        match change {
            Change::Up { boot_id, stopping } => {
                if !matches!(self.state, State::Up { .. }) {
                    next.reboots = self.intent.reboots; // a start is as good as any reboot
                }
                next.has_run = true;
                next.state = State::Up { boot_id, stopping };
            }
            Change::Ended(reason) => {
                next.state = State::Ended { generation: self.intent.generation, reason };
            }
            Change::Failing(reason) => next.state = State::Failing { reason },
            Change::Failed => next.state = State::Failed { reason: self.failure() },
            Change::Gone => next.state = State::Gone,
            Change::Rebooted => next.reboots = self.intent.reboots,
            Change::Address(LearntAddress { port, address }) => {
                let ports = next.intent.spec.ports.iter_mut();
                ports.filter(|own| own.id == port).for_each(|own| own.private_ip = address);
            }
            Change::Capture(state) => {
                if let (State::Up { boot_id, .. }, true) = (&mut next.state, state.is_over()) {
                    *boot_id = NO_BOOT.to_owned(); // whatever runs from here on was started since
                }
                next.capture = self.intent.capture.clone().map(|task| CaptureReport { task, state });
            }
        }
        next
    }

    /// The task that a copy of the disk is still to be taken for.
    pub fn capturing(&self) -> Option<&BundleTaskId> {
        let task = self.intent.capture.as_ref()?;
        let over = self.capture.as_ref().is_some_and(|seen| seen.task == *task && seen.state.is_over());
        (!over).then_some(task)
    }

    /// What a failed start makes of this instance: a disk that has been used is never thrown away.
    pub fn failed_start(&self, reason: StateReason) -> Change {
        if self.has_run { Change::Ended(Some(reason)) } else { Change::Failing(reason) }
    }

    fn failure(&self) -> StateReason {
        match &self.state {
            State::Failing { reason } | State::Failed { reason } => reason.clone(),
            _ => StateReason::new("Server.InternalError", "Server.InternalError: the instance failed"),
        }
    }

    pub fn phase(&self) -> Phase {
        match (&self.state, self.intent.desired) {
            (State::Gone, _) => Phase::Gone,
            (_, Desired::Terminated) => Phase::Terminating,
            (State::Failed { .. }, _) => Phase::Failed,
            (State::Failing { .. }, _) => Phase::Preparing,
            (State::Fresh, Desired::Running) => Phase::Preparing,
            (State::Up { .. }, Desired::Running) => Phase::Running,
            (State::Ended { generation, .. }, Desired::Running) => {
                if self.intent.generation > *generation {
                    Phase::Preparing
                } else {
                    Phase::Stopped
                }
            }
            (State::Ended { .. }, Desired::Stopped) => Phase::Stopped,
            (State::Fresh | State::Up { .. }, Desired::Stopped) => Phase::Stopping,
        }
    }

    pub fn reason(&self) -> Option<StateReason> {
        match &self.state {
            State::Ended { reason, .. } if self.phase() == Phase::Stopped => reason.clone(),
            State::Failed { reason } => Some(reason.clone()),
            State::Fresh | State::Up { .. } | State::Ended { .. } | State::Failing { .. } | State::Gone => {
                None
            }
        }
    }

    pub fn report(&self, node: &str) -> InstanceReport {
        InstanceReport {
            id: self.intent.id.clone(),
            generation: self.intent.generation,
            attempt: self.intent.attempt,
            phase: self.phase(),
            node: Some(node.to_owned()),
            reason: self.reason(),
            reboots: self.reboots,
            capture: self.capture.clone(),
            addresses: self.learnt().collect(),
        }
    }

    /// The addresses that the site has given.
    fn learnt(&self) -> impl Iterator<Item = LearntAddress> {
        let ports = self.intent.spec.ports.iter();
        let known = ports.filter(|port| port.learns_address && !port.private_ip.is_unspecified());
        known.map(|port| LearntAddress { port: port.id.clone(), address: port.private_ip })
    }

    /// Whether its disk, and so the images below it, may still be needed.
    pub fn holds_images(&self) -> bool {
        !matches!(self.state, State::Failed { .. } | State::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::sample;
    use std::net::Ipv4Addr;

    fn newer(intent: &InstanceIntent, desired: Desired) -> InstanceIntent {
        InstanceIntent { generation: intent.generation + 1, desired, ..intent.clone() }
    }

    fn new(acceptance: Acceptance) -> Record {
        match acceptance {
            Acceptance::New(record) => *record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_and_older_intents_change_nothing() {
        let intent = sample::intent();
        let known = new(accept(None, None, newer(&intent, Desired::Running), 5));
        assert_eq!(accept(Some(&known), None, intent, 9), Acceptance::Known);
        assert_eq!(accept(Some(&known), None, known.intent.clone(), 9), Acceptance::Known);
    }

    #[test]
    fn a_late_intent_cannot_raise_the_forgotten() {
        let intent = newer(&sample::intent(), Desired::Terminated);
        let record = new(accept(None, None, intent, 5)).after(Change::Gone);
        let stone = Tombstone { report: record.report("node-1"), buried_at_unix_ms: 6 };
        let late = accept(None, Some(&stone), sample::intent(), 7);
        assert_eq!(late, Acceptance::Buried(stone.report));
    }

    #[test]
    fn what_the_site_gave_a_port_outlives_a_newer_intent_and_nothing_else_does() {
        let mut intent = sample::intent();
        intent.spec.ports[0].learns_address = true;
        intent.spec.ports[0].private_ip = Ipv4Addr::UNSPECIFIED;
        let learnt =
            LearntAddress { port: intent.spec.ports[0].id.clone(), address: Ipv4Addr::new(192, 0, 2, 9) };
        let known = Record::new(intent.clone(), 0);
        assert_eq!(known.report("node-1").addresses, []);
        let known = known.after(Change::Address(learnt.clone()));
        assert_eq!(known.report("node-1").addresses, std::slice::from_ref(&learnt));
        let next = new(accept(Some(&known), None, newer(&intent, Desired::Stopped), 9));
        assert_eq!(next.report("node-1").addresses, [learnt]);
        let mut given = newer(&next.intent, Desired::Running);
        given.spec.ports[0].learns_address = false;
        given.spec.ports[0].private_ip = Ipv4Addr::new(172, 31, 0, 9);
        let given = new(accept(Some(&next), None, given, 9));
        assert_eq!(given.intent.spec.ports[0].private_ip, Ipv4Addr::new(172, 31, 0, 9));
    }

    #[test]
    fn the_terminated_cannot_be_wanted_again() {
        let known = Record::new(newer(&sample::intent(), Desired::Terminated), 0);
        let again = newer(&known.intent, Desired::Running);
        assert!(matches!(accept(Some(&known), None, again, 9), Acceptance::Refused(_)));
    }

    #[test]
    fn a_new_attempt_after_a_failure_begins_afresh() {
        let reason = StateReason::new("x", "x");
        let failed = Record::new(sample::intent(), 0).after(Change::Failing(reason)).after(Change::Failed);
        assert_eq!(failed.phase(), Phase::Failed);
        let again = InstanceIntent { attempt: 2, ..sample::intent() };
        assert_eq!(new(accept(Some(&failed), None, again, 9)).phase(), Phase::Preparing);
    }

    #[test]
    fn reboots_of_an_earlier_guest_are_not_repeated() {
        let moved = InstanceIntent { reboots: 3, ..sample::intent() };
        assert_eq!(Record::new(moved, 0).reboots, 3);
    }
}
