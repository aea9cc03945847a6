//! Version 4's canonical request: the one form in which signer and verifier write a request down.
//!
//! Must not: look at a secret. What is built here is hashed and compared, nothing else.

use super::claim::V4Proof;
use super::encode::{decode_path, encode_component, encode_path, form_pairs};
use super::fault::SignFault;
use super::verify::{PathRule, Rules};
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
    let mut out = Vec::with_capacity(512 + view.query.len());
    let mut line = |part: &[u8]| {
        out.extend_from_slice(part);
        out.push(b'\n');
    };
    line(view.method.as_bytes());
    line(canonical_path(view.path, rules.path).as_bytes());
    line(canonical_query(view.query, proof.presigned, rules).as_bytes());
    for name in &proof.signed_headers {
        line(&header_line(view, name));
    }
    line(b"");
    line(proof.signed_headers.join(";").as_bytes());
    out.extend_from_slice(payload_hash.as_bytes());
    out
}

/// S3 signs the key as it is. Every other service signs the path that was sent, encoded once
/// more; an absent path is `/`.
fn canonical_path(path: &str, rule: PathRule) -> String {
    let path = if path.is_empty() { "/" } else { path };
    match rule {
        PathRule::Normalised => encode_path(normalise(path).as_bytes()),
        PathRule::Reencoded => encode_path(path.as_bytes()),
        PathRule::S3 => {
            // Segment by segment: an encoded slash in a key stays encoded, as its signer sent it.
            let tidy = |segment: &str| encode_component(&decode_path(segment.as_bytes()));
            path.split('/').map(tidy).collect::<Vec<_>>().join("/")
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
fn canonical_query(query: &str, presigned: bool, rules: &Rules) -> String {
    let left_out = |name: &[u8]| {
        presigned && (name == b"X-Amz-Signature" || rules.token_unsigned && name == TOKEN_PARAM.as_bytes())
    };
    let mut pairs: Vec<(String, String)> = form_pairs(query.as_bytes())
        .iter()
        .filter(|(name, _)| !left_out(name))
        .map(|(name, value)| (encode_component(name), encode_component(value)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// `name:value,value`: lines of the same name joined in order, white space trimmed and folded.
fn header_line(view: &RequestView<'_>, name: &str) -> Vec<u8> {
    let mut line = name.as_bytes().to_vec();
    let values = view.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    for (at, (_, value)) in values.enumerate() {
        line.push(if at == 0 { b':' } else { b',' });
        fold_into(&mut line, value);
    }
    line
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
    let signed = |name: &str| proof.signed_headers.iter().any(|s| s == name);
    if !signed("host") && !signed(":authority") {
        return Err(SignFault::HostNotSigned);
    }
    let optional =
        |name: &str| MAY_BE_UNSIGNED.contains(&name) || rules.token_unsigned && name == TOKEN_HEADER;
    let bare: Vec<String> = (view.headers.iter())
        .map(|(name, _)| name.to_ascii_lowercase())
        .filter(|name| name.starts_with("x-amz-") && !signed(name) && !optional(name))
        .collect();
    if bare.is_empty() { Ok(()) } else { Err(SignFault::HeadersNotSigned(bare)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |path, rule, want: &str| assert_eq!(canonical_path(path, rule), want, "{path}");
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
    }

    #[test]
    fn white_space_is_folded() {
        let mut line = Vec::new();
        fold_into(&mut line, b"  a \t b\r\n  c ");
        assert_eq!(line, b"a b c");
    }
}
