//! `Range: bytes=…` as S3 takes it: one part; what makes no sense is ignored, what is beyond the end is
//! refused.

use crate::api::range as http_range;
use http::header::HeaderValue;
use karri_proto::aws::s3::{S3Code, S3Fault};
use std::ops::Range;

/// Nothing: the whole.
///
/// # Errors
/// `InvalidRange`
pub fn requested(header: Option<&str>, size: u64) -> Result<Option<Range<u64>>, S3Fault> {
    match http_range::parse(header, size) {
        http_range::Range::Whole => Ok(None),
        http_range::Range::Part(from, to) => Ok(Some(from..to)),
        http_range::Range::Unsatisfiable => Err(unsatisfiable(header.unwrap_or_default(), size)),
    }
}

fn unsatisfiable(asked: &str, size: u64) -> S3Fault {
    let fault = S3Fault::new(S3Code::InvalidRange)
        .with("ActualObjectSize", size.to_string())
        .with("RangeRequested", asked);
    match HeaderValue::from_str(&format!("bytes */{size}")) {
        Ok(value) => fault.with_header(http::header::CONTENT_RANGE, value),
        Err(_) => fault,
    }
}

/// `x-amz-copy-source-range`: both ends are given and exist.
///
/// # Errors
/// `InvalidArgument`, `InvalidRange`
pub fn copied(header: &str, size: u64) -> Result<Range<u64>, S3Fault> {
    let form = || {
        S3Fault::invalid_argument(
            "x-amz-copy-source-range",
            header,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are \
             the zero-based offsets of the first and last bytes to copy",
        )
    };
    let digits = |text: &str| -> Option<u64> {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    let (first, last) =
        header.strip_prefix("bytes=").and_then(|spec| spec.split_once('-')).ok_or_else(form)?;
    let (first, last) = (digits(first).ok_or_else(form)?, digits(last).ok_or_else(form)?);
    if first > last {
        return Err(form());
    }
    if last >= size {
        let text = format!("Range specified is not valid for source object of size: {size}");
        return Err(S3Fault::invalid_argument("x-amz-copy-source-range", header, text));
    }
    Ok(first..last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_part_the_whole_or_refused() {
        assert_eq!(requested(None, 10).unwrap(), None);
        assert_eq!(requested(Some("bytes=2-4"), 10).unwrap(), Some(2..5));
        assert_eq!(requested(Some("bytes=-3"), 10).unwrap(), Some(7..10));
        assert_eq!(requested(Some("bytes=x"), 10).unwrap(), None);
        let fault = requested(Some("bytes=10-"), 10).unwrap_err();
        assert_eq!((fault.status(), fault.headers().len()), (416, 1));
        assert!(requested(Some("bytes=0-0"), 0).is_err());
    }

    #[test]
    fn a_copied_range_has_both_ends_within_the_source() {
        assert_eq!(copied("bytes=0-9", 10).unwrap(), 0..10);
        for bad in
            ["bytes=0-10", "bytes=0-", "bytes=-1", "0-1", "bytes=3-1", "bytes=+1-2", "bytes=hello-world"]
        {
            assert_eq!(copied(bad, 10).unwrap_err().code(), S3Code::InvalidArgument, "{bad}");
        }
    }
}
