//! Object lock: what may be deleted, and how retention may change.
//!
//! Must not: read the clock; `now` is handed in, in milliseconds.

use crate::store::objects::{Facts, LockMode, Retention, UnixMs};
use karri_proto::aws::s3::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockRetention, ObjectLockRule, S3Code, S3Fault,
};
use time::{Duration, OffsetDateTime};

const DAYS_MAX: i32 = 36_500;
const YEARS_MAX: i32 = 100;
const PROTECTED: &str = "Access Denied because object protected by object lock.";

pub fn mode(text: &str) -> Option<LockMode> {
    match text {
        "GOVERNANCE" => Some(LockMode::Governance),
        "COMPLIANCE" => Some(LockMode::Compliance),
        _ => None,
    }
}

pub fn mode_text(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Governance => "GOVERNANCE",
        LockMode::Compliance => "COMPLIANCE",
    }
}

/// Whether a version may go. `bypass`: the requester may, and asks to, pass over governance.
///
/// # Errors
/// `AccessDenied`
pub fn check_delete(facts: &Facts, now: UnixMs, bypass: bool) -> Result<(), S3Fault> {
    let retained = facts.retention.filter(|retention| retention.until > now);
    let kept = facts.legal_hold
        || retained.is_some_and(|retention| retention.mode == LockMode::Compliance || !bypass);
    if kept { Err(S3Fault::saying(S3Code::AccessDenied, PROTECTED)) } else { Ok(()) }
}

/// Whether retention may become `new`: longer always, anything else only past governance.
///
/// # Errors
/// `AccessDenied`
pub fn check_change(
    old: Option<Retention>,
    new: Option<Retention>,
    now: UnixMs,
    bypass: bool,
) -> Result<(), S3Fault> {
    let Some(old) = old.filter(|old| old.until > now) else { return Ok(()) };
    let extends = new.is_some_and(|new| new.until >= old.until && new.mode == old.mode);
    if extends || old.mode == LockMode::Governance && bypass {
        return Ok(());
    }
    Err(S3Fault::saying(S3Code::AccessDenied, PROTECTED))
}

/// From a document. An empty one takes retention away.
///
/// # Errors
/// `MalformedXML`, `InvalidArgument`
pub fn retention(document: ObjectLockRetention, now: OffsetDateTime) -> Result<Option<Retention>, S3Fault> {
    match (document.mode, document.retain_until_date) {
        (None, None) => Ok(None),
        (Some(text), Some(until)) => {
            let mode = mode(&text).ok_or_else(|| S3Fault::new(S3Code::MalformedXml))?;
            check_future(until, now)?;
            Ok(Some(Retention { mode, until: millis(until) }))
        }
        _ => Err(S3Fault::new(S3Code::MalformedXml)),
    }
}

fn check_future(until: OffsetDateTime, now: OffsetDateTime) -> Result<(), S3Fault> {
    if until > now {
        return Ok(());
    }
    let text = "The retain until date must be in the future!";
    Err(S3Fault::invalid_argument("RetainUntilDate", &until.to_string(), text))
}

/// From the headers of an upload.
///
/// # Errors
/// `InvalidArgument`: one without the other, or in the past.
pub fn retention_of_headers(
    mode_text: Option<&str>,
    until: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<Option<Retention>, S3Fault> {
    const MODE: &str = "x-amz-object-lock-mode";
    const BOTH: &str = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied";
    match (mode_text, until) {
        (None, None) => Ok(None),
        (Some(text), Some(until)) => {
            let mode = mode(text)
                .ok_or_else(|| S3Fault::invalid_argument(MODE, text, "Unknown wormMode directive."))?;
            check_future(until, now)?;
            Ok(Some(Retention { mode, until: millis(until) }))
        }
        (Some(text), None) => Err(S3Fault::invalid_argument(MODE, text, BOTH)),
        (None, Some(_)) => Err(S3Fault::invalid_argument(MODE, "", BOTH)),
    }
}

/// # Errors
/// `MalformedXML`, `InvalidRetentionPeriod`
pub fn check_configuration(configuration: &ObjectLockConfiguration) -> Result<(), S3Fault> {
    let malformed = || S3Fault::new(S3Code::MalformedXml);
    if configuration.object_lock_enabled.as_deref() != Some("Enabled") {
        return Err(malformed());
    }
    let Some(ObjectLockRule { default_retention }) = &configuration.rule else { return Ok(()) };
    let DefaultRetention { days, years, mode: text, .. } =
        default_retention.as_ref().ok_or_else(malformed)?;
    text.as_deref().and_then(mode).ok_or_else(malformed)?;
    let positive = "Default retention period must be a positive integer value.";
    let too_long = "Default retention period too large (must be less than 100 years).";
    match (days, years) {
        (Some(n), None) if *n <= 0 => Err(S3Fault::saying(S3Code::InvalidRetentionPeriod, positive)),
        (None, Some(n)) if *n <= 0 => Err(S3Fault::saying(S3Code::InvalidRetentionPeriod, positive)),
        (Some(n), None) if *n > DAYS_MAX => Err(S3Fault::saying(S3Code::InvalidRetentionPeriod, too_long)),
        (None, Some(n)) if *n > YEARS_MAX => Err(S3Fault::saying(S3Code::InvalidRetentionPeriod, too_long)),
        (Some(_), None) | (None, Some(_)) => Ok(()),
        (Some(_), Some(_)) | (None, None) => Err(malformed()),
    }
}

/// What a new object gets that says nothing itself.
pub fn default_retention(configuration: &ObjectLockConfiguration, now: OffsetDateTime) -> Option<Retention> {
    let default = configuration.rule.as_ref()?.default_retention.as_ref()?;
    let mode = mode(default.mode.as_deref()?)?;
    let days = match (default.days, default.years) {
        (Some(days), _) => i64::from(days),
        (None, Some(years)) => i64::from(years) * 365,
        (None, None) => return None,
    };
    Some(Retention { mode, until: millis(now.saturating_add(Duration::days(days))) })
}

pub fn millis(at: OffsetDateTime) -> UnixMs {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn governance_can_be_passed_over_and_compliance_cannot() {
        let facts = |mode, until, legal_hold| Facts {
            retention: Some(Retention { mode, until }),
            legal_hold,
            ..Facts::default()
        };
        assert!(check_delete(&facts(LockMode::Governance, 10, false), 5, true).is_ok());
        assert!(check_delete(&facts(LockMode::Governance, 10, false), 5, false).is_err());
        assert!(check_delete(&facts(LockMode::Governance, 10, false), 10, false).is_ok());
        assert!(check_delete(&facts(LockMode::Compliance, 10, false), 5, true).is_err());
        assert!(check_delete(&facts(LockMode::Governance, 10, true), 50, true).is_err());
    }

    #[test]
    fn retention_grows_and_does_not_shrink() {
        let some = |mode, until| Some(Retention { mode, until });
        let (governance, compliance) = (LockMode::Governance, LockMode::Compliance);
        assert!(check_change(some(governance, 10), some(governance, 20), 5, false).is_ok());
        assert!(check_change(some(governance, 10), some(compliance, 20), 5, false).is_err());
        assert!(check_change(some(governance, 10), some(compliance, 20), 5, true).is_ok());
        assert!(check_change(some(governance, 10), some(governance, 7), 5, false).is_err());
        assert!(check_change(some(governance, 10), None, 5, true).is_ok());
        assert!(check_change(some(compliance, 10), some(governance, 20), 5, true).is_err());
        assert!(check_change(some(compliance, 10), some(compliance, 20), 5, false).is_ok());
        assert!(check_change(some(compliance, 10), None, 15, false).is_ok());
    }
}
