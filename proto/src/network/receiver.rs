//! Where a receiver of facts stands, and what it takes of a page. Pure: whoever keeps the facts makes them
//! durable between [`Receiver::take`] and [`Receiver::settled`].
//!
//! ```text
//!             from = where it stands                    from = where the staging stands
//!              ┌──────────┐                                  ┌──────────┐
//!              ▼          │   from none, not caught up       ▼          │ not caught up
//!   knows (epoch, at) ────┘ ──────────────────────► knows, and stages ───┘
//!         ▲   ▲                                              │    │
//!         │   └── from none, caught up: all of it            │    │
//!         └── caught up: the staged takes the place of all ──┘    │
//!         └── a page from where it knew: the staged is dropped ───┘
//! ```
//!
//! Any other page changes nothing, and its sender hears where the receiver stands. What is staged is lost in
//! a crash; the receiver then stands where it knew, and is told everything anew.

use super::{FactChange, checked};
use crate::internal::ApiError;
use crate::internal::facts::{FactsAt, FactsPage};

/// Of everything that one receiver is told. 250 groups of 60 rules each way and a hundred thousand ports are
/// far below.
pub const STAGED_CHANGES_MAX: usize = 500_000;

/// What a new epoch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epochs {
    /// Any other one: the sender's numbering begins anew with its database.
    Any,
    /// A greater one, and than that of any page seen: the sender learns where the receiver stands before it
    /// tells everything. So no page that comes late takes the place of what is newer.
    Growing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Nothing is to be done: the page does not begin where the receiver stands, or is staged.
    Nothing,
    /// To be applied in this order; then the receiver stands there.
    Changes(FactsAt, Vec<FactChange>),
    /// Applied in this order to no facts at all, these take the place of what there is.
    Everything(FactsAt, Vec<FactChange>),
}

#[derive(Debug, Clone)]
pub struct Receiver {
    epochs: Epochs,
    at: FactsAt,
    staged: Option<Staged>,
    /// The greatest epoch of any page.
    seen: u64,
}

#[derive(Debug, Clone)]
struct Staged {
    at: FactsAt,
    changes: Vec<FactChange>,
}

impl Receiver {
    /// `at` is what was made durable last; the default knows nothing.
    pub fn new(epochs: Epochs, at: FactsAt) -> Self {
        Self { epochs, at, staged: None, seen: 0 }
    }

    /// What the sender is answered.
    pub fn stands(&self) -> FactsAt {
        self.staged.as_ref().map_or(self.at, |staged| staged.at)
    }

    /// Where the facts stand that are in force.
    pub fn at(&self) -> FactsAt {
        self.at
    }

    pub fn take(&mut self, page: FactsPage) -> Result<Taken, ApiError> {
        checked::page(&page)?;
        self.seen = self.seen.max(page.epoch);
        let to = FactsAt { epoch: page.epoch, at: page.to };
        match page.from {
            None => self.begin(to, page),
            Some(from) => {
                let from = FactsAt { epoch: page.epoch, at: from };
                if self.staged.as_ref().is_some_and(|staged| staged.at == from) {
                    self.stage(to, page)
                } else if self.at == from && self.at.epoch != 0 {
                    self.staged = None;
                    Ok(Taken::Changes(to, page.changes))
                } else {
                    Ok(Taken::Nothing)
                }
            }
        }
    }

    /// What [`Receiver::take`] gave is durable.
    pub fn settled(&mut self, at: FactsAt) {
        self.at = at;
    }

    fn begin(&mut self, to: FactsAt, page: FactsPage) -> Result<Taken, ApiError> {
        let newer = page.epoch > self.at.epoch.max(self.stands().epoch);
        // Within one life of a numbering nothing goes back: a single page that would is a late one.
        let back = to.epoch == self.at.epoch && to.at < self.at.at && page.caught_up;
        let refused = match self.epochs {
            Epochs::Growing => !newer || page.epoch < self.seen,
            Epochs::Any => back,
        };
        if refused {
            return Ok(Taken::Nothing);
        }
        self.staged = Some(Staged { at: to, changes: Vec::new() });
        self.stage(to, page)
    }

    fn stage(&mut self, to: FactsAt, page: FactsPage) -> Result<Taken, ApiError> {
        let Some(mut staged) = self.staged.take() else { return Ok(Taken::Nothing) };
        if staged.changes.len() + page.changes.len() > STAGED_CHANGES_MAX {
            return Err(ApiError::full(format!("changes: more than {STAGED_CHANGES_MAX} in all")));
        }
        staged.at = to;
        staged.changes.extend(page.changes);
        if page.caught_up {
            return Ok(Taken::Everything(to, staged.changes));
        }
        self.staged = Some(staged);
        Ok(Taken::Nothing)
    }
}
