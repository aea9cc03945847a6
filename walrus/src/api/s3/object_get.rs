//! GetObject and HeadObject.

use super::authorise::{self, Act, Grant};
use super::cx::{Cx, exact_time, time};
use super::fault::About;
use super::lifecycle;
use super::reply::Reply;
use crate::app::s3::acl::Permission;
use crate::app::s3::checksum::{self, show_checksum};
use crate::app::s3::condition::ReadConditions;
use crate::app::s3::encryption::{Sse, client_key, key_to_read, show_sse};
use crate::app::s3::{lock, range};
use crate::store::keeper::seal::CustomerKey;
use crate::store::objects::{self, Bucket, Object, VersionId};
use axum::body::Body;
use http::header;
use karri_proto::aws::rest::Metadata;
use karri_proto::aws::s3::{GetObjectOutput, GetObjectRequest, HeadObjectRequest, S3Code, S3Fault};
use std::ops::Range;
use std::sync::Arc;

/// An object that may be read.
pub struct Found {
    pub bucket: Arc<Bucket>,
    pub object: Arc<Object>,
}

/// `action` is the one for a current version; with a version id AWS knows another.
#[derive(Debug, Clone, Copy)]
pub struct Actions {
    pub current: &'static str,
    pub version: &'static str,
    pub grant: Grant,
}

pub const READ: Actions = Actions {
    current: "s3:GetObject",
    version: "s3:GetObjectVersion",
    grant: Grant::Object(Permission::Read),
};

pub fn parse_version(text: Option<&str>) -> Result<Option<VersionId>, S3Fault> {
    let Some(text) = text else { return Ok(None) };
    if text.is_empty() {
        return Err(S3Fault::invalid_argument("versionId", text, "Version id cannot be the empty string"));
    }
    let version = text.parse::<VersionId>();
    version
        .map(Some)
        .map_err(|_| S3Fault::invalid_argument("versionId", text, "Invalid version id specified"))
}

/// Finds an object for somebody who may `actions` it. Who may not even list learns nothing of what is not
/// there.
pub async fn find(
    cx: &Cx,
    bucket: Arc<Bucket>,
    key: &str,
    version: Option<&str>,
    actions: Actions,
) -> Result<Found, S3Fault> {
    let asked = parse_version(version)?;
    let action = if asked.is_some() { actions.version } else { actions.current };
    let about = About::key(&bucket.name, key).version(version);
    let act = Act::on_key(action, actions.grant, key).of_version(version);
    match cx.s3.objects.object_fetch(bucket.id, key, asked).await {
        Ok(object) if object.is_marker => {
            authorise::allow(cx, &bucket, act)?;
            Err(marker_fault(&object))
        }
        Ok(object) => {
            authorise::allow(cx, &bucket, act.at(&object))?;
            Ok(Found { bucket, object })
        }
        Err(error) => {
            let list = Act::on_bucket("s3:ListBucket", Grant::Bucket(Permission::Read));
            if authorise::allow(cx, &bucket, list.with(&[("s3:prefix", key.to_owned())])).is_err() {
                authorise::allow(cx, &bucket, act)?;
                return Err(S3Fault::new(S3Code::AccessDenied));
            }
            Err(about.fault(error))
        }
    }
}

/// A delete marker that is asked for by its id.
fn marker_fault(marker: &Object) -> S3Fault {
    let fault = S3Fault::method_not_allowed("GET", "DeleteMarker").with_header(
        http::HeaderName::from_static("x-amz-delete-marker"),
        http::HeaderValue::from_static("true"),
    );
    let fault = fault.with_header(header::ALLOW, http::HeaderValue::from_static("DELETE"));
    let modified = karri_proto::aws::rest::scalar::http_date(time(marker.modified));
    let headers = [
        (http::HeaderName::from_static("x-amz-version-id"), marker.version.to_string()),
        (header::LAST_MODIFIED, modified),
    ];
    headers.into_iter().fold(fault, |fault, (name, value)| match http::HeaderValue::try_from(value) {
        Ok(value) => fault.with_header(name, value),
        Err(_) => fault,
    })
}

/// GetObject and HeadObject have these members in common.
macro_rules! conditions {
    ($request:expr) => {
        ReadConditions {
            if_match: $request.if_match.as_deref(),
            if_none_match: $request.if_none_match.as_deref(),
            if_modified_since: $request.if_modified_since,
            if_unmodified_since: $request.if_unmodified_since,
        }
    };
}

/// What the query wants the answer's headers to say instead.
macro_rules! overrides {
    ($cx:expr, $request:expr) => {
        Overrides {
            cache_control: $request.response_cache_control,
            content_disposition: $request.response_content_disposition,
            content_encoding: $request.response_content_encoding,
            content_language: $request.response_content_language,
            content_type: $request.response_content_type,
            expires: $request.response_expires,
        }
        .apply($cx)?
    };
}

struct Overrides {
    cache_control: Option<String>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    content_language: Option<String>,
    content_type: Option<String>,
    expires: Option<String>,
}

impl Overrides {
    /// Only who signed may say what an answer's headers are.
    fn apply(self, cx: &Cx) -> Result<Self, S3Fault> {
        let members = [
            &self.cache_control,
            &self.content_disposition,
            &self.content_encoding,
            &self.content_language,
            &self.content_type,
            &self.expires,
        ];
        if cx.signer().is_none() && members.iter().any(|member| member.is_some()) {
            let text = "Request specific response headers cannot be used for anonymous GET requests.";
            return Err(S3Fault::saying(S3Code::InvalidRequest, text));
        }
        Ok(self)
    }

    fn put(self, output: &mut GetObjectOutput) {
        let members = [
            (self.cache_control, &mut output.cache_control),
            (self.content_disposition, &mut output.content_disposition),
            (self.content_encoding, &mut output.content_encoding),
            (self.content_language, &mut output.content_language),
            (self.content_type, &mut output.content_type),
            (self.expires, &mut output.expires),
        ];
        for (wanted, member) in members {
            if wanted.is_some() {
                *member = wanted;
            }
        }
    }
}

/// How an object is encrypted is asked for when it is written.
fn check_head(cx: &Cx) -> Result<(), S3Fault> {
    const NAME: &str = "x-amz-server-side-encryption";
    let Some(value) = cx.header(NAME) else { return Ok(()) };
    let text = "x-amz-server-side-encryption header is not supported for this operation.";
    Err(S3Fault::invalid_argument(NAME, value, text))
}

pub async fn get_object(cx: Cx, request: GetObjectRequest) -> Result<Reply, S3Fault> {
    check_head(&cx)?;
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let found = find(&cx, bucket, &request.key, request.version_id.as_deref(), READ).await?;
    let object = &found.object;
    let client = client_key!(request);
    let key = key_to_read(object.facts.sse.as_deref(), client)?;
    conditions!(request).check(&object.etag.to_string(), time(object.modified))?;
    let overrides = overrides!(&cx, request);
    let asked = Asked { range: request.range.as_deref(), part: request.part_number };
    let part = part_of(&cx, object, &asked).await?;
    let mut output = head_of(&found, part.as_ref(), request.checksum_mode.is_some());
    if request.version_id.is_none() {
        output.expiration = lifecycle::expiration(&found.bucket, object)?;
    }
    overrides.put(&mut output);
    let span = part.as_ref().map_or(0..object.size, |part| part.span.clone());
    let key = key.map(|key| CustomerKey::new(key.key));
    let about = About::key(&found.bucket.name, &request.key);
    let body = cx.s3.objects.read(object, span, key.as_ref()).await.map_err(|e| about.fault(e))?;
    let body = match body {
        objects::Body::Whole(bytes) => Body::from(bytes),
        objects::Body::Stream(stream) => Body::from_stream(stream),
    };
    Ok(Reply::with_body::<GetObjectRequest>(&output, body))
}

pub async fn head_object(cx: Cx, request: HeadObjectRequest) -> Result<Reply, S3Fault> {
    check_head(&cx)?;
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let found = find(&cx, bucket, &request.key, request.version_id.as_deref(), READ).await?;
    let object = &found.object;
    key_to_read(object.facts.sse.as_deref(), client_key!(request))?;
    conditions!(request).check(&object.etag.to_string(), time(object.modified))?;
    let overrides = overrides!(&cx, request);
    let asked = Asked { range: request.range.as_deref(), part: request.part_number };
    let part = part_of(&cx, object, &asked).await?;
    let mut output = head_of(&found, part.as_ref(), request.checksum_mode.is_some());
    if request.version_id.is_none() {
        output.expiration = lifecycle::expiration(&found.bucket, object)?;
    }
    overrides.put(&mut output);
    let reply = Reply::with_body::<GetObjectRequest>(&output, Body::empty());
    Ok(reply)
}

struct Asked<'a> {
    range: Option<&'a str>,
    part: Option<i32>,
}

/// The part of an object that is asked for.
struct Span {
    span: Range<u64>,
    /// How many parts there are, when one was asked for by its number.
    parts: Option<u16>,
    checksum: Option<objects::Checksum>,
}

async fn part_of(cx: &Cx, object: &Arc<Object>, asked: &Asked<'_>) -> Result<Option<Span>, S3Fault> {
    let Some(number) = asked.part else {
        let span = range::requested(asked.range, object.size)?;
        return Ok(span.map(|span| Span { span, parts: None, checksum: None }));
    };
    if asked.range.is_some() {
        let text = "Cannot specify both Range header and partNumber query parameter";
        return Err(S3Fault::saying(S3Code::InvalidRequest, text));
    }
    let number = u16::try_from(number).ok().filter(|number| (1..=10_000).contains(number));
    let number = number.ok_or_else(|| {
        let text = "Part number must be an integer between 1 and 10000, inclusive";
        S3Fault::invalid_argument("partNumber", &asked.part.unwrap_or_default().to_string(), text)
    })?;
    let unsatisfiable =
        || S3Fault::new(S3Code::InvalidPartNumber).with("PartNumberRequested", number.to_string());
    let parts = cx.s3.objects.object_parts(object).await.map_err(|e| About::default().fault(e))?;
    if parts.is_empty() {
        if number != 1 {
            return Err(unsatisfiable());
        }
        return Ok(Some(Span { span: 0..object.size, parts: None, checksum: None }));
    }
    let index = usize::from(number) - 1;
    // An object that was put together knows its parts by their place, whatever their numbers were.
    let part = parts.get(index).ok_or_else(unsatisfiable)?;
    Ok(Some(Span {
        span: part.offset..part.offset + part.size,
        parts: u16::try_from(parts.len()).ok(),
        checksum: part.checksum.clone(),
    }))
}

fn head_of(found: &Found, part: Option<&Span>, with_checksum: bool) -> GetObjectOutput {
    let Found { bucket, object } = found;
    let facts = &object.facts;
    let mut output = GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: facts.cache_control.clone(),
        content_disposition: facts.content_disposition.clone(),
        content_encoding: facts.content_encoding.clone(),
        content_language: facts.content_language.clone(),
        content_type: Some(facts.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())),
        expires: facts.expires.clone(),
        website_redirect_location: facts.website_redirect.clone(),
        storage_class: facts.storage_class.clone(),
        restore: facts.restore.clone(),
        etag: Some(format!("\"{}\"", object.etag)),
        last_modified: Some(time(object.modified)),
        metadata: Metadata::from_texts(
            facts.metadata.iter().map(|(name, text)| (name.as_str(), text.as_str())),
        ),
        tag_count: i32::try_from(facts.tags.len()).ok().filter(|count| *count > 0),
        version_id: (bucket.versioning != objects::Versioning::Off).then(|| object.version.to_string()),
        object_lock_mode: facts.retention.map(|retention| lock::mode_text(retention.mode).to_owned()),
        object_lock_retain_until_date: facts.retention.map(|retention| exact_time(retention.until)),
        object_lock_legal_hold_status: (bucket.object_lock && facts.legal_hold).then(|| "ON".to_owned()),
        ..GetObjectOutput::default()
    };
    let span = part.map_or(0..object.size, |part| part.span.clone());
    output.content_length = i64::try_from(span.end - span.start).ok();
    if part.is_some() && object.size > 0 {
        output.content_range =
            Some(format!("bytes {}-{}/{}", span.start, span.end.saturating_sub(1), object.size));
    }
    output.parts_count = part.and_then(|part| part.parts).map(i32::from);
    show_sse!(output, facts.sse.as_deref().and_then(Sse::from_text));
    if with_checksum {
        checksum_of(&mut output, object, part);
    }
    output
}

/// Of a range there is none; of a part, its own.
fn checksum_of(output: &mut GetObjectOutput, object: &Object, part: Option<&Span>) {
    let shown = match part {
        Some(Span { checksum: Some(checksum), .. }) => checksum::shown_part(checksum),
        Some(span) if span.span != (0..object.size) => None,
        _ => checksum::shown(&object.facts, object.etag.parts),
    };
    show_checksum!(output, &shown);
    let kind = object.facts.checksums.first().map(|checksum| checksum.kind);
    output.checksum_type = shown.and(kind).map(|kind| checksum::kind_text(kind).to_owned());
}
