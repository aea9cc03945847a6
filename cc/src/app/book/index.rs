//! Every index of the book is kept here, and every number and every change is given out here.

use super::Book;
use crate::app::row::Row;
use karri_proto::ids::InstanceId;
use karri_proto::resources::Need;

impl Book {
    pub(super) fn knows(&self, id: &InstanceId) -> bool {
        self.rows.contains_key(id) || self.tombstones.contains_key(id)
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.changes.sequence = Some(self.sequence);
        self.sequence
    }

    pub(super) fn index(&mut self, row: &Row) {
        self.by_sequence.insert(row.sequence, row.id.clone());
        if let Some(node) = row.node.as_deref().and_then(|name| self.nodes.get_mut(name)) {
            node.placed.insert(row.id.clone());
        }
        if let Some((name, need)) = row.held() {
            self.change_used(name, |used| used + need);
        }
    }

    pub(super) fn unindex(&mut self, row: &Row) {
        self.by_sequence.remove(&row.sequence);
        if let Some(node) = row.node.as_deref().and_then(|name| self.nodes.get_mut(name)) {
            node.placed.remove(&row.id);
            node.push.remove(&row.id);
        }
        if let Some((name, need)) = row.held() {
            self.change_used(name, |used| used - need);
        }
    }

    pub(super) fn change_used(&mut self, name: &str, change: impl FnOnce(Need) -> Need) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.used = change(node.used);
            self.resources_changed = true;
        }
    }

    /// Puts a row in its place in every index. A durable change gets a number and is told.
    pub(super) fn set(&mut self, mut row: Row) {
        let old = self.rows.get(&row.id).cloned();
        if let Some(old) = &old {
            if row.is_durably(old) {
                row.sequence = old.sequence;
                self.rows.insert(row.id.clone(), row);
                return;
            }
            self.unindex(old);
        }
        if old.as_ref().is_none_or(|old| old.leases != row.leases || old.hostname != row.hostname)
            || row.phase.is_final()
        {
            self.leases_version += 1;
        }
        self.ports_moved(old.as_ref(), &row);
        self.routers_moved(old.as_ref(), &row);
        log_change(old.as_ref(), &row);
        row.sequence = self.next_sequence();
        self.index(&row);
        self.changes.rows.insert(row.id.clone(), Some(row.clone()));
        self.rows.insert(row.id.clone(), row);
    }
}

/// One line per step of an instance's life.
fn log_change(old: Option<&Row>, new: &Row) {
    let moved = old.and_then(|old| old.node.as_ref()) != new.node.as_ref();
    if moved && let Some(node) = &new.node {
        tracing::info!(
            instance_id = %new.id, request_id = new.request_id, node, attempt = new.attempt, "instance placed"
        );
    }
    if old.is_none_or(|old| old.phase != new.phase || old.attempt != new.attempt) {
        let node = new.node.as_deref().or_else(|| old.and_then(|old| old.node.as_deref()));
        let reason = new.reason.as_ref().map(|reason| reason.message.as_str());
        tracing::info!(
            instance_id = %new.id, request_id = new.request_id, node, phase = ?new.phase, reason,
            attempt = new.attempt, "instance changed"
        );
    }
}
