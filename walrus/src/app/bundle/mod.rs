//! Image bundles as ec2 and euca tools make them: manifest, keys, and the way from parts to an image.
//!
//! ```text
//!   manifest ─► parse ─► signature ─► unwrap key and IV
//!   parts ────► SHA-1 each ► join ► AES-128-CBC ► gunzip ► SHA-1 ► untar ─► an import like any other
//! ```
//!
//! `manifest`, `xml` and `tar` are pure; `keys` computes; `parts` and `pipeline` move bytes with bounded
//! memory, and `pack` does in the other direction; `cache` is the use case around them. Who may read a bundle is the
//! caller's matter; parts come from a [`PartSource`], which `objects` is.

pub mod cache;
mod cipher;
pub mod error;
pub(crate) mod fuzz;
mod gzip;
pub mod keys;
pub mod manifest;
pub mod objects;
pub mod pack;
pub mod parts;
pub mod pipeline;
mod tar;
mod xml;

pub use error::BundleError;
pub use keys::{Certificate, CloudKey};
pub use manifest::Manifest;
pub use parts::{PartError, PartSource, PartStream, Progress};
pub use xml::ManifestError;
