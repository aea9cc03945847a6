//! What nodes had that the operator has forgotten.
//!
//! A node that is forgotten may return a year later with its guests, and their addresses are others' by then.
//! So what it had stays known, as long as it takes, until the node has told that it has it no more: then a
//! tombstone crumbles as any other does.

use super::{Book, TOMBSTONES_WAITING_MAX};
use karri_proto::ids::InstanceId;

impl Book {
    pub(super) fn is_left_behind(&self, id: &InstanceId) -> bool {
        self.left_behind.values().any(|left| left.contains(id))
    }

    /// Only what is known: whose a stranger is cannot be said when the node returns either.
    pub(super) fn leave_behind(&mut self, node: &str, id: InstanceId) {
        if !self.knows(&id) {
            return;
        }
        if let Some(until) = self.tombstones.get(&id) {
            self.tombstones_by_end.remove(&(*until, id.clone()));
        }
        self.changes.left_behind.insert((node.to_owned(), id.clone()), true);
        self.left_behind.entry(node.to_owned()).or_default().insert(id);
    }

    /// The node is back and has told everything.
    pub(super) fn left_behind_review(&mut self, name: &str) {
        let Some(left) = self.left_behind.get(name) else { return };
        let strays = self.nodes.get(name).map(|node| &node.strays);
        let there = |id: &&InstanceId| strays.is_some_and(|strays| strays.contains_key(*id));
        let gone: Vec<InstanceId> = left.iter().filter(|id| !there(id)).cloned().collect();
        gone.iter().for_each(|id| self.release(name, id));
    }

    /// More than can be waited for: what the first of the nodes had is given up.
    pub(super) fn left_behind_crumble(&mut self) {
        if self.tombstones.len() <= TOMBSTONES_WAITING_MAX {
            return;
        }
        let Some((name, left)) = self.left_behind.first_key_value() else { return };
        let (name, left) = (name.clone(), left.clone());
        tracing::warn!(
            node = name,
            instances = left.len(),
            "a forgotten node's instances are known no more: should it return, they are left alone"
        );
        left.iter().for_each(|id| self.release(&name, id));
    }

    fn release(&mut self, node: &str, id: &InstanceId) {
        if let Some(left) = self.left_behind.get_mut(node) {
            left.remove(id);
            if left.is_empty() {
                self.left_behind.remove(node);
            }
        }
        self.changes.left_behind.insert((node.to_owned(), id.clone()), false);
        if let Some(until) = self.tombstones.get(id).filter(|_| !self.is_left_behind(id)) {
            self.tombstones_by_end.insert((*until, id.clone()));
        }
    }
}
