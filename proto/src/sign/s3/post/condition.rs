//! One condition of a policy: that a field has a value, or begins with something, or that the file is within
//! a range of sizes.
//!
//! Must not: look into a form. It is given the field's value.

use serde_json::{Map, Value};

use crate::refusal::S3Refusal;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Field { name: String, test: Test, wanted: String },
    Size { bytes_min: u64, bytes_max: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Equals,
    StartsWith,
}

impl Condition {
    pub(super) fn parse(value: &Value) -> Result<Self, S3Refusal> {
        match value {
            Value::Object(object) => simple(object),
            Value::Array(list) => listed(list),
            _ => Err(invalid("Invalid condition test: must be a List or Object.")),
        }
    }

    /// The field that this condition allows, in lower case.
    pub(super) fn field(&self) -> Option<&str> {
        match self {
            Condition::Field { name, .. } => Some(name),
            Condition::Size { .. } => None,
        }
    }

    /// A field that is not there has no value that could be right where one is asked for. Sizes are for later.
    pub(super) fn holds(&self, value: Option<&str>) -> bool {
        let (name, test, wanted) = match self {
            Condition::Field { name, test, wanted } => (name, *test, wanted),
            Condition::Size { .. } => return true,
        };
        match (test, value) {
            // Any value is right, and so is none.
            (Test::StartsWith, None) => wanted.is_empty(),
            (Test::Equals, None) => false,
            (Test::Equals, Some(value)) => value == wanted,
            // S3 takes commas in a type for a list, each of which must begin so.
            (Test::StartsWith, Some(value)) if name == "content-type" => {
                value.split(',').all(|part| part.trim().starts_with(wanted.as_str()))
            }
            (Test::StartsWith, Some(value)) => value.starts_with(wanted.as_str()),
        }
    }
}

/// As S3 shows one that does not hold.
impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Condition::Field { name, test, wanted } => {
                let test = if *test == Test::Equals { "eq" } else { "starts-with" };
                let text = |text: &str| Value::from(text);
                write!(f, "[{}, {}, {}]", text(test), text(&format!("${name}")), text(wanted))
            }
            Condition::Size { bytes_min, bytes_max } => {
                write!(f, r#"["content-length-range", {bytes_min}, {bytes_max}]"#)
            }
        }
    }
}

/// `{"name": "value"}`
fn simple(object: &Map<String, Value>) -> Result<Condition, S3Refusal> {
    let mut entries = object.iter();
    let (Some((name, wanted)), None) = (entries.next(), entries.next()) else {
        return Err(invalid(
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
        ));
    };
    let wanted =
        scalar(wanted).ok_or_else(|| invalid("Invalid Simple-Condition: value must be a string."))?;
    Ok(Condition::Field { name: name.to_ascii_lowercase(), test: Test::Equals, wanted })
}

/// `["eq", "$name", "value"]`, `["starts-with", …]`, `["content-length-range", 0, 1024]`
fn listed(list: &[Value]) -> Result<Condition, S3Refusal> {
    let operation = list.first().and_then(Value::as_str);
    let operation = operation.ok_or_else(|| invalid("Invalid Condition: missing operation identifier."))?;
    let arguments = match list {
        [_, first, second] => Some((first, second)),
        _ => None,
    };
    let arguments =
        || arguments.ok_or_else(|| invalid(format!("Invalid {operation}: wrong number of arguments.")));
    let test = match operation.to_ascii_lowercase().as_str() {
        "eq" => Test::Equals,
        "starts-with" => Test::StartsWith,
        "content-length-range" => {
            let (least, most) = arguments()?;
            return sizes(least, most);
        }
        _ => return Err(invalid(format!("Invalid Condition: unknown operation '{operation}'."))),
    };
    let (name, wanted) = arguments()?;
    let name = name.as_str().and_then(|name| name.strip_prefix('$')).filter(|name| !name.is_empty());
    match (name, scalar(wanted)) {
        (Some(name), Some(wanted)) => Ok(Condition::Field { name: name.to_ascii_lowercase(), test, wanted }),
        _ => Err(invalid(format!("Invalid {operation}: a field such as $key and a string are expected."))),
    }
}

fn sizes(least: &Value, most: &Value) -> Result<Condition, S3Refusal> {
    let number = |value: &Value| match value {
        Value::String(digits) => digits.parse().ok(), // S3 takes numbers in quotes, too
        other => other.as_u64(),
    };
    match (number(least), number(most)) {
        (Some(bytes_min), Some(bytes_max)) => Ok(Condition::Size { bytes_min, bytes_max }),
        _ => Err(invalid("Invalid content-length-range: numbers of bytes are expected.")),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

pub(super) fn invalid(text: impl AsRef<str>) -> S3Refusal {
    S3Refusal::new(400, "InvalidPolicyDocument", format!("Invalid Policy: {}", text.as_ref()))
}
