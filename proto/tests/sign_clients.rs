//! Signatures of real clients, Version 2's among them, and the answers to bad ones.
//!
//! The requests in `data/clients/` were recorded; the Version 2 example is AWS's documentation's.

#![allow(clippy::unwrap_used)] // helpers of tests, which the lint takes for code

use karri_proto::refusal::S3Refusal;
use karri_proto::sign::{
    self, Payload, RequestView, Rules, Scheme, Secret, SignFault, Verified, Verifier, encode_component,
    fuzz_sign,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const CASES: &str = include_str!("data/clients/cases.jsonl");
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

#[derive(Clone)]
struct Request {
    name: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    fn get(host: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            name: target.into(),
            method: "GET".into(),
            path: path.into(),
            query: query.into(),
            headers: vec![("Host".into(), host.into())],
            body: String::new(),
        }
    }

    fn read(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        let pair = |h: &Value| (h[0].as_str().unwrap().to_owned(), h[1].as_str().unwrap().to_owned());
        Request {
            name: text("name"),
            method: text("method"),
            headers: value["headers"].as_array().unwrap().iter().map(pair).collect(),
            body: text("body"),
            ..Request::get("", &text("target"))
        }
    }

    fn with_view<T>(&self, payload: Payload<'_>, look: impl FnOnce(&RequestView<'_>) -> T) -> T {
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let (method, path, query) = (&self.method, &self.path, &self.query);
        look(&RequestView { method, path, query, headers: &headers, payload })
    }

    fn verify(&self, secret: &str, late: Duration) -> Result<Verified, SignFault> {
        self.verify_at(secret, |signed_at| signed_at.unwrap() + late)
    }

    fn verify_at(
        &self,
        secret: &str,
        now: impl Fn(Option<OffsetDateTime>) -> OffsetDateTime,
    ) -> Result<Verified, SignFault> {
        self.with_view(Payload::Body(self.body.as_bytes()), |view| {
            let claim = sign::parse(view)?;
            let service = if self.name.contains("sts") { "sts" } else { "ec2" };
            claim.expect_scope(&["us-east-1"], service)?;
            Verifier::new(Rules::EC2).verify(&claim, &Secret::new(secret), view, now(claim.signed_at))
        })
    }

    /// Under S3's rules, which know another Version 2.
    fn verify_for_s3(&self) -> Result<Verified, S3Refusal> {
        self.with_view(Payload::Unread, |view| {
            let claim = sign::parse_s3(view)?.unwrap();
            let now = claim.signed_at.unwrap();
            Verifier::new(Rules::S3).verify_s3(&claim, &Secret::new(SECRET), view, None, now)
        })
    }
}

fn recorded() -> Vec<Request> {
    CASES.lines().map(Request::read).collect()
}

#[test]
fn recorded_requests_of_old_and_new_clients_verify() {
    let mut schemes = Vec::new();
    for request in recorded() {
        let verified =
            request.verify(SECRET, Duration::minutes(1)).map_err(|f| format!("{}: {f}", request.name));
        let verified = verified.unwrap();
        assert_eq!(verified.access_key_id, "AKIAIOSFODNN7EXAMPLE");
        let token = request.name.contains("token").then_some("tok/en+=");
        assert_eq!(verified.session_token.as_deref(), token, "{}", request.name);
        schemes.push(verified.scheme);
    }
    for scheme in [Scheme::V2Query, Scheme::V4Header, Scheme::V4Presigned] {
        assert!(schemes.contains(&scheme), "{scheme:?}");
    }
}

#[test]
fn recorded_requests_are_refused_when_changed_or_late() {
    for request in recorded() {
        let mismatch = |r: &Request, secret: &str| {
            let fault = r.verify(secret, Duration::ZERO).unwrap_err();
            assert!(matches!(fault, SignFault::Mismatch(_)), "{}: {fault}", r.name);
        };
        mismatch(&request, "another secret");
        let replaced = |what: &str, with: &str| {
            let mut changed = request.clone();
            changed.query = changed.query.replace(what, with);
            changed.body = changed.body.replace(what, with);
            changed
        };
        mismatch(&replaced("Action=", "Action=x"), SECRET);
        let mut more = request.clone();
        more.query.push_str("&More=1");
        mismatch(&more, SECRET);
        let late = request.verify(SECRET, Duration::minutes(6)).unwrap_err();
        assert_eq!(late.ec2().1, "RequestExpired", "{}", request.name);
        let early = request.verify(SECRET, Duration::minutes(-6)).unwrap_err();
        assert!(matches!(early, SignFault::TooNew { .. }), "{}: {early}", request.name);
    }
}

const DOCUMENTED: &str = "/?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Action=DescribeJobFlows&SignatureMethod=HmacSHA256\
    &SignatureVersion=2&Timestamp=2011-10-03T15%3A19%3A30&Version=2009-03-31\
    &Signature=i91nKc4PWAt0JJIdXwz9HxZCJDdiy6cf%2FMj6vPxyYIs%3D";

#[test]
fn the_documented_version_2_example_verifies() {
    let request = Request::get("elasticmapreduce.amazonaws.com", DOCUMENTED);
    request.verify(SECRET, Duration::ZERO).unwrap();
    let upper = Request::get("ElasticMapReduce.amazonaws.com:443", DOCUMENTED);
    upper.verify(SECRET, Duration::ZERO).unwrap();
}

#[test]
fn version_2_does_not_vouch_for_a_body_that_is_no_form() {
    let mut request = Request::get("elasticmapreduce.amazonaws.com", DOCUMENTED);
    request.body = "Action=TerminateJobFlows".into();
    let fault = request.verify(SECRET, Duration::ZERO).unwrap_err();
    assert_eq!(fault, SignFault::Mismatch(Scheme::V2Query));
}

#[test]
fn s3_takes_no_query_version_2_and_wants_a_payload_hash() {
    let refusal = |name: &str| {
        let request = recorded().into_iter().find(|r| r.name == name).unwrap();
        request.verify_for_s3().unwrap_err().to_string()
    };
    assert_eq!(
        refusal("libcloud, V2 GET"),
        "AccessDenied: Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
    );
    assert_eq!(
        refusal("botocore, V4 POST"),
        "InvalidRequest: Missing required header for this request: x-amz-content-sha256"
    );
}

/// HMAC-SHA1 and `Expires`, computed with an independent implementation (Python's hmac).
#[test]
fn version_2_with_sha1_and_expires() {
    let query = "/?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Action=DescribeImages&Expires=2011-10-03T15%3A19%3A30Z\
        &SignatureMethod=HmacSHA1&SignatureVersion=2&Version=2010-08-31&Signature=fzEwr2O5vSx7v26U8av7E3Dlzkc%3D";
    let request = Request::get("cloud.example:8773", query);
    request.verify_at(SECRET, |_| datetime!(2011-10-03 15:19:30 UTC)).unwrap();
    let fault = request.verify_at(SECRET, |_| datetime!(2011-10-03 15:19:31 UTC)).unwrap_err();
    assert_eq!(fault.ec2(), (400, "RequestExpired", "Request has expired.".into()));
}

#[test]
fn bad_requests_get_the_answers_of_aws() {
    let check = |change: fn(&mut Request), ec2: (u16, &str), query_service: (u16, &str, &str)| {
        let mut request = recorded().into_iter().find(|r| r.name == "botocore, V4 POST").unwrap();
        change(&mut request);
        let fault = request.verify(SECRET, Duration::ZERO).unwrap_err();
        let (status, code, _) = fault.ec2();
        assert_eq!((status, code), ec2, "{fault}");
        let (status, code, text) = fault.query_service();
        assert_eq!((status, code), (query_service.0, query_service.1), "{fault}");
        assert!(text.starts_with(query_service.2), "{text}");
    };
    fn edit(request: &mut Request, from: &str, to: &str) {
        let header = request.headers.iter_mut().find(|(n, _)| n == "Authorization").unwrap();
        assert!(header.1.contains(from), "{}", header.1);
        header.1 = header.1.replace(from, to);
    }
    check(
        |r| r.headers.retain(|(n, _)| n != "Authorization"),
        (400, "MissingParameter"),
        (403, "MissingAuthenticationToken", "Request is missing Authentication Token"),
    );
    check(
        |r| edit(r, "Credential=", "Credentials="),
        (400, "IncompleteSignature"),
        (400, "IncompleteSignature", "Authorization header requires 'Credential' parameter. (Hashed with"),
    );
    check(
        |r| edit(r, "SHA256", "SHA512"),
        (400, "IncompleteSignature"),
        (400, "IncompleteSignature", "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512'."),
    );
    check(
        |r| edit(r, "/us-east-1/ec2/", "/mars-1/s3/"),
        (401, "AuthFailure"),
        (
            403,
            "SignatureDoesNotMatch",
            "Credential should be scoped to a valid region, not 'mars-1'. Credential should be scoped to correct service: 'ec2'.",
        ),
    );
    check(
        |r| edit(r, "aws4_request", "aws5_request"),
        (401, "AuthFailure"),
        (
            403,
            "SignatureDoesNotMatch",
            "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.",
        ),
    );
    check(
        |r| edit(r, "/20261120/", "/20261119/"),
        (401, "AuthFailure"),
        (
            403,
            "SignatureDoesNotMatch",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20261119' != '20261120', from '20261120T",
        ),
    );
    check(
        |r| edit(r, ";host;", ";hosts;"),
        (401, "AuthFailure"),
        (
            403,
            "SignatureDoesNotMatch",
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ),
    );
    check(
        |r| r.headers.push(("X-Amz-Added".into(), "1".into())),
        (401, "AuthFailure"),
        (
            403,
            "SignatureDoesNotMatch",
            "There were headers present in the request which were not signed: x-amz-added",
        ),
    );
    check(
        |r| r.headers.iter_mut().find(|(n, _)| n == "X-Amz-Date").unwrap().1 = "yesterday".into(),
        (400, "IncompleteSignature"),
        (400, "IncompleteSignature", "Date must be in ISO-8601 'basic format'. Got 'yesterday'."),
    );
}

#[test]
fn presigned_requests_live_as_long_as_they_say() {
    let request = recorded().into_iter().find(|r| r.name == "botocore, sts presigned").unwrap();
    request.verify(SECRET, Duration::seconds(60)).unwrap();
    let fault = request.verify(SECRET, Duration::seconds(61)).unwrap_err();
    assert!(matches!(fault, SignFault::PastExpiry { .. }), "{fault}");
    for (value, text) in [("0", "non-negative"), ("604801", "less than a week"), ("soon", "a number")] {
        let mut changed = request.clone();
        changed.query = changed.query.replace("X-Amz-Expires=60", &format!("X-Amz-Expires={value}"));
        let fault = changed.verify(SECRET, Duration::ZERO).unwrap_err();
        assert!(fault.to_string().contains(text), "{fault}");
    }
    let mut both = request;
    both.headers.push(("Authorization".into(), "AWS4-HMAC-SHA256 Credential=x".into()));
    assert_eq!(both.verify(SECRET, Duration::ZERO).unwrap_err(), SignFault::TwoSignatures);
}

#[test]
fn regions_compare_without_regard_to_case_and_the_cache_changes_nothing() {
    let request = recorded().into_iter().find(|r| r.name == "botocore, V4 POST").unwrap();
    request.with_view(Payload::Body(request.body.as_bytes()), |view| {
        let claim = sign::parse(view).unwrap();
        claim.expect_scope(&["US-East-1"], "ec2").unwrap();
        let (verifier, now) = (Verifier::new(Rules::EC2), claim.signed_at.unwrap());
        for _ in 0..2 {
            verifier.verify(&claim, &Secret::new(SECRET), view, now).unwrap();
            verifier.verify(&claim, &Secret::new("wrong"), view, now).unwrap_err();
        }
    });
}

/// Random bytes alone would not get past the first line: these are near misses.
fn near_request() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(
            "Authorization:AWS4-HMAC-SHA256 Credential=A/20261120/r/s/aws4_request, SignedHeaders=host, Signature=0"
        ),
        Just("X-Amz-Date:20261120T000000Z"),
        Just("Date:20261120T000000Z"),
        Just("Host:h:1"),
        Just("\n"),
        Just(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20261120%2Fr%2Fs%2Faws4_request&X-Amz-Date=20261120T000000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=0"
        ),
        Just("&X-Amz-Expires=604800"),
        Just("AWSAccessKeyId=A&SignatureVersion=2&SignatureMethod=HmacSHA1&Signature=AA%3D%3D"),
        Just("&Timestamp=9999-12-31T23:59:59Z"),
        Just("&Expires=0000-01-01T00:00:00Z"),
        Just("%"),
        Just("POST"),
        Just("/"),
        Just("x-amz-content-sha256:STREAMING-X"),
    ];
    let bytes = proptest::collection::vec(any::<u8>(), 0..6);
    proptest::collection::vec((piece, bytes, any::<bool>()), 0..12).prop_map(|parts| {
        parts.into_iter().fold(Vec::new(), |mut out, (piece, bytes, noisy)| {
            out.extend_from_slice(piece.as_bytes());
            out.extend_from_slice(if noisy { &bytes } else { b"\n" });
            out
        })
    })
}

/// Fixed seed, so that a run is repeatable; `PROPTEST_CASES` makes it longer.
fn config() -> ProptestConfig {
    let defaults = ProptestConfig::default();
    let cases = defaults.cases.max(2_000);
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..defaults }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_input_panics(random in proptest::collection::vec(any::<u8>(), 0..200), near in near_request()) {
        fuzz_sign(&random);
        fuzz_sign(&near);
    }

    #[test]
    fn encoding_and_decoding_are_inverse(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(sign::decode_component(encode_component(&bytes).as_bytes()), bytes);
    }
}
