//! The fuzzers' way in: any bytes, read as a request, as a framed body, as a form, as a form's policy.
//!
//! Must not: be used by a server.

use bytes::Bytes;
use time::OffsetDateTime;

use super::post::{FormReader, FormStep, PostPolicy, boundary};
use super::{
    ChunkDecoder, ChunkSeed, Framing, Payload, RequestView, Rules, Secret, Verifier, anonymous_payload,
    decoded_length, parse, parse_s3, without_aws_chunked,
};
use crate::checksum::{self, Place};

/// Parses and verifies whatever the bytes spell: lines are method, path, query and headers up to an
/// empty line, the rest is the body. Must never panic.
pub fn fuzz_sign(data: &[u8]) {
    let at = data.windows(2).position(|w| w == b"\n\n");
    let (head, body) = at.map_or((data, &b""[..]), |at| (&data[..at], &data[at + 2..]));
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, path, query) = (line(), line(), line());
    let headers: Vec<(&str, &[u8])> =
        lines.filter_map(|l| l.split_once(':')).map(|(name, value)| (name, value.as_bytes())).collect();
    let view = RequestView { method, path, query, headers: &headers, payload: Payload::Body(body) };
    let secret = Secret::new("secret");
    match parse(&view) {
        Err(fault) => drop((fault.ec2(), fault.query_service(), fault.to_string())),
        Ok(claim) => {
            let now = claim.signed_at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
            drop(claim.expect_scope(&["us-east-1"], "ec2"));
            let result = Verifier::new(Rules::EC2).verify(&claim, &secret, &view, now);
            drop(result.map_err(|fault| (fault.ec2(), fault.query_service())));
        }
    }
    if let Ok(Some(claim)) = parse_s3(&view) {
        let now = claim.signed_at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        drop(claim.expect_s3_scope(&["us-east-1"]));
        for (payload, bucket) in [(Payload::Unread, None), (Payload::Body(body), Some("bucket"))] {
            let view = RequestView { payload, ..view };
            drop(Verifier::new(Rules::S3).verify_s3(&claim, &secret, &view, bucket, now));
        }
    }
    drop(anonymous_payload(&view));
    for framed in [false, true] {
        drop(checksum::announced(&headers, framed));
    }
}

/// Pieces of 1, 2, … bytes: every state is left and entered again at every place.
fn pieces(data: &[u8]) -> impl Iterator<Item = Bytes> {
    let (mut rest, mut length) = (Bytes::copy_from_slice(data), 0);
    std::iter::from_fn(move || {
        length += 1;
        let piece = rest.split_to(length.min(rest.len()));
        (!piece.is_empty()).then_some(piece)
    })
}

/// The first line is the decoded length and, after a space, `x-amz-trailer`; the rest is a body, read in each
/// framing, whole and in pieces. Must never panic, and give the same both times.
pub fn fuzz_chunks(data: &[u8]) {
    let at = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let head = String::from_utf8_lossy(&data[..at]);
    let body = data.get(at + 1..).unwrap_or_default();
    let (length, trailer) = head.split_once(' ').unwrap_or((&head, ""));
    drop(without_aws_chunked(trailer));
    let announced = checksum::announced(&[("x-amz-trailer", trailer.as_bytes())], true);
    let trailer = announced.ok().flatten().filter(|a| a.place == Place::Trailer).map(|a| a.algorithm);
    let length = decoded_length(Some(length)).unwrap_or(u64::MAX);
    let seed = || ChunkSeed::new([0; 32], "20260101T000000Z".into(), "scope".into(), "AKID", "seed");
    let signed = |trailers| Framing::Signed { seed: seed(), trailers };
    for framing in [Framing::Unsigned, signed(false), signed(true)] {
        let outcome = |pieces: &mut dyn Iterator<Item = Bytes>| {
            let mut decoder = ChunkDecoder::new(framing.clone(), length, trailer);
            let mut out = Vec::new();
            for mut piece in pieces {
                while let Some(data) = decoder.decode(&mut piece).map_err(|refusal| refusal.code)? {
                    out.extend_from_slice(&data);
                }
            }
            Ok::<_, &str>((out, decoder.finish()))
        };
        let whole = outcome(&mut std::iter::once(Bytes::copy_from_slice(body)));
        assert_eq!(whole, outcome(&mut pieces(body)), "cutting makes a difference");
    }
}

/// The first line is the request's `Content-Type`, the rest its body. Must never panic, and give the same
/// however it is cut.
pub fn fuzz_form(data: &[u8]) {
    let at = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let Ok(boundary) = boundary(&String::from_utf8_lossy(&data[..at])) else { return };
    let body = data.get(at + 1..).unwrap_or_default();
    let outcome = |pieces: &mut dyn Iterator<Item = Bytes>| {
        let mut reader = FormReader::new(&boundary);
        let mut file = Vec::new();
        for mut piece in pieces {
            while let Some(step) = reader.read(&mut piece).map_err(|refusal| refusal.code)? {
                match step {
                    FormStep::File => file.clear(),
                    FormStep::Data(data) => file.extend_from_slice(&data),
                }
            }
        }
        reader.finish().map_err(|refusal| refusal.code)?;
        Ok::<_, &str>((reader.form().clone(), file))
    };
    let whole = outcome(&mut std::iter::once(Bytes::copy_from_slice(body)));
    assert_eq!(whole, outcome(&mut pieces(body)), "cutting makes a difference");
    if let Ok((form, _)) = whole
        && let Ok(Some(claim)) = form.claim()
    {
        let now = claim.signed_at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        drop(claim.expect_s3_scope(&["us-east-1"]));
        drop(Verifier::new(Rules::S3).verify_form(&claim, &Secret::new("secret"), &form, now));
    }
}

/// The bytes are a policy, in base64 or (what a fuzzer changes more easily) as it is before that; it is asked
/// about a small form. Must never panic.
pub fn fuzz_policy_form(data: &[u8]) {
    use base64::Engine as _;
    drop(PostPolicy::parse(&String::from_utf8_lossy(data)));
    let Ok(policy) = PostPolicy::parse(&base64::prelude::BASE64_STANDARD.encode(data)) else { return };
    let body = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nuser/${filename}\r\n--b\r\n\
                Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\r\n--b--\r\n";
    let mut reader = FormReader::new("b");
    let step = reader.read(&mut Bytes::from_static(body.as_bytes()));
    assert_eq!(step, Ok(Some(FormStep::File)));
    drop(policy.check(reader.form(), "bucket", OffsetDateTime::UNIX_EPOCH));
    drop(policy.check_size(policy.bytes_max()));
}
