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

/// A user's policies, and those of a session that narrow them: what both allow is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    pub policies: &'a [Policy],
    /// None: the user's alone count.
    pub session: Option<&'a [Policy]>,
}

/// What an identity's two halves say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// By the user's policies.
    Own(Denied),
    /// By the session's.
    Session(Denied),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// A statement forbids it.
    Explicitly,
    /// No statement allows it.
    Implicitly,
}

impl Verdict {
    pub fn is_allowed(self) -> bool {
        self == Verdict::Allow
    }

    pub(super) fn is_explicit(self) -> bool {
        matches!(self, Verdict::Own(Denied::Explicitly) | Verdict::Session(Denied::Explicitly))
    }
}

impl Decision {
    fn denied(self) -> Option<Denied> {
        match self {
            Decision::Allow => None,
            Decision::ExplicitDeny => Some(Denied::Explicitly),
            Decision::ImplicitDeny => Some(Denied::Implicitly),
        }
    }
}

impl Identity<'_> {
    /// What forbids comes before what does not allow.
    pub fn decide(&self, cx: &RequestContext) -> Verdict {
        self.verdict(|policies| evaluate(policies, cx))
    }

    pub(super) fn decide_one(&self, cx: &RequestContext, resource: &str) -> Verdict {
        self.verdict(|policies| evaluate_one(policies, cx, resource))
    }

    fn verdict(&self, evaluate: impl Fn(&[Policy]) -> Decision) -> Verdict {
        let own = evaluate(self.policies).denied();
        let session = self.session.and_then(|policies| evaluate(policies).denied());
        match (own, session) {
            (None, None) => Verdict::Allow,
            (Some(Denied::Explicitly), _) => Verdict::Own(Denied::Explicitly),
            (_, Some(Denied::Explicitly)) => Verdict::Session(Denied::Explicitly),
            (Some(own), _) => Verdict::Own(own),
            (None, Some(session)) => Verdict::Session(session),
        }
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
