//! The book and the facts about networks: which port is where, and when a node may be told.

use super::Book;
use crate::app::facts::{Counts, Haste, Page};
use crate::app::row::Row;
use karri_proto::internal::ApiError;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::facts::{FactsAt, FactsPage};
use std::collections::BTreeSet;
use std::sync::Arc;

/// After a database was lost it takes as long, at most, until the cloud controller has said whose the guests
/// are that nodes tell of.
const STRANGERS_SETTLE_MS: i64 = 60_000;

impl Book {
    pub fn facts_put(&mut self, page: FactsPage) -> Result<FactsAt, ApiError> {
        let known = self.facts.at().epoch;
        let stands = self.facts.put(page)?;
        self.routers_reshaped();
        if self.facts.take_rehosted() {
            self.tunnels_changed();
        }
        if known == 0 && self.facts.at().epoch != 0 {
            let names: Vec<String> = self.nodes.keys().cloned().collect();
            names.iter().for_each(|name| self.facts.node_known(name));
        }
        Ok(stands)
    }

    /// How soon a node is to be told about networks. `None`: not now.
    pub fn facts_due(&mut self, name: &str, now_ms: i64) -> Option<Haste> {
        if self.facts.at().epoch == 0 {
            return None; // the first word of the cloud controller wakes everybody
        }
        let due = self.facts.due(name)?;
        if self.may_be_told(name, now_ms) {
            return Some(due);
        }
        self.facts_held.insert(name.to_owned());
        None
    }

    /// A controller that does not know yet whose its nodes' guests are would tell them that nothing may pass.
    /// They go on by what they were told before.
    fn may_be_told(&self, name: &str, now_ms: i64) -> bool {
        let Some(node) = self.nodes.get(name).filter(|node| node.is_ready()) else { return false };
        let settled = now_ms - self.started_ms >= STRANGERS_SETTLE_MS;
        let stranger = || node.strays.keys().any(|id| !self.knows(id));
        settled || !stranger()
    }

    pub fn facts_page(&mut self, name: &str, now_ms: i64) -> Option<Arc<Page>> {
        self.facts_due(name, now_ms)?;
        self.facts.page(name, now_ms)
    }

    /// What a node answered to the page that leads `to`.
    pub fn facts_answered(
        &mut self,
        name: &str,
        to: FactsAt,
        answer: Result<FactsAt, ApiErrorKind>,
        now_ms: i64,
    ) {
        if !matches!(answer, Err(ApiErrorKind::Unreachable)) {
            self.node_answered(name, now_ms);
        }
        match answer {
            Ok(stands) => self.facts.answered(name, to, stands, now_ms),
            Err(ApiErrorKind::Invalid | ApiErrorKind::Full) => self.facts.refused(name, now_ms),
            Err(_) => {} // what became of it is asked by sending it again
        }
    }

    /// Nodes that are to be told something, or sooner than before.
    pub fn take_facts_woken(&mut self) -> BTreeSet<String> {
        self.facts.take_woken()
    }

    pub fn facts_at(&self) -> FactsAt {
        self.facts.at()
    }

    pub fn facts_counts(&self) -> Counts {
        self.facts.counts()
    }

    pub(super) fn facts_tick(&mut self) {
        for name in std::mem::take(&mut self.facts_held) {
            if self.nodes.contains_key(&name) {
                self.facts.node_waits(&name);
            }
        }
    }

    pub(super) fn ports_moved(&mut self, old: Option<&Row>, new: &Row) {
        let before = old.and_then(|old| Some((old.node.as_deref()?, &old.ports)));
        let after = new.node.as_deref().map(|node| (node, &new.ports));
        if before == after {
            return;
        }
        if let Some((node, ports)) = before {
            ports.iter().for_each(|port| self.facts.port_removed(port, node));
        }
        if let Some((node, ports)) = after {
            ports.iter().for_each(|port| self.facts.port_placed(port, node));
        }
    }
}
