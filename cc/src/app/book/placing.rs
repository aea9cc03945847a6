//! Carries out the steps of [`plan`] that need nobody outside.

use super::{Book, silent_max_ms};
use crate::app::node::{Node, Stray};
use crate::app::placement::{Candidate, choose};
use crate::app::plan::{ATTEMPTS_MAX, NodeCondition, Step, plan, unplaceable};
use crate::app::row::{Row, absorb};
use karri_proto::ids::InstanceId;
use karri_proto::instance::{Desired, InstanceReport, Phase};

/// Place, settle, release: a row comes to rest in a few steps. More would be a circle.
const STEPS_MAX: u32 = 4 + 2 * ATTEMPTS_MAX;

impl Book {
    /// A cluster that lost its database finds its instances where they run: before it places one that it was
    /// told of, it looks for a node that has it.
    pub(super) fn adopt(&mut self, row: &mut Row, now_ms: i64) {
        let found = self.nodes.iter().find_map(|(name, node)| {
            let stray = node.strays.get(&row.id)?;
            let taken_away = row.tried.contains(name);
            (is_living(&stray.report) && !taken_away).then(|| (name.clone(), stray.report.clone()))
        });
        if let Some((name, report)) = found {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.strays.remove(&row.id);
            }
            settle_in(row, name, &report, now_ms);
        }
    }

    /// The other way round: a node tells of an instance that is placed nowhere. It was never taken from that
    /// node, so an earlier database had placed it there.
    pub(super) fn adopt_told(&mut self, name: &str, report: &InstanceReport, now_ms: i64) {
        let Some(row) = self.rows.get(&report.id) else { return };
        let homeless = row.node.is_none() && !row.phase.is_final();
        if homeless && is_living(report) && !row.tried.iter().any(|tried| tried == name) {
            let mut row = row.clone();
            settle_in(&mut row, name.to_owned(), report, now_ms);
            self.set(row);
            self.replan(&report.id, now_ms);
        }
    }

    /// What was launched before this life began and is new here may be running somewhere: nodes get the
    /// time to say so before it is placed.
    fn may_be_claimed(&self, row: &Row, now_ms: i64) -> bool {
        self.unclaimed.contains(&row.id) && now_ms - self.started_ms < silent_max_ms()
    }

    /// Carries out what can be decided here, and queues what a node must be told.
    pub(super) fn replan(&mut self, id: &InstanceId, now_ms: i64) {
        for _ in 0..STEPS_MAX {
            let Some(row) = self.rows.get(id) else { return };
            let node = row.node.as_deref().and_then(|name| self.nodes.get(name));
            let step = plan(row, node.map_or(NodeCondition::Lost, |node| node.condition));
            match step {
                Step::Place => {
                    if !self.place(id, now_ms) {
                        return;
                    }
                }
                Step::Release(reason) => self.take_away(id, |row| row.release(reason, now_ms)),
                Step::Settle(phase) => self.take_away(id, |row| row.settle(phase, None)),
                Step::Wait | Step::Push => return self.queue(id, step == Step::Push),
            }
        }
        tracing::error!(instance_id = %id, "an instance does not come to rest");
    }

    pub(super) fn queue(&mut self, id: &InstanceId, push: bool) {
        self.unplaced.remove(id);
        let Some(name) = self.rows.get(id).and_then(|row| row.node.clone()) else { return };
        let Some(node) = self.nodes.get_mut(&name) else { return };
        if push {
            node.push.insert(id.clone());
            self.woken.insert(name);
        } else {
            node.push.remove(id);
        }
    }

    /// `change` takes the row from a node that cannot be asked now: what it may still have is a stray.
    pub(super) fn take_away(&mut self, id: &InstanceId, change: impl FnOnce(&mut Row)) {
        let Some(mut row) = self.rows.get(id).cloned() else { return };
        let mut left = row.report();
        left.phase = Phase::Preparing;
        change(&mut row);
        let moved_from = left.node.take().filter(|name| row.node.as_ref() != Some(name));
        self.set(row);
        if let Some(node) = moved_from.as_ref().and_then(|name| self.nodes.get_mut(name)) {
            node.strays.insert(id.clone(), Stray { report: left });
        }
    }

    /// Chooses a node, or waits, or gives up. `false`: it waits.
    pub(super) fn place(&mut self, id: &InstanceId, now_ms: i64) -> bool {
        let Some(mut row) = self.rows.get(id).cloned() else { return false };
        if self.may_be_claimed(&row, now_ms) {
            self.unplaced.insert(id.clone());
            return false;
        }
        self.adopt(&mut row, now_ms);
        if row.node.is_some() {
            self.set(row);
            return true;
        }
        let ready = self.nodes.iter().filter(|(name, node)| node.is_ready() && !row.tried.contains(name));
        let reached = ready.filter(|(_, node)| self.is_reached(node, &row));
        let candidates =
            reached.map(|(name, node)| Candidate { name, total: node.record.facts.total, free: node.free() });
        let tired = row.attempt >= ATTEMPTS_MAX;
        let chosen = if tired { None } else { choose(self.settings.policy, row.need, candidates) };
        if let Some(name) = chosen.map(str::to_owned) {
            row.place(name, now_ms);
        } else if let Some(reason) =
            unplaceable(&row, self.hope(now_ms), now_ms - row.since_ms.max(self.started_ms))
        {
            if self.nodes.values().any(|node| node.is_ready() && !self.is_reached(node, &row)) {
                tracing::warn!(
                    instance_id = %id,
                    "no node for it: those without network.tunnel_address take nothing that is in a subnet of a VPC"
                );
            }
            row.settle(Phase::Failed, Some(reason));
        } else {
            self.unplaced.insert(id.clone());
            return false;
        }
        self.set(row);
        true
    }

    /// What is in a segment would be cut off on a node without a tunnel, unless there is no other host.
    fn is_reached(&self, node: &Node, row: &Row) -> bool {
        let alone = || self.nodes.len() == 1 && self.facts.tunnels().next().is_none();
        let in_segment = row.leases.iter().any(|lease| lease.segment.is_some());
        !(self.settings.tunnels && in_segment) || node.record.tunnel.is_some() || alone()
    }

    /// A node that is not ready now may become so.
    pub(super) fn hope(&self, now_ms: i64) -> bool {
        let just_started = now_ms - self.started_ms < silent_max_ms();
        let maybe = |node: &Node| !node.is_ready() && node.condition == NodeCondition::Present;
        just_started || self.nodes.is_empty() || self.nodes.values().any(maybe)
    }

    pub(super) fn replan_node(&mut self, name: &str, now_ms: i64) {
        let placed = self.nodes.get(name).map(|node| node.placed.clone()).unwrap_or_default();
        for id in placed {
            self.replan(&id, now_ms);
        }
    }
}

pub(super) fn is_living(report: &InstanceReport) -> bool {
    !report.phase.is_final() && report.phase != Phase::Terminating
}

/// `row` is on that node, which was not known.
fn settle_in(row: &mut Row, node: String, report: &InstanceReport, now_ms: i64) {
    tracing::warn!(instance_id = %row.id, node, "instance found on a node: adopted");
    row.attempt = row.attempt.max(report.attempt);
    if row.desired == Desired::Terminated {
        row.attempt += 1; // newer than what it runs by, whatever the generation
    }
    row.place(node, now_ms);
    row.ran = true; // it is there; never make a second one elsewhere
    if let Some(heard) = absorb(row, report, now_ms) {
        *row = heard;
    }
}
