//! When objects expire: the configuration. Carrying it out is a loop's.

use super::cx::Cx;
use super::settings::{self, of, set};
use crate::app::s3::expiry;
use crate::app::s3::lifecycle::checked;
use crate::store::objects::{Bucket, Object};
use karri_proto::aws::s3::{
    BucketLifecycleConfiguration, DeleteBucketLifecycleRequest, GetBucketLifecycleConfigurationOutput,
    GetBucketLifecycleConfigurationRequest, PutBucketLifecycleConfigurationOutput,
    PutBucketLifecycleConfigurationRequest, S3Code, S3Fault,
};
use std::sync::Arc;

const DEFAULT_SIZE: &str = "all_storage_classes_128K";

/// `x-amz-expiration` of a current version.
pub fn expiration(bucket: &Bucket, object: &Object) -> Result<Option<String>, S3Fault> {
    let Some(rules) = expiry::rules(bucket)? else { return Ok(None) };
    Ok(expiry::header(&rules, &object.key, &object.facts.tags, object.size, object.modified))
}

pub async fn get_bucket_lifecycle_configuration(
    cx: Cx,
    request: GetBucketLifecycleConfigurationRequest,
) -> Result<GetBucketLifecycleConfigurationOutput, S3Fault> {
    let of = of!(request, settings::LIFECYCLE);
    let (action, root) = ("s3:GetLifecycleConfiguration", "LifecycleConfiguration");
    let found: Option<Arc<BucketLifecycleConfiguration>> = settings::fetch(&cx, of, action, root).await?;
    let found = set(found, S3Code::NoSuchLifecycleConfiguration, of.bucket)?;
    Ok(GetBucketLifecycleConfigurationOutput {
        rules: found.rules.clone(),
        transition_default_minimum_object_size: Some(DEFAULT_SIZE.to_owned()),
    })
}

pub async fn put_bucket_lifecycle_configuration(
    cx: Cx,
    request: PutBucketLifecycleConfigurationRequest,
) -> Result<PutBucketLifecycleConfigurationOutput, S3Fault> {
    let of = of!(request, settings::LIFECYCLE);
    let configuration = request.lifecycle_configuration.ok_or_else(|| S3Fault::new(S3Code::MalformedXml))?;
    let mut count = 0u32;
    let stamp = cx.now.unix_timestamp_nanos();
    let name = || {
        count += 1;
        format!("rule-{stamp:x}-{count}")
    };
    let rules = checked(configuration, name)?.rules;
    let output =
        GetBucketLifecycleConfigurationOutput { rules, transition_default_minimum_object_size: None };
    settings::put(&cx, of, "s3:PutLifecycleConfiguration", &output).await?;
    let size = request.transition_default_minimum_object_size.unwrap_or_else(|| DEFAULT_SIZE.to_owned());
    Ok(PutBucketLifecycleConfigurationOutput { transition_default_minimum_object_size: Some(size) })
}

pub async fn delete_bucket_lifecycle(cx: Cx, request: DeleteBucketLifecycleRequest) -> Result<(), S3Fault> {
    settings::delete(&cx, of!(request, settings::LIFECYCLE), "s3:PutLifecycleConfiguration").await
}
