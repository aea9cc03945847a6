//! Requests that are not accepted get AWS's answers: status, code, words and extra elements.

use std::collections::BTreeSet;

use karri_proto::refusal::S3Refusal;
use karri_proto::sign::{Payload, PayloadSeal, SignFault, anonymous_payload};
use time::OffsetDateTime;
use time::macros::datetime;

use crate::support::{EMPTY, KEY, Request};

const CASES: &str = include_str!("../data/s3/clients.jsonl");
const NOW: OffsetDateTime = datetime!(2026-11-27 03:05 UTC);

fn recorded(name: &str) -> Request {
    CASES.lines().map(Request::read).find(|request| request.name == name).unwrap()
}

fn refusal(name: &str, change: impl FnOnce(&mut Request)) -> S3Refusal {
    let mut request = recorded(name);
    change(&mut request);
    request.verify(NOW).unwrap_err()
}

/// Replaces a part of a header that must be there.
fn edit(request: &mut Request, header: &str, from: &str, to: &str) {
    let (_, value) = request.headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(header)).unwrap();
    assert!(value.contains(from), "{value}");
    *value = value.replace(from, to);
}

const V4: &str = "botocore s3v4, list";
const V4_URL: &str = "botocore s3v4, presigned get";
const V2: &str = "botocore s3, get odd key";
const V2_URL: &str = "botocore s3, presigned get";

const NONE: (&str, &str) = ("", "");

fn check_v4(change: fn(&mut Request), status: u16, code: &str, text: &str, field: (&str, &str)) {
    let refusal = refusal(V4, change);
    assert_eq!((refusal.status, refusal.code), (status, code), "{refusal}");
    assert_eq!(refusal.message, text);
    if field != NONE {
        assert_eq!(refusal.field(field.0), Some(field.1), "{refusal:?}");
    }
}

#[test]
fn credentials_of_version_4() {
    let malformed = "AuthorizationHeaderMalformed";
    check_v4(
        |r| edit(r, "authorization", "/us-east-1/", "/mars-1/"),
        400,
        malformed,
        "The authorization header is malformed; the region 'mars-1' is wrong; expecting 'us-east-1'",
        ("Region", "us-east-1"),
    );
    check_v4(
        |r| edit(r, "authorization", "/us-east-1/s3/", "/mars-1/ec2/"),
        400,
        malformed,
        r#"The authorization header is malformed; incorrect service "ec2". This endpoint belongs to "s3"."#,
        NONE,
    );
    check_v4(
        |r| edit(r, "authorization", "aws4_request", "aws5"),
        400,
        malformed,
        r#"The authorization header is malformed; incorrect terminal "aws5". This endpoint uses "aws4_request"."#,
        NONE,
    );
    check_v4(
        |r| edit(r, "authorization", "/20261127/", "/2026/"),
        400,
        malformed,
        r#"The authorization header is malformed; incorrect date format "2026". This date in the credential must be in the format "yyyyMMdd"."#,
        NONE,
    );
    check_v4(
        |r| edit(r, "authorization", "/20261127/", "/20261126/"),
        400,
        malformed,
        r#"The authorization header is malformed; Invalid credential date "20261126". This date is not the same as X-Amz-Date: "20261127"."#,
        NONE,
    );
    check_v4(
        |r| edit(r, "authorization", "/s3/aws4_request", ""),
        400,
        malformed,
        r#"The authorization header is malformed; the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request"."#,
        NONE,
    );
    check_v4(
        |r| r.set("Authorization", "AWS4-HMAC-SHA256 Credential=HAHAHA"),
        400,
        malformed,
        "The authorization header is malformed; the authorization header requires three components: Credential, SignedHeaders, and Signature.",
        NONE,
    );
}

#[test]
fn what_version_4_must_cover_and_when() {
    let not_signed = "There were headers present in the request which were not signed";
    check_v4(
        |r| edit(r, "authorization", "=host;", "="),
        403,
        "AccessDenied",
        not_signed,
        ("HeadersNotSigned", "host"),
    );
    check_v4(
        |r| {
            r.set("X-Amz-Acl", "public-read");
            r.set("x-amz-meta-a", "b");
        },
        403,
        "AccessDenied",
        not_signed,
        ("HeadersNotSigned", "x-amz-acl, x-amz-meta-a"),
    );
    let no_date = "AWS authentication requires a valid Date or x-amz-date header";
    check_v4(|r| r.remove("x-amz-date"), 403, "AccessDenied", no_date, NONE);
    check_v4(|r| r.set("x-amz-date", "Bad Date"), 403, "AccessDenied", no_date, NONE);
    check_v4(|r| r.set("x-amz-date", "19500707T215304Z"), 403, "AccessDenied", no_date, NONE);
    let skewed = "The difference between the request time and the current time is too large.";
    check_v4(
        |r| r.set("x-amz-date", "20100707T215304Z"),
        403,
        "RequestTimeTooSkewed",
        skewed,
        ("RequestTime", "20100707T215304Z"),
    );
    check_v4(
        |r| r.set("x-amz-date", "99990707T215304Z"),
        403,
        "RequestTimeTooSkewed",
        skewed,
        ("ServerTime", "2026-11-27T03:05:00Z"),
    );
    check_v4(
        |r| r.set("x-amz-date", "20261127T024900Z"),
        403,
        "RequestTimeTooSkewed",
        skewed,
        ("MaxAllowedSkewMilliseconds", "900000"),
    );
}

#[test]
fn payload_hashes_of_version_4() {
    check_v4(
        |r| r.remove("x-amz-content-sha256"),
        400,
        "InvalidRequest",
        "Missing required header for this request: x-amz-content-sha256",
        NONE,
    );
    check_v4(
        |r| r.set("x-amz-content-sha256", "unsigned-payload"),
        400,
        "InvalidArgument",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
        ("ArgumentValue", "unsigned-payload"),
    );
    check_v4(
        |r| r.set("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"),
        501,
        "NotImplemented",
        "A header you provided implies functionality that is not implemented",
        ("Header", "x-amz-content-sha256"),
    );
}

#[test]
fn other_authorization_headers() {
    let check = |value: &str, status: u16, code: &str, text: &str| {
        let refusal = refusal(V4, |r| r.set("Authorization", value));
        assert_eq!((refusal.status, refusal.code), (status, code), "{value}: {refusal}");
        assert!(refusal.message.starts_with(text), "{value}: {refusal}");
        if code == "InvalidArgument" {
            assert_eq!(refusal.field("ArgumentName"), Some("Authorization"));
            assert_eq!(refusal.field("ArgumentValue"), Some(value));
        }
    };
    check(
        "AWS HAHAHA",
        400,
        "InvalidArgument",
        "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature",
    );
    check("AWS :x", 400, "InvalidArgument", "AWS authorization header is invalid.");
    check(
        "AWS4-HMAC-SHA256",
        400,
        "InvalidArgument",
        "Authorization header is invalid -- one and only one ' ' (space) required",
    );
    check("Basic dXNlcjpwYXNz", 400, "InvalidArgument", "Unsupported Authorization Type");
    check("AWS4-ECDSA-P256-SHA256 Credential=x", 501, "NotImplemented", "The authorization mechanism");
    let mut request = recorded(V4);
    request.set("Authorization", "");
    assert!(request.claim().unwrap().is_none(), "an empty header is none");
}

#[test]
fn a_mismatch_shows_what_was_signed() {
    let refusal = refusal(V4, |r| r.query.push_str("&a=b"));
    assert_eq!((refusal.status, refusal.code), (403, "SignatureDoesNotMatch"));
    assert_eq!(refusal.field("AWSAccessKeyId"), Some(KEY));
    let text = refusal.field("StringToSign").unwrap();
    assert!(text.starts_with("AWS4-HMAC-SHA256\n20261127T0304"), "{text}");
    let canonical = refusal.field("CanonicalRequest").unwrap();
    assert!(canonical.starts_with("GET\n/bucket\na=b&delimiter="), "{canonical}");
    assert!(refusal.field("CanonicalRequestBytes").unwrap().starts_with("47 45 54 0a 2f"));
    assert!(refusal.field("StringToSignBytes").unwrap().starts_with("41 57 53 34"));
    let provided = refusal.field("SignatureProvided").unwrap();
    assert!(recorded(V4).header("authorization").unwrap().ends_with(provided));
    // Nowhere is there another signature.
    let hexes = refusal.fields.iter().flat_map(|(_, text)| text.split(|c: char| !c.is_ascii_hexdigit()));
    let long: BTreeSet<&str> = hexes.filter(|hex| hex.len() == 64).collect();
    assert_eq!(
        long.len(),
        3,
        "the signature that was sent, the payload's and the canonical request's hash: {long:?}"
    );
}

#[test]
fn presigned_version_4() {
    let check = |change: fn(&mut Request), status: u16, code: &str, text: &str| {
        let refusal = refusal(V4_URL, change);
        assert_eq!((refusal.status, refusal.code), (status, code), "{refusal}");
        assert_eq!(refusal.message, text);
    };
    fn replace(request: &mut Request, from: &str, to: &str) {
        assert!(request.query.contains(from), "{}", request.query);
        request.query = request.query.replace(from, to);
    }
    let error = "AuthorizationQueryParametersError";
    let parts = "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.";
    check(|r| replace(r, "X-Amz-Date=", "Date="), 400, error, parts);
    check(|r| replace(r, "X-Amz-Expires=600", "x=y"), 400, error, parts);
    check(|r| replace(r, "X-Amz-Signature=", "x="), 400, error, parts);
    check(
        |r| replace(r, "SHA256", "SHA512"),
        400,
        error,
        r#"X-Amz-Algorithm only supports "AWS4-HMAC-SHA256""#,
    );
    check(|r| replace(r, "Expires=600", "Expires=-1"), 400, error, "X-Amz-Expires must be non-negative");
    check(
        |r| replace(r, "Expires=600", "Expires=604801"),
        400,
        error,
        "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
    );
    for number in ["soon", "9223372036854775808", "1.5"] {
        let refusal = refusal(V4_URL, |r| replace(r, "Expires=600", &format!("Expires={number}")));
        assert_eq!(refusal.to_string(), format!("{error}: X-Amz-Expires should be a number"));
    }
    check(|r| replace(r, "Expires=600", "Expires=0"), 403, "AccessDenied", "Request has expired");
    check(
        |r| replace(r, "us-east-1", "eu-1"),
        400,
        error,
        "Error parsing the X-Amz-Credential parameter; the region 'eu-1' is wrong; expecting 'us-east-1'",
    );
    check(
        |r| replace(r, "%2F20261127%2F", "%2F20261126%2F"),
        400,
        error,
        r#"Invalid credential date "20261126". This date is not the same as X-Amz-Date: "20261127"."#,
    );
    check(
        |r| r.set("x-amz-request-payer", "requester"),
        403,
        "AccessDenied",
        "There were headers present in the request which were not signed",
    );
    check(|r| r.query.push_str("&a=b"), 403, "SignatureDoesNotMatch", &mismatch());
    let late = recorded(V4_URL).verify(NOW + time::Duration::minutes(20)).unwrap_err();
    assert_eq!(late.to_string(), "AccessDenied: Request has expired");
    assert_eq!(late.field("X-Amz-Expires"), Some("600"));
    assert_eq!(late.field("ServerTime"), Some("2026-11-27T03:25:00Z"));
    assert!(late.field("Expires").unwrap().starts_with("2026-11-27T03:14:"));
    let early = recorded(V4_URL).verify(NOW - time::Duration::minutes(20)).unwrap_err();
    assert_eq!(early.to_string(), "AccessDenied: Request is not yet valid");
}

fn mismatch() -> String {
    refusal(V2, |r| r.method.push('X')).message.into_owned()
}

#[test]
fn version_2() {
    let check = |name: &str, change: fn(&mut Request), status: u16, code: &str, text: &str| {
        let refusal = refusal(name, change);
        assert_eq!((refusal.status, refusal.code), (status, code), "{refusal}");
        assert!(refusal.message.starts_with(text), "{refusal}");
    };
    let no_date = "AWS authentication requires a valid Date or x-amz-date header";
    check(V2, |r| r.remove("date"), 403, "AccessDenied", no_date);
    for bad in ["", "Bad Date", "Tue, 07 Jul 1950 21:53:04 GMT"] {
        let refusal = refusal(V2, |r| r.set("x-amz-date", bad));
        assert_eq!(refusal.to_string(), format!("AccessDenied: {no_date}"), "{bad}");
    }
    for far in
        ["Tue, 07 Jul 2010 21:53:04 GMT", "Tue, 07 Jul 2030 21:53:04 GMT", "Tue, 07 Jul 9999 21:53:04 GMT"]
    {
        let refusal = refusal(V2, |r| r.set("x-amz-date", far));
        assert_eq!(refusal.code, "RequestTimeTooSkewed", "{far}");
        // Whatever day of the week it says.
        assert!(refusal.field("RequestTime").unwrap().ends_with(&far[4..]), "{refusal:?}");
    }
    let parts = "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters";
    check(V2_URL, |r| r.query = r.query.replace("Signature=", "x="), 403, "AccessDenied", parts);
    check(V2_URL, |r| r.query = r.query.replace("Expires=", "x="), 403, "AccessDenied", parts);
    check(V2_URL, |r| r.query = r.query.replace("AWSAccessKeyId=", "x="), 403, "AccessDenied", parts);
    let invalid = "Invalid date (should be seconds since epoch): ";
    check(V2_URL, |r| r.query = r.query.replace("Expires=", "Expires=x"), 403, "AccessDenied", invalid);
    check(V2_URL, |r| r.query = r.query.replace("Expires=", "Expires=9"), 403, "AccessDenied", invalid);
    let late = recorded(V2_URL).verify(NOW + time::Duration::minutes(20)).unwrap_err();
    assert_eq!(late.to_string(), "AccessDenied: Request has expired");
    assert_eq!(late.field("ServerTime"), Some("2026-11-27T03:25:00Z"));
    let shown = refusal(V2, |r| r.path.push('x'));
    assert!(shown.field("StringToSign").unwrap().ends_with("//../xx?versionId=v/1+="), "{shown:?}");
    assert_eq!(shown.field("CanonicalRequest"), None);
}

#[test]
fn one_signature_only() {
    for (name, value) in [(V4_URL, "AWS a:b"), (V2_URL, "AWS4-HMAC-SHA256 Credential=x")] {
        let refusal = refusal(name, |r| r.set("Authorization", value));
        assert_eq!((refusal.status, refusal.code), (400, "InvalidArgument"));
        assert_eq!(
            refusal.message,
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"
        );
        assert_eq!(refusal.field("ArgumentValue"), Some(value));
    }
    let both = refusal(V4_URL, |r| r.query.push_str("&Signature=x"));
    assert_eq!(both.code, "InvalidArgument");
}

#[test]
fn what_the_caller_finds_is_worded_here() {
    let claim = recorded("botocore s3v4, token").claim().unwrap().unwrap();
    let unknown = claim.refuse(&SignFault::UnknownKey);
    assert_eq!(
        unknown.to_string(),
        "InvalidAccessKeyId: The AWS Access Key Id you provided does not exist in our records."
    );
    assert_eq!((unknown.status, unknown.field("AWSAccessKeyId")), (403, Some(KEY)));
    let bad = claim.refuse(&SignFault::BadToken);
    assert_eq!((bad.code, bad.field("Token-0")), ("InvalidToken", Some("tok/en+=")));
    let expired = claim.refuse(&SignFault::ExpiredToken);
    assert_eq!(expired.to_string(), "ExpiredToken: The provided token has expired.");
}

/// AWS reads the header so wherever there is no Version 4 `Authorization`.
#[test]
fn without_a_version_4_header_the_payload_hash_is_only_compared() {
    for name in [V2, V4_URL, V2_URL] {
        let mut request = recorded(name);
        let seal = |request: &Request| request.verify(NOW).map(|verified| verified.payload);
        assert_eq!(seal(&request), Ok(PayloadSeal::Unsigned), "{name}");
        if name == V2 {
            continue; // the header would have to be signed
        }
        request.set("x-amz-content-sha256", "invalid");
        let refusal = request.verify(NOW).unwrap_err();
        assert_eq!(refusal.status, 403, "{name}");
    }
}

#[test]
fn anonymous_requests_may_have_unsigned_chunks() {
    let seal = |value: &str| {
        let request = Request::new("PUT", "/bucket/key", &[("Host", "h"), ("x-amz-content-sha256", value)]);
        assert!(request.claim().unwrap().is_none());
        request.with_view(Payload::Unread, anonymous_payload)
    };
    assert_eq!(seal("UNSIGNED-PAYLOAD"), Ok(PayloadSeal::Unsigned));
    assert!(matches!(seal("STREAMING-UNSIGNED-PAYLOAD-TRAILER"), Ok(PayloadSeal::Framed(_))));
    assert!(matches!(seal(EMPTY), Ok(PayloadSeal::Declared(_))));
    assert_eq!(seal("STREAMING-AWS4-HMAC-SHA256-PAYLOAD").unwrap_err().code, "InvalidRequest");
}

#[test]
fn regions_compare_in_any_case_and_there_may_be_several() {
    let claim = recorded("s3cmd V4, list").claim().unwrap().unwrap();
    for regions in [["US-EAST-1", "x"], ["x", "us-East-1"]] {
        claim.expect_s3_scope(&regions).unwrap();
    }
    assert_eq!(claim.expect_s3_scope(&["x", "y"]).unwrap_err().field("Region"), Some("x"));
}

/// botocore does not sign them, others do; in a URL they must be signed.
#[test]
fn late_sub_resources() {
    recorded("botocore s3, late sub-resource").verify(NOW).unwrap();
    let refused = refusal(V2_URL, |r| r.query.push_str("&legal-hold"));
    assert_eq!(refused.code, "SignatureDoesNotMatch");
}
