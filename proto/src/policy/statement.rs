//! One statement of a policy, and whether it is about a request.
//!
//! Must not: decide. That takes all statements; see `evaluate`.

use super::condition::Condition;
use super::context::RequestContext;
use super::pattern::Pattern;
use super::principal::{PrincipalName, Reach};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// A list that must contain, or with the `Not…` form must not contain, what is asked about.
#[derive(Debug, Clone)]
pub(super) struct Match<T> {
    pub any: Vec<T>,
    pub negated: bool,
}

impl<T> Match<T> {
    fn holds(&self, one: impl Fn(&T) -> bool) -> bool {
        self.any.iter().any(one) != self.negated
    }
}

#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub effect: Effect,
    pub actions: Match<Pattern>,
    pub resources: Match<Pattern>,
    /// None in identity policies, which are about whoever they are attached to.
    pub principals: Option<Match<PrincipalName>>,
    pub conditions: Vec<Condition>,
}

impl Statement {
    pub(super) fn applies(&self, cx: &RequestContext, resource: &str) -> bool {
        self.actions.holds(|p| p.matches_ignoring_case(&cx.action, cx))
            && self.resources.holds(|p| p.matches(resource, cx))
            && self.reach(cx) != Reach::Nobody
            && self.conditions.iter().all(|c| c.holds(cx))
    }

    /// How it speaks about the requester.
    pub(super) fn reach(&self, cx: &RequestContext) -> Reach {
        let Some(principals) = &self.principals else { return Reach::Themselves };
        let best = principals.any.iter().map(|one| one.reach(cx)).max().unwrap_or(Reach::Nobody);
        match (principals.negated, best) {
            (false, best) => best,
            (true, Reach::Nobody) => Reach::Themselves,
            (true, Reach::TheirAccount | Reach::Themselves) => Reach::Nobody,
        }
    }
}
