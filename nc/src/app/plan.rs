//! The next step of one instance: a pure function of what is known, what is seen, and the limits.
//!
//! It is asked again after every step, so a crash between any two steps changes nothing: what was done
//! is seen, what was not done is planned again. Every step is safe to repeat.
//!
//! ```text
//!   Running     fetch images ─► make disk ─► plug ports ─► start ─► record up
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
    PlugPorts,
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
            State::Up { boot_id, stopping: true } if *boot_id == seen.boot_id => spared(seen, limits),
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

/// It was asked to go off for a copy that nobody wants any more. If it obeys yet, that is not its own wish, and it is
/// started again.
fn spared(seen: &Observed, limits: &Limits) -> Step {
    match limits.stop_ms.checked_sub(seen.accepted_ms) {
        None | Some(0) => Step::Record(Change::Up { boot_id: seen.boot_id.clone(), stopping: false }),
        Some(ms) => Step::Wait { ms },
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
    if !seen.ports { Step::PlugPorts } else { Step::StartGuest }
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
    if seen.accepted_ms >= limits.capture_ms {
        return failed("The root disk of the instance could not be copied in time");
    }
    let reading =
        record.capture.as_ref().is_some_and(|seen| Some(&seen.task) == record.intent.capture.as_ref());
    let ended = matches!(record.state, State::Ended { .. });
    match seen.guest {
        Guest::Running => switch_off(record, seen, limits.stop_ms),
        _ if record.intent.desired == Desired::Stopped && !ended => Step::Record(Change::Ended(None)),
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
mod tests {
    use super::*;
    use crate::app::record::{Acceptance, accept};
    use crate::app::sample;
    use karri_proto::instance::{CaptureReport, Digest, Phase};

    const LIMITS: Limits = Limits {
        prepare_ms: 10_000,
        stop_ms: 6_000,
        terminate_ms: 1_000,
        reboot_ms: 5_000,
        capture_ms: 60_000,
    };

    fn record(desired: Desired) -> Record {
        let mut intent = sample::intent();
        intent.desired = desired;
        Record::new(intent, 0)
    }

    fn up(desired: Desired) -> Record {
        record(desired).after(Change::Up { boot_id: "boot-1".to_owned(), stopping: false })
    }

    fn nothing() -> Observed {
        Observed {
            guest: Guest::Absent,
            images: false,
            disk: false,
            files: false,
            copy: false,
            ports: false,
            boot_id: "boot-1".to_owned(),
            waited_ms: 0,
            accepted_ms: 0,
            asked_ms: None,
            reboot: None,
        }
    }

    fn running() -> Observed {
        Observed { guest: Guest::Running, images: true, disk: true, files: true, ports: true, ..nothing() }
    }

    /// A world that does what it is told, until the plan rests.
    fn carry_on(record: &mut Record, seen: &mut Observed) -> Vec<Step> {
        let mut steps = Vec::new();
        loop {
            let step = plan(record, seen, &LIMITS);
            match &step {
                Step::Rest => return steps,
                Step::Wait { ms } => {
                    seen.waited_ms += ms;
                    seen.accepted_ms += ms;
                    seen.asked_ms = seen.asked_ms.map(|asked| asked + ms);
                }
                Step::FetchImages { .. } => seen.images = true,
                Step::MakeDisk => (seen.disk, seen.files) = (true, true),
                Step::PlugPorts => seen.ports = true,
                Step::StartGuest => seen.guest = Guest::Running,
                Step::AskShutdown => seen.asked_ms = Some(0),
                Step::AskReboot => seen.reboot = Some(RebootSeen { asked_ms: 0, done: true }),
                Step::Reset => seen.reboot = Some(RebootSeen { asked_ms: 0, done: true }),
                Step::ForceOff => seen.guest = Guest::Off { why: OffReason::Destroyed, generation: 1 },
                Step::Undefine => seen.guest = Guest::Absent,
                Step::UnplugPorts => seen.ports = false,
                Step::Capture { .. } => {
                    let taken = CaptureState::Taken(Digest::from_sha256([7; 32]));
                    *record = record.after(Change::Capture(taken));
                    seen.copy = true;
                }
                Step::DropCopy => seen.copy = false,
                Step::RemoveFiles => (seen.disk, seen.files, seen.copy) = (false, false, false),
                Step::Record(change) => *record = record.after(change.clone()),
            }
            steps.push(step);
            assert!(steps.len() < 100, "it never rests: {steps:?}");
        }
    }

    #[test]
    fn a_launch_goes_in_order() {
        let (mut record, mut seen) = (record(Desired::Running), nothing());
        let steps = carry_on(&mut record, &mut seen);
        let up = Step::Record(Change::Up { boot_id: "boot-1".to_owned(), stopping: false });
        assert_eq!(
            steps,
            [Step::FetchImages { ms_max: 10_000 }, Step::MakeDisk, Step::PlugPorts, Step::StartGuest, up]
        );
        assert_eq!(record.phase(), Phase::Running);
    }

    #[test]
    fn a_deaf_guest_is_forced_off_at_the_deadline_and_keeps_its_disk() {
        let (mut record, mut seen) = (up(Desired::Stopped), running());
        let steps = carry_on(&mut record, &mut seen);
        assert_eq!(steps.iter().filter(|step| **step == Step::AskShutdown).count(), 2);
        assert!(steps.contains(&Step::ForceOff) && !steps.contains(&Step::RemoveFiles));
        assert_eq!((record.phase(), seen.disk, seen.ports), (Phase::Stopped, true, false));
        assert_eq!(seen.waited_ms, LIMITS.stop_ms);
    }

    #[test]
    fn force_does_not_ask() {
        let (mut record, mut seen) = (up(Desired::Terminated), running());
        record.intent.force = true;
        let steps = carry_on(&mut record, &mut seen);
        assert_eq!(steps[0], Step::ForceOff);
        assert_eq!((record.phase(), seen), (Phase::Gone, Observed { images: true, ..nothing() }));
    }

    #[test]
    fn a_guest_that_shuts_itself_down_stays_off_until_a_new_wish() {
        let (mut record, mut seen) = (up(Desired::Running), running());
        seen.guest = Guest::Off { why: OffReason::GuestShutDown, generation: 1 };
        carry_on(&mut record, &mut seen);
        assert_eq!(record.phase(), Phase::Stopped);
        assert_eq!(record.reason().unwrap().code, "Client.InstanceInitiatedShutdown");
        assert_eq!(seen.guest, Guest::Absent);
        record.intent.generation += 1;
        assert_eq!(record.phase(), Phase::Preparing);
        carry_on(&mut record, &mut seen);
        assert_eq!(record.phase(), Phase::Running);
    }

    #[test]
    fn after_a_reboot_of_the_host_guests_are_started_again() {
        let (mut record, mut seen) = (up(Desired::Running), Observed { guest: Guest::Absent, ..running() });
        seen.boot_id = "boot-2".to_owned();
        let steps = carry_on(&mut record, &mut seen);
        assert_eq!(steps[0], Step::StartGuest);
        assert_eq!(record.state, State::Up { boot_id: "boot-2".to_owned(), stopping: false });
    }

    #[test]
    fn a_guest_that_ended_before_it_was_recorded_is_not_started_twice() {
        let (mut record, mut seen) = (record(Desired::Running), running());
        seen.guest = Guest::Off { why: OffReason::GuestShutDown, generation: 1 };
        let steps = carry_on(&mut record, &mut seen);
        assert!(!steps.contains(&Step::StartGuest));
        assert_eq!(record.phase(), Phase::Stopped);
        assert!(record.reason().unwrap().is_guest_shut_down());
        let vanished = Guest::Absent;
        assert!(!off_reason(&vanished).state_reason().is_guest_shut_down());
    }

    #[test]
    fn a_definition_that_was_never_started_is_made_anew() {
        let (mut record, mut seen) = (record(Desired::Running), running());
        seen.guest = Guest::Off { why: OffReason::Unknown, generation: 1 };
        let steps = carry_on(&mut record, &mut seen);
        assert_eq!(steps[..2], [Step::Undefine, Step::StartGuest]);
    }

    #[test]
    fn a_failed_launch_gives_everything_back_before_it_is_told() {
        let (mut record, mut seen) =
            (record(Desired::Running), Observed { guest: Guest::Absent, ..running() });
        record = record.after(record.failed_start(server_reason("no room")));
        assert_eq!(record.phase(), Phase::Preparing);
        let steps = carry_on(&mut record, &mut seen);
        assert_eq!(steps, [Step::UnplugPorts, Step::RemoveFiles, Step::Record(Change::Failed)]);
        assert_eq!(
            (record.phase(), record.reason().unwrap().code.as_str()),
            (Phase::Failed, "Server.InternalError")
        );
    }

    #[test]
    fn a_failed_restart_keeps_the_disk() {
        let mut record = up(Desired::Running).after(Change::Ended(None));
        record.intent.generation += 1;
        let mut seen = Observed { guest: Guest::Absent, ports: false, ..running() };
        record = record.after(record.failed_start(server_reason("no room")));
        assert_eq!(carry_on(&mut record, &mut seen), []);
        assert_eq!((record.phase(), seen.disk), (Phase::Stopped, true));
    }

    #[test]
    fn a_lost_disk_is_not_replaced_by_an_empty_one() {
        let mut record = up(Desired::Running).after(Change::Ended(None));
        record.intent.generation += 1;
        let mut seen = Observed { images: true, ..nothing() };
        assert!(!carry_on(&mut record, &mut seen).contains(&Step::MakeDisk));
        assert_eq!(record.phase(), Phase::Stopped);
    }

    #[test]
    fn a_launch_that_takes_too_long_fails() {
        let (mut record, mut seen) = (record(Desired::Running), Observed { waited_ms: 10_000, ..nothing() });
        carry_on(&mut record, &mut seen);
        assert_eq!(record.phase(), Phase::Failed);
    }

    #[test]
    fn a_reboot_is_asked_for_and_enforced() {
        let mut record = up(Desired::Running);
        record.intent.reboots = 1;
        let mut seen = running();
        assert_eq!(plan(&record, &seen, &LIMITS), Step::AskReboot);
        seen.reboot = Some(RebootSeen { asked_ms: 5_000, done: false });
        assert_eq!(plan(&record, &seen, &LIMITS), Step::Reset);
        seen.reboot = Some(RebootSeen { asked_ms: 10, done: true });
        carry_on(&mut record, &mut seen);
        assert_eq!(record.reboots, 1);
    }

    fn capture(record: &mut Record) {
        record.intent.capture = Some("bun-0123456789abcdef0".parse().unwrap());
    }

    fn taken(record: &Record) -> bool {
        matches!(&record.capture, Some(CaptureReport { state: CaptureState::Taken(_), .. }))
    }

    #[test]
    fn a_copy_is_taken_while_the_guest_is_off_and_it_runs_again_afterwards() {
        let (mut record, mut seen) = (up(Desired::Running), running());
        capture(&mut record);
        let steps = carry_on(&mut record, &mut seen);
        let at = |step: &Step| steps.iter().position(|one| one == step).unwrap();
        let copied = at(&Step::Capture { ms_max: 60_000 - LIMITS.stop_ms });
        assert!(at(&Step::AskShutdown) < at(&Step::ForceOff), "{steps:?}");
        assert!(
            at(&Step::ForceOff) < copied && at(&Step::Undefine) < copied && at(&Step::UnplugPorts) < copied
        );
        assert!(copied < at(&Step::DropCopy) && at(&Step::DropCopy) < at(&Step::StartGuest));
        assert!(taken(&record));
        assert_eq!((record.phase(), &seen.guest, seen.copy), (Phase::Running, &Guest::Running, false));
        assert_eq!(carry_on(&mut record, &mut running()), [], "once");
    }

    #[test]
    fn an_instance_is_told_as_running_while_its_copy_is_taken() {
        let mut record = up(Desired::Running);
        capture(&mut record);
        let mut seen = running();
        let told = |record: &Record| record.phase() == Phase::Running;
        for _ in 0..20 {
            let step = plan(&record, &seen, &LIMITS);
            assert!(told(&record), "{step:?}");
            match step {
                Step::Record(change) => record = record.after(change),
                Step::AskShutdown => seen.guest = Guest::Off { why: OffReason::GuestShutDown, generation: 1 },
                Step::Undefine => seen.guest = Guest::Absent,
                Step::UnplugPorts => seen.ports = false,
                Step::Capture { .. } => return,
                other => panic!("{other:?}"),
            }
        }
        panic!("no copy is taken");
    }

    #[test]
    fn a_copy_of_a_stopped_instance_does_not_start_it() {
        let (mut record, mut seen) = (up(Desired::Stopped), running());
        capture(&mut record);
        let steps = carry_on(&mut record, &mut seen);
        assert!(taken(&record) && !steps.contains(&Step::StartGuest), "{steps:?}");
        assert_eq!((record.phase(), seen.copy, seen.disk), (Phase::Stopped, false, true));
    }

    #[test]
    fn a_copy_that_nobody_wants_any_more_goes_and_the_guest_runs_again() {
        let (mut record, mut seen) = (up(Desired::Running), running());
        capture(&mut record);
        record = record.after(Change::Up { boot_id: "boot-1".to_owned(), stopping: true });
        (seen.guest, seen.ports, seen.copy) = (Guest::Absent, false, true);
        let mut withdrawn = record.intent.clone();
        (withdrawn.generation, withdrawn.capture) = (withdrawn.generation + 1, None);
        let Acceptance::New(accepted) = accept(Some(&record), None, withdrawn, 9) else { panic!() };
        record = *accepted;
        let steps = carry_on(&mut record, &mut seen);
        assert_eq!(steps[0], Step::DropCopy);
        assert_eq!((record.phase(), record.capture), (Phase::Running, None));
    }

    #[test]
    fn a_guest_that_was_asked_off_for_nothing_is_started_again_and_its_own_wish_counts_later() {
        let mut record =
            up(Desired::Running).after(Change::Up { boot_id: "boot-1".to_owned(), stopping: true });
        let mut seen = running();
        assert_eq!(plan(&record, &seen, &LIMITS), Step::Wait { ms: LIMITS.stop_ms });
        seen.guest = Guest::Off { why: OffReason::GuestShutDown, generation: 1 };
        carry_on(&mut record, &mut seen);
        assert_eq!((record.phase(), &seen.guest), (Phase::Running, &Guest::Running));
        record = record.after(Change::Up { boot_id: "boot-1".to_owned(), stopping: true });
        carry_on(&mut record, &mut seen);
        assert_eq!(record.state, State::Up { boot_id: "boot-1".to_owned(), stopping: false });
        seen.guest = Guest::Off { why: OffReason::GuestShutDown, generation: 1 };
        carry_on(&mut record, &mut seen);
        assert_eq!(record.phase(), Phase::Stopped);
    }

    #[test]
    fn a_copy_that_cannot_be_taken_says_why_and_the_guest_runs_again() {
        let mut record = up(Desired::Running);
        capture(&mut record);
        let mut seen = Observed { accepted_ms: LIMITS.capture_ms, ..running() };
        carry_on(&mut record, &mut seen);
        let Some(CaptureReport { state: CaptureState::Failed(reason), .. }) = &record.capture else {
            panic!()
        };
        assert!(reason.message.contains("in time") && record.phase() == Phase::Running);
        let (mut record, mut seen) = (up(Desired::Stopped).after(Change::Ended(None)), nothing());
        capture(&mut record);
        carry_on(&mut record, &mut seen);
        assert!(matches!(&record.capture, Some(CaptureReport { state: CaptureState::Failed(_), .. })));
    }

    #[test]
    fn what_is_terminated_is_not_copied_first() {
        let (mut record, mut seen) = (up(Desired::Terminated), Observed { copy: true, ..running() });
        capture(&mut record);
        let steps = carry_on(&mut record, &mut seen);
        assert!(!steps.iter().any(|step| matches!(step, Step::Capture { .. })));
        assert_eq!((record.phase(), seen.copy), (Phase::Gone, false));
    }

    #[test]
    fn with_the_hypervisor_away_everything_waits() {
        for desired in [Desired::Running, Desired::Stopped, Desired::Terminated] {
            let seen = Observed { guest: Guest::Unknown, ..nothing() };
            assert_eq!(plan(&up(desired), &seen, &LIMITS), Step::Wait { ms: 1_000 });
        }
    }

    #[test]
    fn from_any_state_and_sight_each_wish_is_reached_or_failed() {
        let guests = [
            Guest::Absent,
            Guest::Running,
            Guest::Off { why: OffReason::Unknown, generation: 1 },
            Guest::Off { why: OffReason::Crashed, generation: 1 },
        ];
        let reason = server_reason("x");
        for desired in [Desired::Running, Desired::Stopped, Desired::Terminated] {
            let states = [
                record(desired),
                up(desired),
                up(desired).after(Change::Up { boot_id: "boot-1".to_owned(), stopping: true }),
                up(desired).after(Change::Ended(None)),
                record(desired).after(Change::Failing(reason.clone())),
                record(desired).after(Change::Failing(reason.clone())).after(Change::Failed),
            ];
            for start in states {
                for guest in &guests {
                    for bits in 0..16 {
                        let bit = |n: u32| bits >> n & 1 == 1;
                        let (images, disk, ports) = (bit(0), bit(1), bit(2));
                        let mut seen = Observed { guest: guest.clone(), images, disk, ports, ..nothing() };
                        seen.files = disk || bit(3);
                        let mut record = start.clone();
                        carry_on(&mut record, &mut seen);
                        check_end(&record, &seen);
                    }
                }
            }
        }
    }

    fn check_end(record: &Record, seen: &Observed) {
        let phase = record.phase();
        match record.intent.desired {
            Desired::Running => assert!(matches!(phase, Phase::Running | Phase::Stopped | Phase::Failed)),
            Desired::Stopped => assert!(matches!(phase, Phase::Stopped | Phase::Failed)),
            Desired::Terminated => assert_eq!(phase, Phase::Gone),
        }
        assert_eq!(
            phase == Phase::Running,
            seen.guest == Guest::Running && phase != Phase::Failed,
            "{phase:?}"
        );
        if phase == Phase::Gone {
            assert!(seen.guest == Guest::Absent && !seen.files && !seen.ports);
        }
    }
}
