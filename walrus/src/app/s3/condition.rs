//! Conditional requests: in the order that RFC 9110 gives, with S3's answers.

use http::header::{HeaderName, HeaderValue};
use karri_proto::aws::s3::{S3Code, S3Fault};
use time::OffsetDateTime;

/// Of a request that reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadConditions<'a> {
    pub if_match: Option<&'a str>,
    pub if_none_match: Option<&'a str>,
    pub if_modified_since: Option<OffsetDateTime>,
    pub if_unmodified_since: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Proceed,
    NotModified,
    /// The condition that does not hold.
    Failed(&'static str),
}

impl ReadConditions<'_> {
    pub fn judge(&self, etag: &str, modified: OffsetDateTime) -> Verdict {
        // Headers tell whole seconds.
        let modified = modified.unix_timestamp();
        match (self.if_match, self.if_unmodified_since) {
            (Some(tags), _) if !any_matches(tags, etag) => return Verdict::Failed("If-Match"),
            (None, Some(since)) if modified > since.unix_timestamp() => {
                return Verdict::Failed("If-Unmodified-Since");
            }
            _ => {}
        }
        match (self.if_none_match, self.if_modified_since) {
            (Some(tags), _) if any_matches(tags, etag) => Verdict::NotModified,
            (None, Some(since)) if modified <= since.unix_timestamp() => Verdict::NotModified,
            _ => Verdict::Proceed,
        }
    }

    /// For what is read.
    ///
    /// # Errors
    /// 412, 304
    pub fn check(&self, etag: &str, modified: OffsetDateTime) -> Result<(), S3Fault> {
        match self.judge(etag, modified) {
            Verdict::Proceed => Ok(()),
            Verdict::Failed(condition) => Err(S3Fault::precondition_failed(condition)),
            Verdict::NotModified => Err(not_modified(etag, modified)),
        }
    }

    /// For what is copied, where nothing is "not modified".
    ///
    /// # Errors
    /// 412
    pub fn check_source(&self, etag: &str, modified: OffsetDateTime) -> Result<(), S3Fault> {
        match self.judge(etag, modified) {
            Verdict::Proceed => Ok(()),
            Verdict::Failed("If-Match") => Err(S3Fault::precondition_failed("x-amz-copy-source-If-Match")),
            Verdict::Failed(_) => Err(S3Fault::precondition_failed("x-amz-copy-source-If-Unmodified-Since")),
            Verdict::NotModified if self.if_none_match.is_some() => {
                Err(S3Fault::precondition_failed("x-amz-copy-source-If-None-Match"))
            }
            Verdict::NotModified => Err(S3Fault::precondition_failed("x-amz-copy-source-If-Modified-Since")),
        }
    }
}

/// A cache wants these headers again.
fn not_modified(etag: &str, modified: OffsetDateTime) -> S3Fault {
    let headers: [(HeaderName, String); 2] = [
        (http::header::ETAG, format!("\"{etag}\"")),
        (http::header::LAST_MODIFIED, karri_proto::aws::rest::scalar::http_date(modified)),
    ];
    headers.into_iter().fold(S3Fault::new(S3Code::NotModified), |fault, (name, value)| {
        match HeaderValue::try_from(value) {
            Ok(value) => fault.with_header(name, value),
            Err(_) => fault,
        }
    })
}

/// Whether a list of tags, or `*`, names this one. Quotes may be missing.
pub fn any_matches(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || plain(tag) == etag)
}

fn plain(tag: &str) -> &str {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag)
}

/// Of a request that writes: PutObject, CompleteMultipartUpload, CopyObject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteConditions {
    pub if_match: Option<String>,
    pub if_none_match: Option<String>,
}

impl WriteConditions {
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// # Errors
    /// Both at once, or a form that S3 does not take.
    pub fn check_form(&self) -> Result<(), S3Fault> {
        if self.if_match.is_some() && self.if_none_match.is_some() {
            return Err(S3Fault::not_implemented("If-Match, If-None-Match"));
        }
        Ok(())
    }

    /// `current` is the ETag of what would be overwritten.
    ///
    /// # Errors
    /// 404, 412
    pub fn check(&self, key: &str, current: Option<&str>) -> Result<(), S3Fault> {
        match (&self.if_match, current) {
            (Some(_), None) => return Err(S3Fault::no_such_key(key)),
            (Some(tags), Some(etag)) if !any_matches(tags, etag) => {
                return Err(S3Fault::precondition_failed("If-Match"));
            }
            _ => {}
        }
        match (&self.if_none_match, current) {
            (Some(tags), Some(etag)) if any_matches(tags, etag) => {
                Err(S3Fault::precondition_failed("If-None-Match"))
            }
            _ => Ok(()),
        }
    }
}

/// Of a request that deletes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeleteConditions {
    pub if_match: Option<String>,
    pub modified: Option<OffsetDateTime>,
    pub size: Option<u64>,
}

impl DeleteConditions {
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.modified.is_none() && self.size.is_none()
    }

    /// `found` is the ETag, time and size of what would be deleted; `behind_marker`: it is deleted already,
    /// and only `*` is true of that. Of what was never there no condition holds, and no marker is to be left.
    ///
    /// # Errors
    /// 404, 412
    pub fn check(
        &self,
        key: &str,
        found: Option<(&str, OffsetDateTime, u64)>,
        behind_marker: bool,
    ) -> Result<(), S3Fault> {
        let Some((etag, modified, size)) = found else {
            let anything =
                self.modified.is_none() && self.size.is_none() && self.if_match.as_deref() == Some("*");
            return match behind_marker {
                _ if self.is_empty() => Ok(()),
                false => Err(S3Fault::no_such_key(key)),
                true if anything => Ok(()),
                true => Err(S3Fault::precondition_failed("If-Match")),
            };
        };
        if self.if_match.as_ref().is_some_and(|tags| !any_matches(tags, etag)) {
            return Err(S3Fault::precondition_failed("If-Match"));
        }
        if self.modified.is_some_and(|at| at.unix_timestamp() != modified.unix_timestamp()) {
            return Err(S3Fault::precondition_failed("x-amz-if-match-last-modified-time"));
        }
        if self.size.is_some_and(|asked| asked != size) {
            return Err(S3Fault::precondition_failed("x-amz-if-match-size"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const AT: OffsetDateTime = datetime!(2026-01-02 03:04:05.678 UTC);
    const BEFORE: Option<OffsetDateTime> = Some(datetime!(2026-01-02 03:04:04 UTC));
    const SAME: Option<OffsetDateTime> = Some(datetime!(2026-01-02 03:04:05 UTC));

    #[test]
    fn tags_come_before_times() {
        let check = |if_match, unmodified, if_none_match, modified, expected| {
            let conditions = ReadConditions {
                if_match,
                if_none_match,
                if_modified_since: modified,
                if_unmodified_since: unmodified,
            };
            assert_eq!(conditions.judge("e", AT), expected, "{conditions:?}");
        };
        check(None, None, None, None, Verdict::Proceed);
        check(Some("\"e\""), BEFORE, None, None, Verdict::Proceed);
        check(Some("x"), SAME, None, None, Verdict::Failed("If-Match"));
        check(Some("x, \"e\""), None, None, None, Verdict::Proceed);
        check(Some("*"), None, None, None, Verdict::Proceed);
        check(None, BEFORE, None, None, Verdict::Failed("If-Unmodified-Since"));
        check(None, SAME, None, None, Verdict::Proceed);
        check(None, None, Some("W/\"e\""), None, Verdict::NotModified);
        check(None, None, Some("x"), SAME, Verdict::Proceed);
        check(None, None, None, SAME, Verdict::NotModified);
        check(None, None, None, BEFORE, Verdict::Proceed);
        check(Some("x"), None, Some("e"), None, Verdict::Failed("If-Match"));
    }

    #[test]
    fn a_deletion_is_held_against_what_is_there_or_was() {
        let check = |if_match: Option<&str>, size, found, behind_marker, status: Option<u16>| {
            let conditions = DeleteConditions { if_match: if_match.map(str::to_owned), modified: None, size };
            let fault = conditions.check("k", found, behind_marker).err();
            assert_eq!(fault.map(|fault| fault.status()), status, "{conditions:?} {behind_marker}");
        };
        let found = Some(("e", AT, 3));
        check(None, None, None, false, None);
        check(Some("*"), None, found, false, None);
        check(Some("e"), Some(3), found, false, None);
        check(Some("x"), None, found, false, Some(412));
        check(None, Some(4), found, false, Some(412));
        check(Some("*"), None, None, true, None);
        check(Some("e"), None, None, true, Some(412));
        check(Some("*"), None, None, false, Some(404));
    }

    #[test]
    fn writes_are_held_against_what_is_there() {
        let check = |if_match: Option<&str>, if_none_match: Option<&str>, current, status: Option<u16>| {
            let conditions = WriteConditions {
                if_match: if_match.map(str::to_owned),
                if_none_match: if_none_match.map(str::to_owned),
            };
            assert_eq!(conditions.check("k", current).err().map(|fault| fault.status()), status);
        };
        check(None, Some("*"), None, None);
        check(None, Some("*"), Some("e"), Some(412));
        check(Some("e"), None, Some("e"), None);
        check(Some("*"), None, Some("e"), None);
        check(Some("x"), None, Some("e"), Some(412));
        check(Some("e"), None, None, Some(404));
    }
}
