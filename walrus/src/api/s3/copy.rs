//! CopyObject, and what it shares with copying a part.

use super::authorise::{self, Act, Grant};
use super::cx::{Cx, time};
use super::fault::About;
use super::lifecycle;
use super::object_get::{self, Found, READ};
use super::object_put::{Write, check_early, keep, version_text};
use super::receive::{Received, UPLOAD_BYTES_MAX, reread};
use super::tagging;
use super::upload_facts::{facts, upload_head};
use crate::app::s3::checksum::{self, show_checksum};
use crate::app::s3::condition::{ReadConditions, WriteConditions};
use crate::app::s3::copy_source::{self, CopySource};
use crate::app::s3::encryption::{ClientKey, ClientKeyHeaders, Wanted, key_to_read, show_sse};
use crate::app::s3::notification::Created;

use crate::store::keeper::seal::Seal;
use crate::store::objects::{Bucket, ChecksumType, Facts, Object, Pairs, Versioning};
use karri_proto::aws::s3::{CopyObjectOutput, CopyObjectRequest, CopyObjectResult, S3Code, S3Fault};
use karri_proto::checksum::Algorithm;
use std::ops::Range;
use std::sync::Arc;

/// What is copied, and the key to read it with.
pub struct Source {
    pub found: Found,
    pub key: Option<ClientKey>,
    pub asked: CopySource,
}

impl Source {
    /// The version, for the answer.
    pub fn version(&self) -> Option<String> {
        (self.found.bucket.versioning != Versioning::Off).then(|| self.found.object.version.to_string())
    }
}

/// The members of both requests that speak of the source.
macro_rules! source_of {
    ($cx:expr, $request:expr) => {
        $crate::api::s3::copy::source(
            $cx,
            &$request.copy_source,
            $request.expected_source_bucket_owner.as_deref(),
            $crate::app::s3::encryption::ClientKeyHeaders {
                algorithm: $request.copy_source_sse_customer_algorithm.as_deref(),
                key: $request.copy_source_sse_customer_key.as_deref(),
                md5: $request.copy_source_sse_customer_key_md5.as_deref(),
            },
            $crate::app::s3::condition::ReadConditions {
                if_match: $request.copy_source_if_match.as_deref(),
                if_none_match: $request.copy_source_if_none_match.as_deref(),
                if_modified_since: $request.copy_source_if_modified_since,
                if_unmodified_since: $request.copy_source_if_unmodified_since,
            },
        )
    };
}
pub(super) use source_of;

pub async fn source(
    cx: &Cx,
    header: &str,
    expected_owner: Option<&str>,
    client: ClientKeyHeaders<'_>,
    conditions: ReadConditions<'_>,
) -> Result<Source, S3Fault> {
    let asked = copy_source::parse(header)?;
    let bucket = authorise::bucket(cx, &asked.bucket, expected_owner).await?;
    let found = object_get::find(cx, bucket, &asked.key, asked.version.as_deref(), READ).await;
    let found = found.map_err(|fault| match fault.code() {
        S3Code::MethodNotAllowed => {
            let text =
                "The source of a copy request may not specifically refer to a delete marker by version id.";
            S3Fault::saying(S3Code::InvalidRequest, text)
        }
        _ => fault,
    })?;
    let object = &found.object;
    let key = key_to_read(object.facts.sse.as_deref(), client)?;
    conditions.check_source(&object.etag.to_string(), time(object.modified))?;
    Ok(Source { found, key, asked })
}

pub async fn copy_object(cx: Cx, request: CopyObjectRequest) -> Result<CopyObjectOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let source = source_of!(&cx, request).await?;
    let (mut facts, wanted) = facts(&cx, &bucket, &request.key, &upload_head!(request)).await?;
    let object = source.found.object.clone();
    let replaces = request.metadata_directive.as_deref() == Some("REPLACE");
    check_itself(&request, &source, &wanted, replaces)?;
    check_size(object.size)?;
    if !replaces {
        facts = inherited(&object.facts, facts);
    }
    if request.tagging_directive.as_deref() != Some("REPLACE") {
        facts.tags = copied_tags(&cx, &source, &bucket, &request.key)?;
    }
    let conditions = WriteConditions { if_match: request.if_match, if_none_match: request.if_none_match };
    check_early(&cx, &bucket, &request.key, &conditions).await?;
    let algorithm = request.checksum_algorithm.as_deref().map(checksum::named).transpose()?;
    let received = bytes(&cx, &source, 0..object.size, &wanted, algorithm).await?;
    let write = Write { conditions, created: Created::Copy };
    let copied = keep(&cx, &bucket, &request.key, received, facts, &write).await?;
    let mut output = CopyObjectOutput {
        copy_object_result: result(&copied),
        copy_source_version_id: source.version(),
        version_id: version_text(&bucket, &copied),
        ..CopyObjectOutput::default()
    };
    output.expiration = lifecycle::expiration(&bucket, &copied)?;
    show_sse!(output, wanted.sse());
    Ok(output)
}

/// The source's tags, for somebody who may read them there and write them here.
fn copied_tags(cx: &Cx, source: &Source, bucket: &Bucket, key: &str) -> Result<Pairs, S3Fault> {
    let (from, asked) = (&source.found.object, source.asked.version.as_deref());
    if from.facts.tags.is_empty() {
        return Ok(Pairs::new());
    }
    let action = if asked.is_some() { "s3:GetObjectVersionTagging" } else { "s3:GetObjectTagging" };
    let read = Act::on_key(action, Grant::Nobody, &source.asked.key).at(from).of_version(asked);
    authorise::allow(cx, &source.found.bucket, read)?;
    tagging::allow_tags(cx, bucket, key, &from.facts.tags)?;
    Ok(from.facts.tags.clone())
}

/// What is copied at a time has the limit of what is uploaded at a time.
pub fn check_size(bytes: u64) -> Result<(), S3Fault> {
    if bytes <= UPLOAD_BYTES_MAX {
        return Ok(());
    }
    let text = format!(
        "The specified copy source is larger than the maximum allowable size for a copy source: {UPLOAD_BYTES_MAX}"
    );
    Err(S3Fault::saying(S3Code::InvalidRequest, text))
}

/// A copy onto itself must change something.
fn check_itself(
    request: &CopyObjectRequest,
    source: &Source,
    wanted: &Wanted,
    replaces: bool,
) -> Result<(), S3Fault> {
    let same = source.asked.bucket == request.bucket
        && source.asked.key == request.key
        && source.asked.version.is_none();
    let changes = replaces
        || request.storage_class.is_some()
        || request.website_redirect_location.is_some()
        || request.server_side_encryption.is_some()
        || matches!(wanted, Wanted::Customer(_))
        || source.key.is_some();
    if !same || changes {
        return Ok(());
    }
    let text = "This copy request is illegal because it is trying to copy an object to itself without changing \
                the object's metadata, storage class, website redirect location or encryption attributes.";
    Err(S3Fault::saying(S3Code::InvalidRequest, text))
}

/// The source's headers and metadata; lists, locks and class are the request's.
fn inherited(source: &Facts, asked: Facts) -> Facts {
    Facts {
        content_type: source.content_type.clone(),
        cache_control: source.cache_control.clone(),
        content_disposition: source.content_disposition.clone(),
        content_encoding: source.content_encoding.clone(),
        content_language: source.content_language.clone(),
        expires: source.expires.clone(),
        metadata: source.metadata.clone(),
        ..asked
    }
}

/// The bytes of the source, as content of something new: shared where that is the same as copying.
pub async fn bytes(
    cx: &Cx,
    source: &Source,
    span: Range<u64>,
    wanted: &Wanted,
    algorithm: Option<Algorithm>,
) -> Result<Received, S3Fault> {
    let object = &source.found.object;
    let kept = object.facts.checksums.first();
    let wants = algorithm.or_else(|| kept.map(|kept| checksum::algorithm(kept.algorithm)));
    let known = kept.filter(|kept| {
        kept.kind == ChecksumType::FullObject && wants == Some(checksum::algorithm(kept.algorithm))
    });
    let whole = span == (0..object.size);
    if let Some(checksum) = known.and_then(checksum::from_store)
        && whole
        && same_seal(object, source.key.as_ref(), wanted)
        && let shared = cx.s3.objects.content_share(object).await
        && let Some(content) = shared.map_err(|e| About::default().fault(e))?
    {
        return Ok(Received { content, md5: object.etag.md5, checksums: vec![checksum] });
    }
    let algorithm = wants.unwrap_or(checksum::DEFAULT);
    reread(cx, object, span, source.key.as_ref(), wanted, algorithm).await
}

fn same_seal(object: &Arc<Object>, key: Option<&ClientKey>, wanted: &Wanted) -> bool {
    match (object.seal, wanted) {
        (Seal::Plain, Wanted::Plain) => true,
        (Seal::Master, Wanted::Master | Wanted::Kms(_)) => {
            object.facts.key_name.as_deref() == wanted.key_name()
        }
        (Seal::Customer, Wanted::Customer(wanted)) => key == Some(wanted),
        _ => false,
    }
}

fn result(object: &Object) -> CopyObjectResult {
    let mut result = CopyObjectResult {
        etag: Some(format!("\"{}\"", object.etag)),
        last_modified: Some(time(object.modified)),
        ..CopyObjectResult::default()
    };
    let shown = checksum::shown(&object.facts, object.etag.parts);
    show_checksum!(result, &shown);
    result.checksum_type = shown.map(|shown| checksum::kind_text(shown.kind).to_owned());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_copied_at_once_than_uploaded() {
        assert!(check_size(UPLOAD_BYTES_MAX).is_ok());
        assert_eq!(check_size(UPLOAD_BYTES_MAX + 1).unwrap_err().code(), S3Code::InvalidRequest);
    }
}
