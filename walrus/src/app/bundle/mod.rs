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

/// Whatever bytes are sent as a manifest: parsed without a panic, and what is signed lies inside. For fuzzing.
pub(crate) fn fuzz_manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        let [machine, image] = manifest.signed_bytes(data);
        assert!(machine.starts_with(b"<machine_configuration") && image.starts_with(b"<image"));
        let _ = keys::signer(&manifest, data, &[]);
    }
}

/// Whatever bytes come out of a bundle, as its archive: as they are, and with checksums that fit. For fuzzing.
pub(crate) fn fuzz_tar(data: &[u8]) {
    unpack(data);
    let mut sealed = data.to_vec();
    tar::seal(&mut sealed);
    unpack(&sealed);
}

fn unpack(data: &[u8]) {
    const BYTES_MAX: u64 = 1 << 24; // holes may be of any size
    let Ok(mut archive) = tar::Tar::open(data) else { return };
    let mut bytes = 0;
    while let Ok(Some(piece)) = archive.next() {
        bytes += piece.len() as u64;
        if bytes > BYTES_MAX {
            return;
        }
    }
    assert!(bytes <= archive.bytes());
}
