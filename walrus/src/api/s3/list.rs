//! Lists of objects and of their versions.

use super::acl::owners;
use super::authorise::{self, Grant};
use super::cx::{Cx, time};
use super::fault::About;
use crate::app::s3::acl::Permission;
use crate::app::s3::checksum;
use crate::store::objects::{ListEntry, ListQuery, Page, VersionEntry, VersionId, VersionQuery};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use karri_proto::aws::s3::{
    CommonPrefix, DeleteMarkerEntry, ListObjectVersionsOutput, ListObjectVersionsRequest, ListObjectsOutput,
    ListObjectsRequest, ListObjectsV2Output, ListObjectsV2Request, Object, ObjectVersion, Owner, S3Fault,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::HashMap;
use std::sync::Arc;

pub const KEYS_MAX: i32 = 1000;

/// As S3 spells keys when it is asked to.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');

/// Spells keys in an answer: as they are, or so that XML can hold them.
#[derive(Clone, Copy)]
pub struct Spelling(bool);

impl Spelling {
    pub fn of(encoding_type: Option<&str>) -> Self {
        Self(encoding_type == Some("url"))
    }

    pub fn spell(self, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        // AWS writes a space as `+`; every client reads `%20` as well, and some nothing else.
        utf8_percent_encode(text, ENCODED).to_string()
    }

    pub fn spell_some(self, text: Option<String>) -> Option<String> {
        text.map(|text| self.spell(&text))
    }

    pub fn prefixes(self, prefixes: &[String]) -> Vec<CommonPrefix> {
        prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(self.spell(prefix)) }).collect()
    }
}

/// How many are asked for, and how many are given.
pub fn checked_max(name: &str, asked: Option<i32>) -> Result<(i32, usize), S3Fault> {
    let asked = asked.unwrap_or(KEYS_MAX);
    if asked < 0 {
        let text = format!("Argument {name} must be an integer between 0 and 2147483647");
        return Err(S3Fault::invalid_argument(name, &asked.to_string(), text));
    }
    Ok((asked, usize::try_from(asked.min(KEYS_MAX)).unwrap_or_default()))
}

/// A continuation token: opaque to clients, the last key to us.
pub fn token(key: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("1{key}"))
}

pub fn token_key(token: &str) -> Result<String, S3Fault> {
    let wrong = || {
        S3Fault::invalid_argument("continuation-token", token, "The continuation token provided is incorrect")
    };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    text.strip_prefix('1').map(str::to_owned).ok_or_else(wrong)
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

pub async fn list_objects(cx: Cx, request: ListObjectsRequest) -> Result<ListObjectsOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let grant = Grant::Bucket(Permission::Read);
    let bucket = authorise::bucket_for(&cx, name, expected, "s3:ListBucket", grant).await?;
    let (max_keys, limit) = checked_max("max-keys", request.max_keys)?;
    let query = ListQuery {
        prefix: request.prefix.clone().unwrap_or_default(),
        delimiter: given(request.delimiter.clone()),
        after: given(request.marker.clone()),
        limit,
    };
    let page = page(&cx, bucket.id, name, &query).await?;
    let spelling = Spelling::of(request.encoding_type.as_deref());
    let owners = owners(&cx, page.entries.iter().map(|entry| &entry.owner)).await?;
    let next = page.next.as_ref().filter(|_| query.delimiter.is_some());
    Ok(ListObjectsOutput {
        common_prefixes: spelling.prefixes(&page.prefixes),
        contents: page.entries.iter().map(|entry| object(entry, spelling, Some(&owners))).collect(),
        delimiter: spelling.spell_some(query.delimiter.clone()),
        encoding_type: request.encoding_type,
        is_truncated: page.next.is_some(),
        marker: spelling.spell(&request.marker.unwrap_or_default()),
        max_keys: max_keys.min(KEYS_MAX),
        name: request.bucket.clone(),
        next_marker: next.map(|next| spelling.spell(&next.key)),
        // botocore does not decode it here, whatever the documentation says.
        prefix: query.prefix,
        request_charged: None,
    })
}

pub async fn list_objects_v2(cx: Cx, request: ListObjectsV2Request) -> Result<ListObjectsV2Output, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let grant = Grant::Bucket(Permission::Read);
    let bucket = authorise::bucket_for(&cx, name, expected, "s3:ListBucket", grant).await?;
    let (max_keys, limit) = checked_max("max-keys", request.max_keys)?;
    let after = match request.continuation_token.as_deref() {
        Some(token) if !token.is_empty() => Some(token_key(token)?),
        Some(_) | None => given(request.start_after.clone()),
    };
    let query = ListQuery {
        prefix: request.prefix.clone().unwrap_or_default(),
        delimiter: given(request.delimiter.clone()),
        after,
        limit,
    };
    let page = page(&cx, bucket.id, name, &query).await?;
    let spelling = Spelling::of(request.encoding_type.as_deref());
    let with_owner = request.fetch_owner == Some(true);
    let owners = match with_owner {
        true => Some(owners(&cx, page.entries.iter().map(|entry| &entry.owner)).await?),
        false => None,
    };
    Ok(ListObjectsV2Output {
        common_prefixes: spelling.prefixes(&page.prefixes),
        contents: page.entries.iter().map(|entry| object(entry, spelling, owners.as_ref())).collect(),
        continuation_token: request.continuation_token,
        delimiter: spelling.spell_some(query.delimiter.clone()),
        encoding_type: request.encoding_type,
        is_truncated: page.next.is_some(),
        key_count: i32::try_from(page.entries.len() + page.prefixes.len()).unwrap_or(i32::MAX),
        max_keys: max_keys.min(KEYS_MAX),
        name: request.bucket.clone(),
        next_continuation_token: page.next.map(|next| token(&next.key)),
        prefix: spelling.spell(&query.prefix),
        request_charged: None,
        start_after: spelling.spell_some(request.start_after),
    })
}

async fn page(
    cx: &Cx,
    bucket: crate::store::objects::BucketId,
    name: &str,
    query: &ListQuery,
) -> Result<Page<ListEntry>, S3Fault> {
    if query.limit == 0 {
        return Ok(Page { entries: Vec::new(), prefixes: Vec::new(), next: None });
    }
    cx.s3.objects.object_list(bucket, query).await.map_err(|e| About::bucket(name).fault(e))
}

type Owners = HashMap<Arc<str>, Owner>;

fn object(entry: &ListEntry, spelling: Spelling, owners: Option<&Owners>) -> Object {
    Object {
        key: Some(spelling.spell(&entry.key)),
        last_modified: Some(time(entry.modified)),
        etag: Some(format!("\"{}\"", entry.etag)),
        size: i64::try_from(entry.size).ok(),
        storage_class: Some(entry.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned())),
        owner: owners.and_then(|owners| owners.get(&entry.owner).cloned()),
        checksum_algorithm: entry
            .checksum
            .iter()
            .map(|(algorithm, _)| algorithm.as_str().to_owned())
            .collect(),
        checksum_type: entry.checksum.map(|(_, kind)| checksum::kind_text(kind).to_owned()),
        restore_status: None,
    }
}

pub async fn list_object_versions(
    cx: Cx,
    request: ListObjectVersionsRequest,
) -> Result<ListObjectVersionsOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let grant = Grant::Bucket(Permission::Read);
    let bucket = authorise::bucket_for(&cx, name, expected, "s3:ListBucketVersions", grant).await?;
    let (max_keys, limit) = checked_max("max-keys", request.max_keys)?;
    let query = version_query(&request, limit)?;
    let page = match limit {
        0 => Page { entries: Vec::new(), prefixes: Vec::new(), next: None },
        _ => cx.s3.objects.version_list(bucket.id, &query).await.map_err(|e| About::bucket(name).fault(e))?,
    };
    let spelling = Spelling::of(request.encoding_type.as_deref());
    let owners = owners(&cx, page.entries.iter().map(|version| &version.entry.owner)).await?;
    let (markers, versions): (Vec<_>, Vec<_>) = page.entries.iter().partition(|version| version.is_marker);
    Ok(ListObjectVersionsOutput {
        common_prefixes: spelling.prefixes(&page.prefixes),
        delete_markers: markers.into_iter().map(|one| marker(one, spelling, &owners)).collect(),
        delimiter: spelling.spell_some(query.delimiter.clone()),
        encoding_type: request.encoding_type,
        is_truncated: page.next.is_some(),
        key_marker: spelling.spell(&request.key_marker.unwrap_or_default()),
        max_keys: max_keys.min(KEYS_MAX),
        name: request.bucket.clone(),
        next_version_id_marker: page.next.as_ref().and_then(|next| next.version).map(|id| id.to_string()),
        next_key_marker: page.next.map(|next| spelling.spell(&next.key)),
        prefix: spelling.spell(&query.prefix),
        request_charged: None,
        version_id_marker: request.version_id_marker.unwrap_or_default(),
        versions: versions.into_iter().map(|one| version(one, spelling, &owners)).collect(),
    })
}

fn version_query(request: &ListObjectVersionsRequest, limit: usize) -> Result<VersionQuery, S3Fault> {
    let key_marker = given(request.key_marker.clone());
    let wrong =
        |marker: &str, text: &'static str| Err(S3Fault::invalid_argument("version-id-marker", marker, text));
    let version_marker = match (request.version_id_marker.as_deref(), &key_marker) {
        (None, _) => None,
        (Some(""), None) => None,
        (Some(""), Some(_)) => return wrong("", "A version-id marker cannot be empty."),
        (Some(marker), None) => {
            return wrong(marker, "A version-id marker cannot be specified without a key marker.");
        }
        (Some(marker), Some(_)) => match marker.parse::<VersionId>() {
            Ok(id) => Some(id),
            Err(_) => return wrong(marker, "Invalid version id specified"),
        },
    };
    Ok(VersionQuery {
        prefix: request.prefix.clone().unwrap_or_default(),
        delimiter: given(request.delimiter.clone()),
        key_marker,
        version_marker,
        limit,
    })
}

fn version(version: &VersionEntry, spelling: Spelling, owners: &Owners) -> ObjectVersion {
    let entry = object(&version.entry, spelling, Some(owners));
    ObjectVersion {
        checksum_algorithm: entry.checksum_algorithm,
        checksum_type: entry.checksum_type,
        etag: entry.etag,
        is_latest: Some(version.is_latest),
        key: entry.key,
        last_modified: entry.last_modified,
        owner: entry.owner,
        restore_status: None,
        size: entry.size,
        storage_class: entry.storage_class,
        version_id: Some(version.entry.version.to_string()),
    }
}

fn marker(version: &VersionEntry, spelling: Spelling, owners: &Owners) -> DeleteMarkerEntry {
    DeleteMarkerEntry {
        is_latest: Some(version.is_latest),
        key: Some(spelling.spell(&version.entry.key)),
        last_modified: Some(time(version.entry.modified)),
        owner: owners.get(&version.entry.owner).cloned(),
        version_id: Some(version.entry.version.to_string()),
    }
}
