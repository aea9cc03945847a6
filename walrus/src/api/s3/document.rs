//! A document that a request brings: read for somebody only who may do at all what the head asks for, in
//! bounded time, and within what all documents together may hold.

use super::authorise::{self, Act, Grant};
use super::cx::{Cx, Request};
use super::payload::Payload;
use super::settings;
use crate::app::s3::acl::Permission;
use crate::store::objects::Bucket;
use bytes::{Bytes, BytesMut};
use karri_proto::aws::s3::{Operation, S3Code, S3Fault};
use tokio::sync::{Semaphore, SemaphorePermit};

/// All of it may take so many times what a body may stall.
const IDLES_MAX: u32 = 3;
/// So much of each document is not counted, so that small ones pass whatever the others hold.
const UNCOUNTED_BYTES: usize = 16 << 10;
/// What is counted of all documents that are being read.
pub const COUNTED_BYTES_MAX: usize = 64 << 20;

/// The whole of a document; what is counted of it is given back with it.
pub struct Document<'r> {
    pub bytes: Bytes,
    _counted: Option<SemaphorePermit<'r>>,
}

/// Reads it whole and checks it against what the head says.
///
/// # Errors
/// Longer than `bytes_max`, too slow, too much beside others, or not what the head says.
pub async fn read<'r>(
    cx: &Cx,
    mut payload: Payload,
    bytes_max: usize,
    room: &'r Semaphore,
) -> Result<Document<'r>, S3Fault> {
    let patience = cx.s3.options.idle * IDLES_MAX;
    let document = match tokio::time::timeout(patience, gathered(&mut payload, bytes_max, room)).await {
        Ok(document) => document?,
        Err(_) => return Err(payload.timed_out()),
    };
    payload.check_whole(&document.bytes)?;
    Ok(document)
}

async fn gathered<'r>(
    payload: &mut Payload,
    bytes_max: usize,
    room: &'r Semaphore,
) -> Result<Document<'r>, S3Fault> {
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    let mut counted: Option<SemaphorePermit<'r>> = None;
    let (mut length, mut free) = (0, UNCOUNTED_BYTES);
    while let Some(data) = payload.next().await? {
        length += data.len();
        if length > bytes_max {
            return Err(S3Fault::new(S3Code::MaxMessageLengthExceeded)
                .with("MaxMessageLengthBytes", bytes_max.to_string()));
        }
        let more = data.len().saturating_sub(free);
        free = free.saturating_sub(data.len());
        if more > 0 {
            let more = room.try_acquire_many(u32::try_from(more).unwrap_or(u32::MAX));
            let more = more.map_err(|_| S3Fault::new(S3Code::SlowDown))?;
            match &mut counted {
                Some(counted) => counted.merge(more),
                None => counted = Some(more),
            }
        }
        match (first.is_empty(), all.is_empty()) {
            (true, true) => first = data,
            (_, is_second) => {
                if is_second {
                    all.extend_from_slice(&first);
                    first = Bytes::new();
                }
                all.extend_from_slice(&data);
            }
        }
    }
    Ok(Document { bytes: if all.is_empty() { first } else { all.freeze() }, _counted: counted })
}

/// Refuses whom the head alone shows to be refused; the handler asks again, and for all.
pub async fn admit(cx: &Cx, operation: Operation) -> Result<(), S3Fault> {
    let Some(name) = cx.address.bucket.as_deref() else { return Ok(()) };
    let expected = cx.header("x-amz-expected-bucket-owner");
    if let Some((action, grant)) = of_bucket(operation) {
        return authorise::bucket_for(cx, name, expected, action, grant).await.map(drop);
    }
    if operation == Operation::CreateBucket {
        return cx.signer().map(drop).ok_or_else(|| S3Fault::new(S3Code::AccessDenied));
    }
    let bucket = authorise::bucket(cx, name, expected).await?;
    match (operation, cx.address.key.as_deref()) {
        (Operation::CompleteMultipartUpload, Some(key)) => {
            let write = Grant::Bucket(Permission::Write);
            authorise::allow(cx, &bucket, Act::on_key("s3:PutObject", write, key))
        }
        (operation, _) if needs_policy(operation) && is_stranger(cx, &bucket) => {
            Err(S3Fault::new(S3Code::AccessDenied))
        }
        _ => Ok(()),
    }
}

/// What is allowed on the bucket, or not, whatever the document says.
fn of_bucket(operation: Operation) -> Option<(&'static str, Grant)> {
    let action = match operation {
        Operation::PutBucketAcl => return Some(("s3:PutBucketAcl", Grant::Bucket(Permission::WriteAcp))),
        Operation::PutBucketPolicy => "s3:PutBucketPolicy",
        Operation::PutPublicAccessBlock => "s3:PutBucketPublicAccessBlock",
        Operation::PutBucketOwnershipControls => "s3:PutBucketOwnershipControls",
        Operation::PutBucketTagging => "s3:PutBucketTagging",
        Operation::PutBucketVersioning => "s3:PutBucketVersioning",
        Operation::PutObjectLockConfiguration => "s3:PutBucketObjectLockConfiguration",
        Operation::PutBucketCors => "s3:PutBucketCORS",
        Operation::PutBucketLifecycleConfiguration => "s3:PutLifecycleConfiguration",
        Operation::PutBucketEncryption => "s3:PutEncryptionConfiguration",
        Operation::PutBucketWebsite => "s3:PutBucketWebsite",
        Operation::PutBucketLogging => "s3:PutBucketLogging",
        Operation::PutBucketNotificationConfiguration => "s3:PutBucketNotification",
        Operation::PutBucketRequestPayment => "s3:PutBucketRequestPayment",
        Operation::PutBucketAccelerateConfiguration => "s3:PutAccelerateConfiguration",
        Operation::PutBucketReplication => "s3:PutReplicationConfiguration",
        _ => return None,
    };
    Some((action, Grant::Nobody))
}

/// Whether only a policy can let somebody else do it. Which policy does, the document may decide.
fn needs_policy(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::PutObjectTagging
            | Operation::PutObjectRetention
            | Operation::PutObjectLegalHold
            | Operation::RestoreObject
    )
}

/// Of another account, or of none, where no policy can say anything.
fn is_stranger(cx: &Request, bucket: &Bucket) -> bool {
    cx.account() != Some(&*bucket.owner) && bucket.setting(settings::POLICY).is_none()
}
