//! Reads a policy document. What is not understood is refused, by name: a statement that is
//! half understood would be a hole.
//!
//! Must not: evaluate.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::condition::Condition;
use super::fault::PolicyFault;
use super::json::Strict;
use super::pattern::{Pattern, Reading};
use super::principal::PrincipalName;
use super::statement::{Effect, Match, Statement};

/// Characters that are not white space, as IAM counts a managed policy.
const IDENTITY_CHARS_MAX: usize = 6_144;
/// As S3 limits a bucket policy.
const RESOURCE_CHARS_MAX: usize = 20_480;
/// White space is free, but not without end.
const DOCUMENT_BYTES_MAX: usize = 131_072;

const TOP_FIELDS: [&str; 3] = ["Version", "Id", "Statement"];
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

/// What a policy is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user, group or role: no principal, since it is the one who has the policy.
    Identity,
    /// A resource, such as a bucket: says whom it speaks about.
    Resource,
}

/// A policy that was read and understood.
#[derive(Debug, Clone)]
pub struct Policy {
    statements: Vec<Statement>,
}

impl Policy {
    /// # Errors
    /// The document is too long, is not JSON, or holds anything that is not understood.
    pub fn parse(text: &str, kind: Kind) -> Result<Policy, PolicyFault> {
        let max = if kind == Kind::Identity { IDENTITY_CHARS_MAX } else { RESOURCE_CHARS_MAX };
        if text.len() > DOCUMENT_BYTES_MAX || text.chars().filter(|c| !c.is_whitespace()).count() > max {
            return Err(PolicyFault::TooLong { max });
        }
        let document = read_json(text)?;
        let top = object(&document, "document", &TOP_FIELDS)?;
        let variables = version(top.get("Version"))?;
        let statements = match top.get("Statement") {
            Some(Value::Array(list)) => list.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        };
        if statements.is_empty() {
            return Err(PolicyFault::syntax("Statement", "It is missing or empty."));
        }
        unique_sids(&statements)?;
        let read = |(n, value)| statement(value, &format!("Statement[{n}]"), kind, variables);
        Ok(Policy { statements: statements.into_iter().enumerate().map(read).collect::<Result<_, _>>()? })
    }

    pub(super) fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Whom it names, also where it speaks of all others.
    pub fn principals(&self) -> impl Iterator<Item = &PrincipalName> {
        self.statements.iter().filter_map(|one| one.principals.as_ref()).flat_map(|names| &names.any)
    }
}

pub(super) fn read_json(text: &str) -> Result<Value, PolicyFault> {
    let fault = |e: serde_json::Error| {
        let why = if e.is_data() { "A field is there twice." } else { "It is not JSON." };
        PolicyFault::syntax(format!("line {}, column {}", e.line(), e.column()), why)
    };
    serde_json::from_str::<Strict>(text).map(|strict| strict.0).map_err(fault)
}

/// Whether variables are replaced: the first version of the language had none.
fn version(value: Option<&Value>) -> Result<bool, PolicyFault> {
    match value.map(Value::as_str) {
        None | Some(Some("2008-10-17")) => Ok(false),
        Some(Some("2012-10-17")) => Ok(true),
        Some(_) => {
            Err(PolicyFault::new("Version", "Policy document must be version 2012-10-17 or 2008-10-17."))
        }
    }
}

fn statement(value: &Value, at: &str, kind: Kind, variables: bool) -> Result<Statement, PolicyFault> {
    let map = object(value, at, &STATEMENT_FIELDS)?;
    let reading = Reading { wildcards: true, variables };
    let missing = |what: &str| PolicyFault::new(at, format!("Policy statement must contain {what}."));
    let actions = choice(map, at, "Action")?.ok_or_else(|| missing("actions"))?;
    let resources = choice(map, at, "Resource")?.ok_or_else(|| missing("resources"))?;
    Ok(Statement {
        effect: effect(map.get("Effect"), at)?,
        actions: list(actions, |text, at| action(text, at, reading))?,
        resources: list(resources, |text, at| resource(text, at, reading))?,
        principals: principals(map, at, kind)?,
        conditions: match map.get("Condition") {
            Some(block) => Condition::parse_block(block, &format!("{at}.Condition"), variables)?,
            None => Vec::new(),
        },
    })
}

/// Resource policies must say whom they speak about, identity policies must not.
fn principals(
    map: &Map<String, Value>,
    at: &str,
    kind: Kind,
) -> Result<Option<Match<PrincipalName>>, PolicyFault> {
    match (kind, choice(map, at, "Principal")?) {
        (Kind::Identity, None) => Ok(None),
        (Kind::Identity, Some(field)) => {
            Err(PolicyFault::new(field.at, "Policy document should not specify a principal."))
        }
        (Kind::Resource, None) => Err(PolicyFault::new(at, "Missing required field Principal")),
        (Kind::Resource, Some(field)) => {
            let any = PrincipalName::parse_list(field.value, &field.at)?;
            Ok(Some(Match { any, negated: field.negated }))
        }
    }
}

fn effect(value: Option<&Value>, at: &str) -> Result<Effect, PolicyFault> {
    match value.and_then(Value::as_str) {
        Some("Allow") => Ok(Effect::Allow),
        Some("Deny") => Ok(Effect::Deny),
        _ => Err(PolicyFault::syntax(format!("{at}.Effect"), "It must be Allow or Deny.")),
    }
}

fn action(text: &str, at: &str, reading: Reading) -> Result<Pattern, PolicyFault> {
    let says = |text: &str| Err(PolicyFault::new(at, text));
    match text.split_once(':') {
        None if text != "*" => {
            says("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
        }
        Some((_, name)) if name.contains(':') => says("Actions/Condition can contain only one colon."),
        Some((vendor, _)) if !vendor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-*?".contains(&b)) => {
            says(&format!("Vendor {vendor} is not valid"))
        }
        _ => Ok(Pattern::parse(text, Reading { variables: false, ..reading })),
    }
}

fn resource(text: &str, at: &str, reading: Reading) -> Result<Pattern, PolicyFault> {
    if text == "*" || text.starts_with("arn:") {
        return Ok(Pattern::parse(text, reading));
    }
    Err(PolicyFault::new(at, format!("Resource {text} must be in ARN format or \"*\".")))
}

/// A field that may be there in its `Not…` form.
struct Field<'a> {
    value: &'a Value,
    at: String,
    negated: bool,
}

fn choice<'a>(map: &'a Map<String, Value>, at: &str, name: &str) -> Result<Option<Field<'a>>, PolicyFault> {
    let not = format!("Not{name}");
    match (map.get(name), map.get(&not)) {
        (Some(_), Some(_)) => Err(PolicyFault::syntax(at, &format!("It has both {name} and {not}."))),
        (Some(value), None) => Ok(Some(Field { value, at: format!("{at}.{name}"), negated: false })),
        (None, Some(value)) => Ok(Some(Field { value, at: format!("{at}.{not}"), negated: true })),
        (None, None) => Ok(None),
    }
}

fn list(
    field: Field<'_>,
    read: impl Fn(&str, &str) -> Result<Pattern, PolicyFault>,
) -> Result<Match<Pattern>, PolicyFault> {
    let Field { value, at, negated } = field;
    let any: Vec<Pattern> =
        strings(value, &at)?.iter().map(|text| read(text, &at)).collect::<Result<_, _>>()?;
    if any.is_empty() { Err(PolicyFault::syntax(at, "It is empty.")) } else { Ok(Match { any, negated }) }
}

/// A string or a list of them; booleans and numbers count as their text, as IAM reads them.
pub(super) fn strings(value: &Value, at: &str) -> Result<Vec<String>, PolicyFault> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(PolicyFault::syntax(at, "It must be a string or a list of strings."))
        }
    };
    match value {
        Value::Array(list) => list.iter().map(one).collect(),
        other => Ok(vec![one(other)?]),
    }
}

fn object<'a>(value: &'a Value, at: &str, fields: &[&str]) -> Result<&'a Map<String, Value>, PolicyFault> {
    let map = value.as_object().ok_or_else(|| PolicyFault::syntax(at, "It must be an object."))?;
    match map.keys().find(|key| !fields.contains(&key.as_str())) {
        Some(unknown) => Err(PolicyFault::syntax(format!("{at}.{unknown}"), "The field is not known.")),
        None => Ok(map),
    }
}

fn unique_sids(statements: &[&Value]) -> Result<(), PolicyFault> {
    let mut seen = BTreeSet::new();
    for (n, value) in statements.iter().enumerate() {
        let at = format!("Statement[{n}].Sid");
        match value.get("Sid") {
            None => {}
            Some(Value::String(sid)) if sid.is_empty() || seen.insert(sid) => {}
            Some(Value::String(_)) => {
                return Err(PolicyFault::new(at, "Statement IDs (SID) in a single policy must be unique."));
            }
            Some(_) => return Err(PolicyFault::syntax(at, "It must be a string.")),
        }
    }
    Ok(())
}
