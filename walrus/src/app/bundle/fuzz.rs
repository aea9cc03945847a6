//! Whatever strangers send as a bundle: read without a panic, and never as what it is not.

use super::error::BundleError;
use super::keys::{self, Secrets};
use super::manifest::{Image, Kind, Manifest, Part, Wrapped};
use super::pack::encrypted;
use super::parts::Piece;
use super::pipeline::decode;
use super::tar::{self, Tar};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha1::{Digest as _, Sha1};
use std::io::Write as _;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Holes may be of any size, and gzip makes much of little.
const IMAGE_BYTES_MAX: u64 = 1 << 24;
const PARTS: usize = 3;

/// As a manifest: what is signed lies inside.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        let [machine, image] = manifest.signed_bytes(data);
        assert!(machine.starts_with(b"<machine_configuration") && image.starts_with(b"<image"));
        let _ = keys::signer(&manifest, data, &[]);
    }
}

/// As the archive: as it is, and with checksums that fit.
pub fn archive(data: &[u8]) {
    unpacked(data);
    unpacked(&sealed(data));
}

fn sealed(data: &[u8]) -> Vec<u8> {
    let mut sealed = data.to_vec();
    tar::seal(&mut sealed);
    sealed
}

/// The file in it, if that is what it is, and not too large.
fn unpacked(data: &[u8]) -> Option<Vec<u8>> {
    let mut archive = Tar::open(data).ok()?;
    let mut file = Vec::new();
    while let Some(piece) = archive.next().ok()? {
        file.extend_from_slice(&piece);
        assert!(file.len() as u64 <= archive.bytes());
        if file.len() as u64 > IMAGE_BYTES_MAX {
            return None;
        }
    }
    assert_eq!(file.len() as u64, archive.bytes());
    Some(file)
}

/// As all that is behind a manifest. The first byte says what the others stand for: the parts as they are uploaded, what is
/// encrypted in them, what is compressed in that, and that with checksums that fit. What can be unpacked by itself comes
/// out of the parts, and nothing else does.
pub fn parts(data: &[u8]) {
    let Some((how, data)) = data.split_first() else { return };
    let secrets = Secrets { key: [3; keys::AES_KEY_BYTES], iv: [5; keys::AES_KEY_BYTES] };
    let (archive, uploaded) = match how % 4 {
        0 => (None, data.to_vec()),
        1 => (None, encrypted(data, &secrets)),
        2 => (Some(data.to_vec()), encrypted(&gzip(data), &secrets)),
        _ => (Some(sealed(data)), encrypted(&gzip(&sealed(data)), &secrets)),
    };
    let file = archive.as_deref().and_then(unpacked);
    let image = Arc::new(described(archive.as_deref().unwrap_or_default(), file.as_deref(), &uploaded));
    let mut out = Vec::new();
    let decoded = decode(image, &secrets, fetched(&uploaded), |bytes| {
        out.extend_from_slice(&bytes);
        if out.len() as u64 > IMAGE_BYTES_MAX { Err(BundleError::Abandoned) } else { Ok(()) }
    });
    match file {
        Some(file) => {
            assert!(decoded.is_ok() && out == file, "{decoded:?}: {} bytes of {}", out.len(), file.len())
        }
        None => assert!(decoded.is_err(), "{} bytes came out of nothing", out.len()),
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let _ = gzip.write_all(data);
    gzip.finish().unwrap_or_default()
}

/// In equal parts, but for the last.
fn cut(uploaded: &[u8]) -> impl Iterator<Item = &[u8]> {
    uploaded.chunks(uploaded.len().div_ceil(PARTS).max(1))
}

/// A manifest that is right about all of it, so that nothing ends at the first digest.
fn described(archive: &[u8], file: Option<&[u8]>, uploaded: &[u8]) -> Image {
    let parts = cut(uploaded).enumerate();
    let nobodys = Wrapped { key: Vec::new(), iv: Vec::new() };
    Image {
        name: "image".to_owned(),
        user: "111111111111".to_owned(),
        kind: Kind::Machine,
        digest: Sha1::digest(archive).into(),
        bytes: file.map_or(IMAGE_BYTES_MAX, |file| file.len() as u64),
        bundled_bytes: uploaded.len() as u64,
        cloud_key: nobodys,
        user_key: None,
        parts: parts
            .map(|(at, part)| Part {
                filename: format!("image.part.{at}"),
                digest: Sha1::digest(part).into(),
            })
            .collect(),
    }
}

fn fetched(uploaded: &[u8]) -> mpsc::Receiver<Piece> {
    let (to, pieces) = mpsc::channel(2 * PARTS + 2);
    for part in cut(uploaded) {
        for piece in [Piece::Bytes(Bytes::copy_from_slice(part)), Piece::End] {
            let _ = to.try_send(piece); // there is room for all
        }
    }
    pieces
}
