//! A bucket's settings: under which names they are kept, and how they are read.
//!
//! A configuration is kept as the document that the answer to its Get is; so what is read is what was said.

use super::authorise::{self, Grant};
use super::cx::Cx;
use super::fault::About;
use crate::app::s3::acl::Acl;
use crate::store::objects::Bucket;
use karri_proto::aws::XmlWriter;
use karri_proto::aws::rest::read::document;
use karri_proto::aws::rest::{ReadXml, RestFault, RestOutput};
use karri_proto::aws::s3::{
    ObjectLockConfiguration, PublicAccessBlockConfiguration, RequestPaymentConfiguration, S3Code, S3Fault,
};
use karri_proto::policy::{Kind, Policy};
use std::sync::Arc;

pub const ACL: &str = "acl";
pub const OWNERSHIP: &str = "ownership";
pub const POLICY: &str = "policy";
/// There if the policy's author agreed to be locked out by it.
pub const POLICY_LOCKS_OUT: &str = "policy-locks-out";
pub const PUBLIC_ACCESS_BLOCK: &str = "public-access-block";
pub const OBJECT_LOCK: &str = "object-lock";
pub const ENCRYPTION: &str = "encryption";
pub const CORS: &str = "cors";
pub const TAGGING: &str = "tagging";

pub const ENFORCED: &str = "BucketOwnerEnforced";

/// As it is kept.
pub fn to_text(output: &impl RestOutput) -> String {
    let mut xml = XmlWriter::with_references();
    output.root(&mut xml);
    xml.finish()
}

/// # Errors
/// What is kept cannot be read: a fault of ours.
pub fn read<T: ReadXml + Send + Sync + 'static>(
    bucket: &Bucket,
    kind: &'static str,
    root: &str,
) -> Result<Option<Arc<T>>, S3Fault> {
    bucket.parsed(kind, |text| {
        document(text.as_bytes(), root)
            .map_err(|error: RestFault| S3Fault::internal(format!("the stored {kind}: {error}")))
    })
}

pub fn is_owner_enforced(bucket: &Bucket) -> bool {
    bucket.setting(OWNERSHIP).is_some_and(|ownership| **ownership == *ENFORCED)
}

/// Whether what a writer hands over with `bucket-owner-full-control` becomes the bucket's owner's.
pub fn is_owner_preferred(bucket: &Bucket) -> bool {
    bucket.setting(OWNERSHIP).is_some_and(|ownership| **ownership == *"BucketOwnerPreferred")
}

pub fn policy(bucket: &Bucket) -> Result<Option<Arc<Policy>>, S3Fault> {
    bucket.parsed(POLICY, |text| {
        Policy::parse(text, Kind::Resource)
            .map_err(|error| S3Fault::internal(format!("the stored policy: {error}")))
    })
}

pub fn acl(bucket: &Bucket) -> Result<Option<Arc<Acl>>, S3Fault> {
    bucket.parsed(ACL, Acl::from_text)
}

pub fn public_access_block(bucket: &Bucket) -> Result<Option<Arc<PublicAccessBlockConfiguration>>, S3Fault> {
    read(bucket, PUBLIC_ACCESS_BLOCK, "PublicAccessBlockConfiguration")
}

pub fn payment(bucket: &Bucket) -> Result<Option<Arc<RequestPaymentConfiguration>>, S3Fault> {
    read(bucket, PAYMENT, "RequestPaymentConfiguration")
}

pub fn object_lock(bucket: &Bucket) -> Result<Option<Arc<ObjectLockConfiguration>>, S3Fault> {
    read(bucket, OBJECT_LOCK, "ObjectLockConfiguration")
}

pub use crate::app::s3::expiry::LIFECYCLE;
pub const WEBSITE: &str = "website";
pub const LOGGING: &str = "logging";
pub const NOTIFICATION: &str = "notification";
pub const PAYMENT: &str = "payment";
pub const ACCELERATE: &str = "accelerate";
pub const REPLICATION: &str = "replication";

/// A setting, for somebody who may read it.
pub async fn fetch<T: ReadXml + Send + Sync + 'static>(
    cx: &Cx,
    of: Of<'_>,
    action: &'static str,
    root: &str,
) -> Result<Option<Arc<T>>, S3Fault> {
    let bucket = authorise::bucket_for(cx, of.bucket, of.expected_owner, action, Grant::Nobody).await?;
    read(&bucket, of.kind, root)
}

/// Which setting of which bucket.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    pub bucket: &'a str,
    pub expected_owner: Option<&'a str>,
    pub kind: &'static str,
}

pub async fn put(cx: &Cx, of: Of<'_>, action: &'static str, output: &impl RestOutput) -> Result<(), S3Fault> {
    let bucket = authorise::bucket_for(cx, of.bucket, of.expected_owner, action, Grant::Nobody).await?;
    keep(cx, &bucket, of.kind, to_text(output)).await
}

pub async fn keep(cx: &Cx, bucket: &Bucket, kind: &'static str, text: String) -> Result<(), S3Fault> {
    let kept = cx.s3.objects.bucket_setting_put(bucket.id, kind, text).await;
    kept.map(drop).map_err(|e| About::bucket(&bucket.name).fault(e))
}

pub async fn delete(cx: &Cx, of: Of<'_>, action: &'static str) -> Result<(), S3Fault> {
    let bucket = authorise::bucket_for(cx, of.bucket, of.expected_owner, action, Grant::Nobody).await?;
    drop_kind(cx, &bucket, of.kind).await
}

pub async fn drop_kind(cx: &Cx, bucket: &Bucket, kind: &'static str) -> Result<(), S3Fault> {
    let gone = cx.s3.objects.bucket_setting_delete(bucket.id, kind).await;
    gone.map(drop).map_err(|e| About::bucket(&bucket.name).fault(e))
}

/// What is not set has its own code for each setting.
pub fn set<T>(found: Option<T>, code: S3Code, bucket: &str) -> Result<T, S3Fault> {
    found.ok_or_else(|| S3Fault::new(code).with("BucketName", bucket))
}

/// The setting that a request is about.
macro_rules! of {
    ($request:expr, $kind:expr) => {
        $crate::api::s3::settings::Of {
            bucket: &$request.bucket,
            expected_owner: $request.expected_bucket_owner.as_deref(),
            kind: $kind,
        }
    };
}
pub(super) use of;
