//! S3's wire, flat: `s3::PutObjectRequest`, `s3::S3Fault`, `s3::route`.
//!
//! A request goes through here in three steps: the edge tells bucket, key and query apart and makes a
//! `RestRequest`; `route` says which operation that is; the operation's request type decodes it. The
//! answer's type encodes itself (`rest::answer`), a fault writes its own document (`S3Fault::document`).

mod argument;
pub mod code;
pub mod fault;
mod fuzz;
pub mod generated;
pub mod post;
mod refusal;
pub mod router;

pub use code::S3Code;
pub use fault::S3Fault;
pub use fuzz::fuzz_rest;
pub use generated::*;
pub use post::PostResponse;
pub use router::{Route, route};

use crate::aws::rest::RestAction;

/// The headers of a user's own metadata.
pub const METADATA_PREFIX: &str = "x-amz-meta-";

/// An operation of S3's, for a table of handlers.
pub trait S3Action: RestAction {
    const OPERATION: Operation;
}
