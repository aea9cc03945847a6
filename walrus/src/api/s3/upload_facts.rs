//! What an upload's head says of the object to be: PutObject, CreateMultipartUpload and CopyObject say it
//! in the same members.

use super::acl::{self, GrantHeaders};
use super::authorise::{self, Act, Grant};
use super::cx::Cx;
use super::{settings, tagging};
use crate::app::s3::encryption::{ClientKeyHeaders, Wanted, default_sse, wanted};
use crate::app::s3::{lock, tags};
use crate::store::objects::{Bucket, Facts};
use karri_proto::aws::rest::Metadata;
use karri_proto::aws::s3::{S3Code, S3Fault};
use time::OffsetDateTime;

const METADATA_BYTES_MAX: usize = 2 << 10;
/// Whatever is asked for is kept in the one class that there is, under the name that was given.
const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
];

/// The members that the three requests share.
macro_rules! upload_head {
    ($request:expr) => {
        $crate::api::s3::upload_facts::UploadHead {
            acl: $request.acl.as_deref(),
            grants: $crate::api::s3::acl::GrantHeaders {
                full_control: $request.grant_full_control.as_deref(),
                read: $request.grant_read.as_deref(),
                read_acp: $request.grant_read_acp.as_deref(),
                write: None,
                write_acp: $request.grant_write_acp.as_deref(),
            },
            cache_control: $request.cache_control.as_ref(),
            content_disposition: $request.content_disposition.as_ref(),
            content_encoding: $request.content_encoding.as_ref(),
            content_language: $request.content_language.as_ref(),
            content_type: $request.content_type.as_ref(),
            expires: $request.expires.as_ref(),
            website_redirect: $request.website_redirect_location.as_ref(),
            metadata: &$request.metadata,
            tagging: $request.tagging.as_deref(),
            lock_mode: $request.object_lock_mode.as_deref(),
            lock_until: $request.object_lock_retain_until_date,
            legal_hold: $request.object_lock_legal_hold_status.as_deref(),
            storage_class: $request.storage_class.as_deref(),
            sse: $request.server_side_encryption.as_deref(),
            kms_key: $request.sse_kms_key_id.as_deref(),
            client_key: $crate::app::s3::encryption::client_key!($request),
        }
    };
}
pub(super) use upload_head;

pub struct UploadHead<'a> {
    pub acl: Option<&'a str>,
    pub grants: GrantHeaders<'a>,
    pub cache_control: Option<&'a String>,
    pub content_disposition: Option<&'a String>,
    pub content_encoding: Option<&'a String>,
    pub content_language: Option<&'a String>,
    pub content_type: Option<&'a String>,
    pub expires: Option<&'a String>,
    pub website_redirect: Option<&'a String>,
    pub metadata: &'a Metadata,
    pub tagging: Option<&'a str>,
    pub lock_mode: Option<&'a str>,
    pub lock_until: Option<OffsetDateTime>,
    pub legal_hold: Option<&'a str>,
    pub storage_class: Option<&'a str>,
    pub sse: Option<&'a str>,
    pub kms_key: Option<&'a str>,
    pub client_key: ClientKeyHeaders<'a>,
}

/// The facts of the object to be, and how its bytes are sealed; all that the head asks for is allowed.
pub async fn facts(
    cx: &Cx,
    bucket: &Bucket,
    key: &str,
    head: &UploadHead<'_>,
) -> Result<(Facts, Wanted), S3Fault> {
    let tags = head.tagging.map(tags::from_header).transpose()?.unwrap_or_default();
    let context = tagging::context(&tags);
    let keys: Vec<(&str, String)> = tagging::borrowed(&context);
    authorise::allow(cx, bucket, Act::on_key("s3:PutObject", tagging::WRITES, key).with(&keys))?;
    if !tags.is_empty() {
        tagging::allow_tags(cx, bucket, key, &tags)?;
    }
    const CONTEXT: &str = "x-amz-server-side-encryption-context";
    if cx.header(CONTEXT).is_some() {
        return Err(S3Fault::not_implemented(CONTEXT));
    }
    let default = default_sse(bucket)?;
    let wanted = wanted(head.sse, head.kms_key, head.client_key, default)?;
    let mut facts = plain_facts(head)?;
    facts.tags = tags;
    facts.sse = wanted.sse().map(|sse| sse.to_text());
    facts.key_name = wanted.key_name().map(str::to_owned);
    facts.acl = acl::of_upload(cx, bucket, head.acl, &head.grants).await?;
    lock_facts(cx, bucket, key, head, &mut facts)?;
    Ok((facts, wanted))
}

fn plain_facts(head: &UploadHead<'_>) -> Result<Facts, S3Fault> {
    if head.metadata.size_bytes() > METADATA_BYTES_MAX {
        return Err(S3Fault::new(S3Code::MetadataTooLarge)
            .with("Size", head.metadata.size_bytes().to_string())
            .with("MaxSizeAllowed", METADATA_BYTES_MAX.to_string()));
    }
    if let Some(class) = head.storage_class
        && !STORAGE_CLASSES.contains(&class)
    {
        return Err(S3Fault::new(S3Code::InvalidStorageClass).with("StorageClassRequested", class));
    }
    if let Some(target) = head.website_redirect
        && !["/", "http://", "https://"].iter().any(|start| target.starts_with(start))
    {
        let text = "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.";
        return Err(S3Fault::saying(S3Code::InvalidRequest, text));
    }
    Ok(Facts {
        content_type: head.content_type.cloned(),
        cache_control: head.cache_control.cloned(),
        content_disposition: head.content_disposition.cloned(),
        content_encoding: head.content_encoding.cloned(),
        content_language: head.content_language.cloned(),
        expires: head.expires.cloned(),
        website_redirect: head.website_redirect.cloned(),
        metadata: head.metadata.to_texts(),
        storage_class: head.storage_class.filter(|class| *class != "STANDARD").map(str::to_owned),
        ..Facts::default()
    })
}

fn lock_facts(
    cx: &Cx,
    bucket: &Bucket,
    key: &str,
    head: &UploadHead<'_>,
    facts: &mut Facts,
) -> Result<(), S3Fault> {
    let asked = head.lock_mode.is_some() || head.lock_until.is_some() || head.legal_hold.is_some();
    if asked && !bucket.object_lock {
        let text = "Bucket is missing Object Lock Configuration";
        return Err(S3Fault::saying(S3Code::InvalidRequest, text));
    }
    facts.retention = lock::retention_of_headers(head.lock_mode, head.lock_until, cx.now)?;
    if facts.retention.is_some() {
        authorise::allow(cx, bucket, Act::on_key("s3:PutObjectRetention", Grant::Nobody, key))?;
    }
    facts.legal_hold = head.legal_hold == Some("ON");
    if head.legal_hold.is_some() {
        authorise::allow(cx, bucket, Act::on_key("s3:PutObjectLegalHold", Grant::Nobody, key))?;
    }
    if facts.retention.is_none() && bucket.object_lock {
        let configuration = settings::object_lock(bucket)?;
        facts.retention = configuration.and_then(|found| lock::default_retention(&found, cx.now));
    }
    Ok(())
}
