//! Tags of buckets and of objects.

use super::authorise::{self, Act, Grant};
use super::cx::Cx;
use super::fault::About;
use super::object_get::{Actions, Found, find, parse_version};
use super::settings::{self, of, set};
use crate::app::s3::acl::Permission;
use crate::app::s3::tags::{self, Tags};
use crate::store::objects::{Bucket, Facts, Object, Versioning};
use karri_proto::aws::s3::{
    DeleteBucketTaggingRequest, DeleteObjectTaggingOutput, DeleteObjectTaggingRequest,
    GetBucketTaggingOutput, GetBucketTaggingRequest, GetObjectTaggingOutput, GetObjectTaggingRequest,
    PutBucketTaggingRequest, PutObjectTaggingOutput, PutObjectTaggingRequest, S3Code, S3Fault, Tagging,
};
use std::sync::Arc;

const READ: Actions =
    Actions { current: "s3:GetObjectTagging", version: "s3:GetObjectVersionTagging", grant: Grant::Nobody };
const WRITE: Actions =
    Actions { current: "s3:PutObjectTagging", version: "s3:PutObjectVersionTagging", grant: Grant::Nobody };
const DELETE: Actions = Actions {
    current: "s3:DeleteObjectTagging",
    version: "s3:DeleteObjectVersionTagging",
    grant: Grant::Nobody,
};

pub async fn get_bucket_tagging(
    cx: Cx,
    request: GetBucketTaggingRequest,
) -> Result<GetBucketTaggingOutput, S3Fault> {
    let of = of!(request, settings::TAGGING);
    let found: Option<Arc<Tagging>> = settings::fetch(&cx, of, "s3:GetBucketTagging", "Tagging").await?;
    let found = set(found, S3Code::NoSuchTagSet, of.bucket)?;
    Ok(GetBucketTaggingOutput { tag_set: found.tag_set.clone() })
}

pub async fn put_bucket_tagging(cx: Cx, request: PutBucketTaggingRequest) -> Result<(), S3Fault> {
    let tag_set = tags::to_document(&tags::of_bucket(request.tagging.tag_set)?);
    let of = of!(request, settings::TAGGING);
    settings::put(&cx, of, "s3:PutBucketTagging", &GetBucketTaggingOutput { tag_set }).await
}

pub async fn delete_bucket_tagging(cx: Cx, request: DeleteBucketTaggingRequest) -> Result<(), S3Fault> {
    settings::delete(&cx, of!(request, settings::TAGGING), "s3:PutBucketTagging").await
}

/// What policies see of tags that a request brings.
pub fn context(tags: &[(String, String)]) -> Vec<(String, String)> {
    let values = tags.iter().map(|(key, value)| (format!("s3:RequestObjectTag/{key}"), value.clone()));
    values.chain(tags.iter().map(|(key, _)| ("s3:RequestObjectTagKeys".to_owned(), key.clone()))).collect()
}

/// As an action takes them.
pub fn borrowed(context: &[(String, String)]) -> Vec<(&str, String)> {
    context.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
}

/// What gives the right to write an object, and tags with it.
pub const WRITES: Grant = Grant::Bucket(Permission::Write);

/// # Errors
/// An object that is written may not get these tags.
pub fn allow_tags(cx: &Cx, bucket: &Bucket, key: &str, tags: &[(String, String)]) -> Result<(), S3Fault> {
    let context = context(tags);
    let keys = borrowed(&context);
    authorise::allow(cx, bucket, Act::on_key("s3:PutObjectTagging", WRITES, key).with(&keys))
}

fn version_of(found: &Found) -> Option<String> {
    (found.bucket.versioning != Versioning::Off).then(|| found.object.version.to_string())
}

pub async fn get_object_tagging(
    cx: Cx,
    request: GetObjectTaggingRequest,
) -> Result<GetObjectTaggingOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let found = find(&cx, bucket, &request.key, request.version_id.as_deref(), READ).await?;
    Ok(GetObjectTaggingOutput {
        tag_set: tags::to_document(&found.object.facts.tags),
        version_id: version_of(&found),
    })
}

pub async fn put_object_tagging(
    cx: Cx,
    request: PutObjectTaggingRequest,
) -> Result<PutObjectTaggingOutput, S3Fault> {
    let new = tags::of_object(request.tagging.tag_set.clone())?;
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let version = request.version_id.as_deref();
    let found = find(&cx, bucket, &request.key, version, WRITE).await?;
    // Once more with what is asked for: a policy may allow some tags only.
    let asked = context(&new);
    let keys = borrowed(&asked);
    let action = if version.is_some() { WRITE.version } else { WRITE.current };
    let act = Act::on_key(action, Grant::Nobody, &request.key).at(&found.object);
    let act = act.of_version(version).with(&keys);
    authorise::allow(&cx, &found.bucket, act)?;
    change(&cx, &found, version, new).await?;
    Ok(PutObjectTaggingOutput { version_id: version_of(&found) })
}

pub async fn delete_object_tagging(
    cx: Cx,
    request: DeleteObjectTaggingRequest,
) -> Result<DeleteObjectTaggingOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let version = request.version_id.as_deref();
    let found = find(&cx, bucket, &request.key, version, DELETE).await?;
    change(&cx, &found, version, Tags::new()).await?;
    Ok(DeleteObjectTaggingOutput { version_id: version_of(&found) })
}

async fn change(cx: &Cx, found: &Found, version: Option<&str>, new: Tags) -> Result<(), S3Fault> {
    let change = Arc::new(move |_: &Object, facts: &mut Facts| {
        facts.tags.clone_from(&new);
        Ok(())
    });
    let (bucket, key) = (&found.bucket, &found.object.key);
    let about = About::key(&bucket.name, key).version(version);
    let changed = cx.s3.objects.object_update(bucket.id, key, parse_version(version)?, change).await;
    changed.map(drop).map_err(|e| about.fault(e))
}
