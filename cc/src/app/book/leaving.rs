//! A node that is gone for good, by the word of the operator.

use super::Book;
use crate::app::plan::NodeCondition;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{Desired, Phase, StateReason};

/// How many instances a refusal names.
const NAMED_MAX: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotForgotten {
    #[error("the cluster has no node \"{0}\"")]
    Unknown(String),
    /// It would be back with its next heartbeat.
    #[error("node {0} still answers: stop its controller first")]
    Alive(String),
    #[error("node {node} still has {count} instances ({named}); forced, they are lost")]
    Occupied { node: String, count: usize, named: String },
}

impl Book {
    /// What is placed there keeps it known, unless it is taken for lost: what ran there has failed, what
    /// never ran is placed elsewhere. Should the node ever return, what it still has is a stray, and goes.
    pub fn node_forget(&mut self, name: &str, force: bool, now_ms: i64) -> Result<(), NotForgotten> {
        let Some(node) = self.nodes.get_mut(name) else { return Err(NotForgotten::Unknown(name.to_owned())) };
        if node.alive {
            return Err(NotForgotten::Alive(name.to_owned()));
        }
        let placed: Vec<InstanceId> = node.placed.iter().cloned().collect();
        if !placed.is_empty() && !force {
            let first: Vec<&str> = placed.iter().take(NAMED_MAX).map(InstanceId::as_str).collect();
            let more = if placed.len() > NAMED_MAX { ", …" } else { "" };
            return Err(NotForgotten::Occupied {
                node: name.to_owned(),
                count: placed.len(),
                named: format!("{}{more}", first.join(", ")),
            });
        }
        node.condition = NodeCondition::Lost;
        for id in &placed {
            self.lose(id, now_ms);
        }
        let strays = self.nodes.remove(name).map(|node| node.strays).unwrap_or_default();
        self.tunnels_changed();
        for id in placed.into_iter().chain(strays.keys().cloned()) {
            self.leave_behind(name, id);
        }
        strays.keys().for_each(|id| self.stranger_review(id));
        self.facts.node_forgotten(name);
        self.changes.nodes.insert(name.to_owned(), None);
        self.resources_changed = true;
        Ok(())
    }

    fn lose(&mut self, id: &InstanceId, now_ms: i64) {
        let ran = self.rows.get(id).is_some_and(|row| row.ran && row.desired != Desired::Terminated);
        if ran {
            let reason = StateReason::new(
                "Server.InternalError",
                "Server.InternalError: the node that ran the instance was removed",
            );
            self.take_away(id, |row| row.settle(Phase::Failed, Some(reason)));
        } else {
            self.replan(id, now_ms);
        }
    }
}
