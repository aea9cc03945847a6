//! Whether a bucket keeps old versions.

use super::authorise::{self, Grant};
use super::cx::Cx;
use super::fault::About;
use crate::store::objects::Versioning;
use karri_proto::aws::s3::{
    GetBucketVersioningOutput, GetBucketVersioningRequest, PutBucketVersioningRequest, S3Code, S3Fault,
};

pub async fn get_bucket_versioning(
    cx: Cx,
    request: GetBucketVersioningRequest,
) -> Result<GetBucketVersioningOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let action = "s3:GetBucketVersioning";
    let bucket = authorise::bucket_for(&cx, name, expected, action, Grant::Nobody).await?;
    let status = match bucket.versioning {
        Versioning::Off => None,
        Versioning::Enabled => Some("Enabled".to_owned()),
        Versioning::Suspended => Some("Suspended".to_owned()),
    };
    Ok(GetBucketVersioningOutput { mfa_delete: None, status })
}

pub async fn put_bucket_versioning(cx: Cx, request: PutBucketVersioningRequest) -> Result<(), S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let action = "s3:PutBucketVersioning";
    let bucket = authorise::bucket_for(&cx, name, expected, action, Grant::Nobody).await?;
    let asked = &request.versioning_configuration;
    if asked.mfa_delete.as_deref() == Some("Enabled") {
        return Err(S3Fault::not_implemented("MfaDelete"));
    }
    let versioning = match asked.status.as_deref() {
        Some("Enabled") => Versioning::Enabled,
        Some("Suspended") if bucket.object_lock => {
            let text = "An Object Lock configuration is present on this bucket, so the versioning state cannot be \
                        changed.";
            return Err(S3Fault::saying(S3Code::InvalidBucketState, text));
        }
        Some("Suspended") => Versioning::Suspended,
        Some(_) => return Err(S3Fault::new(S3Code::MalformedXml)),
        None => {
            let text = "The Versioning element must be specified";
            return Err(S3Fault::saying(S3Code::IllegalVersioningConfiguration, text));
        }
    };
    let changed = cx.s3.objects.bucket_versioning_put(bucket.id, versioning).await;
    changed.map(drop).map_err(|e| About::bucket(name).fault(e))
}
