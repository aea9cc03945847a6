//! What nodes say to the book, and what they are to be told.

use super::{Book, NODES_MAX, Refusal, TICK_GAP_MAX_MS, Task, silent_max_ms};
use crate::app::node::{Node, NodeRecord, Stray, UNKNOWN_STRAYS_MAX};
use crate::app::plan::{NodeCondition, StrayStep, stray};
use crate::app::row::{absorb, acknowledge};
use karri_proto::ids::InstanceId;
use karri_proto::instance::{Desired, InstanceReport, Phase, StateReason};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::instances::{Cursor, ReportPage};

impl Book {
    /// A heartbeat.
    pub fn hello(&mut self, record: NodeRecord, now_ms: i64) -> Result<(), Refusal> {
        let name = record.facts.name.clone();
        let count = self.nodes.len();
        if self.is_taken(&record) {
            return Err(Refusal::AddressTaken);
        }
        match self.nodes.get_mut(&name) {
            Some(node) if node.record.owner != record.owner => return Err(Refusal::NotTheOwner),
            Some(node) => {
                node.heard_at_ms = now_ms;
                if !node.alive {
                    node.alive = true;
                    self.resources_changed = true;
                    tracing::info!(node = name, "node answers again");
                }
                if node.record != record {
                    let moved = node.record.tunnel != record.tunnel;
                    node.record = record.clone();
                    self.resources_changed = true;
                    self.changes.nodes.insert(name.clone(), Some(record));
                    if moved {
                        self.tunnels_changed();
                    }
                }
            }
            None if count >= NODES_MAX => return Err(Refusal::TooManyNodes),
            None => {
                tracing::info!(node = name, url = record.url, total = ?record.facts.total, "new node");
                self.nodes.insert(name.clone(), Node::new(record.clone(), now_ms));
                self.facts.node_known(&name);
                self.changes.nodes.insert(name.clone(), Some(record));
                self.resources_changed = true;
                self.tunnels_changed();
            }
        }
        self.woken.insert(name);
        Ok(())
    }

    /// Another node that is there answers at the address; one that is silent may have left it.
    fn is_taken(&self, record: &NodeRecord) -> bool {
        let name = &record.facts.name;
        let moves = self.nodes.get(name).is_none_or(|node| node.record.url != record.url);
        moves
            && self
                .nodes
                .iter()
                .any(|(other, node)| other != name && node.alive && node.record.url == record.url)
    }

    /// A page of a node's reports. `asked` is the cursor it answers.
    pub fn node_page(&mut self, name: &str, asked: Cursor, page: ReportPage, now_ms: i64) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.cursor != asked {
            return;
        }
        node.cursor = page.next;
        if page.restarted {
            node.unheard = Some(node.placed.iter().chain(node.strays.keys()).cloned().collect());
            self.facts.node_doubted(name);
        }
        self.node_answered(name, now_ms);
        for report in page.reports {
            self.node_report(name, report, now_ms);
        }
        if page.caught_up {
            self.node_caught_up(name, now_ms);
        }
    }

    /// What a node answered to a task. `asked`: where its reports stood when the task was taken up. What an
    /// earlier life of the node said may be of what is lost since, and its full telling would not be repeated.
    pub fn node_answer(
        &mut self,
        name: &str,
        asked: Cursor,
        task: &Task,
        answer: Result<Option<InstanceReport>, ApiErrorKind>,
        now_ms: i64,
    ) {
        if !matches!(answer, Err(ApiErrorKind::Unreachable)) {
            self.node_answered(name, now_ms);
        }
        if self.nodes.get(name).is_some_and(|node| node.cursor.epoch != asked.epoch) {
            return;
        }
        match (task, answer) {
            (Task::Forget { id }, Ok(_)) => {
                if let Some(node) = self.nodes.get_mut(name) {
                    node.strays.remove(id);
                }
                self.stranger_review(id);
            }
            (Task::Push { id, .. }, Ok(Some(report))) if !report.phase.is_final() => {
                // Only that it was accepted: pages tell the phases, and this answer may have been
                // overtaken by one. A final phase cannot be overtaken.
                self.node_accepted(name, id, &report, now_ms);
            }
            (Task::Terminate { id, generation, attempt }, Ok(Some(mut report))) => {
                if !report.phase.is_final() {
                    report.phase = Phase::Terminating;
                }
                let told = self.nodes.get(name).and_then(|node| node.strays.get(id));
                if told.is_some_and(|stray| !stray.report.covers(*generation, *attempt)) {
                    self.node_report(name, report, now_ms);
                }
            }
            (_, Ok(Some(report))) => self.node_report(name, report, now_ms),
            (_, Ok(None)) => {}
            (task, Err(kind)) => self.node_refused(name, task, kind, now_ms),
        }
    }

    /// Its reports could not be had.
    pub fn node_unreachable(&mut self, name: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.synced = false;
        }
    }

    /// What to tell a node now, at most `limit`. The same tasks again until they are answered.
    pub fn tasks(&self, name: &str, limit: usize) -> Vec<Task> {
        let Some(node) = self.nodes.get(name).filter(|node| node.is_ready()) else { return Vec::new() };
        let pushes = node.push.iter().filter_map(|id| self.rows.get(id)).map(|row| Task::Push {
            id: row.id.clone(),
            generation: row.generation,
            attempt: row.attempt,
        });
        let strays = node.strays.iter().filter_map(|(id, seen)| {
            let id = id.clone();
            match stray(self.knows(&id), &seen.report) {
                StrayStep::Wait => None,
                StrayStep::Forget => Some(Task::Forget { id }),
                StrayStep::Terminate { generation, attempt } => {
                    Some(Task::Terminate { id, generation, attempt })
                }
            }
        });
        pushes.chain(strays).take(limit).collect()
    }

    pub(super) fn node_answered(&mut self, name: &str, now_ms: i64) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.answered_at_ms = now_ms;
        if node.condition == NodeCondition::Lost {
            node.condition = NodeCondition::Present;
            tracing::info!(node = name, "lost node is back");
            self.replan_node(name, now_ms);
        }
    }

    pub(super) fn node_report(&mut self, name: &str, report: InstanceReport, now_ms: i64) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let id = report.id.clone();
        if let Some(unheard) = &mut node.unheard {
            unheard.remove(&id);
        }
        self.adopt_told(name, &report, now_ms);
        let own = self.rows.get(&id).filter(|row| row.node.as_deref() == Some(name));
        if let Some(changed) = own.and_then(|row| absorb(row, &report, now_ms)) {
            self.set(changed);
            self.replan(&id, now_ms);
        }
        let own = self.rows.get(&id).is_some_and(|row| row.node.as_deref() == Some(name));
        let known = self.knows(&id);
        let Some(node) = self.nodes.get_mut(name) else { return };
        if own {
            node.strays.remove(&id);
        } else if !known && node.strays.len() >= UNKNOWN_STRAYS_MAX && !node.strays.contains_key(&id) {
            if !std::mem::replace(&mut node.overflows, true) {
                let strays = node.strays.len();
                tracing::warn!(node = name, strays, "node tells of more unknown guests than are listened to");
            }
            return;
        } else {
            node.strays.insert(id.clone(), Stray { report });
            self.woken.insert(name.to_owned());
        }
        self.stranger_review(&id);
    }

    fn node_accepted(&mut self, name: &str, id: &InstanceId, report: &InstanceReport, now_ms: i64) {
        let own = self.rows.get(id).filter(|row| row.node.as_deref() == Some(name));
        if let Some(changed) = own.and_then(|row| acknowledge(row, report)) {
            self.set(changed);
            self.replan(id, now_ms);
        }
    }

    /// What was not heard of in a full telling is not there: pushed again.
    pub(super) fn node_caught_up(&mut self, name: &str, now_ms: i64) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let mut gone = Vec::new();
        for id in node.unheard.take().unwrap_or_default() {
            node.strays.remove(&id);
            if let Some(row) = self.rows.get_mut(&id).filter(|row| row.node.as_deref() == Some(name)) {
                row.seen = None;
                node.push.insert(id.clone());
            }
            gone.push(id);
        }
        gone.iter().for_each(|id| self.stranger_review(id));
        self.left_behind_review(name);
        let Some(node) = self.nodes.get_mut(name) else { return };
        if !node.synced {
            node.synced = true;
            self.woken.insert(name.to_owned());
            for id in self.unplaced.clone() {
                self.replan(&id, now_ms);
            }
        }
        self.woken.insert(name.to_owned());
    }

    /// A node that has no room, cannot use the intent, or has buried the instance does not have it.
    pub(super) fn node_refused(&mut self, name: &str, task: &Task, kind: ApiErrorKind, now_ms: i64) {
        let buried = kind == ApiErrorKind::Conflict;
        if !buried && !matches!(kind, ApiErrorKind::Full | ApiErrorKind::Invalid) {
            return;
        }
        let Task::Push { id, generation, attempt } = task else {
            tracing::warn!(instance_id = %task.id(), node = name, ?kind, "node refuses to clear a stray");
            if let Some(node) = self.nodes.get_mut(name) {
                node.strays.remove(task.id());
            }
            self.stranger_review(task.id());
            return;
        };
        let Some(row) = self.rows.get(id) else { return };
        if (row.generation, row.attempt) != (*generation, *attempt) || (row.ran && !buried) {
            return;
        }
        let reason = StateReason::new(
            "Server.InsufficientInstanceCapacity",
            format!("Server.InsufficientInstanceCapacity: the node refused the instance ({kind:?})"),
        );
        let mut report = row.report();
        report.phase = if row.desired == Desired::Terminated { Phase::Gone } else { Phase::Failed };
        report.reason = (row.desired != Desired::Terminated).then_some(reason);
        self.node_report(name, report, now_ms);
    }

    /// A process that stood still has heard nobody: that is not the nodes' silence.
    pub(super) fn own_absence(&mut self, now_ms: i64) {
        let gap_ms = now_ms - std::mem::replace(&mut self.ticked_ms, now_ms);
        if gap_ms <= TICK_GAP_MAX_MS {
            return;
        }
        tracing::warn!(gap_ms, "this process stood still");
        for node in self.nodes.values_mut() {
            node.heard_at_ms = (node.heard_at_ms + gap_ms).min(now_ms);
            node.answered_at_ms = (node.answered_at_ms + gap_ms).min(now_ms);
        }
    }

    /// `true`: the node has just been lost.
    pub(super) fn node_tick(&mut self, name: &str, now_ms: i64) -> bool {
        let Some(node) = self.nodes.get_mut(name) else { return false };
        if node.alive && now_ms - node.heard_at_ms >= silent_max_ms() {
            node.alive = false;
            self.resources_changed = true;
            tracing::warn!(node = name, "node is silent: nothing new is placed there");
        }
        let lost = now_ms - node.answered_at_ms >= self.settings.node_lost_ms;
        if lost && node.condition == NodeCondition::Present {
            node.condition = NodeCondition::Lost;
            tracing::warn!(node = name, instances = node.placed.len(), "node is lost");
            return true;
        }
        if !node.strays.is_empty() && node.is_ready() {
            self.woken.insert(name.to_owned());
        }
        false
    }
}
