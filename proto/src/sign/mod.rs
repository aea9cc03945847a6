//! Verifies that a request was signed by the holder of a secret key, the way AWS does.
//!
//! Two steps, so that the caller can look the secret up in between, however it likes:
//! [`parse`] finds which scheme the request uses and who it claims to be from; [`Verifier::verify`]
//! checks the claim against that secret and a clock that the caller passes in. S3 has its own pair,
//! [`parse_s3`] and [`Verifier::verify_s3`], and more that only S3 does: see `s3`.
//!
//! Schemes: Signature Version 4 in the `Authorization` header or in the query ("presigned"); the Query
//! services' Version 2 in the query or in a POST form; S3's Version 2 in the header or in the query.
//!
//! Must not: know of accounts, databases or HTTP servers, read the clock, or decide what a signer
//! may do. [`SignFault`] says what went wrong; it never carries a secret or the expected signature.

mod canonical;
mod claim;
mod encode;
mod fault;
mod fuzz;
mod gap;
mod key;
mod rules;
mod s3;
mod seal;
mod stamp;
mod v2;
mod v4;
mod verify;
mod view;

pub use claim::{Claim, Scheme, Scope};
pub use encode::{decode_component, encode_component, form_pairs};
pub use fault::{ScopeFault, SignFault};
pub use fuzz::{fuzz_chunks, fuzz_form, fuzz_policy_form, fuzz_sign};
pub use gap::Gap;
pub use key::Secret;
pub use rules::{PathRule, PayloadRule, Rules};
pub use s3::{
    ChunkDecoder, ChunkSeed, Framing, Trailers, anonymous_payload, decoded_length, parse_s3, post,
    without_aws_chunked,
};
pub use seal::{DeclaredHash, PayloadSeal};
pub use stamp::{basic, extended};
pub use verify::{Verified, Verifier};
pub use view::{Payload, RequestView, header_list};

/// Finds the signature in a request and what it claims. Nothing is verified yet. For the Query services;
/// S3 has [`parse_s3`].
///
/// # Errors
/// The request carries no signature, two of them, or one that is not well-formed.
pub fn parse(view: &RequestView<'_>) -> Result<Claim, SignFault> {
    let pairs = form_pairs(view.query.as_bytes());
    let presigned = v4::is_presigned(&pairs);
    match view.header("authorization") {
        Some(_) if presigned => Err(SignFault::TwoSignatures),
        Some(value) => v4::parse_header(view, &value),
        None if presigned => v4::parse_presigned(&pairs, 1),
        None => v2::parse(view, pairs),
    }
}
