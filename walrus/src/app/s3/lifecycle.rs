//! What a lifecycle configuration may say.

use karri_proto::aws::s3::{
    BucketLifecycleConfiguration, LifecycleExpiration, LifecycleRule, S3Code, S3Fault,
};
use time::{OffsetDateTime, Time};

const RULES_MAX: usize = 1000;
const ID_CHARS_MAX: usize = 255;

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> S3Fault {
    S3Fault::saying(S3Code::InvalidArgument, text)
}

fn malformed() -> S3Fault {
    S3Fault::new(S3Code::MalformedXml)
}

/// Gives every rule an id. `name` makes one.
///
/// # Errors
/// `MalformedXML`, `InvalidArgument`, `InvalidRequest`
pub fn checked(
    mut configuration: BucketLifecycleConfiguration,
    mut name: impl FnMut() -> String,
) -> Result<BucketLifecycleConfiguration, S3Fault> {
    if configuration.rules.is_empty() || configuration.rules.len() > RULES_MAX {
        return Err(malformed());
    }
    let mut ids: Vec<String> = Vec::new();
    for rule in &mut configuration.rules {
        let id = rule.id.get_or_insert_with(&mut name);
        if id.chars().count() > ID_CHARS_MAX {
            return Err(invalid("ID length should not exceed allowed limit of 255"));
        }
        if ids.contains(id) {
            return Err(invalid("Rule ID must be unique. Found same ID for more than one rule"));
        }
        ids.push(id.clone());
        check_rule(rule)?;
    }
    Ok(configuration)
}

fn check_rule(rule: &LifecycleRule) -> Result<(), S3Fault> {
    if !matches!(rule.status.as_str(), "Enabled" | "Disabled") {
        return Err(malformed());
    }
    if rule.prefix.is_some() && rule.filter.is_some() || rule.prefix.is_none() && rule.filter.is_none() {
        return Err(malformed());
    }
    let acts = rule.expiration.is_some()
        || rule.noncurrent_version_expiration.is_some()
        || rule.abort_incomplete_multipart_upload.is_some()
        || !rule.transitions.is_empty()
        || !rule.noncurrent_version_transitions.is_empty();
    if !acts {
        return Err(S3Fault::saying(
            S3Code::InvalidRequest,
            "At least one action needs to be specified in a rule",
        ));
    }
    if let Some(expiration) = &rule.expiration {
        check_expiration(expiration, rule)?;
    }
    if let Some(noncurrent) = &rule.noncurrent_version_expiration {
        positive(noncurrent.noncurrent_days, "NoncurrentVersionExpiration")?;
        if noncurrent.noncurrent_days.is_none() {
            return Err(malformed());
        }
        if noncurrent.newer_noncurrent_versions.is_some_and(|count| !(1..=100).contains(&count)) {
            return Err(invalid("'NewerNoncurrentVersions' must be between 1 and 100 versions"));
        }
    }
    if let Some(abort) = &rule.abort_incomplete_multipart_upload {
        positive(abort.days_after_initiation, "AbortIncompleteMultipartUpload")?;
        if tags_filter(rule) {
            let text = "AbortIncompleteMultipartUpload cannot be specified with Tags.";
            return Err(S3Fault::saying(S3Code::InvalidRequest, text));
        }
    }
    for transition in &rule.transitions {
        if let Some(date) = transition.date {
            midnight(date)?;
        }
        if transition.date.is_some() == transition.days.is_some() {
            return Err(malformed());
        }
        if transition.days.is_some_and(|days| days < 0) {
            return Err(invalid("'Days' in Transition action must be nonnegative"));
        }
    }
    Ok(())
}

fn tags_filter(rule: &LifecycleRule) -> bool {
    rule.filter.as_ref().is_some_and(|filter| {
        filter.tag.is_some() || filter.and.as_ref().is_some_and(|and| !and.tags.is_empty())
    })
}

fn check_expiration(expiration: &LifecycleExpiration, rule: &LifecycleRule) -> Result<(), S3Fault> {
    let given = [
        expiration.days.is_some(),
        expiration.date.is_some(),
        expiration.expired_object_delete_marker.is_some(),
    ];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(malformed());
    }
    positive(expiration.days, "Expiration")?;
    if let Some(date) = expiration.date {
        midnight(date)?;
    }
    if expiration.expired_object_delete_marker.is_some() && tags_filter(rule) {
        let text = "ExpiredObjectDeleteMarker cannot be specified with Tags.";
        return Err(S3Fault::saying(S3Code::InvalidRequest, text));
    }
    Ok(())
}

fn positive(days: Option<i32>, action: &str) -> Result<(), S3Fault> {
    if days.is_some_and(|days| days <= 0) {
        return Err(invalid(format!("'Days' for {action} action must be a positive integer")));
    }
    Ok(())
}

fn midnight(date: OffsetDateTime) -> Result<(), S3Fault> {
    if date.time() == Time::MIDNIGHT { Ok(()) } else { Err(invalid("'Date' must be at midnight GMT")) }
}
