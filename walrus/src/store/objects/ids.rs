//! Names that the store gives, and their texts: 32 characters of `[A-Za-z0-9._]` for a version or an upload.
//!
//! Such a text is the number with a digest of it: one that we never gave is told from one that is gone,
//! and nobody reads from it how many objects a store holds.

use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub i64);

/// A version of a key. `Null` is the one that was written while versioning was not enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersionId {
    Null,
    Seq(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub(super) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no id that this store has given")]
pub struct UnknownId;

const NULL: &str = "null";
const TEXT_BYTES: usize = 32;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";

fn digest(domain: &str, number: u64) -> [u8; 16] {
    let digest = Sha256::new().chain_update(domain).chain_update(number.to_be_bytes()).finalize();
    std::array::from_fn(|at| digest[at])
}

/// 16 bytes of digest, then the number hidden by its first eight, six bits a character.
fn to_text(domain: &str, number: u64) -> String {
    let digest = digest(domain, number);
    let mut bytes = [0; TEXT_BYTES / 4 * 3];
    bytes[..16].copy_from_slice(&digest);
    for (at, byte) in number.to_be_bytes().into_iter().enumerate() {
        bytes[16 + at] = byte ^ digest[at];
    }
    let mut text = String::with_capacity(TEXT_BYTES);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        text.extend([18, 12, 6, 0].map(|shift| char::from(ALPHABET[bits >> shift & 63])));
    }
    text
}

fn from_text(domain: &str, text: &str) -> Result<u64, UnknownId> {
    if text.len() != TEXT_BYTES {
        return Err(UnknownId);
    }
    let mut bytes = [0; TEXT_BYTES / 4 * 3];
    for (three, four) in bytes.chunks_mut(3).zip(text.as_bytes().chunks(4)) {
        let mut bits = 0;
        for character in four {
            let value = ALPHABET.iter().position(|known| known == character).ok_or(UnknownId)?;
            bits = bits << 6 | value;
        }
        three.copy_from_slice(&[(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]);
    }
    let number = u64::from_be_bytes(std::array::from_fn(|at| bytes[16 + at] ^ bytes[at]));
    if bytes[..16] == digest(domain, number) { Ok(number) } else { Err(UnknownId) }
}

const VERSION: &str = "karri-version:";
const UPLOAD: &str = "karri-upload:";

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionId::Null => f.write_str(NULL),
            VersionId::Seq(seq) => f.write_str(&to_text(VERSION, *seq)),
        }
    }
}

impl FromStr for VersionId {
    type Err = UnknownId;

    fn from_str(text: &str) -> Result<Self, UnknownId> {
        if text == NULL { Ok(VersionId::Null) } else { from_text(VERSION, text).map(VersionId::Seq) }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_text(UPLOAD, self.0))
    }
}

impl FromStr for UploadId {
    type Err = UnknownId;

    fn from_str(text: &str) -> Result<Self, UnknownId> {
        from_text(UPLOAD, text).map(Self)
    }
}

/// MD5 of the content, or of the MD5s of its parts with their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ETag {
    pub md5: [u8; 16],
    /// 0 for what was not uploaded in parts.
    pub parts: u16,
}

impl ETag {
    pub fn simple(md5: [u8; 16]) -> Self {
        Self { md5, parts: 0 }
    }

    pub(super) fn to_row(self) -> Vec<u8> {
        let parts = self.parts.to_be_bytes();
        [&self.md5[..], if self.parts == 0 { &[] } else { &parts }].concat()
    }

    pub(super) fn from_row(bytes: &[u8]) -> Option<Self> {
        let (md5, parts) = bytes.split_first_chunk()?;
        let parts = if parts.is_empty() { 0 } else { u16::from_be_bytes(parts.try_into().ok()?) };
        Some(Self { md5: *md5, parts })
    }
}

/// Without quotes.
impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        hex::encode_to_slice(self.md5, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)?;
        if self.parts > 0 { write!(f, "-{}", self.parts) } else { Ok(()) }
    }
}

/// With or without quotes.
impl FromStr for ETag {
    type Err = UnknownId;

    fn from_str(text: &str) -> Result<Self, UnknownId> {
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let (hex, parts) = match text.split_once('-') {
            Some((hex, parts)) => (hex, parts.parse().ok().filter(|n| *n > 0).ok_or(UnknownId)?),
            None => (text, 0),
        };
        let mut md5 = [0; 16];
        hex::decode_to_slice(hex, &mut md5).map_err(|_| UnknownId)?;
        Ok(Self { md5, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_32_characters_and_read_back() {
        for number in [0, 1, 1_760_000_000_000_000, u64::MAX] {
            let text = VersionId::Seq(number).to_string();
            assert_eq!(text.len(), 32);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_'), "{text}");
            assert_eq!(text.parse(), Ok(VersionId::Seq(number)));
            assert_eq!(text.parse::<UploadId>(), Err(UnknownId), "an upload is no version");
            assert_eq!(UploadId(number).to_string().parse(), Ok(UploadId(number)));
        }
        assert_eq!("null".parse(), Ok(VersionId::Null));
        for wrong in ["", "nullx", "é", &"A".repeat(32), &"é".repeat(16)] {
            assert_eq!(wrong.parse::<VersionId>(), Err(UnknownId), "{wrong}");
        }
    }

    #[test]
    fn etags_read_back_from_text_and_row() {
        for etag in [ETag::simple([7; 16]), ETag { md5: [1; 16], parts: 10_000 }] {
            assert_eq!(etag.to_string().parse(), Ok(etag));
            assert_eq!(format!("\"{etag}\"").parse(), Ok(etag));
            assert_eq!(ETag::from_row(&etag.to_row()), Some(etag));
        }
        for wrong in ["", "abc", "01010101010101010101010101010101-0", "01010101010101010101010101010101-x"] {
            assert!(wrong.parse::<ETag>().is_err(), "{wrong}");
        }
        assert_eq!(ETag::from_row(&[1; 3]), None);
    }
}
