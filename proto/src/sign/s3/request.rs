//! Finds which of S3's ways of signing a request uses, if any.
//!
//! Must not: verify. A request without a signature is nobody's, and may still be served: the caller decides.

use super::super::claim::{Claim, Scheme};
use super::super::encode::form_pairs;
use super::super::fault::SignFault;
use super::super::seal::{PayloadSeal, anonymous_seal};
use super::super::v4;
use super::super::view::RequestView;
use super::wording::{refusal, two_signatures};
use super::{v2, wording};
use crate::refusal::S3Refusal;

/// The unverified claim of a request; nothing for an anonymous one.
///
/// # Errors
/// It carries two signatures, or one that is not well-formed.
pub fn parse_s3(view: &RequestView<'_>) -> Result<Option<Claim>, S3Refusal> {
    let header = view.header("authorization").filter(|value| !value.is_empty());
    if view.query.is_empty() {
        return header.map(|value| parse_header(view, &value)).transpose();
    }
    let pairs = form_pairs(view.query.as_bytes());
    let (by_v4, by_v2) = (v4::is_presigned(&pairs), v2::is_presigned(&pairs));
    match header {
        Some(value) if by_v4 || by_v2 => Err(two_signatures(&value)),
        None if by_v4 && by_v2 => Err(two_signatures("")),
        Some(value) => parse_header(view, &value).map(Some),
        None if by_v4 => parse_presigned(&pairs).map(Some),
        None if by_v2 => {
            let claim = v2::parse_presigned(view, &v2::params(view.query));
            claim.map(Some).map_err(|fault| refusal(&fault, Scheme::V2Presigned, None))
        }
        None => Ok(None),
    }
}

/// What an anonymous request says of its body.
///
/// # Errors
/// It says that its chunks are signed.
pub fn anonymous_payload(view: &RequestView<'_>) -> Result<PayloadSeal, S3Refusal> {
    anonymous_seal(view)
}

fn parse_header(view: &RequestView<'_>, value: &str) -> Result<Claim, S3Refusal> {
    let argument = |text: &'static str| S3Refusal::argument(text, "Authorization", value);
    let Some((mechanism, rest)) = value.split_once(' ') else {
        return Err(argument("Authorization header is invalid -- one and only one ' ' (space) required"));
    };
    let (claim, scheme) = match mechanism {
        "AWS" => {
            let claim = v2::parse_header(view, rest).ok_or_else(|| {
                argument("AWS authorization header is invalid.  Expected AwsAccessKeyId:signature")
            })?;
            (claim, Scheme::V2Header)
        }
        _ if mechanism.starts_with("AWS4-") => (v4::parse_header(view, value), Scheme::V4Header),
        _ => return Err(argument("Unsupported Authorization Type")),
    };
    claim.and_then(after_epoch).map_err(|fault| wording::refusal(&fault, scheme, None))
}

fn parse_presigned(pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<Claim, S3Refusal> {
    let refuse = |fault: SignFault| refusal(&fault, Scheme::V4Presigned, None);
    let claim = v4::parse_presigned(pairs, 0).and_then(after_epoch).map_err(refuse)?;
    // The only part that other services do without.
    if claim.lives_s().is_none() {
        return Err(refuse(SignFault::Incomplete(super::super::gap::Gap::Query {
            missing: vec!["X-Amz-Expires"],
        })));
    }
    Ok(claim)
}

/// Nothing was signed before 1970. S3 takes such a date for none.
fn after_epoch(claim: Claim) -> Result<Claim, SignFault> {
    match claim.signed_at {
        Some(at) if at.unix_timestamp() < 0 => Err(SignFault::BadDate(String::new())),
        _ => Ok(claim),
    }
}
