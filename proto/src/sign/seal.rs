//! What a signature says about the body: `x-amz-content-sha256` for S3, a hash of the body at hand for
//! every other service.
//!
//! S3 reads that header in two ways. With a Version 4 `Authorization` header it must be there and be one of
//! the known values. With any other authentication it is only a hash that the body of an upload is held
//! against: a `STREAMING-…` value is then compared as if it were one, and never matches.
//!
//! Must not: check a signature.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::claim::V4Proof;
use super::encode::{form_pairs, param};
use super::fault::SignFault;
use super::rules::PayloadRule;
use super::s3::{ChunkSeed, Framing};
use super::view::{Payload, RequestView};
use crate::refusal::S3Refusal;

pub(super) const HASH_HEADER: &str = "x-amz-content-sha256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const STREAMING: &str = "STREAMING-";

/// What the signature says about the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadSeal {
    /// The body at hand is the one that was signed.
    Checked,
    /// The body is not read yet; it must turn out to have this SHA-256. AWS does not mind in requests that
    /// take no body.
    Declared(DeclaredHash),
    /// Nothing, or `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// `STREAMING-…`: the body comes in chunks, to be taken apart by [`ChunkDecoder`](super::ChunkDecoder).
    Framed(Framing),
}

/// The value of `x-amz-content-sha256`, as sent. Case does not matter; what is no hash matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredHash(String);

impl DeclaredHash {
    /// # Errors
    /// `XAmzContentSHA256Mismatch`, with both hashes.
    pub fn check(&self, computed: &[u8; 32]) -> Result<(), S3Refusal> {
        if parse_hash(&self.0).as_ref() == Some(computed) {
            return Ok(());
        }
        let text = "The provided 'x-amz-content-sha256' header does not match what was computed.";
        Err(S3Refusal::new(400, "XAmzContentSHA256Mismatch", text)
            .with("ClientComputedContentSHA256", self.0.clone())
            .with("S3ComputedContentSHA256", hex::encode(computed)))
    }
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}

/// The last line of the canonical request, and what it means.
pub(super) struct Declaration<'a> {
    pub text: Cow<'a, str>,
    meaning: Meaning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Hash,
    Computed,
    Unsigned,
    Framed { signed: bool, trailers: bool },
}

impl<'a> Declaration<'a> {
    /// # Errors
    /// S3 with an `Authorization` header: the value is missing or unknown.
    pub(super) fn read(
        view: &'a RequestView<'_>,
        proof: &V4Proof,
        rule: PayloadRule,
    ) -> Result<Self, SignFault> {
        if rule == PayloadRule::Hashed {
            let text = Cow::Owned(hex::encode(Sha256::digest(view.payload.bytes())));
            return Ok(Self { text, meaning: Meaning::Computed });
        }
        match view.header(HASH_HEADER) {
            Some(text) if proof.presigned => Ok(Self::lenient(text)),
            Some(text) => Self::strict(text),
            None if proof.presigned => Ok(Self::lenient(presigned_hash(view))),
            None => Err(SignFault::PayloadHashMissing),
        }
    }

    fn lenient(text: Cow<'a, str>) -> Self {
        let meaning = if text == UNSIGNED { Meaning::Unsigned } else { Meaning::Hash };
        Self { text, meaning }
    }

    fn strict(text: Cow<'a, str>) -> Result<Self, SignFault> {
        let meaning = match text.as_ref() {
            UNSIGNED => Meaning::Unsigned,
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Meaning::Framed { signed: false, trailers: true },
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Meaning::Framed { signed: true, trailers: false },
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Meaning::Framed { signed: true, trailers: true },
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
            | "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => {
                return Err(SignFault::UnsupportedFraming(text.into_owned()));
            }
            other if parse_hash(other).is_some() => Meaning::Hash,
            other => return Err(SignFault::BadPayloadHash(other.to_owned())),
        };
        Ok(Self { text, meaning })
    }

    /// For a signature that turned out right; chunks are signed with its key, starting from it.
    pub(super) fn seal(self, seed: impl FnOnce() -> ChunkSeed) -> PayloadSeal {
        match self.meaning {
            Meaning::Computed => PayloadSeal::Checked,
            Meaning::Unsigned => PayloadSeal::Unsigned,
            Meaning::Hash => PayloadSeal::Declared(DeclaredHash(self.text.into_owned())),
            Meaning::Framed { signed: false, .. } => PayloadSeal::Framed(Framing::Unsigned),
            Meaning::Framed { signed: true, trailers } => {
                PayloadSeal::Framed(Framing::Signed { seed: seed(), trailers })
            }
        }
    }
}

fn presigned_hash<'a>(view: &RequestView<'_>) -> Cow<'a, str> {
    let pairs = form_pairs(view.query.as_bytes());
    match param(&pairs, "X-Amz-Content-Sha256") {
        Some(text) => Cow::Owned(text.to_owned()),
        None => Cow::Borrowed(UNSIGNED),
    }
}

/// S3's Version 2 does not sign the header's meaning, only its presence.
pub(super) fn unsigned_seal(view: &RequestView<'_>) -> PayloadSeal {
    match view.header(HASH_HEADER) {
        None => PayloadSeal::Unsigned,
        Some(text) if text == UNSIGNED => PayloadSeal::Unsigned,
        Some(text) => PayloadSeal::Declared(DeclaredHash(text.into_owned())),
    }
}

/// Nobody signed, so chunks cannot be signed either.
pub(super) fn anonymous_seal(view: &RequestView<'_>) -> Result<PayloadSeal, S3Refusal> {
    let Some(text) = view.header(HASH_HEADER) else { return Ok(PayloadSeal::Unsigned) };
    if text == "STREAMING-UNSIGNED-PAYLOAD-TRAILER" {
        return Ok(PayloadSeal::Framed(Framing::Unsigned));
    }
    if text.starts_with(STREAMING) {
        return Err(S3Refusal::invalid(
            "Anonymous requests don't support this x-amz-content-sha256 value. Please use UNSIGNED-PAYLOAD or \
             STREAMING-UNSIGNED-PAYLOAD-TRAILER.",
        ));
    }
    Ok(unsigned_seal(view))
}

/// Holds a body that is at hand against its declared hash.
pub(super) fn check_at_hand(seal: PayloadSeal, payload: Payload<'_>) -> Result<PayloadSeal, S3Refusal> {
    match (&seal, payload) {
        (PayloadSeal::Declared(hash), Payload::Body(body)) => {
            hash.check(&Sha256::digest(body).into())?;
            Ok(PayloadSeal::Checked)
        }
        _ => Ok(seal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn strict(text: &str) -> Result<Meaning, SignFault> {
        Declaration::strict(text.into()).map(|d| d.meaning)
    }

    #[test]
    fn what_an_authorization_header_may_declare() {
        assert_eq!(strict(EMPTY), Ok(Meaning::Hash));
        assert_eq!(strict(&EMPTY.to_uppercase()), Ok(Meaning::Hash));
        assert_eq!(strict("UNSIGNED-PAYLOAD"), Ok(Meaning::Unsigned));
        let signed = Meaning::Framed { signed: true, trailers: true };
        assert_eq!(strict("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"), Ok(signed));
        let ecdsa = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD";
        assert_eq!(strict(ecdsa), Err(SignFault::UnsupportedFraming(ecdsa.into())));
        for bad in ["", "abc", "unsigned-payload", "STREAMING-", "STREAMING-UNSIGNED-PAYLOAD", &EMPTY[1..]] {
            assert_eq!(strict(bad), Err(SignFault::BadPayloadHash(bad.into())), "{bad}");
        }
    }

    #[test]
    fn a_declared_hash_matches_in_any_case_and_tells_both() {
        let computed: [u8; 32] = Sha256::digest(b"").into();
        DeclaredHash(EMPTY.to_uppercase()).check(&computed).unwrap();
        for bad in ["invalid", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "unsigned-payload", &"0".repeat(64)] {
            let refusal = DeclaredHash(bad.into()).check(&computed).unwrap_err();
            assert_eq!((refusal.status, refusal.code), (400, "XAmzContentSHA256Mismatch"));
            assert_eq!(refusal.field("ClientComputedContentSHA256"), Some(bad));
            assert_eq!(refusal.field("S3ComputedContentSHA256"), Some(EMPTY));
        }
    }
}
