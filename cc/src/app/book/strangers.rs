//! Guests that nodes tell of and that the book does not know: neither wanted here nor buried here.
//!
//! The database was lost or set back, this one's or the cloud controller's. Whose they are cannot be known
//! here, so they are never ended from here: they are told to the cloud controller, with numbers that cover
//! nothing. What it knows it orders anew, to run or to go; the rest it leaves alone, for people to judge.

use super::Book;
use super::placing::is_living;
use karri_proto::ids::InstanceId;
use karri_proto::instance::InstanceReport;

/// Nodes that tell nonsense must not fill the memory. Those beyond are known as strays of their node.
const STRANGERS_MAX: usize = 10_000;

impl Book {
    /// Called whenever the strays of a node or what is known of `id` may have changed.
    pub(super) fn stranger_review(&mut self, id: &InstanceId) {
        let told = self.strangers.get(id).copied();
        match (told, self.is_stranger(id)) {
            (None, Some(node)) if self.strangers.len() < STRANGERS_MAX => {
                tracing::warn!(instance_id = %id, node, "a guest that nobody ordered: told, and left alone");
                let sequence = self.next_sequence();
                self.strangers.insert(id.clone(), sequence);
                self.by_sequence.insert(sequence, id.clone());
            }
            (Some(sequence), None) => {
                self.strangers.remove(id);
                // The row that the instance got meanwhile has another number.
                self.by_sequence.remove(&sequence);
            }
            _ => {}
        }
    }

    /// The node that has it.
    fn is_stranger(&self, id: &InstanceId) -> Option<String> {
        let unknown = !self.knows(id);
        let mut nodes = self.nodes.iter().filter(|_| unknown);
        let has_it = |strays: &crate::app::node::Node| {
            strays.strays.get(id).is_some_and(|stray| is_living(&stray.report))
        };
        nodes.find(|(_, node)| has_it(node)).map(|(name, _)| name.clone())
    }

    /// What the cloud controller is told of an instance in the order of changes.
    pub(super) fn told(&self, id: &InstanceId) -> Option<InstanceReport> {
        if let Some(row) = self.rows.get(id) {
            return Some(row.report());
        }
        let node = self.is_stranger(id)?;
        let stray = self.nodes.get(&node)?.strays.get(id)?;
        // Not its own numbers: they would say that what is wanted has been accepted here.
        Some(InstanceReport { generation: 0, attempt: 0, node: Some(node), ..stray.report.clone() })
    }

    pub fn strangers_count(&self) -> usize {
        self.strangers.len()
    }
}
