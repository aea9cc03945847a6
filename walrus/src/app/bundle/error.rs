//! Why a bundle gives no image: one sentence for whoever registers it.
//!
//! In what way a key or a padding is wrong, and which digest was found instead, no sentence tells: a stranger
//! may hand us ciphertext that is not theirs, and would ask again and again.

use super::manifest::MANIFEST_BYTES_MAX;
use super::xml::ManifestError;
use crate::app::Refusal;
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the manifest's signature was made with none of the {0} certificates of the account")]
    Signature(usize),
    #[error("certificate {number} cannot be read: {problem}")]
    Certificate { number: usize, problem: String },
    /// The key does not unwrap, or what it decrypts to is not what a bundler encrypts: never told apart.
    #[error(
        "the bundle cannot be decrypted with this cloud's key: was it bundled with this cloud's certificate \
         (ec2_encrypted_key, ec2_encrypted_iv)?"
    )]
    NotForThisCloud,
    #[error("the manifest was overwritten or deleted before its image was made")]
    ManifestGone,
    #[error("part {0} is not there")]
    PartMissing(String),
    #[error("part {filename} cannot be read: {reason}")]
    PartFailed { filename: String, reason: String },
    #[error("part {0} has another SHA-1 digest than the manifest says")]
    PartDigest(String),
    #[error("the parts hold {found} bytes; the manifest says {expected} (bundled_size)")]
    PartsShort { expected: u64, found: u64 },
    #[error("the parts hold more than {0} bytes, which the manifest says (bundled_size)")]
    PartsLong(u64),
    #[error("the bundle's gzip stream ends early")]
    GzipCut,
    #[error("the bundle's gzip stream is damaged: {0}")]
    GzipDamaged(String),
    #[error("something that is not gzip follows the bundle's gzip stream")]
    GzipTrailing,
    #[error("the bundle's archive {0}")]
    Tar(String),
    #[error("the bundle's archive holds a file of {found} bytes; the manifest says {expected} (size)")]
    Size { expected: u64, found: u64 },
    #[error("the bundle's archive has another SHA-1 digest than the manifest says (image/digest)")]
    Digest,
    /// Nobody waits for the image any more, or this process stops.
    #[error("the bundle is no longer being read")]
    Abandoned,
}

impl BundleError {
    /// Carries it through `std::io::Read`.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// What `into_io` has wrapped, or what `otherwise` makes of another error.
    pub(super) fn from_io(error: io::Error, otherwise: impl FnOnce(io::Error) -> Self) -> Self {
        match error.downcast::<BundleError>() {
            Ok(ours) => ours,
            Err(other) => otherwise(other),
        }
    }
}

impl From<BundleError> for Refusal {
    fn from(error: BundleError) -> Self {
        Refusal::new(error.to_string())
    }
}

/// For a caller that reads a manifest from a store: more bytes than this need not be read.
pub const MANIFEST_READ_BYTES_MAX: usize = MANIFEST_BYTES_MAX + 1;
