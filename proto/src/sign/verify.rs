//! Checks a claim against a secret and a clock.
//!
//! The order is AWS's. The Query services look at what is covered, then the time, then the signature; S3
//! at the time first. Comparison takes constant time.
//!
//! Must not: read the clock, log, or tell a caller which signature would have been right.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};

use super::canonical::{canonical_request, check_coverage};
use super::claim::{Claim, Proof, Scheme, Scope, V2Valid, V4Proof};
use super::fault::{ScopeFault, SignFault};
use super::key::{KeyCache, Secret, hmac_sha256, signing_key};
use super::rules::{PayloadRule, Rules};
use super::s3::ChunkSeed;
use super::seal::{Declaration, PayloadSeal};
use super::stamp::basic;
use super::v2;
use super::view::RequestView;

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

impl Verified {
    pub(super) fn new(claim: &Claim, payload: PayloadSeal) -> Self {
        Self {
            access_key_id: claim.access_key_id.clone(),
            session_token: claim.session_token.clone(),
            scheme: claim.scheme(),
            scope: claim.scope().cloned(),
            payload,
        }
    }
}

/// Verifies signatures for one service. Keep one for the life of the server: it remembers derived
/// keys. Shared by reference between threads.
pub struct Verifier {
    pub(super) rules: Rules,
    keys: KeyCache,
}

/// A Version 4 signature that was computed, and whether it is the one that was sent.
pub(super) struct V4Outcome<'a> {
    pub right: bool,
    pub canonical: Vec<u8>,
    pub string_to_sign: String,
    key: [u8; 32],
    stamp: String,
    scope: String,
    declaration: Declaration<'a>,
}

impl V4Outcome<'_> {
    /// What the body must be; for signatures that are right.
    pub(super) fn seal(self, access_key_id: &str, proof: &V4Proof) -> PayloadSeal {
        let (key, stamp, scope) = (self.key, self.stamp, self.scope);
        self.declaration.seal(|| ChunkSeed::new(key, stamp, scope, access_key_id, &proof.signature))
    }
}

impl Verifier {
    pub fn new(rules: Rules) -> Self {
        Self { rules, keys: KeyCache::default() }
    }

    /// Checks `claim`, which [`parse`](super::parse) found in this very request. For services whose bodies
    /// are at hand; S3 has [`verify_s3`](Self::verify_s3).
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
        let scheme = claim.scheme();
        let payload = match &claim.proof {
            Proof::V4(proof) => {
                let outcome = self.check_v4(scheme, proof, secret, view, now)?;
                if !outcome.right {
                    return Err(SignFault::Mismatch(scheme));
                }
                outcome.seal(&claim.access_key_id, proof)
            }
            Proof::V2(proof) if self.rules.version_2 => {
                self.check_v2_time(scheme, proof.valid, now)?;
                if !v2::matches(view, proof, secret) {
                    return Err(SignFault::Mismatch(scheme));
                }
                PayloadSeal::Checked
            }
            Proof::V2(_) | Proof::S3V2(_) | Proof::Form(_) => {
                return Err(SignFault::BadParameter { name: "SignatureVersion", value: "2".into() });
            }
        };
        Ok(Verified::new(claim, payload))
    }

    /// Everything about a Version 4 signature; the caller decides how to say that it is wrong.
    pub(super) fn check_v4<'a>(
        &self,
        scheme: Scheme,
        proof: &V4Proof,
        secret: &Secret,
        view: &'a RequestView<'_>,
        now: OffsetDateTime,
    ) -> Result<V4Outcome<'a>, SignFault> {
        let stamp = basic(proof.signed_at);
        if self.rules.payload == PayloadRule::S3 {
            self.check_v4_time(scheme, proof, now)?;
            check_scope_date(proof, &stamp)?;
            check_coverage(view, proof, &self.rules)?;
        } else {
            check_scope_date(proof, &stamp)?;
            check_coverage(view, proof, &self.rules)?;
            self.check_v4_time(scheme, proof, now)?;
        }
        let declaration = Declaration::read(view, proof, self.rules.payload)?;
        let canonical = canonical_request(view, proof, &self.rules, &declaration.text);
        let scope = proof.scope.text();
        let digest = hex::encode(Sha256::digest(&canonical));
        let string_to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}");
        let (key, right) =
            self.check_mac(secret, &proof.scope, &scope, string_to_sign.as_bytes(), &proof.signature);
        Ok(V4Outcome { right, canonical, string_to_sign, key, stamp, scope, declaration })
    }

    /// The signing key for that scope, and whether it makes this signature of `text`.
    pub(super) fn check_mac(
        &self,
        secret: &Secret,
        scope: &Scope,
        scope_text: &str,
        text: &[u8],
        signature: &str,
    ) -> ([u8; 32], bool) {
        let known = self.keys.get(secret, scope_text);
        let key = known.unwrap_or_else(|| signing_key(secret, scope));
        let expected = hex::encode(hmac_sha256(&key, text));
        let right = bool::from(expected.as_bytes().ct_eq(signature.as_bytes()));
        if right && known.is_none() {
            self.keys.put(secret, scope_text, key);
        }
        (key, right)
    }

    fn check_v4_time(&self, scheme: Scheme, proof: &V4Proof, now: OffsetDateTime) -> Result<(), SignFault> {
        let Some(expires_s) = proof.expires_s else { return self.check_skew(scheme, proof.signed_at, now) };
        let until = proof.signed_at.saturating_add(Duration::seconds(expires_s.into()));
        if now > until || expires_s == 0 {
            return Err(SignFault::PastExpiry { until, now });
        }
        // Within its life the past is fine; the future is limited as everywhere.
        self.check_skew(scheme, proof.signed_at.max(now), now)
    }

    pub(super) fn check_v2_time(
        &self,
        scheme: Scheme,
        valid: V2Valid,
        now: OffsetDateTime,
    ) -> Result<(), SignFault> {
        match valid {
            V2Valid::Around(at) => self.check_skew(scheme, at, now),
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

fn check_scope_date(proof: &V4Proof, stamp: &str) -> Result<(), SignFault> {
    if stamp.get(..8) == Some(proof.scope.date.as_str()) {
        return Ok(());
    }
    let fault = ScopeFault::Date { scope: proof.scope.date.clone(), signed_at: proof.signed_at };
    Err(SignFault::Scope(vec![fault]))
}
