//! How requests read and change a bucket's settings.

use super::authorise::{self, Grant};
use super::cx::Cx;
use super::fault::About;
pub use crate::app::s3::bucket_settings::*;
use crate::store::objects::Bucket;
use karri_proto::aws::XmlWriter;
use karri_proto::aws::rest::{ReadXml, RestOutput};
use karri_proto::aws::s3::{S3Code, S3Fault};
use std::sync::Arc;

/// As it is kept.
pub fn to_text(output: &impl RestOutput) -> String {
    let mut xml = XmlWriter::with_references();
    output.root(&mut xml);
    xml.finish()
}

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
