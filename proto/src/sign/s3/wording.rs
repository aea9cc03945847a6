//! Why a signature was not accepted, in S3's words: [`SignFault`] says what is wrong, here it gets its
//! status, code, sentence and extra elements.
//!
//! Must not: tell which signature would have been right. What was signed, as we understood it, is no
//! secret: S3 shows it, so that a client can find where it differs.

use std::fmt::Write as _;

use time::OffsetDateTime;

use super::super::claim::{Claim, Scheme};
use super::super::fault::{ScopeFault, SignFault, echo, echo_list};
use super::super::gap::Gap;
use super::super::stamp::{basic, extended, http_date};
use crate::refusal::S3Refusal;

const NOT_SIGNED: &str = "There were headers present in the request which were not signed";
const NO_DATE: &str = "AWS authentication requires a valid Date or x-amz-date header";
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. \
     Check your key and signing method.";
const SKEWED: &str = "The difference between the request time and the current time is too large.";
const CREDENTIAL: &str =
    r#"the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request"."#;
const PRESIGNED_PARTS: &str = "Query-string authentication version 4 requires the X-Amz-Algorithm, \
     X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.";
const V2_PARTS: &str =
    "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters";
const PAYLOAD_HASH: &str = "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
     STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, \
     STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid \
     sha256 value.";
/// Of longer texts no hex dump is added: it triples what is sent back.
const DUMPED_BYTES_MAX: usize = 16 * 1024;

impl Claim {
    /// S3's answer when this claim is not accepted: for faults that the caller finds (an unknown key, a bad or
    /// expired token).
    pub fn refuse(&self, fault: &SignFault) -> S3Refusal {
        refusal(fault, self.scheme(), Some(self))
    }

    /// As [`expect_scope`](Self::expect_scope) for S3. The first region is the one to be told.
    ///
    /// # Errors
    /// `AuthorizationHeaderMalformed` with the right region, or its counterparts for queries and forms.
    pub fn expect_s3_scope(&self, regions: &[&str]) -> Result<(), S3Refusal> {
        self.expect_scope(regions, "s3").map_err(|fault| self.refuse(&fault))
    }
}

/// `claim` is at hand once there is one.
pub(in super::super) fn refusal(fault: &SignFault, scheme: Scheme, claim: Option<&Claim>) -> S3Refusal {
    let key = echo(claim.map(|claim| claim.access_key_id.as_str()).unwrap_or_default());
    match fault {
        SignFault::Missing => S3Refusal::denied("Access Denied"),
        SignFault::Incomplete(gap) => incomplete(gap, scheme),
        SignFault::MissingParameter(_) => S3Refusal::denied(V2_PARTS),
        SignFault::BadParameter { name, value } => bad_parameter(name, value),
        SignFault::UnsupportedAlgorithm(_) => unsupported_algorithm(scheme),
        SignFault::BadDate(text) => bad_date(text, scheme),
        SignFault::BadExpires(text) => query_error(*text),
        SignFault::Scope(faults) => scope(faults, scheme, claim),
        SignFault::HostNotSigned => S3Refusal::denied(NOT_SIGNED).with("HeadersNotSigned", "host"),
        SignFault::HeadersNotSigned(names) => {
            S3Refusal::denied(NOT_SIGNED).with("HeadersNotSigned", echo_list(names))
        }
        SignFault::TooNew { now, .. } if scheme == Scheme::V4Presigned => {
            S3Refusal::denied("Request is not yet valid").with("ServerTime", extended(*now))
        }
        SignFault::TooOld { signed_at, now, window, .. }
        | SignFault::TooNew { signed_at, now, window, .. } => {
            S3Refusal::new(403, "RequestTimeTooSkewed", SKEWED)
                .with("RequestTime", request_time(*signed_at, scheme))
                .with("ServerTime", extended(*now))
                .with("MaxAllowedSkewMilliseconds", window.whole_milliseconds().to_string())
        }
        SignFault::PastExpiry { until, now } => past_expiry(*until, *now, claim),
        SignFault::PayloadHashMissing => {
            S3Refusal::invalid("Missing required header for this request: x-amz-content-sha256")
        }
        SignFault::BadPayloadHash(value) => {
            S3Refusal::argument(PAYLOAD_HASH, "x-amz-content-sha256", echo(value))
        }
        SignFault::UnsupportedFraming(value) => {
            let text = "A header you provided implies functionality that is not implemented";
            S3Refusal::new(501, "NotImplemented", text)
                .with("Header", "x-amz-content-sha256")
                .with("additionalMessage", echo(value))
        }
        SignFault::Mismatch(_) => {
            S3Refusal::new(403, "SignatureDoesNotMatch", MISMATCH).with("AWSAccessKeyId", key)
        }
        SignFault::UnknownKey => {
            let text = "The AWS Access Key Id you provided does not exist in our records.";
            S3Refusal::new(403, "InvalidAccessKeyId", text).with("AWSAccessKeyId", key)
        }
        SignFault::BadToken => {
            token(400, "InvalidToken", "The provided token is malformed or otherwise invalid.", claim)
        }
        SignFault::ExpiredToken => token(400, "ExpiredToken", "The provided token has expired.", claim),
        SignFault::TwoSignatures => two_signatures(""),
    }
}

/// Two of header and query at once; `header` is the `Authorization` header.
pub(super) fn two_signatures(header: &str) -> S3Refusal {
    let text = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query \
                string parameter or the Authorization header should be specified";
    S3Refusal::argument(text, "Authorization", echo(header))
}

/// `SignatureDoesNotMatch` with what was signed, for the client to compare with its own.
pub(in super::super) fn mismatch(
    access_key_id: &str,
    string_to_sign: &[u8],
    provided: &str,
    canonical_request: Option<&[u8]>,
) -> S3Refusal {
    let mut answer = S3Refusal::new(403, "SignatureDoesNotMatch", MISMATCH)
        .with("AWSAccessKeyId", echo(access_key_id))
        .with("StringToSign", String::from_utf8_lossy(string_to_sign))
        .with("SignatureProvided", echo(provided));
    let mut dump = |name, bytes: &[u8]| {
        if bytes.len() <= DUMPED_BYTES_MAX {
            answer.fields.push((name, hex_dump(bytes)));
        }
    };
    dump("StringToSignBytes", string_to_sign);
    if let Some(bytes) = canonical_request {
        dump("CanonicalRequestBytes", bytes);
        answer.fields.push(("CanonicalRequest", String::from_utf8_lossy(bytes).into_owned()));
    }
    answer
}

fn hex_dump(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (at, byte) in bytes.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{byte:02x}", if at == 0 { "" } else { " " });
    }
    text
}

fn header_error(text: impl AsRef<str>) -> S3Refusal {
    let text = format!("The authorization header is malformed; {}", text.as_ref());
    S3Refusal::new(400, "AuthorizationHeaderMalformed", text)
}

fn query_error(text: impl Into<std::borrow::Cow<'static, str>>) -> S3Refusal {
    S3Refusal::new(400, "AuthorizationQueryParametersError", text)
}

/// What is wrong with a credential, wherever the signature stands.
fn credential_error(text: &str, scheme: Scheme, claim: Option<&Claim>) -> S3Refusal {
    match scheme {
        Scheme::V4Presigned => query_error(format!("Error parsing the X-Amz-Credential parameter; {text}")),
        Scheme::V4Form => {
            let scope = claim.and_then(|c| Some(format!("{}/{}", c.access_key_id, c.scope()?.text())));
            S3Refusal::argument(text.to_owned(), "x-amz-credential", echo(&scope.unwrap_or_default()))
        }
        Scheme::V4Header | Scheme::V2Query | Scheme::V2Header | Scheme::V2Presigned | Scheme::V2Form => {
            header_error(text)
        }
    }
}

fn incomplete(gap: &Gap, scheme: Scheme) -> S3Refusal {
    match gap {
        Gap::Header { missing, .. } if missing.is_empty() => S3Refusal::denied(NO_DATE),
        Gap::Header { .. } => header_error(
            "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
        ),
        Gap::Query { .. } => query_error(PRESIGNED_PARTS),
        Gap::Credential(_) => credential_error(CREDENTIAL, scheme, None),
        Gap::SignedHeaders(text) => {
            let text = format!("the SignedHeaders must be sorted and in lower case, not \"{}\".", echo(text));
            if scheme == Scheme::V4Presigned { query_error(text) } else { header_error(text) }
        }
    }
}

fn bad_parameter(name: &'static str, value: &str) -> S3Refusal {
    match name {
        "Authorization" => S3Refusal::argument("Unsupported Authorization Type", name, echo(value)),
        "Expires" => {
            let value = echo(value);
            S3Refusal::denied(format!("Invalid date (should be seconds since epoch): {value}"))
        }
        "x-amz-*" => {
            let text = "A parameter that stands for a header cannot have control characters";
            S3Refusal::argument(text, name, echo(value))
        }
        _ => S3Refusal::invalid(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ),
    }
}

fn unsupported_algorithm(scheme: Scheme) -> S3Refusal {
    match scheme {
        Scheme::V4Presigned => query_error(r#"X-Amz-Algorithm only supports "AWS4-HMAC-SHA256""#),
        _ => S3Refusal::new(
            501,
            "NotImplemented",
            "The authorization mechanism you have provided is not implemented. Please use AWS4-HMAC-SHA256.",
        ),
    }
}

fn bad_date(text: &str, scheme: Scheme) -> S3Refusal {
    match scheme {
        Scheme::V4Presigned => {
            query_error(r#"X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'""#)
        }
        Scheme::V4Form => S3Refusal::argument(
            "X-Amz-Date must be formated via ISO8601 Long format",
            "X-Amz-Date",
            echo(text),
        ),
        _ => S3Refusal::denied(NO_DATE),
    }
}

/// S3 names one thing at a time; a wrong service before a wrong region.
fn scope(faults: &[ScopeFault], scheme: Scheme, claim: Option<&Claim>) -> S3Refusal {
    let service = faults.iter().find(|fault| matches!(fault, ScopeFault::Service { .. }));
    match service.or(faults.first()) {
        Some(ScopeFault::Region { got, want }) => {
            let got = echo(got);
            let text = format!("the region '{got}' is wrong; expecting '{want}'");
            credential_error(&text, scheme, claim).with("Region", want)
        }
        Some(ScopeFault::Service { got, want }) => {
            let got = echo(got);
            let text = format!("incorrect service \"{got}\". This endpoint belongs to \"{want}\".");
            credential_error(&text, scheme, claim)
        }
        Some(ScopeFault::Terminator { got }) => {
            let got = echo(got);
            let text = format!("incorrect terminal \"{got}\". This endpoint uses \"aws4_request\".");
            credential_error(&text, scheme, claim)
        }
        Some(ScopeFault::Date { scope, signed_at }) => scope_date(scope, *signed_at, scheme, claim),
        None => header_error("the scope is wrong."),
    }
}

fn scope_date(scope: &str, signed_at: OffsetDateTime, scheme: Scheme, claim: Option<&Claim>) -> S3Refusal {
    if scope.len() != 8 || !scope.bytes().all(|b| b.is_ascii_digit()) {
        let scope = echo(scope);
        let text = format!(
            "incorrect date format \"{scope}\". This date in the credential must be in the format \"yyyyMMdd\"."
        );
        return credential_error(&text, scheme, claim);
    }
    let stamp = basic(signed_at);
    let day = stamp.get(..8).unwrap_or_default();
    let text =
        format!("Invalid credential date \"{scope}\". This date is not the same as X-Amz-Date: \"{day}\".");
    if scheme == Scheme::V4Presigned { query_error(text) } else { credential_error(&text, scheme, claim) }
}

/// As the client wrote it: Version 2 has HTTP dates.
fn request_time(at: OffsetDateTime, scheme: Scheme) -> String {
    match scheme {
        Scheme::V2Header | Scheme::V2Presigned | Scheme::V2Query | Scheme::V2Form => http_date(at),
        Scheme::V4Header | Scheme::V4Presigned | Scheme::V4Form => basic(at),
    }
}

fn past_expiry(until: OffsetDateTime, now: OffsetDateTime, claim: Option<&Claim>) -> S3Refusal {
    let mut answer = S3Refusal::denied("Request has expired");
    if let Some(seconds) = claim.and_then(Claim::lives_s) {
        answer = answer.with("X-Amz-Expires", seconds.to_string());
    }
    answer.with("Expires", extended(until)).with("ServerTime", extended(now))
}

/// Names the token as S3 does: whoever sent it knows it.
fn token(status: u16, code: &'static str, text: &'static str, claim: Option<&Claim>) -> S3Refusal {
    let token = claim.and_then(|claim| claim.session_token.as_deref()).unwrap_or_default();
    S3Refusal::new(status, code, text).with("Token-0", echo(token))
}
