//! Server access logging: the configuration, and the line that an answered request leaves.

use super::acl;
use super::authorise::{self, Grant};
use super::cx::{Caller, Cx};
use super::reply::Reply;
use super::settings::{self, of};
use crate::app::s3::access_log::{Place, Record, Source, may_deliver, operation};
use crate::app::s3::acl as lists;
use crate::app::s3::copy_source::{self, CopySource};
use crate::drive::signers::canonical_id;
use crate::reconcile::access_logs::Log;
use crate::store::objects::Bucket;
use axum::body::HttpBody as _;
use http::header;
use karri_proto::aws::s3::{
    BucketLoggingStatus, GetBucketLoggingOutput, GetBucketLoggingRequest, LoggingEnabled,
    PutBucketLoggingRequest, S3Code, S3Fault, TargetGrant,
};
use karri_proto::sign::Scheme;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

pub async fn get_bucket_logging(
    cx: Cx,
    request: GetBucketLoggingRequest,
) -> Result<GetBucketLoggingOutput, S3Fault> {
    let of = of!(request, settings::LOGGING);
    let action = "s3:GetBucketLogging";
    let bucket = authorise::bucket_for(&cx, of.bucket, of.expected_owner, action, Grant::Nobody).await?;
    let found = settings::logging(&bucket)?;
    Ok(GetBucketLoggingOutput { logging_enabled: found.and_then(|found| found.logging_enabled.clone()) })
}

pub async fn put_bucket_logging(cx: Cx, request: PutBucketLoggingRequest) -> Result<(), S3Fault> {
    let of = of!(request, settings::LOGGING);
    let action = "s3:PutBucketLogging";
    let bucket = authorise::bucket_for(&cx, of.bucket, of.expected_owner, action, Grant::Nobody).await?;
    let Some(mut enabled) = request.bucket_logging_status.logging_enabled else {
        return settings::drop_kind(&cx, &bucket, of.kind).await;
    };
    let target = target(&cx, &bucket, &enabled).await?;
    if !enabled.target_grants.is_empty() && settings::is_owner_enforced(&target) {
        return Err(S3Fault::new(S3Code::InvalidBucketAclWithObjectOwnership));
    }
    for grant in &mut enabled.target_grants {
        *grant = resolved(&cx, grant).await?;
    }
    let output = GetBucketLoggingOutput { logging_enabled: Some(enabled) };
    settings::keep(&cx, &bucket, of.kind, settings::to_text(&output)).await
}

/// The bucket that logs go to: the owner's, and one that takes them.
async fn target(cx: &Cx, bucket: &Bucket, enabled: &LoggingEnabled) -> Result<Arc<Bucket>, S3Fault> {
    let refused = |text: &'static str| S3Fault::saying(S3Code::InvalidTargetBucketForLogging, text);
    let target = match authorise::bucket(cx, &enabled.target_bucket, None).await {
        Ok(target) => target,
        Err(fault) if fault.code() == S3Code::NoSuchBucket => {
            let fault = refused("The target bucket for logging does not exist");
            return Err(fault.with("TargetBucket", &enabled.target_bucket));
        }
        Err(fault) => return Err(fault),
    };
    if target.owner != bucket.owner {
        let fault = refused("The owner for the bucket to be logged and the target bucket must be the same.");
        return Err(fault.with("TargetBucket", &enabled.target_bucket));
    }
    let (source, key) = (Source::of(bucket), "x");
    let place = Place::of(&source, enabled);
    if !may_deliver(&target, &source, &place, &format!("{}{key}", place.prefix))? {
        let text = "You must give the log-delivery group WRITE and READ_ACP permissions to the target bucket";
        return Err(refused(text).with("TargetBucket", &enabled.target_bucket));
    }
    Ok(target)
}

/// With the grantee by its id.
async fn resolved(cx: &Cx, grant: &TargetGrant) -> Result<TargetGrant, S3Fault> {
    let malformed = || S3Fault::new(S3Code::MalformedXml);
    let named = acl::named(grant.grantee.clone().ok_or_else(malformed)?).ok_or_else(malformed)?;
    let grantee = acl::grantee(cx, named).await?;
    Ok(TargetGrant {
        grantee: Some(acl::shown_grantee(cx, &grantee).await?),
        permission: Some(grant.permission.clone().ok_or_else(malformed)?),
    })
}

/// The list that the logs get besides their owner's.
fn list_of(bucket: &Bucket, grants: &[TargetGrant]) -> Option<String> {
    if grants.is_empty() {
        return None;
    }
    let mut list = lists::Acl::private(&canonical_id(&bucket.owner));
    list.grants.extend(grants.iter().filter_map(|grant| {
        let grantee = grant.grantee.as_ref()?;
        let grantee = match (&grantee.id, &grantee.uri) {
            (Some(id), _) => lists::Grantee::Account(id.clone()),
            (None, uri) => lists::Grantee::of_uri(uri.as_deref()?)?,
        };
        let permission = lists::Permission::parse(grant.permission.as_deref()?)?;
        Some(lists::Grant { grantee, permission })
    }));
    Some(list.to_text())
}

/// How a request went.
#[derive(Clone, Copy)]
pub struct Outcome<'a> {
    pub operation: Option<&'static str>,
    pub reply: &'a Reply,
    pub fault: Option<&'a S3Fault>,
    pub took: Duration,
}

/// A log that a request belongs into.
pub struct Wanted {
    log: Log,
    owner: String,
    /// The object that a copy reads, where the log is that of its bucket.
    source: Option<CopySource>,
}

/// Where the request is to leave a line; nearly always nowhere.
pub async fn wanted(cx: &Cx, operation: Option<&'static str>) -> Vec<Wanted> {
    let mut all = Vec::new();
    let Some(name) = cx.address.bucket.as_deref() else { return all };
    all.extend(wanted_in(cx, name, None).await);
    if matches!(operation, Some("CopyObject" | "UploadPartCopy"))
        && let Some(source) = cx.header("x-amz-copy-source").and_then(|text| copy_source::parse(text).ok())
    {
        let name = source.bucket.clone();
        all.extend(wanted_in(cx, &name, Some(source)).await);
    }
    all
}

async fn wanted_in(cx: &Cx, name: &str, source: Option<CopySource>) -> Option<Wanted> {
    let bucket = cx.s3.objects.bucket_fetch(name).await.ok()?;
    bucket.setting(settings::LOGGING)?;
    let status: Arc<BucketLoggingStatus> = settings::logging(&bucket).ok()??;
    let enabled = status.logging_enabled.as_ref()?;
    let of = Source::of(&bucket);
    let place = Place::of(&of, enabled);
    let log = Log { source: of, place, acl: list_of(&bucket, &enabled.target_grants) };
    Some(Wanted { log, owner: canonical_id(&bucket.owner), source })
}

pub fn note(cx: &Cx, wanted: Vec<Wanted>, outcome: Outcome<'_>) {
    for Wanted { log, owner, source } in wanted {
        let record = record(cx, outcome);
        let bucket = log.source.bucket.to_string();
        let (key, operation) = match source {
            None => (record.key, record.operation),
            Some(source) => (source.key, format!("{}_GET", record.operation)),
        };
        let mut record = Record { bucket_owner: owner, bucket, key, operation, ..record };
        let mut lines = record.line();
        for key in cx.notes.deleted.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let operation = "BATCH.DELETE.OBJECT".to_owned();
            record = Record { operation, key, status: 204, sent_bytes: None, ..record };
            lines.push_str(&record.line());
        }
        cx.s3.logs.add(log, &lines);
    }
}

fn record(cx: &Cx, outcome: Outcome<'_>) -> Record {
    let text = |name: &str| cx.header(name).unwrap_or_default().to_owned();
    let answered = |name: &str| outcome.reply.headers.get(name).and_then(|value| value.to_str().ok());
    let key = cx.address.key.clone().unwrap_or_default();
    let method = cx.method.as_str();
    let name = operation(outcome.operation, method, cx.address.website || !key.is_empty());
    let operation = if cx.address.website { name.replacen("REST", "WEBSITE", 1) } else { name };
    let signer = match &cx.caller {
        Caller::User(signer) => Some(signer),
        Caller::Anonymous => cx.notes.signer.get(),
    };
    let (signature, authentication) = match cx.scheme {
        Some(Scheme::V4Header) => ("SigV4", "AuthHeader"),
        Some(Scheme::V4Presigned) => ("SigV4", "QueryString"),
        Some(Scheme::V2Header) => ("SigV2", "AuthHeader"),
        Some(Scheme::V2Presigned | Scheme::V2Query) => ("SigV2", "QueryString"),
        Some(Scheme::V4Form | Scheme::V2Form) | None => ("", ""),
    };
    let sent = outcome.reply.body.size_hint().exact().filter(|bytes| *bytes > 0);
    let total = answered("content-range").and_then(|range| range.rsplit('/').next()?.parse().ok());
    let received = || {
        [text("x-amz-decoded-content-length"), text("content-length")]
            .iter()
            .find_map(|text| text.parse().ok())
    };
    let object_bytes = match method {
        "GET" | "HEAD" if !key.is_empty() => {
            total.or_else(|| answered("content-length").and_then(|length| length.parse().ok()))
        }
        "PUT" if !key.is_empty() => received(),
        _ => None,
    };
    let sent_bytes = match (method, answered("content-length")) {
        ("HEAD", _) => None,
        (_, Some(length)) => length.parse().ok(),
        (_, None) => sent,
    };
    Record {
        time: Some(cx.now),
        peer: cx.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        requester: signer.map(|signer| signer.who.arn.clone()).unwrap_or_default(),
        request_id: cx.request_id.clone(),
        operation,
        key,
        request: format!("{method} {} HTTP/1.1", cx.uri),
        status: outcome.reply.status.as_u16(),
        error: outcome.fault.map(|fault| fault.code().as_str().to_owned()).unwrap_or_default(),
        sent_bytes,
        object_bytes: object_bytes.filter(|_| outcome.fault.is_none()),
        took_ms: u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
        referer: text(header::REFERER.as_str()),
        user_agent: text(header::USER_AGENT.as_str()),
        version: answered("x-amz-version-id").unwrap_or_default().to_owned(),
        host_id: cx.host_id.clone(),
        signature,
        authentication,
        host: cx.host.clone(),
        by_acl: cx.notes.by_acl.load(Ordering::Relaxed),
        ..Record::default()
    }
}
