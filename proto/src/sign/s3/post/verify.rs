//! The signature of a form: over its policy, as it came in base64.
//!
//! Must not: read the policy. A right signature says only that its owner wrote it.

use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};

use super::super::v2::{mac_sha1, signature_bytes};
use super::super::wording::{mismatch, refusal, two_signatures};
use super::form::{Form, missing_field};
use crate::refusal::S3Refusal;
use crate::sign::claim::{Claim, FormProof, Proof, Scheme, Scope};
use crate::sign::fault::{ScopeFault, SignFault};
use crate::sign::key::Secret;
use crate::sign::seal::PayloadSeal;
use crate::sign::stamp::{basic, parse_basic};
use crate::sign::v4::{ALGORITHM, parse_credential};
use crate::sign::verify::{Verified, Verifier};

/// A signing key is good for a week.
const AGE_MAX: Duration = Duration::WEEK;
const V4_FIELDS: [&str; 4] = ["x-amz-signature", "x-amz-credential", "x-amz-date", "x-amz-algorithm"];
const V2_FIELDS: [&str; 2] = ["awsaccesskeyid", "signature"];

impl Form {
    /// The unverified claim; nothing for an anonymous form, which has no policy either.
    ///
    /// # Errors
    /// `InvalidArgument`: it has some of the fields and not the others, or both kinds, or malformed ones.
    pub fn claim(&self) -> Result<Option<Claim>, S3Refusal> {
        let has = |names: &[&str]| names.iter().any(|name| self.get(name).is_some());
        match (has(&V4_FIELDS), has(&V2_FIELDS)) {
            (true, true) => Err(two_signatures("")),
            (true, false) => self.v4_claim().map(Some),
            (false, true) => self.v2_claim().map(Some),
            (false, false) if self.get("policy").is_some() => Err(missing_field("AWSAccessKeyId")),
            (false, false) => Ok(None),
        }
    }

    fn need(&self, name: &str, shown: &'static str) -> Result<&str, S3Refusal> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| missing_field(shown))
    }

    fn v4_claim(&self) -> Result<Claim, S3Refusal> {
        self.need("policy", "policy")?;
        let [signature, credential, date, algorithm] = V4_FIELDS;
        let algorithm = self.need(algorithm, algorithm)?;
        let (credential, date) = (self.need(credential, credential)?, self.need(date, date)?);
        let signature = self.need(signature, signature)?.to_owned();
        if algorithm != ALGORITHM {
            return Err(S3Refusal::argument(
                "Only AWS4-HMAC-SHA256 is supported",
                "X-Amz-Algorithm",
                algorithm,
            ));
        }
        let refuse = |fault: SignFault| refusal(&fault, Scheme::V4Form, None);
        let (access_key_id, scope) = parse_credential(credential).map_err(refuse)?;
        let signed_at = parse_basic(date).ok_or_else(|| refuse(SignFault::BadDate(date.to_owned())))?;
        Ok(self.make_claim(access_key_id, Some(signed_at), FormProof { scope: Some(scope), signature }))
    }

    fn v2_claim(&self) -> Result<Claim, S3Refusal> {
        let [key, signature] = V2_FIELDS;
        let key = self.need(key, "AWSAccessKeyId")?.to_owned();
        let signature = self.need(signature, "signature")?.to_owned();
        self.need("policy", "policy")?;
        Ok(self.make_claim(key, None, FormProof { scope: None, signature }))
    }

    fn make_claim(
        &self,
        access_key_id: String,
        signed_at: Option<OffsetDateTime>,
        proof: FormProof,
    ) -> Claim {
        let session_token = self.get("x-amz-security-token").map(str::to_owned);
        Claim { access_key_id, session_token, signed_at, proof: Proof::Form(proof) }
    }
}

impl Verifier {
    /// Checks the claim of a form, found by [`Form::claim`].
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`, or the signature is out of its time.
    pub fn verify_form(
        &self,
        claim: &Claim,
        secret: &Secret,
        form: &Form,
        now: OffsetDateTime,
    ) -> Result<Verified, S3Refusal> {
        let policy = form.get("policy").unwrap_or_default();
        let Proof::Form(proof) = &claim.proof else {
            let fault = SignFault::BadParameter { name: "SignatureVersion", value: String::new() };
            return Err(claim.refuse(&fault));
        };
        let right = match &proof.scope {
            Some(scope) => {
                self.check_form_time(claim, scope, now).map_err(|fault| claim.refuse(&fault))?;
                self.check_mac(secret, scope, &scope.text(), policy.as_bytes(), &proof.signature).1
            }
            None => mac_sha1(secret, policy.as_bytes())
                .as_slice()
                .ct_eq(&signature_bytes(&proof.signature))
                .into(),
        };
        if !right {
            return Err(mismatch(&claim.access_key_id, policy.as_bytes(), &proof.signature, None));
        }
        Ok(Verified::new(claim, PayloadSeal::Unsigned))
    }

    fn check_form_time(&self, claim: &Claim, scope: &Scope, now: OffsetDateTime) -> Result<(), SignFault> {
        let Some(signed_at) = claim.signed_at else { return Ok(()) };
        if basic(signed_at).get(..8) != Some(scope.date.as_str()) {
            return Err(SignFault::Scope(vec![ScopeFault::Date { scope: scope.date.clone(), signed_at }]));
        }
        let (scheme, window) = (claim.scheme(), self.rules.skew);
        if now - signed_at > AGE_MAX {
            return Err(SignFault::TooOld { scheme, signed_at, now, window: AGE_MAX });
        }
        if signed_at - now > window {
            return Err(SignFault::TooNew { scheme, signed_at, now, window });
        }
        Ok(())
    }
}
