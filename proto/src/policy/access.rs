//! Access to a resource that has a policy of its own and belongs to an account: the requester's policies and the
//! resource's together, as AWS combines them across accounts.
//!
//! ```text
//!   an explicit deny anywhere              refused; a session's policies count as the requester's, narrowing them
//!   the resource's own account             the requester's policies or the resource's allow
//!   another account                        both must: the requester's policies, and the resource's policy or ACL
//!   nobody in particular, a service        the resource's policy or ACL
//! ```
//!
//! Must not: know what an ACL says. Whether one grants what the action needs is the caller's to find out.

use super::context::RequestContext;
use super::document::Policy;
use super::evaluate::{Decision, Denied, Identity, Verdict, evaluate_counting};
use super::principal::Reach;

/// What an account's root may always do with a bucket of its account, whatever the bucket's policy denies: else
/// a wrong policy could never be repaired.
const RESCUES: [&str; 3] = ["s3:PutBucketPolicy", "s3:GetBucketPolicy", "s3:DeleteBucketPolicy"];

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Requester<'a> {
    Anonymous,
    /// A user of an account.
    User {
        account: &'a str,
        identity: Identity<'a>,
        /// Of the cloud: every account's resources are like the own account's.
        administrator: bool,
        /// May do everything in its account.
        root: bool,
    },
    /// A part of the cloud, named by the context's principal.
    Service,
}

/// Whose the resource is, and what it says itself.
#[derive(Debug, Clone, Copy)]
pub struct ResourceSide<'a> {
    pub owner: &'a str,
    pub policy: Option<&'a Policy>,
    /// Whose the policy is. What belongs to somebody else it can only deny: an object that another account has
    /// written into a bucket and kept.
    pub policy_owner: &'a str,
    /// An access control list gives this requester what the action needs.
    pub acl_grants: bool,
    /// The policy is public and gives nothing to other accounts, as RestrictPublicBuckets wants it.
    pub restricted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Granted,
    Refused(Why),
}

/// Why access is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    IdentityDenies,
    SessionDenies,
    ResourceDenies,
    NoIdentityAllows,
    NoSessionAllows,
    NoResourceAllows,
}

impl Access {
    pub fn is_granted(self) -> bool {
        self == Access::Granted
    }
}

impl Why {
    fn of(own: Verdict) -> Self {
        match own {
            Verdict::Own(Denied::Explicitly) => Why::IdentityDenies,
            Verdict::Session(Denied::Explicitly) => Why::SessionDenies,
            Verdict::Session(Denied::Implicitly) => Why::NoSessionAllows,
            Verdict::Own(Denied::Implicitly) | Verdict::Allow => Why::NoIdentityAllows,
        }
    }

    /// As AWS words it.
    pub fn sentence(self, cx: &RequestContext) -> String {
        if cx.principal.is_empty() {
            return "Access Denied".to_owned();
        }
        let action = &cx.action;
        let because = match self {
            Why::IdentityDenies => "with an explicit deny in an identity-based policy".to_owned(),
            Why::SessionDenies => "with an explicit deny in a session policy".to_owned(),
            Why::ResourceDenies => "with an explicit deny in a resource-based policy".to_owned(),
            Why::NoIdentityAllows => format!("because no identity-based policy allows the {action} action"),
            Why::NoSessionAllows => format!("because no session policy allows the {action} action"),
            Why::NoResourceAllows => format!("because no resource-based policy allows the {action} action"),
        };
        let on = cx.resources.first().map(|arn| format!("on resource: \"{arn}\" ")).unwrap_or_default();
        format!("User: {} is not authorized to perform: {action} {on}{because}", cx.principal)
    }
}

/// Decides about all resources of the request: each must be granted.
pub fn decide(requester: &Requester<'_>, side: &ResourceSide<'_>, cx: &RequestContext) -> Access {
    if cx.resources.is_empty() {
        return decide_one(requester, side, cx, "*");
    }
    let decided = cx.resources.iter().map(|resource| decide_one(requester, side, cx, resource));
    decided.into_iter().find(|access| !access.is_granted()).unwrap_or(Access::Granted)
}

fn decide_one(
    requester: &Requester<'_>,
    side: &ResourceSide<'_>,
    cx: &RequestContext,
    resource: &str,
) -> Access {
    let own = match requester {
        Requester::User { identity, .. } => identity.decide_one(cx, resource),
        Requester::Anonymous | Requester::Service => Verdict::Own(Denied::Implicitly),
    };
    if own.is_explicit() {
        return Access::Refused(Why::of(own));
    }
    let at_home = requester.is_at_home(side.owner);
    let policy = side.policy.map_or(Decision::ImplicitDeny, |policy| {
        // An account cannot let itself; that it is named means only that its users' policies count.
        evaluate_counting(&[policy], cx, resource, |one| !at_home || one.reach(cx) == Reach::Themselves)
    });
    if policy == Decision::ExplicitDeny && !requester.rescues(side.policy_owner, cx) {
        return Access::Refused(Why::ResourceDenies);
    }
    let by_policy = policy.is_allowed()
        && side.policy_owner == side.owner
        && (at_home || !side.restricted || matches!(requester, Requester::Service));
    let by_resource = by_policy || side.acl_grants;
    match requester {
        Requester::User { .. } if at_home && (own.is_allowed() || by_policy) => Access::Granted,
        Requester::User { .. } if !own.is_allowed() => Access::Refused(Why::of(own)),
        _ if by_resource => Access::Granted,
        _ => Access::Refused(Why::NoResourceAllows),
    }
}

impl Requester<'_> {
    fn is_at_home(&self, owner: &str) -> bool {
        match self {
            Requester::User { account, administrator, .. } => *administrator || *account == owner,
            Requester::Anonymous | Requester::Service => false,
        }
    }

    fn rescues(&self, owner: &str, cx: &RequestContext) -> bool {
        let is_root = matches!(self, Requester::User { root: true, .. });
        is_root && self.is_at_home(owner) && RESCUES.iter().any(|name| name.eq_ignore_ascii_case(&cx.action))
    }
}
