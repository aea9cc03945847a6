//! What a bucket's lifecycle rules want done now with a version or an upload.
//!
//! A rule with a filter that AWS would not take (several conditions outside `And`) means all of them together.
//! Must not: read the clock; `now` is handed in.

use crate::store::objects::{Bucket, Pairs, Scanned, UnixMs, Upload};
use karri_proto::aws::rest::read::document;
use karri_proto::aws::rest::scalar::http_date;
use karri_proto::aws::s3::{BucketLifecycleConfiguration, LifecycleRule, S3Fault, Tag};
use std::sync::Arc;
use time::OffsetDateTime;

/// The bucket's setting.
pub const LIFECYCLE: &str = "lifecycle";
pub const DAY_MS: UnixMs = 24 * 3600 * 1000;

/// How long a rule's day is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    day_ms: UnixMs,
}

impl Calendar {
    /// Days as they are, and due times at midnight UTC.
    pub const REAL: Self = Self { day_ms: DAY_MS };

    /// Shorter days, for tests, have no midnights.
    pub fn with_day_secs(secs: u32) -> Self {
        Self { day_ms: (UnixMs::from(secs) * 1000).clamp(1000, DAY_MS) }
    }

    pub fn day_ms(self) -> UnixMs {
        self.day_ms
    }

    fn due(self, from: UnixMs, days: i32) -> UnixMs {
        let after = from.saturating_add(UnixMs::from(days.max(0)).saturating_mul(self.day_ms));
        if self.day_ms < DAY_MS {
            return after;
        }
        after.saturating_add(DAY_MS - 1).div_euclid(DAY_MS).saturating_mul(DAY_MS)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As if its owner deleted the key.
    DeleteKey,
    /// This version, or this delete marker.
    DeleteVersion,
}

/// # Errors
/// What is kept cannot be read: a fault of ours.
pub fn rules(bucket: &Bucket) -> Result<Option<Arc<BucketLifecycleConfiguration>>, S3Fault> {
    bucket.parsed(LIFECYCLE, |text| {
        document(text.as_bytes(), "LifecycleConfiguration")
            .map_err(|error| S3Fault::internal(format!("the stored {LIFECYCLE}: {error}")))
    })
}

pub fn enabled(configuration: &BucketLifecycleConfiguration) -> impl Iterator<Item = &LifecycleRule> {
    configuration.rules.iter().filter(|rule| rule.status == "Enabled")
}

/// All keys that any of the rules is about begin so.
pub fn common_prefix(configuration: &BucketLifecycleConfiguration) -> String {
    let mut common: Option<String> = None;
    for rule in enabled(configuration) {
        let longest = prefixes(rule).max_by_key(|prefix| prefix.len()).unwrap_or_default();
        common = Some(match common {
            None => longest.to_owned(),
            Some(common) => {
                let shared = common.chars().zip(longest.chars()).take_while(|(a, b)| a == b);
                shared.map(|(letter, _)| letter).collect()
            }
        });
    }
    common.unwrap_or_default()
}

fn prefixes(rule: &LifecycleRule) -> impl Iterator<Item = &str> {
    let filter = rule.filter.as_ref();
    let and = filter.and_then(|filter| filter.and.as_ref());
    let all = [&rule.prefix, filter.map_or(&None, |f| &f.prefix), and.map_or(&None, |and| &and.prefix)];
    all.into_iter().filter_map(|prefix| prefix.as_deref())
}

fn is_about_key(rule: &LifecycleRule, key: &str) -> bool {
    prefixes(rule).all(|prefix| key.starts_with(prefix))
}

fn is_about(rule: &LifecycleRule, key: &str, tags: &Pairs, size: u64) -> bool {
    let Some(filter) = &rule.filter else { return is_about_key(rule, key) };
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let has = |tag: &Tag| tags.iter().any(|(name, value)| *name == tag.key && *value == tag.value);
    let within = |more: Option<i64>, less: Option<i64>| {
        more.is_none_or(|more| size > more) && less.is_none_or(|less| size < less)
    };
    is_about_key(rule, key)
        && filter.tag.as_ref().is_none_or(has)
        && within(filter.object_size_greater_than, filter.object_size_less_than)
        && filter.and.as_ref().is_none_or(|and| {
            and.tags.iter().all(has) && within(and.object_size_greater_than, and.object_size_less_than)
        })
}

/// When the rule lets a current version expire that was written then.
fn expires(rule: &LifecycleRule, modified: UnixMs, calendar: Calendar) -> Option<UnixMs> {
    let expiration = rule.expiration.as_ref()?;
    let date = expiration.date.map(|date| date.unix_timestamp().saturating_mul(1000));
    date.or_else(|| expiration.days.map(|days| calendar.due(modified, days)))
}

/// What is to become of a version.
pub fn verdict(
    configuration: &BucketLifecycleConfiguration,
    scanned: &Scanned,
    now: UnixMs,
    calendar: Calendar,
) -> Option<Verdict> {
    let entry = &scanned.version.entry;
    let about = |rule: &&LifecycleRule| is_about(rule, &entry.key, &scanned.tags, entry.size);
    let mut rules = enabled(configuration).filter(about);
    match (scanned.version.is_latest, scanned.version.is_marker) {
        (true, false) => rules
            .any(|rule| expires(rule, entry.modified, calendar).is_some_and(|due| due <= now))
            .then_some(Verdict::DeleteKey),
        // A marker that hides nothing; one that hides something must stay.
        (true, true) => (scanned.is_alone
            && rules.any(|rule| ends_marker(rule, entry.modified, now, calendar)))
        .then_some(Verdict::DeleteVersion),
        (false, _) => {
            rules.any(|rule| ends_noncurrent(rule, scanned, now, calendar)).then_some(Verdict::DeleteVersion)
        }
    }
}

fn ends_marker(rule: &LifecycleRule, modified: UnixMs, now: UnixMs, calendar: Calendar) -> bool {
    let asked = rule.expiration.as_ref().and_then(|expiration| expiration.expired_object_delete_marker);
    asked == Some(true) || expires(rule, modified, calendar).is_some_and(|due| due <= now)
}

fn ends_noncurrent(rule: &LifecycleRule, scanned: &Scanned, now: UnixMs, calendar: Calendar) -> bool {
    let Some(noncurrent) = &rule.noncurrent_version_expiration else { return false };
    let (Some(days), Some(since)) = (noncurrent.noncurrent_days, scanned.noncurrent_since) else {
        return false;
    };
    let kept = noncurrent.newer_noncurrent_versions.map_or(0, |kept| u32::try_from(kept).unwrap_or(0));
    scanned.newer_noncurrent >= kept && calendar.due(since, days) <= now
}

/// Whether an upload has been under way for too long.
pub fn ends_upload(
    configuration: &BucketLifecycleConfiguration,
    upload: &Upload,
    now: UnixMs,
    calendar: Calendar,
) -> bool {
    enabled(configuration).filter(|rule| is_about_key(rule, &upload.key)).any(|rule| {
        let days =
            rule.abort_incomplete_multipart_upload.as_ref().and_then(|abort| abort.days_after_initiation);
        days.is_some_and(|days| calendar.due(upload.initiated, days) <= now)
    })
}

/// The value of `x-amz-expiration` for a current version: when the first rule ends it, and which.
pub fn header(
    configuration: &BucketLifecycleConfiguration,
    key: &str,
    tags: &Pairs,
    size: u64,
    modified: UnixMs,
) -> Option<String> {
    let rules = enabled(configuration).filter(|rule| is_about(rule, key, tags, size));
    // In days as they are, whatever the executor takes for one: what reads it knows no other.
    let due = rules.filter_map(|rule| Some((expires(rule, modified, Calendar::REAL)?, rule)));
    let (due, rule) = due.min_by_key(|(due, _)| *due)?;
    let at = OffsetDateTime::from_unix_timestamp(due / 1000).ok()?;
    let id = rule.id.as_deref().unwrap_or_default();
    let id = percent_encoding::utf8_percent_encode(id, UNSAFE);
    Some(format!("expiry-date=\"{}\", rule-id=\"{id}\"", http_date(at)))
}

const UNSAFE: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'"').add(b'%').add(b'\\').add(b'&').add(b'+').add(b'=');

#[cfg(test)]
mod tests;
