//! Bucket policies as S3 takes them: a resource policy that speaks of this one bucket and of S3's actions, told
//! in S3's words what is wrong.
//!
//! Must not: know which accounts exist. The caller looks up [`Policy::principals`] and refuses what it does not
//! find with [`BucketPolicyFault::principal`].

mod actions;
mod conditions;
mod public;

use super::document::{Kind, Policy, read_json, strings};
use super::fault::PolicyFault;
use super::pattern::{Pattern, Reading};
use super::principal::is_account_id;
use actions::{Level, levels};
pub use public::is_public;
use serde_json::{Map, Value};

const STATEMENT_FIELDS: [&str; 9] = [
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Principal",
    "NotPrincipal",
    "Condition",
];
const CANONICAL_ID_CHARS: usize = 64;

/// Why a bucket policy is refused: S3's sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BucketPolicyFault(String);

impl BucketPolicyFault {
    fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// It names somebody who is not there.
    pub fn principal() -> Self {
        Self::new("Invalid principal in policy")
    }

    /// HTTP status, error code and message.
    pub fn s3(&self) -> (u16, &'static str, String) {
        (400, "MalformedPolicy", self.0.clone())
    }
}

impl From<PolicyFault> for BucketPolicyFault {
    fn from(fault: PolicyFault) -> Self {
        match fault {
            PolicyFault::Malformed { text, .. } => Self(text),
            PolicyFault::TooLong { max } => {
                Self(format!("Policy document size exceeds the allowed limit of {max} bytes"))
            }
        }
    }
}

/// Reads a policy that somebody wants to attach to `bucket`.
///
/// # Errors
/// It is no policy, or says something that no bucket policy of this bucket can mean.
pub fn bucket_policy(text: &str, bucket: &str) -> Result<Policy, BucketPolicyFault> {
    let not_json = || BucketPolicyFault::new("Policies must be valid JSON and the first byte must be '{'");
    if !text.starts_with('{') {
        return Err(not_json());
    }
    let document = match read_json(text) {
        Ok(Value::Object(map)) => map,
        // A field that is there twice is told as what it is.
        Err(PolicyFault::Malformed { text, .. }) if text.contains("twice") => {
            return Err(BucketPolicyFault(text));
        }
        Ok(_) | Err(_) => return Err(not_json()),
    };
    known_fields(&document, &["Version", "Id", "Statement"])?;
    let variables = match document.get("Version").map(Value::as_str) {
        None | Some(Some("2008-10-17")) => false,
        Some(Some("2012-10-17")) => true,
        Some(_) => return Err(BucketPolicyFault::new("The policy must contain a valid version string")),
    };
    let statements = match document.get("Statement") {
        Some(Value::Array(list)) if !list.is_empty() => list.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        Some(Value::Array(_)) => {
            return Err(BucketPolicyFault::new("Could not parse the policy: Statement is empty!"));
        }
        None => return Err(BucketPolicyFault::new("Missing required field Statement")),
        Some(_) => return Err(BucketPolicyFault::new("Invalid policy syntax.")),
    };
    for one in statements {
        let one = one.as_object().ok_or_else(|| BucketPolicyFault::new("Invalid policy syntax."))?;
        statement(one, bucket, variables)?;
    }
    Ok(Policy::parse(text, Kind::Resource)?)
}

fn known_fields(map: &Map<String, Value>, known: &[&str]) -> Result<(), BucketPolicyFault> {
    let unknown = map.keys().find(|key| !known.contains(&key.as_str()));
    unknown.map_or(Ok(()), |key| Err(BucketPolicyFault::new(format!("Unknown field {key}"))))
}

fn statement(map: &Map<String, Value>, bucket: &str, variables: bool) -> Result<(), BucketPolicyFault> {
    known_fields(map, &STATEMENT_FIELDS)?;
    let missing = |field: &str| BucketPolicyFault::new(format!("Missing required field {field}"));
    let effect = map.get("Effect").ok_or_else(|| missing("Effect"))?;
    if effect != "Allow" && effect != "Deny" {
        let said = effect.as_str().map_or_else(|| effect.to_string(), str::to_owned);
        return Err(BucketPolicyFault::new(format!("Invalid effect: {said}")));
    }
    let either = |field: &str| map.get(field).or_else(|| map.get(&format!("Not{field}")));
    let principal = either("Principal").ok_or_else(|| missing("Principal"))?;
    let action = either("Action").ok_or_else(|| missing("Action"))?;
    let resource = either("Resource").ok_or_else(|| missing("Resource"))?;
    principals(principal)?;
    if effect == "Allow" && map.contains_key("NotPrincipal") {
        return Err(BucketPolicyFault::new("Allow with NotPrincipal is not allowed."));
    }
    let asked = asked(action)?;
    let about = about(resource, bucket, variables)?;
    // What is left out says nothing about what is meant.
    let positive = map.contains_key("Action") && map.contains_key("Resource");
    if positive && asked.iter().any(|levels| !levels.iter().any(|level| about.contains(level))) {
        return Err(BucketPolicyFault::new("Action does not apply to any resource(s) in statement"));
    }
    map.get("Condition").map_or(Ok(()), condition_keys)
}

fn principals(value: &Value) -> Result<(), BucketPolicyFault> {
    if value == "*" {
        return Ok(());
    }
    let kinds =
        value.as_object().filter(|kinds| !kinds.is_empty()).ok_or_else(BucketPolicyFault::principal)?;
    for (kind, names) in kinds {
        let names = strings(names, "").map_err(|_| BucketPolicyFault::principal())?;
        if names.is_empty() || !names.iter().all(|name| is_principal(kind, name)) {
            return Err(BucketPolicyFault::principal());
        }
    }
    Ok(())
}

fn is_principal(kind: &str, name: &str) -> bool {
    match kind {
        "AWS" => name == "*" || is_account_id(name) || is_identity_arn(name),
        "CanonicalUser" => {
            name.len() == CANONICAL_ID_CHARS
                && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        }
        "Service" => name.strip_suffix(".amazonaws.com").is_some_and(|service| !service.is_empty()),
        "Federated" => name.contains(['.', ':']),
        _ => false,
    }
}

/// `arn:aws:iam::ACCOUNT:root`, `…:user/NAME`, `…:role/NAME`, `arn:aws:sts::ACCOUNT:assumed-role/…`
fn is_identity_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", "aws", service, "", account, name] = parts.as_slice() else { return false };
    let named = |kinds: &[&str]| {
        kinds
            .iter()
            .any(|kind| name.strip_prefix(kind).is_some_and(|name| !name.is_empty() && !name.contains('*')))
    };
    is_account_id(account)
        && match *service {
            "iam" => *name == "root" || named(&["user/", "role/"]),
            "sts" => named(&["assumed-role/", "federated-user/"]),
            _ => false,
        }
}

/// For each action, what it is about.
fn asked(value: &Value) -> Result<Vec<Vec<Level>>, BucketPolicyFault> {
    let invalid = || BucketPolicyFault::new("Policy has invalid action");
    let names = strings(value, "").map_err(|_| invalid())?;
    let found: Vec<Vec<Level>> = names.iter().map(|name| levels(name)).collect();
    if found.is_empty() || found.iter().any(Vec::is_empty) { Err(invalid()) } else { Ok(found) }
}

/// What of the bucket the resources are: itself, or objects in it.
fn about(value: &Value, bucket: &str, variables: bool) -> Result<Vec<Level>, BucketPolicyFault> {
    let invalid = || BucketPolicyFault::new("Policy has invalid resource");
    let names = strings(value, "").map_err(|_| invalid())?;
    let itself = format!("arn:aws:s3:::{bucket}");
    let objects = format!("{itself}/");
    let mut all = Vec::new();
    for name in &names {
        let pattern = Pattern::parse(name, Reading { wildcards: true, variables });
        let is_arn = name == "*" || name.starts_with("arn:");
        let mut found = Vec::new();
        found.extend(pattern.can_match(&itself, false).then_some(Level::Bucket));
        found.extend(pattern.can_match(&objects, true).then_some(Level::Object));
        if !is_arn || found.is_empty() {
            return Err(invalid());
        }
        all.extend(found);
    }
    if all.is_empty() { Err(invalid()) } else { Ok(all) }
}

fn condition_keys(value: &Value) -> Result<(), BucketPolicyFault> {
    let operators = value.as_object().ok_or_else(|| BucketPolicyFault::new("Invalid policy syntax."))?;
    let mut keys = operators.values().filter_map(Value::as_object).flat_map(Map::keys);
    match keys.find(|key| !conditions::is_known(key)) {
        Some(_) => Err(BucketPolicyFault::new("Policy has an invalid condition key")),
        None => Ok(()),
    }
}
