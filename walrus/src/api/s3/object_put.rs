//! PutObject.

use super::authorise;
use super::cx::Cx;
use super::fault::{About, refusal};
use super::lifecycle;
use super::notification;
use super::payload::Payload;
use super::receive::{Checksums, Received, length, receive};
use super::upload_facts::{facts, upload_head};
use crate::app::s3::checksum::{self, show_checksum};
use crate::app::s3::condition::WriteConditions;
use crate::app::s3::encryption::{Sse, show_sse};
use crate::app::s3::notification::Created;
use crate::store::objects::{Bucket, Check, ETag, Facts, Object, ObjectPut, StoreError, Versioning};
use karri_proto::aws::s3::{PutObjectOutput, PutObjectRequest, S3Code, S3Fault};
use karri_proto::checksum::Kind;
use std::sync::Arc;

pub async fn put_object(
    cx: Cx,
    request: PutObjectRequest,
    payload: Payload,
) -> Result<PutObjectOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let (facts, wanted) = facts(&cx, &bucket, &request.key, &upload_head!(request)).await?;
    length(&payload)?;
    check_lock_protected(&request, &payload)?;
    let conditions =
        WriteConditions { if_match: request.if_match.clone(), if_none_match: request.if_none_match.clone() };
    check_early(&cx, &bucket, &request.key, &conditions).await?;
    let received = receive(&cx, payload, &wanted, Checksums::OF_OBJECT).await?;
    let write = Write { conditions, created: Created::Put };
    let object = keep(&cx, &bucket, &request.key, received, facts, &write).await?;
    let mut output = answer(&bucket, &object);
    output.expiration = lifecycle::expiration(&bucket, &object)?;
    Ok(output)
}

/// What is locked cannot be put right afterwards.
fn check_lock_protected(request: &PutObjectRequest, payload: &Payload) -> Result<(), S3Fault> {
    let locks = request.object_lock_mode.is_some()
        || request.object_lock_retain_until_date.is_some()
        || request.object_lock_legal_hold_status.is_some();
    if !locks || payload.claims.protects() {
        return Ok(());
    }
    let text = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock \
                parameters";
    Err(S3Fault::saying(S3Code::InvalidRequest, text))
}

/// A condition that does not hold now is told before the body is sent for.
pub async fn check_early(
    cx: &Cx,
    bucket: &Bucket,
    key: &str,
    conditions: &WriteConditions,
) -> Result<(), S3Fault> {
    if conditions.is_empty() {
        return Ok(());
    }
    conditions.check_form()?;
    let current = match cx.s3.objects.object_fetch(bucket.id, key, None).await {
        Ok(object) => Some(object.etag.to_string()),
        Err(StoreError::NoSuchKey { .. }) => None,
        Err(error) => return Err(About::key(&bucket.name, key).fault(error)),
    };
    conditions.check(key, current.as_deref())
}

/// The same once more, in the transaction that writes.
pub fn check_of(key: &str, conditions: &WriteConditions) -> Option<Check> {
    if conditions.is_empty() {
        return None;
    }
    let (key, conditions) = (key.to_owned(), conditions.clone());
    Some(Arc::new(move |existing| {
        let current = existing.current.map(|object| object.etag.to_string());
        conditions.check(&key, current.as_deref()).map_err(refusal)
    }))
}

/// How an object is written.
pub struct Write {
    pub conditions: WriteConditions,
    pub created: Created,
}

/// What was received, as the version that it is to be.
pub fn prepared(
    cx: &Cx,
    bucket: &Bucket,
    key: &str,
    received: Received,
    mut facts: Facts,
    write: &Write,
) -> ObjectPut {
    facts.checksums =
        received.checksums.iter().filter_map(|one| checksum::to_store(one, Kind::FullObject)).collect();
    ObjectPut {
        bucket: bucket.id,
        key: key.into(),
        owner: owner_of_new(cx, bucket),
        etag: ETag { md5: received.md5, parts: 0 },
        content: received.content,
        facts,
        check: check_of(key, &write.conditions),
        tell: notification::tell_of(cx, bucket, Some(write.created)),
    }
}

pub async fn keep(
    cx: &Cx,
    bucket: &Bucket,
    key: &str,
    received: Received,
    facts: Facts,
    write: &Write,
) -> Result<Arc<Object>, S3Fault> {
    let put = prepared(cx, bucket, key, received, facts, write);
    cx.s3.objects.object_put(put).await.map_err(|e| About::key(&bucket.name, key).fault(e))
}

/// The writer's account, unless the bucket's owner owns all that is in it.
pub fn owner_of_new(cx: &Cx, bucket: &Bucket) -> Arc<str> {
    use super::settings::{is_owner_enforced, is_owner_preferred};
    let given_away =
        is_owner_preferred(bucket) && cx.header("x-amz-acl") == Some("bucket-owner-full-control");
    match cx.account() {
        Some(account) if !is_owner_enforced(bucket) && !given_away => Arc::from(account),
        _ => bucket.owner.clone(),
    }
}

pub fn version_text(bucket: &Bucket, object: &Object) -> Option<String> {
    (bucket.versioning == Versioning::Enabled).then(|| object.version.to_string())
}

pub fn answer(bucket: &Bucket, object: &Object) -> PutObjectOutput {
    let mut output = PutObjectOutput {
        etag: Some(format!("\"{}\"", object.etag)),
        version_id: version_text(bucket, object),
        ..PutObjectOutput::default()
    };
    let shown = checksum::shown(&object.facts, object.etag.parts);
    show_checksum!(output, &shown);
    output.checksum_type = shown.map(|shown| checksum::kind_text(shown.kind).to_owned());
    show_sse!(output, object.facts.sse.as_deref().and_then(Sse::from_text));
    output
}
