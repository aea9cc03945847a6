//! Version 4's canonical request: the one form in which signer and verifier write a request down.
//!
//! Must not: look at a secret. What is built here is hashed and compared, nothing else.

use super::claim::V4Proof;
use super::encode::{decode_path, encode_component, encode_into, form_pairs, is_unreserved};
use super::fault::SignFault;
use super::rules::{PathRule, Rules};
use super::view::RequestView;

/// Headers that SDKs and browsers add after signing, and that mean nothing to any service.
const MAY_BE_UNSIGNED: [&str; 2] = ["x-amz-user-agent", "x-amz-checksum-mode"];
const TOKEN_HEADER: &str = "x-amz-security-token";
const TOKEN_PARAM: &str = "X-Amz-Security-Token";

pub(super) fn canonical_request(
    view: &RequestView<'_>,
    proof: &V4Proof,
    rules: &Rules,
    payload_hash: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + view.path.len() + view.query.len());
    out.extend_from_slice(view.method.as_bytes());
    out.push(b'\n');
    write_path(&mut out, view.path, rules.path);
    out.push(b'\n');
    write_query(&mut out, view.query, proof.presigned, rules);
    out.push(b'\n');
    for name in &proof.signed_headers {
        write_header(&mut out, view, name);
        out.push(b'\n');
    }
    out.push(b'\n');
    for (at, name) in proof.signed_headers.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"" } else { b";" });
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b'\n');
    out.extend_from_slice(payload_hash.as_bytes());
    out
}

/// S3 signs the key as it is. Every other service signs the path that was sent, encoded once
/// more; an absent path is `/`.
fn write_path(out: &mut Vec<u8>, path: &str, rule: PathRule) {
    let path = if path.is_empty() { "/" } else { path };
    match rule {
        PathRule::Normalised => encode_into(out, normalise(path).as_bytes(), true),
        PathRule::Reencoded => encode_into(out, path.as_bytes(), true),
        PathRule::S3 if path.bytes().all(|b| is_unreserved(b) || b == b'/') => {
            out.extend_from_slice(path.as_bytes());
        }
        // Segment by segment: an encoded slash in a key stays encoded, as its signer sent it.
        PathRule::S3 => {
            for (at, segment) in path.split('/').enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b"/" });
                encode_into(out, &decode_path(segment.as_bytes()), false);
            }
        }
    }
}

/// RFC 3986's removal of dot segments; repeated slashes become one.
fn normalise(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let directory = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end));
    let end = if directory && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

/// Decoded, encoded in the one right way, then sorted as encoded.
fn write_query(out: &mut Vec<u8>, query: &str, presigned: bool, rules: &Rules) {
    if query.is_empty() {
        return;
    }
    let left_out = |name: &[u8]| {
        presigned && (name == b"X-Amz-Signature" || rules.token_unsigned && name == TOKEN_PARAM.as_bytes())
    };
    let mut pairs: Vec<(String, String)> = form_pairs(query.as_bytes())
        .iter()
        .filter(|(name, _)| !left_out(name))
        .map(|(name, value)| (encode_component(name), encode_component(value)))
        .collect();
    pairs.sort_unstable();
    for (at, (name, value)) in pairs.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"" } else { b"&" });
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_bytes());
    }
}

/// `name:value,value`: lines of the same name joined in order, white space trimmed and folded.
fn write_header(out: &mut Vec<u8>, view: &RequestView<'_>, name: &str) {
    out.extend_from_slice(name.as_bytes());
    let values = view.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    for (at, (_, value)) in values.enumerate() {
        out.push(if at == 0 { b':' } else { b',' });
        fold_into(out, value);
    }
}

fn fold_into(line: &mut Vec<u8>, value: &[u8]) {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            line.push(b' ');
        }
        line.extend_from_slice(word);
    }
}

/// `Host` and every `x-amz-*` header that is present must be signed: an unsigned one could have
/// been added on the way.
pub(super) fn check_coverage(
    view: &RequestView<'_>,
    proof: &V4Proof,
    rules: &Rules,
) -> Result<(), SignFault> {
    let listed = |list: &[&str], name: &str| list.iter().any(|n| n.eq_ignore_ascii_case(name));
    let signed = |name: &str| proof.signed_headers.iter().any(|s| s.eq_ignore_ascii_case(name));
    if !signed("host") && !signed(":authority") {
        return Err(SignFault::HostNotSigned);
    }
    let optional = |name: &str| {
        listed(&MAY_BE_UNSIGNED, name) || rules.token_unsigned && name.eq_ignore_ascii_case(TOKEN_HEADER)
    };
    let bare: Vec<String> = (view.headers.iter())
        .filter(|(name, _)| is_amz_header(name) && !signed(name) && !optional(name))
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    if bare.is_empty() { Ok(()) } else { Err(SignFault::HeadersNotSigned(bare)) }
}

/// `x-amz-…`, in any case.
pub(super) fn is_amz_header(name: &str) -> bool {
    name.as_bytes().get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"x-amz-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |path, rule, want: &str| {
            let mut out = Vec::new();
            write_path(&mut out, path, rule);
            assert_eq!(String::from_utf8(out).unwrap(), want, "{path}");
        };
        check("", PathRule::Normalised, "/");
        check("/a/./b/../c//d/", PathRule::Normalised, "/a/c/d/");
        check("/../x", PathRule::Normalised, "/x");
        check("/a/..", PathRule::Normalised, "/");
        check("/a%20b", PathRule::Normalised, "/a%2520b");
        // The published case double-url-encode, whose secret is not.
        check(
            "/2015-03-31/functions/arn%3Aaws%3Alambda/x",
            PathRule::Normalised,
            "/2015-03-31/functions/arn%253Aaws%253Alambda/x",
        );
        check("//a/../b", PathRule::Reencoded, "//a/../b");
        check("/b//k%20%2f+é", PathRule::S3, "/b//k%20%2F%2B%C3%A9");
        check("/b/../a/./%7Eb//", PathRule::S3, "/b/../a/./~b//");
    }

    #[test]
    fn white_space_is_folded() {
        let mut line = Vec::new();
        fold_into(&mut line, b"  a \t b\r\n  c ");
        assert_eq!(line, b"a b c");
    }
}
