//! Checks the claim of an S3 request against a secret and a clock.
//!
//! Must not: know buckets. Which one came in the host name the caller says; only Version 2 signs it.

use time::OffsetDateTime;

use super::super::claim::{Claim, Proof};
use super::super::fault::SignFault;
use super::super::key::Secret;
use super::super::seal::{check_at_hand, unsigned_seal};
use super::super::verify::{Verified, Verifier};
use super::super::view::RequestView;
use super::v2;
use super::wording::mismatch;
use crate::refusal::S3Refusal;

impl Verifier {
    /// Checks `claim`, which [`parse_s3`](super::parse_s3) found in this very request. `host_bucket` is the
    /// bucket's name when it stands in the `Host` header and not in the path.
    ///
    /// # Errors
    /// The signature does not cover what it must, is outside its time, or does not match; or the body at hand
    /// is not what `x-amz-content-sha256` says.
    pub fn verify_s3(
        &self,
        claim: &Claim,
        secret: &Secret,
        view: &RequestView<'_>,
        host_bucket: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Verified, S3Refusal> {
        let refuse = |fault: SignFault| claim.refuse(&fault);
        let seal = match &claim.proof {
            Proof::V4(proof) => {
                let outcome = self.check_v4(claim.scheme(), proof, secret, view, now).map_err(refuse)?;
                if !outcome.right {
                    let (text, canonical) = (outcome.string_to_sign.as_bytes(), &outcome.canonical);
                    return Err(mismatch(&claim.access_key_id, text, &proof.signature, Some(canonical)));
                }
                outcome.seal(&claim.access_key_id, proof)
            }
            Proof::S3V2(proof) => {
                self.check_v2_time(claim.scheme(), proof.valid, now).map_err(refuse)?;
                v2::check(view, proof, secret, host_bucket)
                    .map_err(|text| mismatch(&claim.access_key_id, &text, &proof.signature, None))?;
                unsigned_seal(view)
            }
            Proof::V2(_) | Proof::Form(_) => {
                return Err(refuse(SignFault::BadParameter { name: "SignatureVersion", value: "2".into() }));
            }
        };
        Ok(Verified::new(claim, check_at_hand(seal, view.payload)?))
    }
}
