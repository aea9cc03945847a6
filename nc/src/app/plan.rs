//! The next step of one instance: a pure function of what is known, what is seen, and the limits.
//!
//! It is asked again after every step, so a crash between any two steps changes nothing: what was done
//! is seen, what was not done is planned again. Every step is safe to repeat.
//!
//! ```text
//!   Running     fetch images ─► make disk ─► plug ports ─► start ─► record up ─► (change ports)
//!   Stopped     ask ─► (wait) ─► force off ─► record ended ─► undefine ─► unplug
//!   Terminated  the same, then remove files ─► record gone
//!   a copy      off as for Stopped ─► undefine ─► unplug ─► copy and send ─► record, then as is wanted
//! ```

use crate::app::record::{Change, Record, State};
use karri_proto::instance::{CaptureState, Desired, StateReason};

/// Asking again helps a guest that was not yet listening the first time.
const ASK_AGAIN_AFTER_MS: u64 = 4_000;

/// How long the transitional states may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub prepare_ms: u64,
    pub stop_ms: u64,
    pub terminate_ms: u64,
    pub reboot_ms: u64,
    pub capture_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guest {
    /// The hypervisor does not answer.
    Unknown,
    Absent,
    /// A domain of ours that is not running.
    Off {
        why: OffReason,
        generation: u64,
    },
    Running,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffReason {
    /// Defined and never started, or the hypervisor has forgotten.
    Unknown,
    GuestShutDown,
    /// Somebody else pulled the plug.
    Destroyed,
    Crashed,
}

impl OffReason {
    /// The domain has certainly run.
    fn has_run(self) -> bool {
        match self {
            OffReason::Unknown => false,
            OffReason::GuestShutDown | OffReason::Destroyed | OffReason::Crashed => true,
        }
    }

    pub fn state_reason(self) -> StateReason {
        let server =
            |what: &str| StateReason::new("Server.InternalError", format!("Server.InternalError: {what}"));
        match self {
            OffReason::GuestShutDown => StateReason::guest_shut_down(),
            // Never taken for the guest's own wish: that may cost the instance its disk.
            OffReason::Unknown => server("The guest is gone from its node for an unknown reason"),
            OffReason::Destroyed => server("The guest was stopped on its node by someone else"),
            OffReason::Crashed => server("The guest crashed"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub guest: Guest,
    /// Images are in the cache and verified.
    pub images: bool,
    pub disk: bool,
    /// Any file beside the record itself.
    pub files: bool,
    /// A copy of the disk, or a part of one.
    pub copy: bool,
    /// Rules or a tap of it are there, or may be.
    pub ports: bool,
    /// They are those of the intent, and where the guest runs it has them.
    pub ports_right: bool,
    pub boot_id: String,
    /// Since the intent came, or since this instance had to be started anew.
    pub waited_ms: u64,
    /// Since the intent came.
    pub accepted_ms: u64,
    /// Since the guest was last asked to go off; none in this life of the process: never.
    pub asked_ms: Option<u64>,
    pub reboot: Option<RebootSeen>,
}

/// A reboot that this process has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebootSeen {
    pub asked_ms: u64,
    pub done: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do until something changes.
    Rest,
    /// Something is under way: look again then.
    Wait {
        ms: u64,
    },
    /// Given up after so long: the start is late then.
    FetchImages {
        ms_max: u64,
    },
    MakeDisk,
    /// Rules for all ports of the intent, and none for others. The guest is off.
    PlugPorts,
    /// The same, and the running guest gets and gives back what has changed.
    ChangePorts,
    StartGuest,
    AskShutdown,
    ForceOff,
    AskReboot,
    Reset,
    Undefine,
    UnplugPorts,
    /// Copies the disk and sends it. Given up after so long.
    Capture {
        ms_max: u64,
    },
    /// Nobody wants the copy any more.
    DropCopy,
    RemoveFiles,
    Record(Change),
}

pub fn plan(record: &Record, seen: &Observed, limits: &Limits) -> Step {
    match (&record.state, record.intent.desired) {
        (State::Gone, _) => Step::Rest,
        _ if seen.guest == Guest::Unknown => Step::Wait { ms: 1_000 },
        (_, Desired::Terminated) => terminate(record, seen, limits),
        (State::Failed { .. }, _) => Step::Rest,
        (State::Failing { .. }, _) => free(seen).unwrap_or(Step::Record(Change::Failed)),
        _ if record.capturing().is_some() => capture(record, seen, limits),
        _ if seen.copy => Step::DropCopy,
        (_, Desired::Stopped) => stop(record, seen, limits),
        (_, Desired::Running) => run(record, seen, limits),
    }
}

fn run(record: &Record, seen: &Observed, limits: &Limits) -> Step {
    if seen.guest == Guest::Running {
        return match &record.state {
            State::Up { boot_id, stopping: true } if *boot_id == seen.boot_id => spared(record, seen, limits),
            State::Up { boot_id, .. } if *boot_id == seen.boot_id && !seen.ports_right => Step::ChangePorts,
            State::Up { boot_id, .. } if *boot_id == seen.boot_id => reboot(record, seen, limits),
            _ => Step::Record(Change::Up { boot_id: seen.boot_id.clone(), stopping: false }),
        };
    }
    match &record.state {
        // It was running in this very boot and nobody here stopped it.
        State::Up { boot_id, stopping: false } if *boot_id == seen.boot_id && !rebooting(record, seen) => {
            Step::Record(Change::Ended(Some(off_reason(&seen.guest).state_reason())))
        }
        State::Ended { generation, .. } if record.intent.generation <= *generation => unplugged(seen),
        _ => start(record, seen, limits),
    }
}

/// It was asked to go off, and that is not wanted any more. If it obeys yet, that is not its own wish, and it is
/// started again. A reboot that it was asked for before is due all the same.
fn spared(record: &Record, seen: &Observed, limits: &Limits) -> Step {
    let due = if rebooting(record, seen) { reboot(record, seen, limits) } else { Step::Rest };
    match (limits.stop_ms.checked_sub(seen.accepted_ms), due) {
        (_, due @ (Step::Reset | Step::Record(_))) => due,
        (None | Some(0), _) => Step::Record(Change::Up { boot_id: seen.boot_id.clone(), stopping: false }),
        (Some(ms), Step::Wait { ms: sooner }) => Step::Wait { ms: ms.min(sooner) },
        (Some(ms), _) => Step::Wait { ms },
    }
}

fn off_reason(guest: &Guest) -> OffReason {
    match guest {
        Guest::Off { why, .. } => *why,
        Guest::Unknown | Guest::Absent | Guest::Running => OffReason::Unknown,
    }
}

fn rebooting(record: &Record, seen: &Observed) -> bool {
    record.intent.reboots > record.reboots && seen.reboot.is_some()
}

fn start(record: &Record, seen: &Observed, limits: &Limits) -> Step {
    if let Guest::Off { why, generation } = seen.guest {
        // It ran and ended before this process could write down that it runs.
        let ended = record.state == State::Fresh && why.has_run() && generation == record.intent.generation;
        return if ended { Step::Record(Change::Ended(Some(why.state_reason()))) } else { Step::Undefine };
    }
    if seen.waited_ms >= limits.prepare_ms {
        let reason = server_reason("The instance could not be started in time");
        return Step::Record(record.failed_start(reason));
    }
    if !seen.images {
        return Step::FetchImages { ms_max: limits.prepare_ms - seen.waited_ms };
    }
    if !seen.disk {
        let lost = server_reason("The root disk of the instance is missing on its node");
        return if record.has_run { Step::Record(record.failed_start(lost)) } else { Step::MakeDisk };
    }
    if seen.ports && seen.ports_right { Step::StartGuest } else { Step::PlugPorts }
}

pub fn server_reason(what: &str) -> StateReason {
    StateReason::new("Server.InternalError", format!("Server.InternalError: {what}"))
}

fn reboot(record: &Record, seen: &Observed, limits: &Limits) -> Step {
    if record.intent.reboots <= record.reboots {
        return Step::Rest;
    }
    match seen.reboot {
        None => Step::AskReboot,
        Some(RebootSeen { done: true, .. }) => Step::Record(Change::Rebooted),
        Some(RebootSeen { asked_ms, .. }) if asked_ms >= limits.reboot_ms => Step::Reset,
        Some(RebootSeen { asked_ms, .. }) => Step::Wait { ms: limits.reboot_ms - asked_ms },
    }
}

fn stop(record: &Record, seen: &Observed, limits: &Limits) -> Step {
    if seen.guest == Guest::Running {
        return switch_off(record, seen, limits.stop_ms);
    }
    match record.state {
        State::Ended { .. } => unplugged(seen),
        _ => Step::Record(Change::Ended(None)),
    }
}

/// Takes the guest off, as often as it is found running, until the copy is taken or cannot be.
fn capture(record: &Record, seen: &Observed, limits: &Limits) -> Step {
    let failed = |what: &str| Step::Record(Change::Capture(CaptureState::Failed(server_reason(what))));
    let late = seen.accepted_ms >= limits.capture_ms;
    let reading =
        record.capture.as_ref().is_some_and(|seen| Some(&seen.task) == record.intent.capture.as_ref());
    let ended = matches!(record.state, State::Ended { .. });
    match seen.guest {
        Guest::Running => switch_off(record, seen, limits.stop_ms),
        _ if record.intent.desired == Desired::Stopped && !ended => Step::Record(Change::Ended(None)),
        _ if late => failed("The root disk of the instance could not be copied in time"),
        Guest::Off { .. } => Step::Undefine,
        _ if !seen.disk => failed("The root disk of the instance is missing on its node"),
        _ if seen.ports => Step::UnplugPorts,
        _ if !reading => Step::Record(Change::Capture(CaptureState::Reading)),
        _ => Step::Capture { ms_max: limits.capture_ms - seen.accepted_ms },
    }
}

fn terminate(record: &Record, seen: &Observed, limits: &Limits) -> Step {
    if seen.guest == Guest::Running {
        return switch_off(record, seen, limits.terminate_ms);
    }
    free(seen).unwrap_or(Step::Record(Change::Gone))
}

/// A running guest on its way off: asked first, forced at the deadline.
fn switch_off(record: &Record, seen: &Observed, limit_ms: u64) -> Step {
    let told = matches!(&record.state, State::Up { stopping: true, .. });
    if record.intent.force || seen.waited_ms >= limit_ms {
        return Step::ForceOff;
    }
    if !told {
        return Step::Record(Change::Up { boot_id: seen.boot_id.clone(), stopping: true });
    }
    match seen.asked_ms {
        Some(asked_ms) if asked_ms < ASK_AGAIN_AFTER_MS => {
            Step::Wait { ms: (ASK_AGAIN_AFTER_MS - asked_ms).min(limit_ms - seen.waited_ms) }
        }
        _ => Step::AskShutdown,
    }
}

/// An instance that is off keeps its disk and nothing else.
fn unplugged(seen: &Observed) -> Step {
    match seen.guest {
        Guest::Off { .. } => Step::Undefine,
        _ if seen.ports => Step::UnplugPorts,
        _ => Step::Rest,
    }
}

/// The next thing to give back; none: nothing is left.
fn free(seen: &Observed) -> Option<Step> {
    match seen.guest {
        Guest::Running => Some(Step::ForceOff),
        Guest::Off { .. } => Some(Step::Undefine),
        Guest::Unknown => Some(Step::Wait { ms: 1_000 }),
        Guest::Absent if seen.ports => Some(Step::UnplugPorts),
        Guest::Absent if seen.files => Some(Step::RemoveFiles),
        Guest::Absent => None,
    }
}

#[cfg(test)]
mod tests;
