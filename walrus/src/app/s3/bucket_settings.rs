//! A bucket's settings: under which names they are kept, and how they are read.
//!
//! A configuration is kept as the document that the answer to its Get is; so what is read is what was said.

use crate::app::s3::acl::Acl;
use crate::store::objects::Bucket;
use karri_proto::aws::rest::read::document;
use karri_proto::aws::rest::{ReadXml, RestFault};
use karri_proto::aws::s3::{
    BucketLoggingStatus, NotificationConfiguration, ObjectLockConfiguration, PublicAccessBlockConfiguration,
    RequestPaymentConfiguration, S3Fault, WebsiteConfiguration,
};
use karri_proto::policy::{Kind, Policy};
use std::sync::Arc;

pub use crate::app::s3::expiry::LIFECYCLE;
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
pub const WEBSITE: &str = "website";
pub const LOGGING: &str = "logging";
pub const NOTIFICATION: &str = "notification";
pub const PAYMENT: &str = "payment";
pub const ACCELERATE: &str = "accelerate";
pub const REPLICATION: &str = "replication";

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

pub fn logging(bucket: &Bucket) -> Result<Option<Arc<BucketLoggingStatus>>, S3Fault> {
    read(bucket, LOGGING, "BucketLoggingStatus")
}

pub fn notification(bucket: &Bucket) -> Result<Option<Arc<NotificationConfiguration>>, S3Fault> {
    read(bucket, NOTIFICATION, "NotificationConfiguration")
}

pub fn website(bucket: &Bucket) -> Result<Option<Arc<WebsiteConfiguration>>, S3Fault> {
    read(bucket, WEBSITE, "WebsiteConfiguration")
}
