//! Reads Version 4's claim from the `Authorization` header or from a presigned query.
//!
//! Must not: check anything against a secret or a clock; see `verify`.

use super::claim::{Claim, Proof, Scope, V4Proof};
use super::encode::param;
use super::fault::{ScopeFault, SignFault};
use super::gap::Gap;
use super::stamp::{parse_basic, parse_http};
use super::view::RequestView;

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// A presigned request lives a week at most.
const EXPIRES_MAX_S: u32 = 604_800;

type Pairs = [(Vec<u8>, Vec<u8>)];

/// Whether the query carries any part of a presigned signature.
pub(super) fn is_presigned(pairs: &Pairs) -> bool {
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"]
        .iter()
        .any(|name| pairs.iter().any(|(n, _)| n == name.as_bytes()))
}

pub(super) fn parse_header(view: &RequestView<'_>, value: &str) -> Result<Claim, SignFault> {
    let (algorithm, rest) = value.split_once(' ').unwrap_or((value, ""));
    if algorithm.starts_with("AWS4-") && algorithm != ALGORITHM {
        return Err(SignFault::UnsupportedAlgorithm(algorithm.to_owned()));
    }
    let rest = if algorithm == ALGORITHM { rest } else { "" };
    let field = |name| header_field(rest, name);
    let date = view.header("x-amz-date").or_else(|| view.header("date"));
    let (Some(credential), Some(signature), Some(signed_headers), Some(date)) =
        (field("Credential"), field("Signature"), field("SignedHeaders"), date.as_deref())
    else {
        return Err(incomplete_header(value, rest, date.is_some()));
    };
    let signed_at = parse_http(date).ok_or_else(|| SignFault::BadDate(date.to_owned()))?;
    let (access_key_id, scope) = parse_credential(credential)?;
    let proof = V4Proof {
        presigned: false,
        scope,
        signed_at,
        signed_headers: parse_signed_headers(signed_headers)?,
        expires_s: None,
        signature: signature.to_owned(),
    };
    let session_token = view.header("x-amz-security-token").map(std::borrow::Cow::into_owned);
    Ok(claim(access_key_id, session_token, proof))
}

/// S3 takes a life of no seconds for one that is over (`expires_s_min` of 0); other services do not.
pub(super) fn parse_presigned(pairs: &Pairs, expires_s_min: u32) -> Result<Claim, SignFault> {
    let field = |name| param(pairs, name).filter(|v| !v.is_empty());
    let (Some(algorithm), Some(credential), Some(signature), Some(signed_headers), Some(date)) = (
        field("X-Amz-Algorithm"),
        field("X-Amz-Credential"),
        field("X-Amz-Signature"),
        field("X-Amz-SignedHeaders"),
        field("X-Amz-Date"),
    ) else {
        return Err(incomplete_query(pairs));
    };
    if algorithm != ALGORITHM {
        return Err(SignFault::UnsupportedAlgorithm(algorithm.to_owned()));
    }
    let (access_key_id, scope) = parse_credential(credential)?;
    let proof = V4Proof {
        presigned: true,
        scope,
        signed_at: parse_basic(date).ok_or_else(|| SignFault::BadDate(date.to_owned()))?,
        signed_headers: parse_signed_headers(signed_headers)?,
        expires_s: param(pairs, "X-Amz-Expires")
            .map(|text| parse_expires(text, expires_s_min))
            .transpose()?,
        signature: signature.to_owned(),
    };
    Ok(claim(access_key_id, param(pairs, "X-Amz-Security-Token").map(str::to_owned), proof))
}

fn claim(access_key_id: String, session_token: Option<String>, proof: V4Proof) -> Claim {
    let signed_at = Some(proof.signed_at);
    Claim { access_key_id, session_token, signed_at, proof: Proof::V4(proof) }
}

fn header_field<'a>(rest: &'a str, name: &str) -> Option<&'a str> {
    rest.split([',', ' '])
        .filter_map(|part| part.trim().split_once('='))
        .find_map(|(n, value)| (n == name && !value.is_empty()).then_some(value))
}

fn incomplete_header(value: &str, rest: &str, dated: bool) -> SignFault {
    let missing = ["Credential", "Signature", "SignedHeaders"];
    let missing = missing.into_iter().filter(|name| header_field(rest, name).is_none()).collect();
    SignFault::Incomplete(Gap::header(value, missing, dated))
}

fn incomplete_query(pairs: &Pairs) -> SignFault {
    let names =
        ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"];
    let missing = names.into_iter().filter(|name| param(pairs, name).is_none_or(str::is_empty)).collect();
    SignFault::Incomplete(Gap::Query { missing })
}

pub(super) fn parse_credential(text: &str) -> Result<(String, Scope), SignFault> {
    let mut parts = text.split('/');
    let (Some(key), Some(date), Some(region), Some(service), Some(terminator), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SignFault::Incomplete(Gap::Credential(text.to_owned())));
    };
    if terminator != TERMINATOR {
        return Err(SignFault::Scope(vec![ScopeFault::Terminator { got: terminator.to_owned() }]));
    }
    let scope = Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() };
    Ok((key.to_owned(), scope))
}

/// The list must be in canonical form, since it is signed as it is written.
fn parse_signed_headers(text: &str) -> Result<Vec<String>, SignFault> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let lower = names.iter().all(|n| !n.is_empty() && !n.bytes().any(|b| b.is_ascii_uppercase()));
    if lower && names.is_sorted_by(|a, b| a < b) {
        Ok(names)
    } else {
        Err(SignFault::Incomplete(Gap::SignedHeaders(text.to_owned())))
    }
}

fn parse_expires(text: &str, seconds_min: u32) -> Result<u32, SignFault> {
    let seconds: i64 = text.parse().map_err(|_| SignFault::BadExpires("X-Amz-Expires should be a number"))?;
    match u32::try_from(seconds) {
        Ok(seconds) if (seconds_min..=EXPIRES_MAX_S).contains(&seconds) => Ok(seconds),
        _ if seconds < i64::from(seconds_min) => {
            Err(SignFault::BadExpires("X-Amz-Expires must be non-negative"))
        }
        _ => Err(SignFault::BadExpires(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less \
             than 604800 seconds",
        )),
    }
}
