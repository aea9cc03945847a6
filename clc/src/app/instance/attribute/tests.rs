//! What may be changed in which state, and what the node hears of it.

use super::*;
use crate::app::instance::sample::{self, blob};
use crate::config::Limits;
use karri_proto::resources::Need;

fn instance(state: State) -> Instance {
    Instance { state, ..sample::instance() }
}

fn apply(state: State, wanted: &Change) -> Result<(bool, Instance), Fault> {
    let limits = Limits::default();
    let order = Order { request_id: "now", now_ms: 1, wall_ms: 1, limits: &limits };
    let mut instance = instance(state);
    let changed = change(&mut instance, wanted, order)?;
    Ok((changed, instance))
}

fn larger() -> Change {
    Change::InstanceType { name: "m5.large".into(), vcpus: 2, memory_mib: 8192, threads_per_core: 2 }
}

#[test]
fn what_a_guest_starts_with_changes_only_while_it_is_stopped() {
    let kernel = Change::Kernel { id: "aki-0123456789abcdef0".into(), blob: blob() };
    let ramdisk = Change::Ramdisk { id: "ari-0123456789abcdef0".into(), blob: blob() };
    for wanted in [larger(), Change::UserData { present: true }, kernel, ramdisk] {
        for state in State::ALL {
            let outcome = apply(state, &wanted);
            match state {
                State::Stopped => assert!(outcome.unwrap().0, "{wanted:?}"),
                _ => {
                    assert_eq!(outcome.unwrap_err().code(), "IncorrectInstanceState", "{state:?} {wanted:?}")
                }
            }
        }
    }
}

#[test]
fn another_type_keeps_the_disk_and_waits_for_the_next_start() {
    let (_, changed) = apply(State::Stopped, &larger()).unwrap();
    assert_eq!(changed.spec.need, Need { vcpus: 2, memory_mib: 8192, disk_gib: 8 });
    assert_eq!((changed.spec.instance_type.as_str(), changed.generation), ("m5.large", 3));
}

#[test]
fn protection_changes_in_every_state_but_at_the_end_and_concerns_no_node() {
    for state in State::ALL {
        let outcome = apply(state, &Change::DisableApiTermination(true));
        match state {
            State::ShuttingDown | State::Terminated => {
                assert_eq!(outcome.unwrap_err().code(), "IncorrectInstanceState", "{state:?}");
            }
            _ => {
                let (changed, instance) = outcome.unwrap();
                assert!(changed && instance.disable_api_termination && instance.generation == 3, "{state:?}");
            }
        }
    }
}

#[test]
fn metadata_options_reach_a_running_guest_by_a_new_generation() {
    let wish = MetadataWish { tokens_required: Some(true), hop_limit: Some(2), ..MetadataWish::default() };
    let (changed, instance) = apply(State::Running, &Change::Metadata(wish)).unwrap();
    assert!(changed);
    let expected = MetadataOptions { tokens_required: true, hop_limit: 2, ..MetadataOptions::default() };
    assert_eq!(instance.spec.metadata, expected);
    assert_eq!((instance.generation, instance.request_id.as_str()), (4, "now"));
}

#[test]
fn what_changes_nothing_is_not_written() {
    let group = ("sg-0123456789abcdef0".parse().unwrap(), "default".into());
    for wanted in [
        Change::AsItIs,
        Change::Metadata(MetadataWish::default()),
        Change::Groups(vec![group]),
        Change::ShutdownBehavior(ShutdownBehavior::Stop),
    ] {
        let (changed, instance) = apply(State::Running, &wanted).unwrap();
        assert!(!changed && instance.generation == 3, "{wanted:?}");
    }
}
