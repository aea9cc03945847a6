//! Why a signature was not accepted, and how AWS's services word it.
//!
//! The variants say what is wrong; [`SignFault::ec2`] and [`SignFault::query_service`] turn them
//! into status, code and message. S3 words them a third way, with more than a message: `s3/wording`.
//!
//! Must not: reveal more than AWS does. EC2 answers one sentence to an unknown key, a wrong
//! secret and a wrong scope alike. Nor tell back without end what a client sent: see [`echo`].

use std::borrow::Cow;

use time::{Duration, OffsetDateTime};

use super::claim::Scheme;
use super::gap::Gap;
use super::stamp::{basic, extended};

/// A refused signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignFault {
    #[error("the request is not signed")]
    Missing,
    #[error("the request is signed both in the Authorization header and in the query")]
    TwoSignatures,
    #[error("the signature is incomplete: {}", .0.text())]
    Incomplete(Gap),
    #[error("the Version 2 parameter {0} is missing")]
    MissingParameter(&'static str),
    #[error("the Version 2 parameter {name} has the value '{}', which is not supported", echo(.value))]
    BadParameter { name: &'static str, value: String },
    #[error("the signing algorithm '{}' is not supported", echo(.0))]
    UnsupportedAlgorithm(String),
    #[error("the date '{}' is malformed", echo(.0))]
    BadDate(String),
    #[error("{0}")]
    BadExpires(&'static str),
    #[error("the credential's scope is wrong: {}", scope_text(.0))]
    Scope(Vec<ScopeFault>),
    #[error("the Host header is not signed")]
    HostNotSigned,
    #[error("headers are present but not signed: {}", echo_list(.0))]
    HeadersNotSigned(Vec<String>),
    #[error("signed at {}, more than {} s before {}", basic(*.signed_at), .window.whole_seconds(), basic(*.now))]
    TooOld { scheme: Scheme, signed_at: OffsetDateTime, now: OffsetDateTime, window: Duration },
    #[error("signed at {}, more than {} s after {}", basic(*.signed_at), .window.whole_seconds(), basic(*.now))]
    TooNew { scheme: Scheme, signed_at: OffsetDateTime, now: OffsetDateTime, window: Duration },
    #[error("valid until {}, and it is {}", basic(*.until), basic(*.now))]
    PastExpiry { until: OffsetDateTime, now: OffsetDateTime },
    #[error("the signature does not match")]
    Mismatch(Scheme),
    #[error("the payload's hash is not declared")]
    PayloadHashMissing,
    #[error("the declared payload hash '{}' is not one", echo(.0))]
    BadPayloadHash(String),
    /// `STREAMING-…` of a kind that is not served.
    #[error("the payload's framing '{}' is not supported", echo(.0))]
    UnsupportedFraming(String),
    /// For the caller: nobody has this access key id, or the key is inactive.
    #[error("the access key id is not known")]
    UnknownKey,
    /// For the caller: the session token does not belong to the key, or is missing.
    #[error("the session token is not valid")]
    BadToken,
    /// For the caller: the temporary credentials are over.
    #[error("the session token is expired")]
    ExpiredToken,
}

/// So much of a client's own text is told back; the credentials, dates and names of real clients fit.
const ECHO_CHARS_MAX: usize = 256;
const ECHO_NAMES_MAX: usize = 50;

/// A client's text, cut to what an answer or a log line may carry.
pub(super) fn echo(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        Some((cut, _)) => Cow::Owned(format!("{}…", &text[..cut])),
        None => Cow::Borrowed(text),
    }
}

/// A client's names, one after the other, as far as an answer or a log line may carry them.
pub(super) fn echo_list(names: &[String]) -> String {
    let mut shown: Vec<Cow<'_, str>> = names.iter().take(ECHO_NAMES_MAX).map(|name| echo(name)).collect();
    if names.len() > ECHO_NAMES_MAX {
        shown.push(Cow::Borrowed("…"));
    }
    shown.join(", ")
}

/// One thing wrong with a credential's scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeFault {
    Region { got: String, want: String },
    Service { got: String, want: String },
    Terminator { got: String },
    Date { scope: String, signed_at: OffsetDateTime },
}

impl ScopeFault {
    fn text(&self) -> String {
        match self {
            ScopeFault::Region { got, .. } => {
                format!("Credential should be scoped to a valid region, not '{}'.", echo(got))
            }
            ScopeFault::Service { want, .. } => {
                format!("Credential should be scoped to correct service: '{want}'.")
            }
            ScopeFault::Terminator { got } => {
                let got = echo(got);
                format!("Credential should be scoped with a valid terminator: 'aws4_request', not '{got}'.")
            }
            ScopeFault::Date { scope, signed_at } => {
                let stamp = basic(*signed_at);
                let (scope, date) = (echo(scope), stamp.get(..8).unwrap_or_default());
                format!(
                    "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
                     HTTP: '{scope}' != '{date}', from '{stamp}'."
                )
            }
        }
    }
}

/// AWS joins the sentences with a space.
fn scope_text(faults: &[ScopeFault]) -> String {
    faults.iter().map(ScopeFault::text).collect::<Vec<_>>().join(" ")
}

const AUTH_FAILURE: &str = "AWS was not able to validate the provided access credentials";
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. \
     Check your AWS Secret Access Key and signing method. Consult the service documentation for details.";
const BAD_DATE: &str = "Date must be in ISO-8601 'basic format'.";
const NOT_SIGNED: &str = "There were headers present in the request which were not signed";
const TWO_SIGNATURES: &str = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, \
     Signature query string parameter or the Authorization header should be specified";
const INVALID_TOKEN: &str = "The security token included in the request is invalid.";

/// HTTP status, error code and message, ready for the error envelope.
pub type Wording = (u16, &'static str, String);

impl SignFault {
    /// As EC2 answers.
    pub fn ec2(&self) -> Wording {
        match self {
            SignFault::Missing => self.missing_parameter("AWSAccessKeyId"),
            SignFault::MissingParameter(name) => self.missing_parameter(name),
            SignFault::BadParameter { .. } => (400, "InvalidParameterValue", self.detail()),
            SignFault::TwoSignatures
            | SignFault::Incomplete(_)
            | SignFault::UnsupportedAlgorithm(_)
            | SignFault::BadDate(_)
            | SignFault::BadExpires(_) => (400, "IncompleteSignature", self.detail()),
            SignFault::TooOld { .. }
            | SignFault::TooNew { .. }
            | SignFault::PastExpiry { .. }
            | SignFault::ExpiredToken => (400, "RequestExpired", self.ec2_expired()),
            SignFault::Mismatch(Scheme::V2Query) => (403, "SignatureDoesNotMatch", MISMATCH.into()),
            SignFault::Mismatch(_)
            | SignFault::Scope(_)
            | SignFault::HostNotSigned
            | SignFault::HeadersNotSigned(_)
            | SignFault::PayloadHashMissing
            | SignFault::BadPayloadHash(_)
            | SignFault::UnsupportedFraming(_)
            | SignFault::UnknownKey
            | SignFault::BadToken => (401, "AuthFailure", AUTH_FAILURE.into()),
        }
    }

    /// As STS and IAM answer, and the other Query services.
    pub fn query_service(&self) -> Wording {
        match self {
            SignFault::Missing | SignFault::MissingParameter(_) => {
                (403, "MissingAuthenticationToken", SignFault::Missing.detail())
            }
            SignFault::TwoSignatures
            | SignFault::Incomplete(_)
            | SignFault::BadParameter { .. }
            | SignFault::UnsupportedAlgorithm(_)
            | SignFault::BadDate(_)
            | SignFault::BadExpires(_) => (400, "IncompleteSignature", self.detail()),
            SignFault::Scope(_)
            | SignFault::HostNotSigned
            | SignFault::HeadersNotSigned(_)
            | SignFault::TooOld { .. }
            | SignFault::TooNew { .. }
            | SignFault::PastExpiry { .. }
            | SignFault::Mismatch(_)
            | SignFault::PayloadHashMissing
            | SignFault::BadPayloadHash(_)
            | SignFault::UnsupportedFraming(_) => (403, "SignatureDoesNotMatch", self.detail()),
            SignFault::UnknownKey | SignFault::BadToken => (403, "InvalidClientTokenId", self.detail()),
            SignFault::ExpiredToken => (403, "ExpiredToken", self.detail()),
        }
    }

    fn missing_parameter(&self, name: &str) -> Wording {
        (400, "MissingParameter", format!("The request must contain the parameter {name}"))
    }

    /// Version 2 named the time; Version 4 does not.
    fn ec2_expired(&self) -> String {
        match self {
            SignFault::TooOld { scheme: Scheme::V2Query, signed_at, .. }
            | SignFault::TooNew { scheme: Scheme::V2Query, signed_at, .. } => {
                format!("Request has expired. Timestamp date is {}", extended(*signed_at))
            }
            _ => "Request has expired.".into(),
        }
    }

    /// The public sentence of the services that explain themselves.
    fn detail(&self) -> String {
        match self {
            SignFault::Incomplete(gap) => gap.text(),
            SignFault::BadExpires(text) => (*text).into(),
            SignFault::UnsupportedAlgorithm(name) => {
                format!("Unsupported AWS 'algorithm': '{}'.", echo(name))
            }
            SignFault::BadDate(text) => {
                let text = echo(text);
                format!("{BAD_DATE} Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601")
            }
            SignFault::BadParameter { name, value } => {
                format!("Value ({}) for parameter {name} is invalid.", echo(value))
            }
            SignFault::MissingParameter(name) => self.missing_parameter(name).2,
            SignFault::Scope(faults) => scope_text(faults),
            SignFault::HeadersNotSigned(names) => format!("{NOT_SIGNED}: {}", echo_list(names)),
            SignFault::TooOld { signed_at, now, window, .. } => window_text(*signed_at, *now, -*window),
            SignFault::TooNew { signed_at, now, window, .. } => window_text(*signed_at, *now, *window),
            SignFault::PastExpiry { until, now } => {
                format!("Signature expired: {} is now earlier than {}", basic(*until), basic(*now))
            }
            SignFault::Missing
            | SignFault::TwoSignatures
            | SignFault::HostNotSigned
            | SignFault::Mismatch(_)
            | SignFault::PayloadHashMissing
            | SignFault::BadPayloadHash(_)
            | SignFault::UnsupportedFraming(_)
            | SignFault::UnknownKey
            | SignFault::BadToken
            | SignFault::ExpiredToken => self.fixed_detail().into(),
        }
    }

    /// The sentences that are always the same. What has no better one does not match.
    fn fixed_detail(&self) -> &'static str {
        match self {
            SignFault::Missing => "Request is missing Authentication Token",
            SignFault::TwoSignatures => TWO_SIGNATURES,
            SignFault::HostNotSigned => {
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
            }
            SignFault::UnknownKey | SignFault::BadToken => INVALID_TOKEN,
            SignFault::ExpiredToken => "The security token included in the request is expired",
            _ => MISMATCH,
        }
    }
}

/// `Signature expired: T is now earlier than L (N - 15 min.)` and its counterpart for the future.
fn window_text(signed_at: OffsetDateTime, now: OffsetDateTime, window: Duration) -> String {
    let limit = basic(now.saturating_add(window));
    let (signed_at, now, minutes) = (basic(signed_at), basic(now), window.whole_minutes().abs());
    if window.is_negative() {
        format!("Signature expired: {signed_at} is now earlier than {limit} ({now} - {minutes} min.)")
    } else {
        format!("Signature not yet current: {signed_at} is still later than {limit} ({now} + {minutes} min.)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2020-07-07 07:28:47 UTC);

    fn too_old(scheme: Scheme) -> SignFault {
        let signed_at = datetime!(2020-07-06 19:53:06 UTC);
        SignFault::TooOld { scheme, signed_at, now: NOW, window: Duration::minutes(15) }
    }

    /// Sentences as seen in real answers.
    #[test]
    fn sts_explains_the_clock() {
        let (status, code, text) = too_old(Scheme::V4Header).query_service();
        assert_eq!((status, code), (403, "SignatureDoesNotMatch"));
        assert_eq!(
            text,
            "Signature expired: 20200706T195306Z is now earlier than 20200707T071347Z (20200707T072847Z - 15 min.)"
        );
        let signed_at = datetime!(2021-05-02 18:36:40 UTC);
        let now = datetime!(2021-05-02 17:36:40 UTC);
        let window = Duration::minutes(15);
        let fault = SignFault::TooNew { scheme: Scheme::V4Header, signed_at, now, window };
        assert_eq!(
            fault.query_service().2,
            "Signature not yet current: 20210502T183640Z is still later than 20210502T175140Z (20210502T173640Z + 15 min.)"
        );
    }

    #[test]
    fn ec2_says_little() {
        let check = |fault: SignFault, want: (u16, &str, &str)| {
            let (status, code, text) = fault.ec2();
            assert_eq!((status, code, text.as_str()), want);
        };
        check(
            SignFault::Missing,
            (400, "MissingParameter", "The request must contain the parameter AWSAccessKeyId"),
        );
        check(too_old(Scheme::V4Header), (400, "RequestExpired", "Request has expired."));
        check(
            too_old(Scheme::V2Query),
            (400, "RequestExpired", "Request has expired. Timestamp date is 2020-07-06T19:53:06Z"),
        );
        check(SignFault::UnknownKey, (401, "AuthFailure", AUTH_FAILURE));
        check(SignFault::Mismatch(Scheme::V4Header), (401, "AuthFailure", AUTH_FAILURE));
        check(SignFault::Mismatch(Scheme::V2Query), (403, "SignatureDoesNotMatch", MISMATCH));
    }

    #[test]
    fn what_a_client_sent_is_told_back_cut() {
        let huge = "<ü>".repeat(10 << 20);
        let scope = |one| SignFault::Scope(vec![one]);
        let faults = [
            SignFault::UnsupportedAlgorithm(huge.clone()),
            SignFault::BadDate(huge.clone()),
            SignFault::BadParameter { name: "SignatureMethod", value: huge.clone() },
            SignFault::Incomplete(Gap::Credential(huge.clone())),
            SignFault::Incomplete(Gap::SignedHeaders(huge.clone())),
            SignFault::HeadersNotSigned(vec![huge.clone(); 2]),
            SignFault::HeadersNotSigned(vec!["x-amz-meta".into(); 10_000]),
            SignFault::BadPayloadHash(huge.clone()),
            SignFault::UnsupportedFraming(huge.clone()),
            scope(ScopeFault::Region { got: huge.clone(), want: "earth".into() }),
            scope(ScopeFault::Service { got: huge.clone(), want: "ec2".into() }),
            scope(ScopeFault::Terminator { got: huge.clone() }),
            scope(ScopeFault::Date { scope: huge, signed_at: NOW }),
        ];
        for fault in faults {
            for text in [fault.ec2().2, fault.query_service().2, fault.to_string()] {
                assert!(text.chars().count() < 1000, "{} bytes: {:.100}", text.len(), text);
            }
        }
        let whole = SignFault::BadDate("d".repeat(ECHO_CHARS_MAX)).ec2().2;
        assert!(whole.contains(&"d".repeat(ECHO_CHARS_MAX)) && !whole.contains('…'), "{whole}");
    }

    #[test]
    fn scope_sentences_are_joined() {
        let faults = vec![
            ScopeFault::Region { got: "mars".into(), want: "earth".into() },
            ScopeFault::Service { got: "ec2".into(), want: "sts".into() },
            ScopeFault::Date { scope: "20200706".into(), signed_at: NOW },
        ];
        assert_eq!(
            SignFault::Scope(faults).query_service().2,
            "Credential should be scoped to a valid region, not 'mars'. Credential should be scoped to correct \
             service: 'sts'. Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
             HTTP: '20200706' != '20200707', from '20200707T072847Z'."
        );
    }
}
