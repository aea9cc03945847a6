//! What may be a tag. Pure.

use karri_proto::fault::{Fault, FaultCode};
use std::collections::HashSet;

pub const TAGS_PER_RESOURCE_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// Checks tags as one request gives them to one resource.
pub fn check(tags: &[(String, String)]) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    for (key, value) in tags {
        check_key(key)?;
        if value.chars().count() > VALUE_CHARS_MAX {
            return Err(Fault::invalid_parameter(format!(
                "Tag value exceeds the maximum length of {VALUE_CHARS_MAX} characters"
            )));
        }
        if !seen.insert(key) {
            return Err(Fault::invalid_parameter(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    check_count(tags.len())
}

/// Checks how many tags a resource has in the end.
pub fn check_count(count: usize) -> Result<(), Fault> {
    if count <= TAGS_PER_RESOURCE_MAX {
        return Ok(());
    }
    let sentence =
        format!("The maximum number of tags for a resource has been reached. ({TAGS_PER_RESOURCE_MAX})");
    Err(Fault::new(FaultCode::TagLimitExceeded, sentence))
}

fn check_key(key: &str) -> Result<(), Fault> {
    if key.is_empty() {
        return Err(Fault::invalid_parameter("Tag key cannot be empty"));
    }
    if key.chars().count() > KEY_CHARS_MAX {
        return Err(Fault::invalid_parameter(format!(
            "Tag key exceeds the maximum length of {KEY_CHARS_MAX} characters"
        )));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        let sentence = "Tag keys starting with 'aws:' are reserved for internal use";
        return Err(Fault::invalid_parameter(sentence));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(key: &str, value: &str, expected: Option<&str>) {
        let tags = [(key.to_owned(), value.to_owned())];
        assert_eq!(check(&tags).err().map(|fault| fault.code()), expected, "{key}={value}");
    }

    #[test]
    fn keys_and_values_have_limits() {
        check_one("Name", "", None);
        check_one("é<&", "x", None);
        check_one("", "x", Some("InvalidParameterValue"));
        check_one("aws:x", "x", Some("InvalidParameterValue"));
        check_one(&"k".repeat(128), &"v".repeat(256), None);
        check_one(&"k".repeat(129), "", Some("InvalidParameterValue"));
        check_one("k", &"v".repeat(257), Some("InvalidParameterValue"));
    }

    #[test]
    fn fifty_tags_are_the_most_and_none_twice() {
        let tags: Vec<_> = (0..51).map(|n| (n.to_string(), String::new())).collect();
        assert!(check(&tags[..50]).is_ok());
        assert_eq!(check(&tags).unwrap_err().code(), "TagLimitExceeded");
        assert!(check(&[tags[0].clone(), tags[0].clone()]).is_err());
    }
}
