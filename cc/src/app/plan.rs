//! What to do next for one instance: a function of its row, its node and the time.
//!
//! The same question for a guest that a node reports and that should not be there is [`stray`].

use crate::app::row::Row;
use karri_proto::instance::{Desired, InstanceReport, Phase, StateReason};

/// Placements tried before the cluster gives up.
pub const ATTEMPTS_MAX: u32 = 3;
/// How long an instance waits for nodes that may still come before there is "no room". A node that was
/// killed and starts again is no reason to fail a launch; one that stays away is lost
/// (`placement.node_lost_secs`) and is hoped for no longer. This is for those that come and go.
pub const PLACE_PATIENCE_MS: i64 = 180_000;

/// How the instance's node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeCondition {
    /// Heard of, or silent for a short time.
    Present,
    /// Silent for longer than the cluster waits.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do until something is heard.
    Wait,
    /// Choose a node.
    Place,
    /// Take it away from its node, which never ran it.
    Release(StateReason),
    /// Tell its node what is wanted.
    Push,
    /// No node is needed for this phase: it is reached.
    Settle(Phase),
}

pub fn plan(row: &Row, node: NodeCondition) -> Step {
    if row.phase.is_final() {
        return Step::Wait;
    }
    match row.node {
        None => match row.desired {
            Desired::Terminated => Step::Settle(Phase::Gone),
            Desired::Stopped if row.phase == Phase::Stopped => Step::Wait,
            Desired::Stopped => Step::Settle(Phase::Stopped),
            Desired::Running => Step::Place,
        },
        Some(_) if node == NodeCondition::Lost => match row.desired {
            // Should the node return, what it still has is a stray.
            Desired::Terminated => Step::Settle(Phase::Gone),
            _ if !row.ran => Step::Release(lost_reason()),
            _ => Step::Wait,
        },
        Some(_) if row.is_answered() => Step::Wait,
        Some(_) => Step::Push,
    }
}

fn lost_reason() -> StateReason {
    StateReason::new(
        "Server.InternalError",
        "Server.InternalError: the node it was placed on does not answer",
    )
}

/// Why an instance that no node can take fails; `None`: it waits on. `hope`: a node that is not here
/// now may come. `waited_ms`: in this life of the cluster controller, for nodes had no chance to come
/// before it.
pub fn unplaceable(row: &Row, hope: bool, waited_ms: i64) -> Option<StateReason> {
    let tired = row.attempt >= ATTEMPTS_MAX || waited_ms >= PLACE_PATIENCE_MS;
    if hope && !tired {
        return None;
    }
    Some(row.reason.clone().unwrap_or_else(|| {
        StateReason::new(
            "Server.InsufficientInstanceCapacity",
            "Server.InsufficientInstanceCapacity: There was insufficient capacity available to satisfy the \
             launch request",
        )
    }))
}

/// What to do about a guest on a node that is not its instance's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrayStep {
    Wait,
    /// Nothing is left of it; the node may forget it.
    Forget,
    /// Terminate it there, by an intent that the node must hold for newer than what it has.
    Terminate {
        generation: u64,
        attempt: u32,
    },
}

/// `known`: the cluster has the instance (elsewhere) or had it and forgot it. A guest that it has never heard
/// of may be somebody's whose database was lost, this cluster's or the cloud's: it is left alone.
pub fn stray(known: bool, report: &InstanceReport) -> StrayStep {
    match report.phase {
        Phase::Gone | Phase::Failed => StrayStep::Forget,
        Phase::Terminating => StrayStep::Wait,
        _ if known => {
            StrayStep::Terminate { generation: report.generation, attempt: report.attempt.saturating_add(1) }
        }
        _ => StrayStep::Wait,
    }
}
