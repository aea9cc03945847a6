//! Whom a resource policy speaks about.
//!
//! Must not: match by wildcard inside an ARN: AWS allows `*` only as the whole.

use serde_json::Value;

use super::context::RequestContext;
use super::document::strings;
use super::fault::PolicyFault;

/// One name in a policy's `Principal` or `NotPrincipal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrincipalName {
    Anyone,
    /// The account, which may let its users.
    Account(String),
    /// A user, a role or a session.
    Arn(String),
    /// An account by its canonical id, as S3 knows it.
    Canonical(String),
    Service(String),
    Federated(String),
}

/// How a policy speaks about a requester.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    Nobody,
    /// Their account is named, or who let them in: what they may is for their own policies to say.
    TheirAccount,
    Themselves,
}

impl PrincipalName {
    pub(super) fn parse_list(value: &Value, at: &str) -> Result<Vec<PrincipalName>, PolicyFault> {
        if value == "*" {
            return Ok(vec![PrincipalName::Anyone]);
        }
        let invalid = |at: &str| PolicyFault::new(at, "Invalid principal in policy");
        let map = value.as_object().ok_or_else(|| invalid(at))?;
        let mut out = Vec::new();
        for (kind, names) in map {
            let at = format!("{at}.{kind}");
            for name in strings(names, &at)? {
                out.push(PrincipalName::parse(kind, name).ok_or_else(|| invalid(&at))?);
            }
        }
        if out.is_empty() { Err(invalid(at)) } else { Ok(out) }
    }

    fn parse(kind: &str, name: String) -> Option<PrincipalName> {
        Some(match kind {
            "AWS" | "CanonicalUser" | "Federated" | "Service" if name == "*" => PrincipalName::Anyone,
            "AWS" => match account_of(&name).filter(|_| name.ends_with(":root")).unwrap_or(&name) {
                account if is_account_id(account) => PrincipalName::Account(account.to_owned()),
                _ => PrincipalName::Arn(name),
            },
            "CanonicalUser" => PrincipalName::Canonical(name),
            "Federated" => PrincipalName::Federated(name),
            "Service" => PrincipalName::Service(name),
            _ => return None,
        })
    }

    /// The account that it is of, where it says so by number.
    pub fn account(&self) -> Option<&str> {
        match self {
            PrincipalName::Account(id) => Some(id),
            PrincipalName::Arn(arn) => account_of(arn),
            PrincipalName::Anyone
            | PrincipalName::Canonical(_)
            | PrincipalName::Service(_)
            | PrincipalName::Federated(_) => None,
        }
    }

    pub(super) fn reach(&self, cx: &RequestContext) -> Reach {
        let (matches, how) = match self {
            PrincipalName::Anyone => (true, Reach::Themselves),
            PrincipalName::Account(id) => (account_of(&cx.principal) == Some(id), Reach::TheirAccount),
            PrincipalName::Canonical(id) => (cx.canonical == *id && !id.is_empty(), Reach::TheirAccount),
            // What the sponsor is given, a federated user has as far as its own policies let it.
            PrincipalName::Arn(name) if cx.sponsor == *name && !name.is_empty() => {
                (true, Reach::TheirAccount)
            }
            PrincipalName::Arn(name) | PrincipalName::Service(name) | PrincipalName::Federated(name) => {
                (cx.principal == *name, Reach::Themselves)
            }
        };
        if matches { how } else { Reach::Nobody }
    }
}

pub(super) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// The account in an IAM or STS ARN.
fn account_of(arn: &str) -> Option<&str> {
    arn.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(3)).filter(|id| !id.is_empty())
}
