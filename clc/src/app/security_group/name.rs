//! What groups and rules may be called. EC2's sets of characters, so that a name that works here works there.

use super::DEFAULT;
use karri_proto::fault::{Fault, FaultCode, shown};

const CHARS_MAX: usize = 255;
const MARKS: &str = "._-:/()#,@[]+=&;{}!$*";

fn fits(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == ' ' || MARKS.contains(c);
    text.chars().count() <= CHARS_MAX && text.chars().all(allowed)
}

/// The name as it is kept: EC2 takes off blanks at its end.
pub fn group_name(text: &str) -> Result<String, Fault> {
    let invalid = |why: &str| {
        let sentence = format!("Value ({}) for parameter GroupName is invalid. {why}", shown(text));
        Err(Fault::invalid_parameter(sentence))
    };
    let name = text.trim_end();
    if name.is_empty() {
        return invalid("It should not be blank.");
    }
    if name == DEFAULT {
        let sentence = "Cannot use reserved security group name: default";
        return Err(Fault::invalid_parameter(sentence));
    }
    if name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("sg-")) {
        return invalid("Group names may not be in the format sg-*.");
    }
    if !name.is_ascii() {
        return invalid("Character sets beyond ASCII are not supported.");
    }
    if !fits(name) {
        return invalid(
            "Valid names are strings less than 256 characters from the following set: a-zA-Z0-9. \
             _-:/()#,@[]+=&;{}!$*",
        );
    }
    Ok(name.to_owned())
}

pub fn check_group_description(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        let sentence = "The request must contain the parameter GroupDescription";
        return Err(Fault::new(FaultCode::MissingParameter, sentence));
    }
    if !text.is_ascii() {
        let sentence = format!(
            "Value ({}) for parameter GroupDescription is invalid. Character sets beyond ASCII are not supported.",
            shown(text)
        );
        return Err(Fault::invalid_parameter(sentence));
    }
    if !fits(text) {
        let sentence = "Invalid security group description. Valid descriptions are strings less than 256 \
                        characters from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*";
        return Err(Fault::invalid_parameter(sentence));
    }
    Ok(())
}

/// A rule's description; an empty one is none.
pub fn rule_description(text: Option<&str>) -> Result<Option<String>, Fault> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if !fits(text) {
        let sentence = "Invalid rule description. Valid descriptions are strings less than 256 characters from \
                        the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*";
        return Err(Fault::invalid_parameter(sentence));
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_ec2_takes() {
        for (text, name) in [("web", "web"), ("a b (1) $x", "a b (1) $x"), ("trailing  ", "trailing")] {
            assert_eq!(group_name(text).unwrap(), name);
        }
        assert!(group_name(&"x".repeat(255)).is_ok());
        let long = "x".repeat(256);
        for text in ["", "  ", "default", "sg-web", "SG-web", "wéb", "a\nb", "a<b>", "a'b", &long] {
            assert_eq!(group_name(text).unwrap_err().code(), "InvalidParameterValue", "{text}");
        }
        let fault = group_name("sg-web").unwrap_err();
        let expected =
            "Value (sg-web) for parameter GroupName is invalid. Group names may not be in the format sg-*.";
        assert_eq!(fault.message(), expected);
    }

    #[test]
    fn descriptions_are_plain() {
        check_group_description("Allows ssh, from 10.0.0.0/8").unwrap();
        assert_eq!(check_group_description("").unwrap_err().code(), "MissingParameter");
        for text in ["—", "it's", &"x".repeat(256)] {
            assert_eq!(check_group_description(text).unwrap_err().code(), "InvalidParameterValue", "{text}");
            assert_eq!(rule_description(Some(text)).unwrap_err().code(), "InvalidParameterValue", "{text}");
        }
        assert_eq!(rule_description(Some("")).unwrap(), None);
        assert_eq!(rule_description(Some("office")).unwrap().as_deref(), Some("office"));
    }
}
