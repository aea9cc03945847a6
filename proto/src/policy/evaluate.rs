//! The decision: deny wins, silence is no.
//!
//! Must not: allow because something could not be understood; `document` has refused that before.

use std::borrow::Borrow;

use super::context::RequestContext;
use super::document::Policy;
use super::statement::{Effect, Statement};

/// What the policies say about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// A statement forbids it.
    ExplicitDeny,
    /// No statement allows it.
    ImplicitDeny,
}

impl Decision {
    pub fn is_allowed(self) -> bool {
        self == Decision::Allow
    }
}

/// Decides by all the policies together. With several resources each must be allowed, and one that
/// is denied denies the request.
pub fn evaluate<P: Borrow<Policy>>(policies: &[P], cx: &RequestContext) -> Decision {
    if cx.resources.is_empty() {
        return evaluate_one(policies, cx, "*");
    }
    let mut worst = Decision::Allow;
    for resource in &cx.resources {
        match evaluate_one(policies, cx, resource) {
            Decision::ExplicitDeny => return Decision::ExplicitDeny,
            Decision::ImplicitDeny => worst = Decision::ImplicitDeny,
            Decision::Allow => {}
        }
    }
    worst
}

pub(super) fn evaluate_one<P: Borrow<Policy>>(
    policies: &[P],
    cx: &RequestContext,
    resource: &str,
) -> Decision {
    evaluate_counting(policies, cx, resource, |_| true)
}

/// The same with only those Allows that `counts`.
pub(super) fn evaluate_counting<P: Borrow<Policy>>(
    policies: &[P],
    cx: &RequestContext,
    resource: &str,
    counts: impl Fn(&Statement) -> bool,
) -> Decision {
    let statements = policies.iter().flat_map(|p| p.borrow().statements());
    let mut decision = Decision::ImplicitDeny;
    for statement in statements.filter(|s| s.applies(cx, resource)) {
        match statement.effect {
            Effect::Deny => return Decision::ExplicitDeny,
            Effect::Allow if counts(statement) => decision = Decision::Allow,
            Effect::Allow => {}
        }
    }
    decision
}
