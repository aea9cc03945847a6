//! The request, as policies see it.
//!
//! Must not: fill itself. Only the caller knows who, what and from where.

use std::collections::BTreeMap;

/// Who wants to do what to which resources, under which circumstances.
#[derive(Debug, Clone, Default)]
pub struct RequestContext {
    /// `arn:aws:iam::111122223333:user/bob`; empty for an anonymous request.
    pub principal: String,
    /// Of a federated user, the user who let it in; else empty.
    pub sponsor: String,
    /// The canonical id of the requester's account, which S3's policies may name; empty where nobody has one.
    pub canonical: String,
    /// `ec2:RunInstances`
    pub action: String,
    /// Every resource that the action touches; all must be allowed. Empty for an action that is
    /// about none in particular, which only a policy over `*` allows.
    pub resources: Vec<String>,
    keys: BTreeMap<String, Vec<String>>,
}

impl RequestContext {
    pub fn new(principal: impl Into<String>, action: impl Into<String>) -> Self {
        Self { principal: principal.into(), action: action.into(), ..Self::default() }
    }

    #[must_use]
    pub fn sponsor(mut self, arn: impl Into<String>) -> Self {
        self.sponsor = arn.into();
        self
    }

    #[must_use]
    pub fn canonical(mut self, id: impl Into<String>) -> Self {
        self.canonical = id.into();
        self
    }

    #[must_use]
    pub fn resource(mut self, arn: impl Into<String>) -> Self {
        self.resources.push(arn.into());
        self
    }

    /// Adds a value to a context key such as `aws:SourceIp`; names have no case.
    #[must_use]
    pub fn key(mut self, name: &str, value: impl Into<String>) -> Self {
        self.keys.entry(name.to_ascii_lowercase()).or_default().push(value.into());
        self
    }

    /// The values of a key; `None` when the request does not have it.
    pub(super) fn values(&self, name: &str) -> Option<&[String]> {
        self.keys.get(&name.to_ascii_lowercase()).map(Vec::as_slice)
    }

    /// The value for a policy variable: single-valued keys only.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        match self.values(name)? {
            [only] => Some(only),
            _ => None,
        }
    }
}
