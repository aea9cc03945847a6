//! Whom a resource policy speaks about.
//!
//! Must not: match by wildcard inside an ARN: AWS allows `*` only as the whole.

use serde_json::Value;

use super::document::strings;
use super::fault::PolicyFault;

const KINDS: [&str; 4] = ["AWS", "CanonicalUser", "Federated", "Service"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Principal {
    Anyone,
    /// Everybody in the account.
    Account(String),
    /// An ARN, a service's name, or a canonical user id.
    Exactly(String),
}

impl Principal {
    pub(super) fn parse_list(value: &Value, at: &str) -> Result<Vec<Principal>, PolicyFault> {
        if value == "*" {
            return Ok(vec![Principal::Anyone]);
        }
        let map = value.as_object().ok_or_else(|| PolicyFault::new(at, "Invalid principal in policy"))?;
        let mut out = Vec::new();
        for (kind, names) in map {
            let at = format!("{at}.{kind}");
            if !KINDS.contains(&kind.as_str()) {
                return Err(PolicyFault::new(at, "Invalid principal in policy"));
            }
            out.extend(strings(names, &at)?.iter().map(|name| Principal::parse(name)));
        }
        if out.is_empty() { Err(PolicyFault::new(at, "Invalid principal in policy")) } else { Ok(out) }
    }

    fn parse(name: &str) -> Principal {
        let account = account_of(name).filter(|_| name.ends_with(":root")).unwrap_or(name);
        match name {
            "*" => Principal::Anyone,
            _ if account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) => {
                Principal::Account(account.to_owned())
            }
            _ => Principal::Exactly(name.to_owned()),
        }
    }

    pub(super) fn matches(&self, principal: &str) -> bool {
        match self {
            Principal::Anyone => true,
            Principal::Account(id) => account_of(principal) == Some(id),
            Principal::Exactly(name) => name == principal,
        }
    }
}

/// The account in an IAM or STS ARN.
fn account_of(arn: &str) -> Option<&str> {
    arn.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(3)).filter(|id| !id.is_empty())
}
