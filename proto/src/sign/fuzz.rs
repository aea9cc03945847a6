//! The fuzzer's way in: any bytes, read as a request.
//!
//! Must not: be used by a server.

use time::OffsetDateTime;

use super::{Payload, RequestView, Rules, Secret, Verifier, parse};

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
    match parse(&view) {
        Err(fault) => drop((fault.ec2(), fault.query_service(), fault.to_string())),
        Ok(claim) => {
            let now = claim.signed_at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
            drop(claim.expect_scope(&["us-east-1"], "ec2"));
            for rules in [Rules::EC2, Rules::S3] {
                let result = Verifier::new(rules).verify(&claim, &Secret::new("secret"), &view, now);
                drop(result.map_err(|fault| (fault.ec2(), fault.query_service())));
            }
        }
    }
}
