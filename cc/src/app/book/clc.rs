//! What the cloud controller asks of the book.

use super::{Book, Refusal};
use crate::app::node::Node;
use crate::app::row::accept;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{Desired, InstanceIntent, InstanceReport, Phase, TOMBSTONE_KEEP_SECS};
use karri_proto::internal::instances::{Cursor, ReportPage};
use karri_proto::resources::ClusterResources;

impl Book {
    pub fn put(&mut self, intent: InstanceIntent, now_ms: i64) -> Result<InstanceReport, Refusal> {
        let id = intent.id.clone();
        let known = self.rows.get(&id);
        if known.is_none() && self.tombstones.contains_key(&id) {
            return buried(&intent).ok_or(Refusal::Forgotten);
        }
        if let Some(mut row) = accept(known, &intent, now_ms) {
            if known.is_none() {
                self.adopt(&mut row, now_ms);
                if intent.spec.launched_at_unix_ms < self.started_ms {
                    self.unclaimed.insert(id.clone());
                }
            }
            tracing::info!(
                instance_id = %id, request_id = row.request_id, generation = row.generation,
                desired = ?row.desired, "instance wanted"
            );
            self.changes.intents.insert(id.clone(), intent);
            self.set(row);
            self.stranger_review(&id);
            self.replan(&id, now_ms);
        }
        Ok(self.rows[&id].report())
    }

    pub fn forget(&mut self, id: &InstanceId, now_ms: i64) -> Result<(), Refusal> {
        let Some(row) = self.rows.get(id) else { return Ok(()) };
        if !row.phase.is_final() {
            return Err(Refusal::NotFinal);
        }
        let row = self.rows.remove(id).expect("just seen");
        self.unindex(&row);
        self.unplaced.remove(id);
        let until = now_ms + TOMBSTONE_KEEP_SECS * 1000;
        self.tombstones.insert(id.clone(), until);
        if !self.is_left_behind(id) {
            self.tombstones_by_end.insert((until, id.clone()));
        }
        self.changes.tombstones.insert(id.clone(), Some(until));
        self.changes.intents.remove(id);
        self.changes.rows.insert(id.clone(), None);
        tracing::info!(instance_id = %id, request_id = row.request_id, "instance forgotten");
        Ok(())
    }

    /// The changes after `after`, at most `limit`.
    pub fn page(&self, after: Cursor, limit: usize) -> ReportPage {
        let restarted = after.epoch != self.epoch;
        let from = if restarted { 0 } else { after.sequence };
        let mut newer = self.by_sequence.range(from.saturating_add(1)..);
        let taken: Vec<(&u64, &InstanceId)> = newer.by_ref().take(limit).collect();
        let caught_up = newer.next().is_none();
        let sequence =
            if caught_up { self.sequence.max(from) } else { taken.last().map_or(from, |(s, _)| **s) };
        let told = restarted || self.resources_sequence > from;
        ReportPage {
            next: Cursor { epoch: self.epoch, sequence },
            restarted,
            caught_up,
            reports: taken.into_iter().filter_map(|(_, id)| self.told(id)).collect(),
            resources: (caught_up && told).then(|| self.resources()),
        }
    }

    pub fn resources(&self) -> ClusterResources {
        ClusterResources { nodes: self.nodes.values().map(Node::resources).collect() }
    }
}

/// Terminating what is terminated and forgotten is done already.
fn buried(intent: &InstanceIntent) -> Option<InstanceReport> {
    (intent.desired == Desired::Terminated).then(|| InstanceReport {
        id: intent.id.clone(),
        generation: intent.generation,
        attempt: intent.attempt,
        phase: Phase::Gone,
        node: None,
        reason: None,
        reboots: intent.reboots,
        capture: None,
        addresses: Vec::new(),
    })
}
