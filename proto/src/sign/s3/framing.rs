//! How a body is framed, and what its chunk signatures start from.
//!
//! Must not: show a key. A [`ChunkSeed`] holds the derived signing key of one day, region and service, for
//! as long as the body takes.

use std::fmt;

use crate::refusal::S3Refusal;

/// `aws-chunked`, in the kinds that are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// Each chunk carries a signature; with `trailers`, so do those.
    Signed { seed: ChunkSeed, trailers: bool },
    /// Chunks and trailers as they are; the trailer's checksum is all that protects them.
    Unsigned,
}

/// What the first chunk's signature continues: the request's.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkSeed {
    pub(super) key: [u8; 32],
    pub(super) stamp: String,
    pub(super) scope: String,
    pub(super) access_key_id: String,
    pub(super) signature: String,
}

impl ChunkSeed {
    pub(in super::super) fn new(
        key: [u8; 32],
        stamp: String,
        scope: String,
        access_key_id: &str,
        signature: &str,
    ) -> Self {
        Self { key, stamp, scope, access_key_id: access_key_id.to_owned(), signature: signature.to_owned() }
    }
}

impl fmt::Debug for ChunkSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkSeed").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// `x-amz-decoded-content-length` of a framed request: how many bytes the object will have.
///
/// # Errors
/// `MissingContentLength` when it is absent or no number, as AWS answers although the length that it names
/// may well be there.
pub fn decoded_length(header: Option<&str>) -> Result<u64, S3Refusal> {
    let digits = header.map(str::trim).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| {
        S3Refusal::new(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    })
}

/// `Content-Encoding` as it is kept with an object: `aws-chunked` is how the body travelled, not what it is.
/// Nothing when nothing else is left.
pub fn without_aws_chunked(content_encoding: &str) -> Option<String> {
    let codings = content_encoding.split(',').map(str::trim);
    let kept: Vec<&str> =
        codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked")).collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decoded_length_is_digits_or_nothing() {
        assert_eq!(decoded_length(Some(" 66560 ")), Ok(66_560));
        for bad in [None, Some(""), Some("+1"), Some("-1"), Some("1e3"), Some("99999999999999999999")] {
            assert_eq!(decoded_length(bad).unwrap_err().status, 411, "{bad:?}");
        }
    }

    #[test]
    fn aws_chunked_is_no_encoding_of_the_object() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(without_aws_chunked(text).as_deref(), want, "{text}");
        };
        check("aws-chunked", None);
        check("aws-chunked, AWS-chunked", None);
        check("", None);
        check("gzip", Some("gzip"));
        check("gzip,aws-chunked", Some("gzip"));
        check("foo, aws-chunked, bar", Some("foo, bar"));
    }

    #[test]
    fn debug_shows_no_key() {
        let seed = ChunkSeed::new([7; 32], String::new(), "scope".into(), "AKID", "sig");
        assert_eq!(format!("{seed:?}"), r#"ChunkSeed { scope: "scope", .. }"#);
    }
}
