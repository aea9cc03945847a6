//! Object lock: a bucket's configuration, retention and legal holds of objects.

use super::authorise::{self, Act, Grant};
use super::cx::{Cx, exact_time};
use super::fault::{About, refusal};
use super::object_get::{Actions, Found, find};
use super::settings::{self, set};
use crate::app::s3::lock;
use crate::store::objects::{Facts, Object, ObjectChange, Versioning};
use karri_proto::aws::s3::{
    GetObjectLegalHoldOutput, GetObjectLegalHoldRequest, GetObjectLockConfigurationOutput,
    GetObjectLockConfigurationRequest, GetObjectRetentionOutput, GetObjectRetentionRequest,
    ObjectLockConfiguration, ObjectLockLegalHold, ObjectLockRetention, PutObjectLegalHoldOutput,
    PutObjectLegalHoldRequest, PutObjectLockConfigurationOutput, PutObjectLockConfigurationRequest,
    PutObjectRetentionOutput, PutObjectRetentionRequest, S3Code, S3Fault,
};
use std::sync::Arc;

const fn both(action: &'static str) -> Actions {
    Actions { current: action, version: action, grant: Grant::Nobody }
}

const READ_RETENTION: Actions = both("s3:GetObjectRetention");
const WRITE_RETENTION: Actions = both("s3:PutObjectRetention");
const READ_HOLD: Actions = both("s3:GetObjectLegalHold");
const WRITE_HOLD: Actions = both("s3:PutObjectLegalHold");

pub async fn get_object_lock_configuration(
    cx: Cx,
    request: GetObjectLockConfigurationRequest,
) -> Result<GetObjectLockConfigurationOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let action = "s3:GetBucketObjectLockConfiguration";
    let bucket = authorise::bucket_for(&cx, name, expected, action, Grant::Nobody).await?;
    set(bucket.object_lock.then_some(()), S3Code::ObjectLockConfigurationNotFound, name)?;
    let enabled = || ObjectLockConfiguration { object_lock_enabled: Some("Enabled".to_owned()), rule: None };
    let kept = settings::object_lock(&bucket)?;
    let configuration = kept.map_or_else(enabled, |kept| (*kept).clone());
    Ok(GetObjectLockConfigurationOutput { object_lock_configuration: configuration })
}

pub async fn put_object_lock_configuration(
    cx: Cx,
    request: PutObjectLockConfigurationRequest,
) -> Result<PutObjectLockConfigurationOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let action = "s3:PutBucketObjectLockConfiguration";
    let bucket = authorise::bucket_for(&cx, name, expected, action, Grant::Nobody).await?;
    let configuration = request.object_lock_configuration;
    let configuration = configuration.ok_or_else(|| S3Fault::new(S3Code::MalformedXml))?;
    if bucket.versioning != Versioning::Enabled {
        let text = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration";
        return Err(S3Fault::saying(S3Code::InvalidBucketState, text));
    }
    lock::check_configuration(&configuration)?;
    let about = About::bucket(name);
    if !bucket.object_lock {
        cx.s3.objects.bucket_object_lock_enable(bucket.id).await.map_err(|e| about.fault(e))?;
    }
    let output = GetObjectLockConfigurationOutput { object_lock_configuration: configuration };
    settings::keep(&cx, &bucket, settings::OBJECT_LOCK, settings::to_text(&output)).await?;
    Ok(PutObjectLockConfigurationOutput::default())
}

/// An object of a bucket that can lock.
async fn lockable(
    cx: &Cx,
    name: &str,
    expected_owner: Option<&str>,
    key: &str,
    version: Option<&str>,
    actions: Actions,
) -> Result<Found, S3Fault> {
    let bucket = authorise::bucket(cx, name, expected_owner).await?;
    if !bucket.object_lock {
        let text = "Bucket is missing Object Lock Configuration";
        return Err(S3Fault::saying(S3Code::InvalidRequest, text));
    }
    find(cx, bucket, key, version, actions).await
}

async fn change(cx: &Cx, found: &Found, change: ObjectChange) -> Result<(), S3Fault> {
    let (bucket, key) = (&found.bucket, &found.object.key);
    let about = About::key(&bucket.name, key);
    let changed = cx.s3.objects.object_update(bucket.id, key, Some(found.object.version), change).await;
    changed.map(drop).map_err(|e| about.fault(e))
}

pub async fn get_object_retention(
    cx: Cx,
    request: GetObjectRetentionRequest,
) -> Result<GetObjectRetentionOutput, S3Fault> {
    let (expected, version) = (request.expected_bucket_owner.as_deref(), request.version_id.as_deref());
    let found = lockable(&cx, &request.bucket, expected, &request.key, version, READ_RETENTION).await?;
    let kept = found.object.facts.retention;
    let kept = kept.ok_or_else(|| S3Fault::new(S3Code::NoSuchObjectLockConfiguration))?;
    let retention = ObjectLockRetention {
        mode: Some(lock::mode_text(kept.mode).to_owned()),
        retain_until_date: Some(exact_time(kept.until)),
        ..ObjectLockRetention::default()
    };
    Ok(GetObjectRetentionOutput { retention })
}

pub async fn put_object_retention(
    cx: Cx,
    request: PutObjectRetentionRequest,
) -> Result<PutObjectRetentionOutput, S3Fault> {
    let (expected, version) = (request.expected_bucket_owner.as_deref(), request.version_id.as_deref());
    let found = lockable(&cx, &request.bucket, expected, &request.key, version, WRITE_RETENTION).await?;
    let document = request.retention.ok_or_else(|| S3Fault::new(S3Code::MalformedXml))?;
    let new = lock::retention(document, cx.now)?;
    let bypass = request.bypass_governance_retention == Some(true);
    if bypass {
        let act =
            Act::on_key("s3:BypassGovernanceRetention", Grant::Nobody, &request.key).of_version(version);
        authorise::allow(&cx, &found.bucket, act)?;
    }
    let now = cx.now_ms();
    let set = Arc::new(move |_: &Object, facts: &mut Facts| {
        lock::check_change(facts.retention, new, now, bypass).map_err(refusal)?;
        facts.retention = new;
        Ok(())
    });
    change(&cx, &found, set).await?;
    Ok(PutObjectRetentionOutput::default())
}

pub async fn get_object_legal_hold(
    cx: Cx,
    request: GetObjectLegalHoldRequest,
) -> Result<GetObjectLegalHoldOutput, S3Fault> {
    let (expected, version) = (request.expected_bucket_owner.as_deref(), request.version_id.as_deref());
    let found = lockable(&cx, &request.bucket, expected, &request.key, version, READ_HOLD).await?;
    let status = if found.object.facts.legal_hold { "ON" } else { "OFF" };
    Ok(GetObjectLegalHoldOutput { legal_hold: ObjectLockLegalHold { status: Some(status.to_owned()) } })
}

pub async fn put_object_legal_hold(
    cx: Cx,
    request: PutObjectLegalHoldRequest,
) -> Result<PutObjectLegalHoldOutput, S3Fault> {
    let (expected, version) = (request.expected_bucket_owner.as_deref(), request.version_id.as_deref());
    let found = lockable(&cx, &request.bucket, expected, &request.key, version, WRITE_HOLD).await?;
    let hold = match request.legal_hold.and_then(|hold| hold.status).as_deref() {
        Some("ON") => true,
        Some("OFF") => false,
        _ => return Err(S3Fault::new(S3Code::MalformedXml)),
    };
    let set = Arc::new(move |_: &Object, facts: &mut Facts| {
        facts.legal_hold = hold;
        Ok(())
    });
    change(&cx, &found, set).await?;
    Ok(PutObjectLegalHoldOutput::default())
}
