//! What a user may do to an instance in which state, and what it then becomes. Pure.

use super::model::Instance;
use super::state::State;
use crate::config::Limits;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::instance::{Desired, StateReason};
use time::OffsetDateTime;
use time::macros::format_description;

/// Who asks, when, and how long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    pub request_id: &'a str,
    /// By the clock that never jumps: what deadlines are counted from.
    pub now_ms: i64,
    /// The time of day as of now: what people are shown, and nothing is decided by.
    pub wall_ms: i64,
    pub limits: &'a Limits,
}

impl Order<'_> {
    pub fn after_secs(&self, secs: u64) -> i64 {
        let millis = i64::try_from(secs.saturating_mul(1000)).unwrap_or(i64::MAX);
        self.now_ms.saturating_add(millis)
    }
}

/// `User initiated (2026-01-02 03:04:05 GMT)`
pub fn user_initiated(wall_ms: i64) -> String {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] GMT");
    let at = OffsetDateTime::from_unix_timestamp(wall_ms / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!("User initiated ({})", at.format(&form).unwrap_or_default())
}

fn wrong_state(instance: &Instance, verb: &str) -> Fault {
    let (id, state) = (&instance.id, instance.state.as_str());
    let sentence = match verb {
        "start" => {
            format!("The instance '{id}' is not in a state from which it can be started. ({state})")
        }
        _ => format!("This instance '{id}' is not in a state from which it can be {verb}. ({state})"),
    };
    Fault::new(FaultCode::IncorrectInstanceState, sentence)
}

fn protected(instance: &Instance, attribute: &str, verb: &str) -> Fault {
    Fault::new(
        FaultCode::OperationNotPermitted,
        format!(
            "The instance '{}' may not be {verb}. Modify its '{attribute}' instance attribute and try again.",
            instance.id
        ),
    )
}

/// True: changed. EC2 takes a start of what already starts or runs for done.
pub fn start(instance: &mut Instance, order: Order<'_>) -> Result<bool, Fault> {
    match instance.state {
        State::Pending | State::Running => Ok(false),
        State::Stopped if instance.capture.is_some() => {
            let sentence =
                format!("The instance '{}' cannot be started while it is being bundled", instance.id);
            Err(Fault::new(FaultCode::IncorrectInstanceState, sentence))
        }
        State::Stopped => {
            instance.desired = Desired::Running;
            instance.state = State::Pending;
            instance.force = false;
            instance.reason = None;
            instance.transition = String::new();
            // Never the time of its launch again, however the system's clock was set since.
            instance.launched_ms = order.wall_ms.max(instance.launched_ms.saturating_add(1));
            instance.deadline_ms = Some(order.after_secs(order.limits.pending_secs));
            instance.advance(order.request_id);
            Ok(true)
        }
        State::Stopping | State::ShuttingDown | State::Terminated => Err(wrong_state(instance, "start")),
    }
}

/// A forced stop overtakes one that is under way.
pub fn stop(instance: &mut Instance, force: bool, order: Order<'_>) -> Result<bool, Fault> {
    match instance.state {
        State::Stopped => Ok(false),
        State::Stopping if !force || instance.force => Ok(false),
        State::Running | State::Stopping => {
            if instance.disable_api_stop {
                return Err(protected(instance, "disableApiStop", "stopped"));
            }
            instance.desired = Desired::Stopped;
            instance.state = State::Stopping;
            instance.force = force;
            instance.reason = Some(client_shutdown());
            instance.transition = user_initiated(order.wall_ms);
            instance.deadline_ms = Some(order.after_secs(order.limits.stopping_secs));
            instance.advance(order.request_id);
            Ok(true)
        }
        State::Pending if !instance.is_restart() => {
            let id = &instance.id;
            let sentence =
                format!("Instance '{id}' cannot be stopped as it has never reached the 'running' state.");
            Err(Fault::new(FaultCode::IncorrectInstanceState, sentence))
        }
        State::Pending | State::ShuttingDown | State::Terminated => Err(wrong_state(instance, "stopped")),
    }
}

fn client_shutdown() -> StateReason {
    StateReason::new("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
}

/// Terminating what is terminated is done already, as often as one likes.
pub fn terminate(instance: &mut Instance, force: bool, order: Order<'_>) -> Result<bool, Fault> {
    match instance.state {
        State::Terminated => Ok(false),
        State::ShuttingDown if !force || instance.force => Ok(false),
        State::Pending | State::Running | State::Stopping | State::Stopped | State::ShuttingDown => {
            if instance.disable_api_termination {
                return Err(protected(instance, "disableApiTermination", "terminated"));
            }
            // EC2's stop protection keeps an instance from being terminated as well.
            if instance.disable_api_stop {
                return Err(protected(instance, "disableApiStop", "terminated"));
            }
            instance.desired = Desired::Terminated;
            instance.state = State::ShuttingDown;
            instance.force = force;
            instance.reason = Some(client_shutdown());
            instance.transition = user_initiated(order.wall_ms);
            instance.deadline_ms = Some(order.after_secs(order.limits.shutting_down_secs));
            instance.advance(order.request_id);
            Ok(true)
        }
    }
}

/// Only what runs can be rebooted; EC2 does the same to what is still starting.
pub fn reboot(instance: &mut Instance, order: Order<'_>) -> Result<bool, Fault> {
    match instance.state {
        State::Pending | State::Running => {
            instance.reboots += 1;
            instance.advance(order.request_id);
            Ok(true)
        }
        State::Stopping | State::Stopped | State::ShuttingDown | State::Terminated => {
            Err(wrong_state(instance, "rebooted"))
        }
    }
}

/// What a transitional state becomes when its time is over. True: changed.
pub fn expire(instance: &mut Instance, order: Order<'_>) -> bool {
    if !instance.state.is_transitional() || instance.deadline_ms.is_none_or(|at| at > order.now_ms) {
        return false;
    }
    match instance.state {
        State::Pending => {
            expire_start(instance, order);
            true
        }
        // Asked nicely for long enough: pull the plug.
        State::Stopping if !instance.force => {
            instance.force = true;
            instance.deadline_ms = Some(order.after_secs(order.limits.stopping_secs));
            instance.advance(order.request_id);
            true
        }
        State::ShuttingDown if !instance.force => {
            instance.force = true;
            instance.deadline_ms = Some(order.after_secs(order.limits.shutting_down_secs));
            instance.advance(order.request_id);
            true
        }
        // The cluster does not answer for it. For the user it is over; the cluster is told until it hears.
        State::ShuttingDown => {
            end(instance, order);
            true
        }
        State::Stopping => {
            instance.state = State::Stopped;
            instance.deadline_ms = None;
            true
        }
        State::Running | State::Stopped | State::Terminated => false,
    }
}

/// It may still come up somewhere: the cluster is told to take it down. What has run before has a disk that
/// somebody wants, so it is stopped; a launch is undone.
fn expire_start(instance: &mut Instance, order: Order<'_>) {
    if instance.is_restart() {
        instance.desired = Desired::Stopped;
        instance.state = State::Stopping;
        instance.deadline_ms = Some(order.after_secs(order.limits.stopping_secs));
    } else {
        instance.desired = Desired::Terminated;
        instance.force = true;
        instance.state = State::ShuttingDown;
        instance.deadline_ms = Some(order.after_secs(order.limits.shutting_down_secs));
    }
    let sentence = "Server.InternalError: The instance did not start in time";
    instance.reason = Some(StateReason::new("Server.InternalError", sentence));
    instance.advance(order.request_id);
}

/// Terminated, and visible for a while.
pub fn end(instance: &mut Instance, order: Order<'_>) {
    instance.state = State::Terminated;
    if instance.desired != Desired::Terminated {
        instance.desired = Desired::Terminated;
        // A generation wants one thing: should a late message raise the old one, the cluster must take this for
        // newer. Until then there is nothing to tell a cluster that has nothing.
        let told = instance.acknowledged >= instance.generation;
        instance.generation += 1;
        if told {
            instance.acknowledged = instance.generation;
        }
    }
    instance.node = None;
    instance.deadline_ms = None;
    instance.purge_ms = Some(order.after_secs(order.limits.terminated_visible_secs));
}
