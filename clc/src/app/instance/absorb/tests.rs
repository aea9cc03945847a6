//! What reports make of instances: a table, and what holds whatever is reported.

use super::*;
use crate::app::instance::lifecycle::{Order, expire, reboot, start, stop, terminate};
use crate::app::instance::sample;
use crate::config::Limits;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);

fn order(now_ms: i64) -> Order<'static> {
    Order { request_id: "req", now_ms, wall_ms: now_ms, limits: &LIMITS }
}

fn instance() -> Instance {
    Instance {
        generation: 1,
        request_id: "req-0".into(),
        state: State::Pending,
        acknowledged: 0,
        deadline_ms: Some(600_000),
        ..sample::instance()
    }
}

fn report(generation: u64, phase: Phase) -> InstanceReport {
    let id = instance().id;
    InstanceReport {
        id,
        generation,
        attempt: 3,
        phase,
        node: Some("n".into()),
        reason: None,
        reboots: 0,
        capture: None,
        addresses: Vec::new(),
    }
}

/// A pending, running, stopping or shutting-down instance, as its user made it.
fn brought_to(state: State) -> Instance {
    let mut one = instance();
    match state {
        State::Pending => {}
        State::Running => drop(absorb(&mut one, &report(1, Phase::Running), order(0))),
        State::Stopping => {
            one = brought_to(State::Running);
            stop(&mut one, false, order(0)).unwrap();
        }
        State::Stopped => {
            one = brought_to(State::Stopping);
            absorb(&mut one, &report(2, Phase::Stopped), order(0));
        }
        State::ShuttingDown => {
            one = brought_to(State::Running);
            terminate(&mut one, false, order(0)).unwrap();
        }
        State::Terminated => {
            one = brought_to(State::ShuttingDown);
            absorb(&mut one, &report(2, Phase::Gone), order(0));
        }
    }
    assert_eq!(one.state, state);
    one
}

#[test]
fn a_report_of_the_newest_intent_moves_the_state() {
    let check = |from: State, phase: Phase, expected: State| {
        let mut one = brought_to(from);
        let newest = report(one.generation, phase);
        absorb(&mut one, &newest, order(5000));
        assert_eq!(one.state, expected, "{from:?} + {phase:?}");
        assert_eq!(one.deadline_ms.is_some(), one.state.is_transitional(), "{from:?} + {phase:?}");
        assert_eq!(one.purge_ms.is_some(), one.state == State::Terminated, "{from:?} + {phase:?}");
    };
    check(State::Pending, Phase::Preparing, State::Pending);
    check(State::Pending, Phase::Running, State::Running);
    check(State::Pending, Phase::Stopped, State::Stopped);
    check(State::Pending, Phase::Failed, State::Terminated);
    check(State::Running, Phase::Running, State::Running);
    check(State::Running, Phase::Stopped, State::Stopped);
    check(State::Running, Phase::Gone, State::Terminated);
    check(State::Stopping, Phase::Running, State::Stopping);
    check(State::Stopping, Phase::Stopping, State::Stopping);
    check(State::Stopping, Phase::Stopped, State::Stopped);
    check(State::Stopping, Phase::Failed, State::Terminated);
    check(State::Stopped, Phase::Running, State::Stopped);
    check(State::ShuttingDown, Phase::Running, State::ShuttingDown);
    check(State::ShuttingDown, Phase::Terminating, State::ShuttingDown);
    check(State::ShuttingDown, Phase::Gone, State::Terminated);
    check(State::Terminated, Phase::Running, State::Terminated);
}

#[test]
fn where_it_is_counts_while_it_is_being_stopped() {
    let mut one = Instance { node: None, ..brought_to(State::Stopping) };
    assert!(absorb(&mut one, &report(2, Phase::Stopping), order(0)));
    assert_eq!(one.node.as_deref(), Some("n"));
    let nowhere = InstanceReport { node: None, ..report(2, Phase::Stopping) };
    absorb(&mut one, &nowhere, order(0));
    assert_eq!(one.node.as_deref(), Some("n"), "no news of where");
}

#[test]
fn a_stale_report_changes_nothing() {
    let mut one = brought_to(State::ShuttingDown);
    for phase in [Phase::Running, Phase::Stopped, Phase::Failed, Phase::Gone] {
        assert!(!absorb(&mut one, &report(1, phase), order(0)), "{phase:?}");
    }
}

#[test]
fn a_guest_that_shuts_down_is_told_to_stay_down() {
    let own = InstanceReport { reason: Some(StateReason::guest_shut_down()), ..report(1, Phase::Stopped) };
    let mut one = brought_to(State::Running);
    assert!(absorb(&mut one, &own, order(0)));
    assert_eq!((one.state, one.desired, one.generation), (State::Stopped, Desired::Stopped, 2));
    assert_eq!(plan(&one), Step::Put);
    let mut one = brought_to(State::Running);
    one.shutdown_behavior = ShutdownBehavior::Terminate;
    absorb(&mut one, &own, order(0));
    assert_eq!((one.state, one.desired), (State::ShuttingDown, Desired::Terminated));
}

#[test]
fn only_the_guests_own_shutdown_terminates() {
    let crashed = StateReason::new("Server.InternalError", "Server.InternalError: The guest crashed");
    for reason in [Some(crashed), None] {
        for state in [State::Running, State::Pending] {
            let mut one = brought_to(state);
            one.shutdown_behavior = ShutdownBehavior::Terminate;
            let ended = InstanceReport { reason: reason.clone(), ..report(1, Phase::Stopped) };
            absorb(&mut one, &ended, order(0));
            assert_eq!((one.state, one.desired), (State::Stopped, Desired::Stopped), "{reason:?}");
            assert_eq!(one.reason.unwrap().code, "Server.InternalError");
        }
    }
}

#[test]
fn what_is_over_is_to_be_forgotten_and_then_left_alone() {
    let mut one = brought_to(State::Terminated);
    assert_eq!(plan(&one), Step::Forget);
    one.forgotten = true;
    assert_eq!(plan(&one), Step::Rest);
    for phase in [Phase::Gone, Phase::Failed, Phase::Terminating] {
        let echo = report(one.generation, phase);
        assert!(!absorb(&mut one, &echo, order(0)), "{phase:?}");
    }
}

#[test]
fn a_late_word_of_its_forgetting_does_not_hide_a_guest_that_runs() {
    for generation in [0, 1, 2] {
        let mut one = brought_to(State::Terminated);
        assert!(absorb(&mut one, &report(generation, Phase::Running), order(0)));
        assert!(!forgotten(&mut one));
        assert_eq!((one.forgotten, plan(&one)), (false, Step::Put));
        let ended = report(one.generation, Phase::Gone);
        absorb(&mut one, &ended, order(0));
        assert!(forgotten(&mut one));
        assert_eq!(plan(&one), Step::Rest);
    }
}

#[test]
fn a_failed_launch_that_a_late_message_raises_is_told_to_end() {
    let mut one = instance();
    assert!(absorb(&mut one, &report(1, Phase::Failed), order(0)));
    assert_eq!((one.state, one.desired, plan(&one)), (State::Terminated, Desired::Terminated, Step::Forget));
    // By a cluster that lost its database: first it tells of the guest, then it gets the old order once more.
    for generation in [0, 1] {
        absorb(&mut one, &report(generation, Phase::Running), order(0));
        assert_eq!(plan(&one), Step::Put);
        assert!(one.generation > 1, "newer than the order to run");
    }
    let ended = report(one.generation, Phase::Gone);
    absorb(&mut one, &ended, order(0));
    assert_eq!(plan(&one), Step::Forget);
}

#[test]
fn what_a_late_message_has_raised_is_told_to_end() {
    for generation in [1, 2] {
        for forgotten in [true, false] {
            let mut one = brought_to(State::Terminated);
            one.forgotten = forgotten;
            assert!(absorb(&mut one, &report(generation, Phase::Running), order(0)));
            assert_eq!(
                (one.state, one.desired, plan(&one)),
                (State::Terminated, Desired::Terminated, Step::Put)
            );
            assert!(one.generation > generation, "newer than what the cluster has");
            let ended = report(one.generation, Phase::Gone);
            absorb(&mut one, &ended, order(0));
            assert_eq!(plan(&one), Step::Forget);
        }
    }
}

#[test]
fn an_old_telling_is_no_news_of_the_end() {
    let mut over = brought_to(State::Terminated);
    assert!(!untold(&mut over), "its forgetting is still to be said");
    assert_eq!(plan(&over), Step::Forget);
    let mut one = brought_to(State::Running);
    assert!(untold(&mut one));
    assert_eq!(plan(&one), Step::Put);
}

#[test]
fn a_launch_that_is_late_is_taken_down() {
    let mut one = instance();
    assert!(!expire(&mut one, order(599_999)));
    assert!(expire(&mut one, order(600_000)));
    assert_eq!((one.state, one.desired, one.force), (State::ShuttingDown, Desired::Terminated, true));
    assert!(expire(&mut one, order(1_200_000)));
    assert_eq!(one.state, State::Terminated);
    assert_eq!(plan(&one), Step::Put, "the cluster has not heard yet");
}

/// Stopped, and started again at 1000.
fn started_again() -> Instance {
    let mut one = brought_to(State::Stopped);
    one.disable_api_termination = true;
    start(&mut one, order(1000)).unwrap();
    one
}

#[test]
fn a_late_start_of_what_has_run_ends_stopped_with_its_disk() {
    let mut one = started_again();
    assert!(expire(&mut one, order(601_000)));
    assert_eq!((one.state, one.desired, one.force), (State::Stopping, Desired::Stopped, false));
    assert_eq!(one.reason.as_ref().unwrap().code, "Server.InternalError");
    assert_eq!(plan(&one), Step::Put);
    for now_ms in [10_000_000, 20_000_000] {
        expire(&mut one, order(now_ms));
    }
    assert_eq!((one.state, one.desired), (State::Stopped, Desired::Stopped));
    assert_eq!(one.reason.as_ref().unwrap().code, "Server.InternalError");
}

#[test]
fn a_refused_start_of_what_has_run_ends_stopped() {
    let reason = StateReason::new("Server.InsufficientInstanceCapacity", "no room");
    let mut one = started_again();
    let generation = one.generation;
    assert!(refused(&mut one, generation, &reason, order(2000)));
    assert_eq!((one.state, one.desired, plan(&one)), (State::Stopped, Desired::Stopped, Step::Put));
    let mut launch = instance();
    assert!(refused(&mut launch, 1, &reason, order(0)));
    assert_eq!(launch.state, State::Terminated);
}

#[test]
fn a_start_is_one_whatever_the_systems_clock_did_since_the_launch() {
    for wall_ms in [0, 999_999, 1_000_000, 2_000_000] {
        let mut one = brought_to(State::Stopped);
        one.launched_ms = 1_000_000;
        Arc::make_mut(&mut one.spec).launched_at_unix_ms = 1_000_000;
        start(&mut one, Order { wall_ms, ..order(1000) }).unwrap();
        assert!(one.is_restart(), "started at {wall_ms}");
        assert!(expire(&mut one, order(601_000)));
        assert_eq!((one.state, one.desired), (State::Stopping, Desired::Stopped), "started at {wall_ms}");
    }
}

#[test]
fn what_people_are_shown_is_the_time_of_day_and_deadlines_are_not() {
    let shown = Order { wall_ms: 1_767_323_045_000, ..order(1000) };
    let mut one = brought_to(State::Running);
    stop(&mut one, false, shown).unwrap();
    assert_eq!(one.transition, "User initiated (2026-01-02 03:04:05 GMT)");
    assert_eq!(one.deadline_ms, Some(shown.after_secs(LIMITS.stopping_secs)));
    let mut one = brought_to(State::Stopped);
    start(&mut one, shown).unwrap();
    assert_eq!(one.launched_ms, shown.wall_ms);
}

#[test]
fn either_protection_keeps_an_instance_from_being_terminated() {
    for (stop, termination, named) in
        [(true, false, "disableApiStop"), (false, true, "disableApiTermination")]
    {
        let mut one = brought_to(State::Running);
        (one.disable_api_stop, one.disable_api_termination) = (stop, termination);
        let fault = terminate(&mut one, false, order(0)).unwrap_err();
        assert_eq!(fault.code(), "OperationNotPermitted");
        assert!(fault.message().contains(named), "{}", fault.message());
    }
}

#[derive(Debug, Clone)]
enum Event {
    Report { back: u64, phase: Phase },
    Stop(bool),
    Start,
    Terminate(bool),
    Reboot,
    Later(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let phases = vec![
        Phase::Preparing,
        Phase::Running,
        Phase::Stopping,
        Phase::Stopped,
        Phase::Terminating,
        Phase::Gone,
        Phase::Failed,
    ];
    prop_oneof![
        4 => (0..3u64, proptest::sample::select(phases)).prop_map(|(back, phase)| Event::Report { back, phase }),
        1 => any::<bool>().prop_map(Event::Stop),
        1 => Just(Event::Start),
        1 => any::<bool>().prop_map(Event::Terminate),
        1 => Just(Event::Reboot),
        1 => (0..700_000i64).prop_map(Event::Later),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_row_makes_sense(
        events in proptest::collection::vec(event(), 1..60),
        terminates in any::<bool>(),
    ) {
        let mut one = instance();
        if terminates {
            one.shutdown_behavior = ShutdownBehavior::Terminate;
        }
        let mut now = 0;
        for event in events {
            let before = one.clone();
            match event {
                Event::Report { back, phase } => {
                    let generation = one.generation.saturating_sub(back);
                    absorb(&mut one, &report(generation, phase), order(now));
                }
                Event::Stop(force) => drop(stop(&mut one, force, order(now))),
                Event::Start => drop(start(&mut one, order(now))),
                Event::Terminate(force) => drop(terminate(&mut one, force, order(now))),
                Event::Reboot => drop(reboot(&mut one, order(now))),
                Event::Later(step) => {
                    now += step;
                    expire(&mut one, order(now));
                }
            }
            if before.state == State::Terminated {
                prop_assert_eq!(one.state, State::Terminated, "the dead stay dead");
            }
            prop_assert!(one.generation >= before.generation);
            prop_assert!(one.acknowledged <= one.generation);
            prop_assert_eq!(one.deadline_ms.is_some(), one.state.is_transitional());
            prop_assert_eq!(one.purge_ms.is_some(), one.state == State::Terminated);
            let (desired, state) = (one.desired, one.state);
            let agree = match desired {
                Desired::Running => matches!(state, State::Pending | State::Running),
                Desired::Stopped => matches!(state, State::Stopping | State::Stopped),
                Desired::Terminated => matches!(state, State::ShuttingDown | State::Terminated),
            };
            prop_assert!(agree, "{:?} while {:?} is wanted", state, desired);
            let said = before.desired != desired || before.reboots != one.reboots || before.force != one.force;
            let ended = state == State::Terminated && before.state != State::Terminated;
            if said && !ended {
                prop_assert!(one.generation > before.generation, "the cluster must hear of it");
            }
        }
    }
}
