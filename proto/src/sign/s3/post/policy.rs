//! A form's policy: what its signer lets be uploaded, and until when.
//!
//! Every field of the form must be named by a condition, so that whoever has the form cannot add to it. The
//! exceptions are what carries the policy itself, what S3 promises to ignore (`x-ignore-…`), and checksums:
//! those can only make an upload fail.
//!
//! Must not: be asked before the signature was found right.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::condition::{Condition, invalid};
use super::form::Form;
use crate::policy::Strict;
use crate::refusal::S3Refusal;

/// Fields that need no condition.
const UNCONDITIONAL: [&str; 6] =
    ["awsaccesskeyid", "signature", "x-amz-signature", "policy", "file", "x-amz-sdk-checksum-algorithm"];
const UNCONDITIONAL_PREFIXES: [&str; 2] = ["x-ignore-", "x-amz-checksum-"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostPolicy {
    expiration: OffsetDateTime,
    conditions: Vec<Condition>,
}

impl PostPolicy {
    /// From the form's field `policy`, base64 as it came.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`
    pub fn parse(encoded: &str) -> Result<Self, S3Refusal> {
        let encoded: Vec<u8> = encoded.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| invalid("invalid Base64 encoding."))?;
        let text = String::from_utf8(bytes).map_err(|_| invalid("Invalid JSON."))?;
        let parsed: Result<Strict, _> = serde_json::from_str(&as_json(&text));
        let Ok(Strict(Value::Object(document))) = parsed else { return Err(invalid("Invalid JSON.")) };
        if let Some(name) =
            document.keys().find(|name| !["expiration", "conditions"].contains(&name.as_str()))
        {
            return Err(invalid(format!("Unexpected: '{name}'")));
        }
        let expiration = document.get("expiration").ok_or_else(|| invalid("Policy missing expiration."))?;
        let conditions = document.get("conditions").ok_or_else(|| invalid("Policy missing conditions."))?;
        let Value::Array(conditions) = conditions else {
            return Err(invalid("Invalid 'conditions' value: must be a List."));
        };
        Ok(Self {
            expiration: read_expiration(expiration)?,
            conditions: conditions.iter().map(Condition::parse).collect::<Result<_, _>>()?,
        })
    }

    /// Whether this form may be sent now, to this bucket. Sizes are not known yet.
    ///
    /// # Errors
    /// `AccessDenied`, with the reason.
    pub fn check(&self, form: &Form, bucket: &str, now: OffsetDateTime) -> Result<(), S3Refusal> {
        if now > self.expiration {
            return Err(denied("Policy expired."));
        }
        let is_covered = |name: &str| self.conditions.iter().any(|c| c.field() == Some(name));
        let needs_cover = |name: &str| {
            !UNCONDITIONAL.contains(&name) && !UNCONDITIONAL_PREFIXES.iter().any(|p| name.starts_with(p))
        };
        // Where the object goes is one of the things to be allowed, though it is no field.
        let names = form.fields().map(|(name, _)| name).chain(["bucket"]);
        if let Some(name) = names.into_iter().find(|name| needs_cover(name) && !is_covered(name)) {
            return Err(denied(&format!("Extra input fields: {name}")));
        }
        let value = |name: &str| if name == "bucket" { Some(bucket) } else { form.get(name) };
        match self.conditions.iter().find(|c| c.field().is_some_and(|name| !c.holds(value(name)))) {
            Some(condition) => Err(denied(&format!("Policy Condition failed: {condition}"))),
            None => Ok(()),
        }
    }

    /// More than this many bytes will be refused: no need to take them.
    pub fn bytes_max(&self) -> u64 {
        self.sizes().map(|(_, most)| most).min().unwrap_or(u64::MAX)
    }

    /// Whether the file may have this size.
    ///
    /// # Errors
    /// `EntityTooLarge` or `EntityTooSmall`
    pub fn check_size(&self, bytes: u64) -> Result<(), S3Refusal> {
        for (least, most) in self.sizes() {
            if bytes > most {
                let text = "Your proposed upload exceeds the maximum allowed size";
                return Err(S3Refusal::new(400, "EntityTooLarge", text)
                    .with("ProposedSize", bytes.to_string())
                    .with("MaxSizeAllowed", most.to_string()));
            }
            if bytes < least {
                let text = "Your proposed upload is smaller than the minimum allowed size";
                return Err(S3Refusal::new(400, "EntityTooSmall", text)
                    .with("ProposedSize", bytes.to_string())
                    .with("MinSizeAllowed", least.to_string()));
            }
        }
        Ok(())
    }

    fn sizes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.conditions.iter().filter_map(|condition| match condition {
            Condition::Size { bytes_min, bytes_max } => Some((*bytes_min, *bytes_max)),
            Condition::Field { .. } => None,
        })
    }
}

fn denied(text: &str) -> S3Refusal {
    S3Refusal::denied(format!("Invalid according to Policy: {text}"))
}

fn read_expiration(value: &Value) -> Result<OffsetDateTime, S3Refusal> {
    let text = value.as_str().ok_or_else(|| invalid("Invalid 'expiration' value: must be a string."))?;
    // RFC 3339 lets a space stand for the T; S3 does not.
    let has_t = text.as_bytes().get(10).is_some_and(|b| b.eq_ignore_ascii_case(&b'T'));
    let parsed = if has_t { OffsetDateTime::parse(text, &Rfc3339).ok() } else { None };
    parsed.ok_or_else(|| invalid(format!("Invalid 'expiration' value: '{text}'")))
}

/// S3 allows two escapes that JSON does not have: `\$` and `\v`.
fn as_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match characters.next() {
            Some('$') => out.push('$'),
            Some('v') => out.push_str("\\u000b"),
            other => {
                out.push('\\');
                out.extend(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    fn parse(document: &str) -> Result<PostPolicy, S3Refusal> {
        PostPolicy::parse(&BASE64_STANDARD.encode(document))
    }

    fn policy(conditions: &str) -> PostPolicy {
        parse(&format!(r#"{{"expiration": "2026-01-01T00:00:00.000Z", "conditions": [{conditions}]}}"#))
            .unwrap()
    }

    fn form(fields: &[(&str, &str)]) -> Form {
        let mut form = Form::default();
        fields.iter().for_each(|(name, value)| form.insert(name, (*value).into()));
        form
    }

    #[test]
    fn broken_documents_are_told_apart() {
        let check = |document: &str, want: &str| {
            let refusal = parse(document).unwrap_err();
            assert_eq!((refusal.status, refusal.code), (400, "InvalidPolicyDocument"), "{document}");
            assert_eq!(refusal.message, format!("Invalid Policy: {want}"), "{document}");
        };
        let with = |conditions: &str| {
            format!(r#"{{"expiration":"2026-01-01T00:00:00Z","conditions":{conditions}}}"#)
        };
        check("{", "Invalid JSON.");
        check("[]", "Invalid JSON.");
        check(r#"{"expiration":"a","expiration":"b","conditions":[]}"#, "Invalid JSON.");
        check(r#"{"conditions":[]}"#, "Policy missing expiration.");
        check(r#"{"expiration":"2026-01-01T00:00:00Z"}"#, "Policy missing conditions.");
        check(r#"{"expiration":"2026-01-01T00:00:00Z","CONDITIONS":[]}"#, "Unexpected: 'CONDITIONS'");
        let bad = r#"{"expiration":"2026-01-01 00:00:00.5+00:00","conditions":[]}"#;
        check(bad, "Invalid 'expiration' value: '2026-01-01 00:00:00.5+00:00'");
        check(&with("{}"), "Invalid 'conditions' value: must be a List.");
        check(&with("[1]"), "Invalid condition test: must be a List or Object.");
        let simple = "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.";
        check(&with("[{}]"), simple);
        check(&with(r#"[{"a":"b","c":"d"}]"#), simple);
        check(&with(r#"[{"a":[]}]"#), "Invalid Simple-Condition: value must be a string.");
        check(&with("[[]]"), "Invalid Condition: missing operation identifier.");
        check(&with(r#"[["ne","$key","a"]]"#), "Invalid Condition: unknown operation 'ne'.");
        check(&with(r#"[["eq","$key"]]"#), "Invalid eq: wrong number of arguments.");
        check(
            &with(r#"[["content-length-range",0]]"#),
            "Invalid content-length-range: wrong number of arguments.",
        );
        let numbers = "Invalid content-length-range: numbers of bytes are expected.";
        check(&with(r#"[["content-length-range",-1,0]]"#), numbers);
        check(&with(r#"[["content-length-range",0.5,"x"]]"#), numbers);
        check(&with(r#"[["eq","key","a"]]"#), "Invalid eq: a field such as $key and a string are expected.");
        assert_eq!(PostPolicy::parse("???").unwrap_err().message, "Invalid Policy: invalid Base64 encoding.");
    }

    #[test]
    fn every_field_must_be_allowed_and_every_condition_hold() {
        let check = |conditions: &str, fields: &[(&str, &str)], want: Result<(), &str>| {
            let outcome = policy(conditions).check(&form(fields), "photos", NOW);
            let outcome = outcome.map_err(|refusal| {
                assert_eq!((refusal.status, refusal.code), (403, "AccessDenied"));
                refusal.message.into_owned()
            });
            let want = want.map_err(|text| format!("Invalid according to Policy: {text}"));
            assert_eq!(outcome, want, "{conditions} {fields:?}");
        };
        let bucket = r#"{"bucket": "photos"}"#;
        let key = r#"{"BuCkEt": "photos"}, ["StArTs-WiTh", "$KeY", "user/"]"#;
        check(key, &[("key", "user/a")], Ok(()));
        let unconditional = [
            ("key", "user/a"),
            ("Policy", "p"),
            ("AWSAccessKeyId", "k"),
            ("signature", "s"),
            ("X-Ignore-a", "b"),
            ("x-amz-checksum-crc32", "c"),
        ];
        check(key, &unconditional, Ok(()));
        check(key, &[("key", "User/a")], Err(r#"Policy Condition failed: ["starts-with", "$key", "user/"]"#));
        check(key, &[], Err(r#"Policy Condition failed: ["starts-with", "$key", "user/"]"#));
        check(key, &[("key", "user/a"), ("acl", "private")], Err("Extra input fields: acl"));
        check(r#"["eq", "$key", "a"]"#, &[("key", "a")], Err("Extra input fields: bucket"));
        check(r#"{"bucket": "other"}"#, &[], Err(r#"Policy Condition failed: ["eq", "$bucket", "other"]"#));
        check(r#"["starts-with", "$bucket", "pho"]"#, &[], Ok(()));
        check(&format!(r#"{bucket}, ["starts-with", "$x-amz-acl", ""]"#), &[], Ok(()));
        let kinds = format!(r#"{bucket}, ["starts-with", "$Content-Type", "image/"]"#);
        check(&kinds, &[("Content-Type", "image/png, image/gif")], Ok(()));
        check(
            &kinds,
            &[("Content-Type", "image/png,text/html")],
            Err(r#"Policy Condition failed: ["starts-with", "$content-type", "image/"]"#),
        );
        check(&format!(r#"{bucket}, ["eq", "$key", "\$a\v\\"]"#), &[("key", "$a\u{b}\\")], Ok(()));
        check(
            &format!(r#"{bucket}, ["eq", "$x-amz-meta-a", ""]"#),
            &[("x-amz-meta-a", "b")],
            Err(r#"Policy Condition failed: ["eq", "$x-amz-meta-a", ""]"#),
        );
    }

    #[test]
    fn policies_expire() {
        let policy = policy(r#"{"bucket": "b"}"#);
        policy.check(&Form::default(), "b", NOW).unwrap();
        let refusal = policy.check(&Form::default(), "b", NOW + time::Duration::SECOND).unwrap_err();
        assert_eq!(refusal.to_string(), "AccessDenied: Invalid according to Policy: Policy expired.");
    }

    #[test]
    fn sizes_are_within_every_range() {
        let policy = policy(r#"["content-length-range", "2", 10], ["content-length-range", 0, 5]"#);
        assert_eq!(policy.bytes_max(), 5);
        policy.check_size(2).unwrap();
        let refusal = policy.check_size(6).unwrap_err();
        assert_eq!((refusal.code, refusal.field("MaxSizeAllowed")), ("EntityTooLarge", Some("5")));
        let refusal = policy.check_size(1).unwrap_err();
        assert_eq!((refusal.code, refusal.field("MinSizeAllowed")), ("EntityTooSmall", Some("2")));
    }
}
