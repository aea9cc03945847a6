//! Verifies that a request was signed by the holder of a secret key, the way AWS does.
//!
//! Two steps, so that the caller can look the secret up in between, however it likes:
//! [`parse`] finds which scheme the request uses and who it claims to be from; [`Verifier::verify`]
//! checks the claim against that secret and a clock that the caller passes in.
//!
//! Schemes: Signature Version 4 in the `Authorization` header or in the query ("presigned"), and
//! Signature Version 2 in the query or in a POST form. S3's own Version 2 header is to follow: it
//! gets a module beside `v2` and an arm in [`parse`].
//!
//! Must not: know of accounts, databases or HTTP servers, read the clock, or decide what a signer
//! may do. [`SignFault`] says what went wrong; it never carries a secret or the expected signature.

mod canonical;
mod claim;
mod encode;
mod fault;
mod fuzz;
mod key;
mod stamp;
mod v2;
mod v4;
mod verify;
mod view;

pub use claim::{Claim, Scheme, Scope};
pub use encode::{decode_component, encode_component, form_pairs};
pub use fault::{ScopeFault, SignFault};
pub use fuzz::fuzz_sign;
pub use key::Secret;
pub use stamp::{basic, extended};
pub use verify::{PathRule, PayloadRule, PayloadSeal, Rules, Verified, Verifier};
pub use view::{Payload, RequestView, header_list};

/// Finds the signature in a request and what it claims. Nothing is verified yet.
///
/// # Errors
/// The request carries no signature, two of them, or one that is not well-formed.
pub fn parse(view: &RequestView<'_>) -> Result<Claim, SignFault> {
    let pairs = form_pairs(view.query.as_bytes());
    let presigned = v4::is_presigned(&pairs);
    match view.header("authorization") {
        Some(_) if presigned => Err(SignFault::TwoSignatures),
        Some(value) => v4::parse_header(view, &value),
        None if presigned => v4::parse_presigned(&pairs),
        None => v2::parse(view, pairs),
    }
}
