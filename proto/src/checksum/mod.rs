//! Checksums of objects as S3 has them: which algorithms there are, computing them while bytes pass by,
//! the forms that they take on the wire, and what becomes of them when an object is put together of parts.
//!
//! - a request says in [`announced`] which checksum it brings, and where;
//! - a [`Hasher`] computes it, piece by piece; MD5 for the ETag is one like any other;
//! - [`Checksum`] is the outcome, [`composite`] and [`full_object`] are those of a multipart upload.
//!
//! The CRCs run at memory speed (`crc-fast`), so MD5 is what an upload waits for: hence a crate for it that
//! is written in assembly (`fast-md5`), held against a plain one by a test.
//!
//! Must not: know of requests but by their headers, or where bytes come from.

mod algorithm;
mod announced;
mod combine;
mod hasher;
mod md5;
mod parts;
mod value;

pub use algorithm::{Algorithm, Kind};
pub(crate) use announced::malformed_trailer;
pub use announced::{Announced, Place, announced, check_trailer};
pub use hasher::Hasher;
pub use md5::{ContentMd5, Md5};
pub use parts::{composite, full_object, multipart_etag};
pub use value::Checksum;
