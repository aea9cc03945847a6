//! Which checksum an upload brings, and whether in a header or behind the data.
//!
//! One at most. The order in which contradictions are found is S3's: two of them come first, then what is
//! unknown, then what does not fit together.
//!
//! Must not: look at the body.

use super::algorithm::Algorithm;
use super::value::Checksum;
use crate::refusal::S3Refusal;

const PREFIX: &str = "x-amz-checksum-";
/// Headers of that prefix that are no checksums.
const OTHERS: [&str; 3] = ["algorithm", "mode", "type"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    pub algorithm: Algorithm,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Header(Checksum),
    /// `x-amz-trailer` says that it follows the data; see [`check_trailer`].
    Trailer,
}

/// What the headers of an upload say. `framed`: its body is `aws-chunked` and can have trailers.
///
/// # Errors
/// More than one checksum, an unknown one, a value that is none, or a trailer where there can be none.
pub fn announced(headers: &[(&str, &[u8])], framed: bool) -> Result<Option<Announced>, S3Refusal> {
    let in_headers = in_headers(headers);
    let trailer = text_of(headers, "x-amz-trailer");
    let in_trailer = trailer.as_deref().map(trailer_names).unwrap_or_default();
    if in_headers.len() > 1 || in_trailer.len() > 1 && in_trailer.iter().all(Option::is_some) {
        return Err(S3Refusal::invalid(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ));
    }
    if in_trailer.iter().any(Option::is_none) {
        return Err(S3Refusal::invalid("The value specified in the x-amz-trailer header is not supported"));
    }
    let announced = match (in_headers.first(), in_trailer.first().copied().flatten()) {
        (Some(_), Some(_)) => {
            return Err(S3Refusal::invalid("Expecting a single x-amz-checksum- header"));
        }
        (None, Some(_)) if !framed => return Err(malformed_trailer()),
        (None, Some(algorithm)) => Some(Announced { algorithm, place: Place::Trailer }),
        (Some((name, value)), None) => Some(read_header(name, value)?),
        (None, None) => None,
    };
    check_sdk_algorithm(headers, announced.as_ref())?;
    Ok(announced)
}

type Header<'a> = (&'a str, &'a [u8]);

fn in_headers<'a>(headers: &[Header<'a>]) -> Vec<Header<'a>> {
    let is_checksum = |name: &str| {
        let (prefix, rest) = name.split_at_checked(PREFIX.len()).unwrap_or_default();
        prefix.eq_ignore_ascii_case(PREFIX) && !OTHERS.iter().any(|other| other.eq_ignore_ascii_case(rest))
    };
    headers.iter().filter(|(name, _)| is_checksum(name)).copied().collect()
}

fn text_of(headers: &[Header<'_>], name: &str) -> Option<String> {
    let (_, value) = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
    Some(String::from_utf8_lossy(value).trim().to_owned())
}

/// Names in order, those that are no checksum's as nothing. Commas at the end do not count, others do.
fn trailer_names(text: &str) -> Vec<Option<Algorithm>> {
    let names = text.trim_end_matches(',');
    if names.is_empty() {
        return Vec::new();
    }
    names.split(',').map(|name| Algorithm::from_header(name.trim())).collect()
}

fn read_header(name: &str, value: &[u8]) -> Result<Announced, S3Refusal> {
    let algorithm = Algorithm::from_header(name).ok_or_else(|| {
        S3Refusal::invalid("The algorithm type you specified in x-amz-checksum- header is invalid.")
    })?;
    let text = std::str::from_utf8(value).unwrap_or_default().trim();
    let checksum = Checksum::parse(algorithm, text)
        .ok_or_else(|| S3Refusal::invalid(format!("Value for {} header is invalid.", algorithm.header())))?;
    Ok(Announced { algorithm, place: Place::Header(checksum) })
}

/// `x-amz-sdk-checksum-algorithm` says nothing new, but must not lie.
fn check_sdk_algorithm(headers: &[Header<'_>], announced: Option<&Announced>) -> Result<(), S3Refusal> {
    let Some(name) = text_of(headers, "x-amz-sdk-checksum-algorithm") else { return Ok(()) };
    match announced {
        None => Err(S3Refusal::invalid(
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
             headers were found.",
        )),
        Some(announced) if announced.algorithm.name().eq_ignore_ascii_case(&name) => Ok(()),
        Some(_) => Err(S3Refusal::invalid("Value for x-amz-sdk-checksum-algorithm header is invalid.")),
    }
}

/// Holds the trailer of a framed body (see `sign::ChunkDecoder`) against what was computed of the data.
///
/// # Errors
/// `InvalidRequest` when it is no checksum, `BadDigest` when it is another one.
pub fn check_trailer(trailers: &[(String, String)], computed: &Checksum) -> Result<(), S3Refusal> {
    let algorithm = computed.algorithm();
    let sent = trailers.iter().find(|(name, _)| name == algorithm.header());
    let (_, text) = sent.ok_or_else(malformed_trailer)?;
    let sent = Checksum::parse(algorithm, text).ok_or_else(|| {
        S3Refusal::invalid(format!("Value for {} trailing header is invalid.", algorithm.header()))
    })?;
    sent.check(computed)
}

/// What follows the data, or should, is not what it must be.
pub(crate) fn malformed_trailer() -> S3Refusal {
    let text = "The request contained trailing data that was not well-formed or did not conform to our \
                published schema.";
    S3Refusal::new(400, "MalformedTrailerError", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRC32: &str = "y/Q5Jg==";

    fn read(headers: &[(&str, &str)], framed: bool) -> Result<Option<Announced>, S3Refusal> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        announced(&headers, framed)
    }

    #[test]
    fn one_checksum_in_a_header_or_behind_the_data() {
        assert_eq!(
            read(&[("x-amz-checksum-type", "COMPOSITE"), ("x-amz-checksum-mode", "ENABLED")], false),
            Ok(None)
        );
        let sdk = ("X-Amz-Sdk-Checksum-Algorithm", "crc32");
        let place = Place::Header(Checksum::parse(Algorithm::Crc32, CRC32).unwrap());
        let want = Announced { algorithm: Algorithm::Crc32, place };
        assert_eq!(read(&[sdk, ("X-Amz-Checksum-CRC32", CRC32)], false), Ok(Some(want)));
        for list in [
            "x-amz-checksum-crc32",
            "x-amz-checksum-crc32,",
            "x-amz-checksum-crc32,,",
            " X-AMZ-checksum-crc32, ",
        ] {
            let want = Announced { algorithm: Algorithm::Crc32, place: Place::Trailer };
            assert_eq!(read(&[sdk, ("x-amz-trailer", list)], true), Ok(Some(want)), "{list}");
        }
    }

    /// As AWS answers, contradiction by contradiction.
    #[test]
    fn contradictions_are_told_in_the_words_of_aws() {
        let check = |headers: &[(&str, &str)], framed: bool, want: &str| {
            let refusal = read(headers, framed).unwrap_err();
            assert_eq!(refusal.message, want, "{headers:?}");
            assert_eq!(refusal.status, 400);
        };
        let header = ("x-amz-checksum-crc32", CRC32);
        let trailer = |list| ("x-amz-trailer", list);
        let sdk = ("x-amz-sdk-checksum-algorithm", "SHA256");
        let multiple = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
        check(&[sdk, header, ("x-amz-checksum-crc32c", CRC32)], false, multiple);
        check(&[sdk, header, trailer("x-amz-checksum-crc32, x-amz-checksum-crc32")], false, multiple);
        check(&[header, trailer("x-amz-checksum-crc32, x-amz-checksum-crc32c")], false, multiple);
        check(
            &[header, trailer("x-amz-checksum-crc32c")],
            false,
            "Expecting a single x-amz-checksum- header",
        );
        let unsupported = "The value specified in the x-amz-trailer header is not supported";
        for list in [
            ", x-amz-checksum-crc32",
            ",x-amz-checksum-crc32",
            "x-amz-checksum-crc32, ,",
            "content-md5",
            "x-amz-checksum-bad",
            "x-amz-checksum-crc32, x-amz-foo",
        ] {
            check(&[trailer(list)], true, unsupported);
        }
        let unknown = "The algorithm type you specified in x-amz-checksum- header is invalid.";
        check(&[("x-amz-checksum-bad", CRC32)], false, unknown);
        check(&[("x-amz-checksum-", CRC32)], false, unknown);
        check(&[("x-amz-checksum-crc32", "bad")], false, "Value for x-amz-checksum-crc32 header is invalid.");
        check(&[sdk, header], false, "Value for x-amz-sdk-checksum-algorithm header is invalid.");
        check(
            &[sdk],
            true,
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
        );
        assert_eq!(
            read(&[trailer("x-amz-checksum-crc32")], false).unwrap_err().code,
            "MalformedTrailerError"
        );
    }

    #[test]
    fn a_trailer_is_held_against_the_data() {
        let computed = super::super::Hasher::digest(Algorithm::Crc32, b"123456789");
        let check = |value: &str| check_trailer(&[("x-amz-checksum-crc32".into(), value.into())], &computed);
        check(CRC32).unwrap();
        let refusal = check("AAAAAA==").unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "BadDigest: The CRC32 you specified did not match the calculated checksum."
        );
        let refusal = check("not-base-64").unwrap_err();
        assert_eq!(refusal.message, "Value for x-amz-checksum-crc32 trailing header is invalid.");
        assert_eq!(check_trailer(&[], &computed).unwrap_err().code, "MalformedTrailerError");
    }
}
