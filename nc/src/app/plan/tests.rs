//! Worlds that do what they are told, and what a plan makes of them.

use super::*;
use crate::app::record::{Acceptance, accept};
use crate::app::sample;
use karri_proto::instance::{CaptureReport, Digest, Phase};

const LIMITS: Limits =
    Limits { prepare_ms: 10_000, stop_ms: 6_000, terminate_ms: 1_000, reboot_ms: 5_000, capture_ms: 60_000 };

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
        ports_right: false,
        boot_id: "boot-1".to_owned(),
        waited_ms: 0,
        accepted_ms: 0,
        asked_ms: None,
        reboot: None,
    }
}

fn running() -> Observed {
    let ports = Observed { ports: true, ports_right: true, ..nothing() };
    Observed { guest: Guest::Running, images: true, disk: true, files: true, ..ports }
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
            Step::PlugPorts => (seen.ports, seen.ports_right) = (true, true),
            Step::ChangePorts => seen.ports_right = true,
            Step::StartGuest => seen.guest = Guest::Running,
            Step::AskShutdown => seen.asked_ms = Some(0),
            Step::AskReboot => seen.reboot = Some(RebootSeen { asked_ms: 0, done: true }),
            Step::Reset => seen.reboot = Some(RebootSeen { asked_ms: 0, done: true }),
            Step::ForceOff => seen.guest = Guest::Off { why: OffReason::Destroyed, generation: 1 },
            Step::Undefine => seen.guest = Guest::Absent,
            Step::UnplugPorts => (seen.ports, seen.ports_right) = (false, false),
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
fn a_running_guest_gets_the_ports_of_a_new_intent_and_no_others() {
    let (mut record, mut seen) = (up(Desired::Running), Observed { ports_right: false, ..running() });
    assert_eq!(carry_on(&mut record, &mut seen), [Step::ChangePorts]);
    let (mut record, mut seen) = (up(Desired::Stopped), Observed { ports_right: false, ..running() });
    assert!(!carry_on(&mut record, &mut seen).contains(&Step::ChangePorts), "it goes off anyway");
}

#[test]
fn ports_that_changed_before_the_start_are_plugged_again() {
    let mut seen = Observed { guest: Guest::Absent, ports_right: false, ..running() };
    let steps = carry_on(&mut record(Desired::Running), &mut seen);
    assert_eq!(steps[..2], [Step::PlugPorts, Step::StartGuest]);
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
    let (mut record, mut seen) = (record(Desired::Running), Observed { guest: Guest::Absent, ..running() });
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

#[test]
fn a_reboot_is_enforced_in_time_on_a_guest_that_was_asked_to_go_off_and_is_spared() {
    let mut record = up(Desired::Running).after(Change::Up { boot_id: "boot-1".to_owned(), stopping: true });
    record.intent.reboots = 1;
    let mut seen = Observed { reboot: Some(RebootSeen { asked_ms: 4_000, done: false }), ..running() };
    assert_eq!(plan(&record, &seen, &LIMITS), Step::Wait { ms: 1_000 });
    seen.reboot = Some(RebootSeen { asked_ms: 5_000, done: false });
    let steps = carry_on(&mut record, &mut seen);
    assert_eq!(steps[..2], [Step::Reset, Step::Record(Change::Rebooted)]);
    assert_eq!((record.reboots, record.phase()), (1, Phase::Running));
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
    assert!(at(&Step::ForceOff) < copied && at(&Step::Undefine) < copied && at(&Step::UnplugPorts) < copied);
    assert!(copied < at(&Step::DropCopy) && at(&Step::DropCopy) < at(&Step::StartGuest));
    assert!(taken(&record));
    let up = Step::Record(Change::Up { boot_id: "boot-1".to_owned(), stopping: false });
    assert_eq!(steps[at(&Step::StartGuest) + 1..], [up], "what runs again is told at once");
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
    let mut record = up(Desired::Running).after(Change::Up { boot_id: "boot-1".to_owned(), stopping: true });
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
    let Some(CaptureReport { state: CaptureState::Failed(reason), .. }) = &record.capture else { panic!() };
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
    assert_eq!(phase == Phase::Running, seen.guest == Guest::Running && phase != Phase::Failed, "{phase:?}");
    if phase == Phase::Gone {
        assert!(seen.guest == Guest::Absent && !seen.files && !seen.ports);
    }
}
