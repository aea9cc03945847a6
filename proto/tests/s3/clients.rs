//! Requests of real clients verify, and not when anything signed is changed.

use bytes::Bytes;
use karri_proto::checksum::{Hasher, Place, announced, check_trailer};
use karri_proto::sign::{ChunkDecoder, PayloadSeal, Scheme, decoded_length, without_aws_chunked};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::datetime;

use crate::support::{KEY, Request};

const CASES: &str = include_str!("../data/s3/clients.jsonl");
/// So that a truncated data file does not pass.
const CASE_COUNT: usize = 79;
const NOW: OffsetDateTime = datetime!(2026-11-27 03:05 UTC);

fn recorded() -> impl Iterator<Item = Request> {
    CASES.lines().map(Request::read)
}

#[test]
fn recorded_requests_verify() {
    let mut schemes = Vec::new();
    for request in recorded() {
        let verified = request.verify(NOW).unwrap_or_else(|e| panic!("{}: {e:#?}", request.name));
        assert_eq!(verified.access_key_id, KEY);
        let token = request.name.contains("token").then_some("tok/en+=");
        assert_eq!(verified.session_token.as_deref(), token, "{}", request.name);
        if let PayloadSeal::Declared(hash) = &verified.payload {
            hash.check(&Sha256::digest(&request.body).into()).unwrap();
        }
        schemes.push(verified.scheme);
    }
    assert_eq!(schemes.len(), CASE_COUNT);
    for scheme in [Scheme::V4Header, Scheme::V4Presigned, Scheme::V2Header, Scheme::V2Presigned] {
        assert!(schemes.contains(&scheme), "{scheme:?}");
    }
}

#[test]
fn recorded_requests_are_refused_when_changed() {
    for request in recorded() {
        let refused = |change: &dyn Fn(&mut Request)| {
            let mut changed = request.clone();
            change(&mut changed);
            let refusal = changed.verify(NOW).unwrap_err();
            assert_eq!(refusal.status, 403, "{}: {refusal}", request.name);
        };
        refused(&|r| r.method.push('X'));
        refused(&|r| r.path.push_str("/x"));
        refused(&|r| r.query.push_str("&versionId=1"));
        refused(&|r| r.set("x-amz-acl", "public-read-write"));
        assert_eq!(request.verify_with("x", NOW).unwrap_err().code, "SignatureDoesNotMatch");
    }
}

#[test]
fn recorded_requests_have_their_time() {
    for request in recorded() {
        let later = |minutes| request.verify(NOW + time::Duration::minutes(minutes)).map_err(|e| e.code);
        let presigned = request.query.contains("Expires=");
        let lives_long = request.query.contains("Expires=604800");
        assert!(later(9).is_ok(), "{}", request.name);
        let want = match (presigned, lives_long) {
            (true, true) => None,
            (true, false) => Some("AccessDenied"),
            (false, _) => Some("RequestTimeTooSkewed"),
        };
        assert_eq!(later(20).err(), want, "{}", request.name);
    }
}

/// botocore's bodies over TLS: unsigned chunks, the checksum behind them.
#[test]
fn recorded_chunks_decode_and_have_the_checksum_behind_them() {
    let framed: Vec<Request> = recorded().filter(|r| r.name.contains("chunks with trailer")).collect();
    assert_eq!(framed.len(), 3);
    for request in framed {
        let PayloadSeal::Framed(framing) = request.verify(NOW).unwrap().payload else {
            panic!("{}", request.name);
        };
        let headers: Vec<_> = request.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let announced = announced(&headers, true).unwrap().unwrap();
        assert_eq!(announced.place, Place::Trailer);
        let length = decoded_length(request.header("x-amz-decoded-content-length")).unwrap();
        let mut decoder = ChunkDecoder::new(framing, length, Some(announced.algorithm));
        let mut hasher = Hasher::new(announced.algorithm);
        let mut input = Bytes::from(request.body.clone());
        while let Some(data) = decoder.decode(&mut input).unwrap() {
            hasher.update(&data);
        }
        check_trailer(&decoder.finish().unwrap(), &hasher.finish()).unwrap();
        let encoding = without_aws_chunked(request.header("content-encoding").unwrap());
        assert_eq!(
            encoding.as_deref(),
            request.name.contains("trailer").then_some("gzip").filter(|_| length == 20_000)
        );
    }
}
