//! A policy of an upload form that came without a form: its signer lets somebody else write what it says.
//!
//! It is judged as the form would be that a browser sends, by the same code.

use super::S3;
use super::authenticate::signer;
use crate::drive::signers::Signer;
use karri_proto::aws::s3::S3Fault;
use karri_proto::internal::instance_bundles::SignedPolicy;
use karri_proto::sign::post::{Form, PostPolicy};
use karri_proto::sign::{Rules, Verifier};
use std::sync::Arc;
use time::OffsetDateTime;

/// Bundlers ask for one of these lists of access, or for none.
const ACLS: [Option<&str>; 3] = [Some("ec2-bundle-read"), Some("aws-exec-read"), None];

#[derive(Debug)]
pub struct UploadPolicy(PostPolicy);

impl UploadPolicy {
    /// The policy and whose it is, if that key signed it.
    pub async fn verify(
        s3: &S3,
        key_id: &str,
        signed: &SignedPolicy,
    ) -> Result<(Arc<Signer>, Self), S3Fault> {
        let fields = [
            ("awsaccesskeyid", key_id.to_owned()),
            ("policy", signed.text.0.clone()),
            ("signature", signed.signature.0.clone()),
        ];
        let form = Form::of(fields);
        let claim = form.claim()?.ok_or_else(|| S3Fault::internal("a policy without a claim"))?;
        let signer = signer(s3, &claim).await?;
        Verifier::new(Rules::S3).verify_form(&claim, &signer.secret, &form, OffsetDateTime::now_utc())?;
        Ok((signer, Self(PostPolicy::parse(&signed.text.0)?)))
    }

    /// Whether it lets this object be written now.
    pub fn permits(&self, bucket: &str, key: &str) -> Result<(), S3Fault> {
        let now = OffsetDateTime::now_utc();
        let mut refused = None;
        for acl in ACLS {
            let acl = acl.map(|acl| ("acl", acl.to_owned()));
            let form = Form::of([("key", key.to_owned())].into_iter().chain(acl));
            match self.0.check(&form, bucket, now) {
                Ok(()) => return Ok(()),
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        refused.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    pub fn check_size(&self, bytes: u64) -> Result<(), S3Fault> {
        Ok(self.0.check_size(bytes)?)
    }
}
