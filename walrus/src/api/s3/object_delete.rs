//! DeleteObject and DeleteObjects.

use super::authorise::{self, Act, Grant};
use super::cx::{Cx, time};
use super::fault::{About, refusal};
use super::notification;
use super::object_get::parse_version;
use super::settings;
use crate::app::s3::acl::Permission;
use crate::app::s3::address::checked_key;
use crate::app::s3::condition::DeleteConditions;
use crate::app::s3::lock;
use crate::store::objects::{Bucket, Check, Deleted, ObjectDelete, StoreError};
use karri_proto::aws::s3::{
    DeleteObjectOutput, DeleteObjectRequest, DeleteObjectsOutput, DeleteObjectsRequest, DeletedObject, Error,
    ObjectIdentifier, S3Code, S3Fault,
};
use std::sync::{Arc, PoisonError};

const OBJECTS_MAX: usize = 1000;
const NOTHING: Deleted = Deleted { version: None, marker: false, existed: false };

pub fn unprotected() -> S3Fault {
    S3Fault::saying(S3Code::InvalidRequest, "Missing required header for this request: Content-MD5")
}

pub async fn delete_object(cx: Cx, request: DeleteObjectRequest) -> Result<DeleteObjectOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let conditions = DeleteConditions {
        if_match: request.if_match.clone(),
        modified: request.if_match_last_modified_time,
        size: size(request.if_match_size),
    };
    let bypass = request.bypass_governance_retention == Some(true);
    let version = request.version_id.as_deref();
    let delete = prepared(&cx, &bucket, &request.key, version, bypass, conditions).await?;
    let about = About::key(&bucket.name, &request.key).version(version);
    match cx.s3.objects.object_delete(bucket.id, delete).await {
        Ok(deleted) => Ok(DeleteObjectOutput {
            delete_marker: deleted.marker.then_some(true),
            version_id: deleted_version(&deleted, version),
            request_charged: None,
        }),
        // Deleting what is not there is done already.
        Err(StoreError::NoSuchKey { .. } | StoreError::NoSuchVersion) => {
            Ok(DeleteObjectOutput { version_id: request.version_id, ..DeleteObjectOutput::default() })
        }
        Err(error) => match about.fault(error) {
            fault if fault.code() == S3Code::NoSuchKey => Ok(DeleteObjectOutput::default()),
            fault => Err(fault),
        },
    }
}

fn size(asked: Option<i64>) -> Option<u64> {
    asked.map(|size| u64::try_from(size).unwrap_or(u64::MAX))
}

fn deleted_version(deleted: &Deleted, asked: Option<&str>) -> Option<String> {
    asked.map(str::to_owned).or_else(|| deleted.version.map(|version| version.to_string()))
}

/// A deletion that is allowed, with what must still be true when it is done.
async fn prepared(
    cx: &Cx,
    bucket: &Bucket,
    key: &str,
    version: Option<&str>,
    bypass: bool,
    conditions: DeleteConditions,
) -> Result<ObjectDelete, S3Fault> {
    let (named, version) = (version, parse_version(version)?);
    let action = if version.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
    let act = |action, grant| Act::on_key(action, grant, key).of_version(named);
    authorise::allow(cx, bucket, act(action, Grant::Bucket(Permission::Write)))?;
    if bypass && version.is_some() && bucket.object_lock {
        authorise::allow(cx, bucket, act("s3:BypassGovernanceRetention", Grant::Nobody))?;
    }
    let locked = bucket.object_lock && version.is_some();
    let behind_marker = !conditions.is_empty()
        && version.is_none()
        && matches!(
            cx.s3.objects.object_fetch(bucket.id, key, None).await,
            Err(StoreError::NoSuchKey { marker: Some(_) })
        );
    let locks = locked.then_some((cx.now_ms(), bypass));
    let check = check(key, locks, version.is_some(), behind_marker, conditions);
    let owner = cx.account().map_or_else(|| bucket.owner.clone(), Arc::from);
    let tell = notification::tell_of(cx, bucket, None);
    Ok(ObjectDelete { key: key.into(), version, owner, check, tell })
}

fn check(
    key: &str,
    locks: Option<(i64, bool)>,
    of_version: bool,
    behind_marker: bool,
    conditions: DeleteConditions,
) -> Option<Check> {
    if locks.is_none() && conditions.is_empty() {
        return None;
    }
    let key = key.to_owned();
    Some(Arc::new(move |existing| {
        let judged = if of_version { existing.target } else { existing.current };
        let etag = judged.map(|object| object.etag.to_string()).unwrap_or_default();
        let found = judged.map(|object| (etag.as_str(), time(object.modified), object.size));
        conditions.check(&key, found, behind_marker).map_err(refusal)?;
        match (existing.target, locks) {
            (Some(target), Some((now, bypass))) => {
                lock::check_delete(&target.facts, now, bypass).map_err(refusal)
            }
            _ => Ok(()),
        }
    }))
}

pub async fn delete_objects(cx: Cx, request: DeleteObjectsRequest) -> Result<DeleteObjectsOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let objects = request.delete.objects;
    if objects.is_empty() || objects.len() > OBJECTS_MAX {
        return Err(S3Fault::new(S3Code::MalformedXml));
    }
    let quiet = request.delete.quiet == Some(true);
    let bypass = request.bypass_governance_retention == Some(true);
    let mut output = DeleteObjectsOutput::default();
    let (mut asked, mut deletes) = (Vec::new(), Vec::new());
    for object in objects {
        match prepared_one(&cx, &bucket, &object, bypass).await {
            Ok(delete) => {
                deletes.push(delete);
                asked.push(object);
            }
            Err(fault) => output.errors.push(error(&object, &fault)),
        }
    }
    let about = About::bucket(&bucket.name);
    let done = cx.s3.objects.objects_delete(bucket.id, deletes).await.map_err(|e| about.fault(e))?;
    if bucket.setting(settings::LOGGING).is_some() {
        let keys = asked.iter().zip(&done).filter(|(_, done)| done.is_ok());
        let keys = keys.map(|(object, _)| object.key.clone());
        cx.notes.deleted.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
    }
    for (object, done) in asked.into_iter().zip(done) {
        match done {
            Ok(deleted) if !quiet => output.deleted.push(told(object, &deleted)),
            Ok(_) => {}
            Err(StoreError::NoSuchKey { .. } | StoreError::NoSuchVersion) if !quiet => {
                output.deleted.push(told(object, &NOTHING));
            }
            Err(StoreError::NoSuchKey { .. } | StoreError::NoSuchVersion) => {}
            Err(fault) => {
                let about = About::key(&bucket.name, &object.key).version(object.version_id.as_deref());
                let fault = about.fault(fault);
                match fault.code() {
                    // A condition on what is not there.
                    S3Code::NoSuchKey if quiet => {}
                    S3Code::NoSuchKey => output.deleted.push(told(object, &NOTHING)),
                    _ => output.errors.push(error(&object, &fault)),
                }
            }
        }
    }
    Ok(output)
}

async fn prepared_one(
    cx: &Cx,
    bucket: &Bucket,
    object: &ObjectIdentifier,
    bypass: bool,
) -> Result<ObjectDelete, S3Fault> {
    if object.key.is_empty() {
        return Err(S3Fault::new(S3Code::UserKeyMustBeSpecified));
    }
    checked_key(Some(object.key.clone()))?;
    let conditions = DeleteConditions {
        if_match: object.etag.clone(),
        modified: object.last_modified_time,
        size: size(object.size),
    };
    let version = object.version_id.as_deref().filter(|version| !version.is_empty());
    let prepared = prepared(cx, bucket, &object.key, version, bypass, conditions).await;
    prepared.map_err(|fault| match fault.code() {
        S3Code::InvalidArgument => S3Fault::no_such_version(&object.key, version.unwrap_or_default()),
        _ => fault,
    })
}

fn told(object: ObjectIdentifier, deleted: &Deleted) -> DeletedObject {
    let version = deleted.version.map(|version| version.to_string());
    let asked = object.version_id.filter(|version| !version.is_empty());
    DeletedObject {
        key: Some(object.key),
        delete_marker: deleted.marker.then_some(true),
        delete_marker_version_id: version.filter(|_| deleted.marker),
        version_id: asked,
    }
}

fn error(object: &ObjectIdentifier, fault: &S3Fault) -> Error {
    Error {
        key: Some(object.key.clone()),
        version_id: object.version_id.clone(),
        code: Some(fault.code().as_str().to_owned()),
        message: Some(fault.message().to_owned()),
    }
}
