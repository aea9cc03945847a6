//! What S3 does in its own way: signatures in four places, bodies in signed chunks, forms with a policy.
//!
//! - [`parse_s3`] finds the claim of a request, [`Verifier::verify_s3`](super::Verifier::verify_s3) checks it:
//!   Version 4 in the header or the query, and S3's Version 2 in the header or the query;
//! - [`ChunkDecoder`] takes an `aws-chunked` body apart;
//! - [`post`] reads `multipart/form-data` uploads, their policy and its signature.
//!
//! Everything is refused with an [`S3Refusal`](crate::refusal::S3Refusal), worded as S3 does.
//!
//! Must not: read a socket or the clock. Bodies are handed in as they arrive.

mod chunk;
mod framing;
mod line;
pub mod post;
mod request;
mod v2;
mod verify;
mod wording;

pub use chunk::{ChunkDecoder, Trailers};
pub use framing::{ChunkSeed, Framing, decoded_length, without_aws_chunked};
pub use request::{anonymous_payload, parse_s3};
