//! What a cluster's report makes of an instance. Pure: row and report in, row out.
//!
//! ```text
//!   desired Running      Preparing → as it is      Running → running
//!                        Stopped   → stopped; shutting-down when the guest shut itself down and that
//!                                    is its shutdown behaviour
//!                        Failed, Gone → terminated
//!   desired Stopped      Stopped → stopped         Failed, Gone → terminated
//!   desired Terminated   Failed, Gone → terminated
//! ```
//!
//! A report that does not cover the newest generation says nothing about what was asked since, so it
//! changes nothing but what is acknowledged: so much has to be said again.

use super::lifecycle::{Order, end};
use super::model::{Instance, ShutdownBehavior};
use super::plan::{Step, plan};
use super::state::State;
use karri_proto::instance::{Desired, InstanceReport, Phase, PortSpec, StateReason};
use std::sync::Arc;

/// True: the instance was changed.
pub fn absorb(instance: &mut Instance, report: &InstanceReport, order: Order<'_>) -> bool {
    if report.id != instance.id {
        return false;
    }
    let before = instance.clone();
    // A generation from the future: the report was meant for another life of this database.
    let heard = report.generation.min(instance.generation);
    if has_risen(instance, report) {
        instance.forgotten = false;
        if heard == instance.generation {
            // What is to be told now must be newer than what the cluster has.
            let request_id = instance.request_id.clone();
            instance.advance(&request_id);
        }
    }
    if instance.forgotten {
        return false;
    }
    // Less than it had accepted: the cluster has lost it. Or the report was overtaken by an answer, and
    // telling the cluster once more does no harm.
    instance.acknowledged = heard;
    absorb_capture(instance, report);
    absorb_addresses(instance, report);
    if report.covers(instance.generation, 0) {
        match instance.desired {
            Desired::Running => absorb_running(instance, report, order),
            Desired::Stopped => absorb_stopped(instance, report, order),
            Desired::Terminated => absorb_terminated(instance, report, order),
        }
    }
    *instance != before
}

/// Of the copy that is wanted, whatever else is: what was taken stays taken.
fn absorb_capture(instance: &mut Instance, report: &InstanceReport) {
    let told = report.capture.as_ref().filter(|told| instance.capture.as_ref() == Some(&told.task));
    let over = instance.captured.as_ref().is_some_and(|known| known.state.is_over());
    if let (Some(told), false) = (told, over) {
        instance.captured = Some(told.clone());
    }
}

/// What the site has given to its ports, for as long as it has any.
fn absorb_addresses(instance: &mut Instance, report: &InstanceReport) {
    let news = |port: &PortSpec| {
        let told = report.addresses.iter().find(|told| told.port == port.id).map(|told| told.address);
        told.filter(|address| port.learns_address && port.private_ip != *address)
    };
    if instance.state == State::Terminated || !instance.spec.ports.iter().any(|port| news(port).is_some()) {
        return;
    }
    for port in &mut Arc::make_mut(&mut instance.spec).ports {
        port.private_ip = news(port).unwrap_or(port.private_ip);
    }
}

/// It is over, and the cluster has it alive: a late message has raised it in a cluster that lost its database
/// and with it the tombstones.
fn has_risen(instance: &Instance, report: &InstanceReport) -> bool {
    let living = !report.phase.is_final() && report.phase != Phase::Terminating;
    instance.state == State::Terminated && instance.acknowledged >= instance.generation && living
}

fn absorb_running(instance: &mut Instance, report: &InstanceReport, order: Order<'_>) {
    if instance.state == State::Terminated {
        return; // failed before; what comes later is an echo
    }
    match report.phase {
        Phase::Preparing | Phase::Stopping | Phase::Terminating => told_of(instance, report),
        Phase::Running => {
            instance.state = State::Running;
            instance.node.clone_from(&report.node);
            instance.reason = None;
            instance.deadline_ms = None;
        }
        Phase::Stopped => ended_by_itself(instance, report, order),
        Phase::Failed | Phase::Gone => fail(instance, report, order),
    }
}

/// Only a guest's own shutdown may cost its disk: one that crashed or was killed on its node, or could not
/// be started again, did not ask for that.
fn ended_by_itself(instance: &mut Instance, report: &InstanceReport, order: Order<'_>) {
    let request_id = instance.request_id.clone();
    let unsaid =
        || StateReason::new("Server.InternalError", "Server.InternalError: The instance has stopped");
    let reason = report.reason.clone().unwrap_or_else(unsaid);
    let behavior = match reason.is_guest_shut_down() {
        true => instance.shutdown_behavior,
        false => ShutdownBehavior::Stop,
    };
    instance.reason = Some(reason);
    instance.transition = String::new();
    instance.node.clone_from(&report.node);
    match behavior {
        ShutdownBehavior::Stop => {
            instance.desired = Desired::Stopped;
            instance.state = State::Stopped;
            instance.deadline_ms = None;
        }
        ShutdownBehavior::Terminate => {
            instance.desired = Desired::Terminated;
            instance.state = State::ShuttingDown;
            instance.deadline_ms = Some(order.after_secs(order.limits.shutting_down_secs));
        }
    }
    // Its own generation: the cluster must not take the shutdown for a crash to be repaired.
    instance.advance(&request_id);
}

fn absorb_stopped(instance: &mut Instance, report: &InstanceReport, order: Order<'_>) {
    match report.phase {
        Phase::Stopped => {
            instance.state = State::Stopped;
            instance.node.clone_from(&report.node);
            instance.deadline_ms = None;
        }
        Phase::Failed | Phase::Gone => fail(instance, report, order),
        // Where it is counts, also before it rests: its room is held there.
        Phase::Preparing | Phase::Running | Phase::Stopping | Phase::Terminating => told_of(instance, report),
    }
}

fn told_of(instance: &mut Instance, report: &InstanceReport) {
    if report.node.is_some() {
        instance.node.clone_from(&report.node);
    }
}

fn absorb_terminated(instance: &mut Instance, report: &InstanceReport, order: Order<'_>) {
    if report.phase.is_final() && instance.state != State::Terminated {
        end(instance, order);
    }
}

fn fail(instance: &mut Instance, report: &InstanceReport, order: Order<'_>) {
    if instance.state == State::Terminated {
        return;
    }
    let unsaid =
        || StateReason::new("Server.InternalError", "Server.InternalError: Internal error on launch");
    instance.reason = Some(report.reason.clone().unwrap_or_else(unsaid));
    // The cluster has nothing of it any more, which its report about this very intent says: there is
    // nothing to tell it but to forget.
    end(instance, order);
}

/// Its cluster has told everything and did not mention it: it is to be told again. What is over is left to
/// its forgetting, which does no harm where nothing is known: the telling may be older than the instance.
pub fn untold(instance: &mut Instance) -> bool {
    let accepted = instance.state != State::Terminated && instance.acknowledged > 0;
    if accepted {
        instance.acknowledged = 0;
    }
    accepted
}

/// Its cluster refuses this generation for good.
pub fn refused(instance: &mut Instance, generation: u64, reason: &StateReason, order: Order<'_>) -> bool {
    let asked = instance.generation == generation && instance.state == State::Pending;
    if asked {
        instance.reason = Some(reason.clone());
        instance.acknowledged = instance.generation;
        if instance.is_restart() {
            remain_stopped(instance);
        } else {
            end(instance, order);
        }
    }
    asked
}

/// What has run before keeps its disk when it cannot be started again.
fn remain_stopped(instance: &mut Instance) {
    let request_id = instance.request_id.clone();
    instance.desired = Desired::Stopped;
    instance.state = State::Stopped;
    instance.deadline_ms = None;
    instance.advance(&request_id);
}

/// Its cluster has forgotten it, as it was told to. A cluster that lost its database answers so of what it does
/// not know; when it has told since that the guest runs, there is something to tell it yet.
pub fn forgotten(instance: &mut Instance) -> bool {
    let over = plan(instance) == Step::Forget;
    instance.forgotten |= over;
    over
}

#[cfg(test)]
mod tests;
