//! Random requests, signed with S3's Version 2 as its description reads, verify; with any part that is
//! covered changed, they do not.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use karri_proto::sign::encode_component;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sha1::Sha1;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::support::{KEY, Request, SECRET};

const NOW: OffsetDateTime = datetime!(2026-11-27 03:00 UTC);
const DATE: &str = "Fri, 27 Nov 2026 03:01:00 GMT";
const EXPIRES: &str = "1795748460";

#[derive(Debug, Clone)]
struct Plan {
    request: Request,
    /// Name, decoded value, whether it is signed.
    params: Vec<(&'static str, Option<String>, bool)>,
    presigned: bool,
}

fn params() -> impl Strategy<Value = Vec<(&'static str, Option<String>, bool)>> {
    let name = prop_oneof![
        Just(("acl", true)),
        Just(("uploadId", true)),
        Just(("response-content-type", true)),
        Just(("versionId", true)),
        Just(("prefix", false)),
        Just(("list-type", false)),
    ];
    let param = (name, proptest::option::of("[a-z +=&%/é]{0,6}")).prop_map(|((n, s), value)| (n, value, s));
    proptest::collection::vec(param, 0..5).prop_map(|mut list| {
        list.sort_by_key(|(name, ..)| *name);
        list.dedup_by_key(|(name, ..)| *name);
        list
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    let header = prop_oneof![
        Just("x-amz-meta-a"),
        Just("X-Amz-Meta-A"),
        Just("x-amz-acl"),
        Just("Content-Type"),
        Just("Other")
    ];
    let headers = proptest::collection::vec((header, "[a-z][a-z ]{0,5}"), 0..6);
    let bucket = proptest::option::of(Just("bucket".to_owned()));
    (params(), headers, bucket, any::<bool>(), "(/[a-z~%.]{0,4}){1,3}").prop_map(
        |(params, headers, bucket, presigned, path)| {
            let mut request = Request::new("PUT", &path, &[("Host", "h")]);
            let mut seen = Vec::new();
            for (name, value) in headers {
                if name.starts_with("x-amz-m") || name.starts_with("X-") || !seen.contains(&name) {
                    request.headers.push((name.into(), value));
                }
                seen.push(name);
            }
            request.bucket = bucket;
            Plan { request, params, presigned }
        },
    )
}

/// As the description reads, without a thought for speed.
fn string_to_sign(plan: &Plan) -> String {
    let request = &plan.request;
    let mut amz: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, value) in &request.headers {
        if name.to_lowercase().starts_with("x-amz-") {
            amz.entry(name.to_lowercase()).or_default().push(value.trim());
        }
    }
    let amz: String = amz.iter().map(|(name, values)| format!("{name}:{}\n", values.join(","))).collect();
    let signed = plan.params.iter().filter(|(.., signed)| *signed);
    let resource: Vec<String> =
        signed.map(|(n, v, _)| v.as_ref().map_or((*n).into(), |v| format!("{n}={v}"))).collect();
    let mark = if resource.is_empty() { "" } else { "?" };
    format!(
        "{}\n\n{}\n{}\n{amz}{}{}{mark}{}",
        request.method,
        request.header("content-type").unwrap_or_default().trim(),
        if plan.presigned { EXPIRES } else { DATE },
        request.bucket.as_ref().map(|bucket| format!("/{bucket}")).unwrap_or_default(),
        request.path,
        resource.join("&"),
    )
}

fn signed(plan: &Plan) -> Request {
    let mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(string_to_sign(plan));
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let mut request = plan.request.clone();
    let encoded = |value: &str| encode_component(value.as_bytes());
    let mut query: Vec<String> = (plan.params.iter())
        .map(|(name, value, _)| value.as_ref().map_or((*name).into(), |v| format!("{name}={}", encoded(v))))
        .collect();
    if plan.presigned {
        query.push(format!("AWSAccessKeyId={KEY}&Expires={EXPIRES}&Signature={}", encoded(&signature)));
    } else {
        request.set("Date", DATE);
        request.set("Authorization", &format!("AWS {KEY}:{signature}"));
    }
    request.query = query.join("&");
    request
}

/// Fixed seed, so that a run is repeatable; `PROPTEST_CASES` makes it longer.
fn config() -> ProptestConfig {
    let defaults = ProptestConfig::default();
    let cases = defaults.cases.max(512);
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..defaults }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_signed_is_accepted_and_refused_when_changed(plan in plan(), what in 0usize..7) {
        let request = signed(&plan);
        let verified = request.verify(NOW).map_err(|refusal| TestCaseError::fail(format!("{refusal:?}")))?;
        prop_assert_eq!(verified.access_key_id, KEY);
        let mut changed = request;
        match what {
            0 => changed.method = "GET".into(),
            1 => changed.path.push_str("/x"),
            2 => changed.query.push_str("&torrent"),
            3 => changed.headers.push(("x-amz-meta-a".into(), "more".into())),
            4 => changed.set("Content-Type", "other/type"),
            5 => changed.set("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
            _ => changed.bucket = Some("another".into()),
        }
        let refusal = changed.verify(NOW).unwrap_err();
        prop_assert_eq!(refusal.code, "SignatureDoesNotMatch");
    }
}

#[test]
fn a_parameter_cannot_be_another_one_with_the_same_signature() {
    let mut request = Request::new("PUT", "/b/k", &[("Host", "h")]);
    let text = format!("PUT\n\n\n{EXPIRES}\nx-amz-acl:private\nx-amz-meta-a:1\n/b/k");
    let mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(text);
    let signature = encode_component(BASE64_STANDARD.encode(mac.finalize().into_bytes()).as_bytes());
    let rest = format!("AWSAccessKeyId={KEY}&Expires={EXPIRES}&Signature={signature}");
    request.query = format!("x-amz-acl=private&x-amz-meta-a=1&{rest}");
    request.verify(NOW).unwrap();
    for forged in ["x-amz-acl=private%0Ax-amz-meta-a:1", "x-amz-acl:private%0Ax-amz-meta-a=1"] {
        request.query = format!("{forged}&{rest}");
        assert_eq!(request.verify(NOW).unwrap_err().code, "InvalidArgument", "{forged}");
    }
}
