//! Checks a claim against a secret and a clock.
//!
//! The order is AWS's: what is covered, then the time, then the signature. Comparison takes
//! constant time.
//!
//! Must not: read the clock, log, or tell a caller which signature would have been right.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};

use super::canonical::{canonical_request, check_coverage};
use super::claim::{Claim, Proof, Scheme, Scope, V2Valid, V4Proof};
use super::encode::{form_pairs, param};
use super::fault::{ScopeFault, SignFault};
use super::key::{KeyCache, Secret, hmac_sha256, signing_key};
use super::stamp::basic;
use super::v2;
use super::view::{Payload, RequestView};

/// How a service wants its requests signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub path: PathRule,
    pub payload: PayloadRule,
    /// How far the signer's clock may be off, either way.
    pub skew: Duration,
    /// Whether the session token may be added after signing, as a few services ask.
    pub token_unsigned: bool,
    /// Whether Version 2's query parameters are still taken.
    pub version_2: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathRule {
    /// Dot segments removed, then encoded once more.
    Normalised,
    /// Encoded once more, otherwise as sent.
    Reencoded,
    /// The object key, encoded once.
    S3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadRule {
    /// The signature covers the body's SHA-256.
    Hashed,
    /// The signature covers `x-amz-content-sha256`, which may waive the hash.
    S3,
}

impl Rules {
    pub const EC2: Rules = Rules {
        path: PathRule::Normalised,
        payload: PayloadRule::Hashed,
        skew: Duration::minutes(5),
        token_unsigned: false,
        version_2: true,
    };
    /// STS, IAM and the other Query services.
    pub const QUERY: Rules = Rules { skew: Duration::minutes(15), ..Rules::EC2 };
    pub const S3: Rules =
        Rules { path: PathRule::S3, payload: PayloadRule::S3, version_2: false, ..Rules::QUERY };
}

/// What the signature says about the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadSeal {
    /// The body at hand is the one that was signed.
    Checked,
    /// The body is not read yet; it must turn out to have this SHA-256.
    Declared([u8; 32]),
    /// `UNSIGNED-PAYLOAD`
    Unsigned,
    /// `STREAMING-…`: the body comes in chunks with signatures or checksums of their own.
    Streaming(String),
}

/// A request that was signed with the right secret, at the right time, unchanged since.
#[derive(Debug, Clone)]
pub struct Verified {
    pub access_key_id: String,
    pub session_token: Option<String>,
    pub scheme: Scheme,
    /// Version 2 has none.
    pub scope: Option<Scope>,
    pub payload: PayloadSeal,
}

/// Verifies signatures for one service. Keep one for the life of the server: it remembers derived
/// keys. Shared by reference between threads.
pub struct Verifier {
    rules: Rules,
    keys: KeyCache,
}

impl Verifier {
    pub fn new(rules: Rules) -> Self {
        Self { rules, keys: KeyCache::default() }
    }

    /// Checks `claim`, which [`parse`](super::parse) found in this very request.
    ///
    /// # Errors
    /// The signature does not cover what it must, is outside its time, or does not match.
    pub fn verify(
        &self,
        claim: &Claim,
        secret: &Secret,
        view: &RequestView<'_>,
        now: OffsetDateTime,
    ) -> Result<Verified, SignFault> {
        let payload = match &claim.proof {
            Proof::V4(proof) => self.verify_v4(claim, proof, secret, view, now)?,
            Proof::V2(_) if !self.rules.version_2 => {
                return Err(SignFault::BadParameter { name: "SignatureVersion", value: "2".into() });
            }
            Proof::V2(proof) => {
                self.check_v2_time(proof.valid, now)?;
                if !v2::matches(view, proof, secret) {
                    return Err(SignFault::Mismatch(Scheme::V2Query));
                }
                PayloadSeal::Checked
            }
        };
        Ok(Verified {
            access_key_id: claim.access_key_id.clone(),
            session_token: claim.session_token.clone(),
            scheme: claim.scheme(),
            scope: claim.scope().cloned(),
            payload,
        })
    }

    fn verify_v4(
        &self,
        claim: &Claim,
        proof: &V4Proof,
        secret: &Secret,
        view: &RequestView<'_>,
        now: OffsetDateTime,
    ) -> Result<PayloadSeal, SignFault> {
        let stamp = basic(proof.signed_at);
        if stamp.get(..8) != Some(proof.scope.date.as_str()) {
            let fault = ScopeFault::Date { scope: proof.scope.date.clone(), signed_at: proof.signed_at };
            return Err(SignFault::Scope(vec![fault]));
        }
        check_coverage(view, proof, &self.rules)?;
        self.check_v4_time(claim.scheme(), proof, now)?;
        let (hash, seal) = payload_hash(view, proof, self.rules.payload)?;
        let request = canonical_request(view, proof, &self.rules, &hash);
        let scope = proof.scope.text();
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex::encode(Sha256::digest(&request)));
        let known = self.keys.get(secret, &scope);
        let key = known.unwrap_or_else(|| signing_key(secret, &proof.scope));
        let right = hex::encode(hmac_sha256(&key, text.as_bytes()));
        if !bool::from(right.as_bytes().ct_eq(proof.signature.as_bytes())) {
            return Err(SignFault::Mismatch(claim.scheme()));
        }
        if known.is_none() {
            self.keys.put(secret, &scope, key);
        }
        Ok(seal)
    }

    fn check_v4_time(&self, scheme: Scheme, proof: &V4Proof, now: OffsetDateTime) -> Result<(), SignFault> {
        let Some(expires_s) = proof.expires_s else { return self.check_skew(scheme, proof.signed_at, now) };
        let until = proof.signed_at.saturating_add(Duration::seconds(expires_s.into()));
        if now > until {
            return Err(SignFault::PastExpiry { until, now });
        }
        // Within its life the past is fine; the future is limited as everywhere.
        self.check_skew(scheme, proof.signed_at.max(now), now)
    }

    fn check_v2_time(&self, valid: V2Valid, now: OffsetDateTime) -> Result<(), SignFault> {
        match valid {
            V2Valid::Around(at) => self.check_skew(Scheme::V2Query, at, now),
            V2Valid::Until(until) if now > until => Err(SignFault::PastExpiry { until, now }),
            V2Valid::Until(_) => Ok(()),
        }
    }

    fn check_skew(
        &self,
        scheme: Scheme,
        signed_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<(), SignFault> {
        let window = self.rules.skew;
        if now - signed_at > window {
            return Err(SignFault::TooOld { scheme, signed_at, now, window });
        }
        if signed_at - now > window {
            return Err(SignFault::TooNew { scheme, signed_at, now, window });
        }
        Ok(())
    }
}

/// The last line of the canonical request, and what it means for the body.
fn payload_hash(
    view: &RequestView<'_>,
    proof: &V4Proof,
    rule: PayloadRule,
) -> Result<(String, PayloadSeal), SignFault> {
    if rule == PayloadRule::Hashed {
        return Ok((hex::encode(Sha256::digest(view.payload.bytes())), PayloadSeal::Checked));
    }
    let declared = match view.header("x-amz-content-sha256") {
        Some(value) => value.into_owned(),
        None if proof.presigned => presigned_hash(view),
        None => return Err(SignFault::PayloadHashMissing),
    };
    let seal = s3_seal(&declared, view.payload)?;
    Ok((declared, seal))
}

fn presigned_hash(view: &RequestView<'_>) -> String {
    let pairs = form_pairs(view.query.as_bytes());
    param(&pairs, "X-Amz-Content-Sha256").unwrap_or("UNSIGNED-PAYLOAD").to_owned()
}

fn s3_seal(declared: &str, payload: Payload<'_>) -> Result<PayloadSeal, SignFault> {
    if declared == "UNSIGNED-PAYLOAD" {
        return Ok(PayloadSeal::Unsigned);
    }
    if declared.starts_with("STREAMING-") {
        return Ok(PayloadSeal::Streaming(declared.to_owned()));
    }
    let mut hash = [0; 32];
    hex::decode_to_slice(declared, &mut hash).map_err(|_| SignFault::BadPayloadHash(declared.to_owned()))?;
    match payload {
        Payload::Unread => Ok(PayloadSeal::Declared(hash)),
        Payload::Body(body) if Sha256::digest(body).as_slice() == hash => Ok(PayloadSeal::Checked),
        Payload::Body(_) => Err(SignFault::PayloadMismatch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn s3_hashes_are_checked_declared_waived_or_streamed() {
        let check =
            |declared: &str, payload, want| assert_eq!(s3_seal(declared, payload), want, "{declared}");
        let streaming = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
        check(EMPTY, Payload::Body(b""), Ok(PayloadSeal::Checked));
        check(EMPTY, Payload::Body(b"x"), Err(SignFault::PayloadMismatch));
        check(EMPTY, Payload::Unread, Ok(PayloadSeal::Declared(Sha256::digest(b"").into())));
        check("UNSIGNED-PAYLOAD", Payload::Unread, Ok(PayloadSeal::Unsigned));
        check(streaming, Payload::Unread, Ok(PayloadSeal::Streaming(streaming.into())));
        check("abc", Payload::Unread, Err(SignFault::BadPayloadHash("abc".into())));
    }
}
