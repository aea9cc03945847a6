//! Uploads in parts.

use super::acl::owner;
use super::authorise::{self, Act, Grant};
use super::copy::{bytes, check_size, source_of};
use super::cx::{Cx, time};
use super::fault::{About, refusal};
use super::list::{KEYS_MAX, Spelling, checked_max};
use super::notification;
use super::object_put::{check_early, check_of, owner_of_new, version_text};
use super::payload::Payload;
use super::receive::{Checksums, Received, length, receive};
use super::reply::Reply;
use super::upload_facts::{facts, upload_head};
use crate::app::s3::acl::Permission;
use crate::app::s3::checksum::{self, checksums_of, show_checksum};
use crate::app::s3::condition::WriteConditions;
use crate::app::s3::encryption::{AES256, ClientKeyHeaders, KMS, Sse, Wanted, client_key, show_sse};
use crate::app::s3::notification::Created;
use crate::app::s3::parts::{self, Final, Listed};
use crate::app::s3::range;
use crate::store::keeper::seal::Seal;
use crate::store::objects::{
    Bucket, ETag, NewUpload, Page, Part, PartPut, StoreError, Upload, UploadComplete, UploadId, UploadQuery,
};
use karri_proto::aws::s3::{
    AbortMultipartUploadOutput, AbortMultipartUploadRequest, CompleteMultipartUploadOutput,
    CompleteMultipartUploadRequest, CopyPartResult, CreateMultipartUploadOutput,
    CreateMultipartUploadRequest, Initiator, ListMultipartUploadsOutput, ListMultipartUploadsRequest,
    ListPartsOutput, ListPartsRequest, MultipartUpload, S3Code, S3Fault, UploadPartCopyOutput,
    UploadPartCopyRequest, UploadPartOutput, UploadPartRequest,
};
use karri_proto::checksum::Kind;
use std::sync::Arc;

const PARTS_MAX: usize = 10_000;
const WRITE: Grant = Grant::Bucket(Permission::Write);

pub async fn create_multipart_upload(
    cx: Cx,
    request: CreateMultipartUploadRequest,
) -> Result<CreateMultipartUploadOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let (mut facts, wanted) = facts(&cx, &bucket, &request.key, &upload_head!(request)).await?;
    let asked = parts::asked(request.checksum_algorithm.as_deref(), request.checksum_type.as_deref())?;
    facts.extra.extend(asked.map(|asked| asked.to_extra()));
    let owner = owner_of_new(&cx, &bucket);
    let initiator = cx.account().map_or_else(|| bucket.owner.clone(), Arc::from);
    let seal = match &wanted {
        Wanted::Plain => Seal::Plain,
        Wanted::Master | Wanted::Kms(_) => Seal::Master,
        Wanted::Customer(_) => Seal::Customer,
    };
    let new =
        NewUpload { bucket: bucket.id, key: request.key.as_str().into(), owner, initiator, seal, facts };
    let about = About::key(&bucket.name, &request.key);
    let upload = cx.s3.objects.upload_create(new).await.map_err(|e| about.fault(e))?;
    let mut output = CreateMultipartUploadOutput {
        bucket: request.bucket.clone(),
        key: request.key.clone(),
        upload_id: upload.id.to_string(),
        checksum_algorithm: asked.map(|asked| asked.algorithm.name().to_owned()),
        checksum_type: asked.map(|asked| asked.kind.name().to_owned()),
        ..CreateMultipartUploadOutput::default()
    };
    show_sse!(output, wanted.sse());
    Ok(output)
}

/// The upload, for somebody who may write the object that it is to become.
async fn upload_for(
    cx: &Cx,
    bucket: &Bucket,
    key: &str,
    id: &str,
    action: &'static str,
    grant: Grant,
) -> Result<Upload, S3Fault> {
    authorise::allow(cx, bucket, Act::on_key(action, grant, key))?;
    let parsed: UploadId = id.parse().map_err(|_| S3Fault::no_such_upload(id))?;
    let about = About::key(&bucket.name, key).upload(id);
    cx.s3.objects.upload_fetch(bucket.id, key, parsed).await.map_err(|e| about.fault(e))
}

fn part_number(number: i32) -> Result<u16, S3Fault> {
    let checked = u16::try_from(number).ok().filter(|number| (1..=PARTS_MAX).contains(&usize::from(*number)));
    checked.ok_or_else(|| {
        let text = "Part number must be an integer between 1 and 10000, inclusive";
        S3Fault::invalid_argument("partNumber", &number.to_string(), text)
    })
}

/// Parts are sealed as their upload was begun.
fn wanted_of(upload: &Upload, client: ClientKeyHeaders<'_>) -> Result<Wanted, S3Fault> {
    let key = client.read()?;
    match (upload.facts.sse.as_deref().and_then(Sse::from_text), key) {
        (Some(Sse::Customer(md5)), Some(key)) if key.md5 == md5 => Ok(Wanted::Customer(key)),
        (Some(Sse::Customer(_)), Some(_)) => {
            let text = "The provided encryption parameters did not match the ones used originally.";
            Err(S3Fault::saying(S3Code::InvalidRequest, text))
        }
        (Some(Sse::Customer(_)), None) => Err(S3Fault::saying(
            S3Code::InvalidRequest,
            "The multipart upload initiate requested encryption. Subsequent part requests must include the \
             appropriate encryption parameters.",
        )),
        (_, Some(_)) => Err(S3Fault::saying(
            S3Code::InvalidRequest,
            "The multipart upload initiate did not request encryption. Please resend the request without sending \
             encryption parameters.",
        )),
        (Some(Sse::Master), None) => Ok(Wanted::Master),
        (Some(Sse::Kms(name)), None) => Ok(Wanted::Kms(name)),
        (None, None) => Ok(Wanted::Plain),
    }
}

pub async fn upload_part(
    cx: Cx,
    request: UploadPartRequest,
    payload: Payload,
) -> Result<UploadPartOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let number = part_number(request.part_number)?;
    let (key, id) = (&request.key, &request.upload_id);
    let upload = upload_for(&cx, &bucket, key, id, "s3:PutObject", WRITE).await?;
    let wanted = wanted_of(&upload, client_key!(request))?;
    length(&payload)?;
    let announced = payload.claims.checksum.as_ref().map(|announced| announced.algorithm);
    let wants = parts::of_part(&upload.facts, announced)?;
    let checksums = Checksums { default: wants, always: Some(wants) };
    let received = receive(&cx, payload, &wanted, checksums).await?;
    let part = keep_part(&cx, &bucket, &upload, number, received).await?;
    let mut output =
        UploadPartOutput { etag: Some(format!("\"{}\"", part.etag)), ..UploadPartOutput::default() };
    let shown = part.checksums.first().and_then(checksum::shown_part);
    show_checksum!(output, &shown);
    show_sse!(output, wanted.sse());
    Ok(output)
}

async fn keep_part(
    cx: &Cx,
    bucket: &Bucket,
    upload: &Upload,
    number: u16,
    received: Received,
) -> Result<Part, S3Fault> {
    let checksums = received.checksums.iter().filter_map(|one| checksum::to_store(one, Kind::FullObject));
    let put = PartPut {
        upload: upload.id,
        bucket: upload.bucket,
        key: upload.key.clone(),
        number,
        etag: ETag { md5: received.md5, parts: 0 },
        checksums: checksums.collect(),
        content: received.content,
    };
    let id = upload.id.to_string();
    let about = About::key(&bucket.name, &upload.key).upload(&id);
    cx.s3.objects.part_put(put).await.map_err(|e| about.fault(e))
}

pub async fn upload_part_copy(
    cx: Cx,
    request: UploadPartCopyRequest,
) -> Result<UploadPartCopyOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let number = part_number(request.part_number)?;
    let (key, id) = (&request.key, &request.upload_id);
    let upload = upload_for(&cx, &bucket, key, id, "s3:PutObject", WRITE).await?;
    let source = source_of!(&cx, request).await?;
    let size = source.found.object.size;
    let span = request.copy_source_range.as_deref().map(|text| range::copied(text, size)).transpose()?;
    let span = span.unwrap_or(0..size);
    check_size(span.end - span.start)?;
    let wanted = wanted_of(&upload, client_key!(request))?;
    let algorithm = parts::of_part(&upload.facts, None)?;
    let received = bytes(&cx, &source, span, &wanted, Some(algorithm)).await?;
    let part = keep_part(&cx, &bucket, &upload, number, received).await?;
    let mut result = CopyPartResult {
        etag: Some(format!("\"{}\"", part.etag)),
        last_modified: Some(time(part.modified)),
        ..CopyPartResult::default()
    };
    let shown = part.checksums.first().and_then(checksum::shown_part);
    show_checksum!(result, &shown);
    let mut output = UploadPartCopyOutput {
        copy_part_result: result,
        copy_source_version_id: source.version(),
        ..UploadPartCopyOutput::default()
    };
    show_sse!(output, wanted.sse());
    Ok(output)
}

pub async fn complete_multipart_upload(
    cx: Cx,
    request: CompleteMultipartUploadRequest,
) -> Result<Reply, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    authorise::allow(&cx, &bucket, Act::on_key("s3:PutObject", WRITE, &request.key))?;
    let id = request.upload_id.clone();
    let upload: UploadId = id.parse().map_err(|_| S3Fault::no_such_upload(&id))?;
    let listed = listed(&request)?;
    let whole = Final {
        checksum: checksums_of!(request)
            .into_iter()
            .find_map(|(algorithm, text)| Some((algorithm, text?.to_owned()))),
        kind: request.checksum_type.clone(),
        size: request.mpu_object_size.map(|size| u64::try_from(size).unwrap_or(u64::MAX)),
    };
    let conditions =
        WriteConditions { if_match: request.if_match.clone(), if_none_match: request.if_none_match.clone() };
    // What was completed before is answered as it was then: its own object is in nobody's way.
    if let Some(upload) = under_way(&cx, &bucket, &request.key, upload).await? {
        check_client_key(&cx, &upload, &request).await?;
        check_early(&cx, &bucket, &request.key, &conditions).await?;
    }
    let assemble = Arc::new(move |upload: &Upload, parts: &[Part]| {
        parts::assemble(upload, parts, &listed, &whole).map_err(refusal)
    });
    let complete = UploadComplete {
        bucket: bucket.id,
        key: request.key.as_str().into(),
        upload,
        assemble,
        check: check_of(&request.key, &conditions),
        tell: notification::tell_of(&cx, &bucket, Some(Created::CompleteMultipartUpload)),
    };
    let about = About::key(&bucket.name, &request.key).upload(&id);
    let completed = cx.s3.objects.upload_complete(complete).await.map_err(|e| about.fault(e))?;
    let object = completed.object;
    let mut output = CompleteMultipartUploadOutput {
        location: format!("http://{}{}", cx.host, cx.uri.path()),
        bucket: request.bucket,
        key: request.key,
        etag: format!("\"{}\"", object.etag),
        version_id: version_text(&bucket, &object),
        ..CompleteMultipartUploadOutput::default()
    };
    let shown = checksum::shown(&object.facts, object.etag.parts);
    show_checksum!(output, &shown);
    output.checksum_type = shown.map(|shown| checksum::kind_text(shown.kind).to_owned());
    Ok(completed_reply(&mut output, object.facts.sse.as_deref()))
}

/// A client's key is named in headers that the model does not know here, as s3-tests wants it.
fn completed_reply(output: &mut CompleteMultipartUploadOutput, sse: Option<&str>) -> Reply {
    match sse.and_then(Sse::from_text) {
        Some(Sse::Master) => output.server_side_encryption = Some(AES256.to_owned()),
        Some(Sse::Kms(name)) => {
            output.server_side_encryption = Some(KMS.to_owned());
            output.sse_kms_key_id = Some(name);
        }
        Some(Sse::Customer(md5)) => {
            const ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
            const MD5: &str = "x-amz-server-side-encryption-customer-key-md5";
            return Reply::of::<CompleteMultipartUploadRequest>(output)
                .header(http::HeaderName::from_static(ALGORITHM), AES256)
                .header(http::HeaderName::from_static(MD5), md5);
        }
        None => {}
    }
    Reply::of::<CompleteMultipartUploadRequest>(output)
}

/// Nothing for one that is not there, or not any more.
async fn under_way(cx: &Cx, bucket: &Bucket, key: &str, id: UploadId) -> Result<Option<Upload>, S3Fault> {
    match cx.s3.objects.upload_fetch(bucket.id, key, id).await {
        Ok(upload) => Ok(Some(upload)),
        Err(StoreError::NoSuchUpload) => Ok(None),
        Err(error) => Err(About::key(&bucket.name, key).fault(error)),
    }
}

/// A client's key that is sent must be the upload's; it must be sent where the upload was begun with a
/// checksum, as AWS has it, or has a part that came with one.
async fn check_client_key(
    cx: &Cx,
    upload: &Upload,
    request: &CompleteMultipartUploadRequest,
) -> Result<(), S3Fault> {
    let client = client_key!(request);
    let is_sent = client.algorithm.is_some() || client.key.is_some() || client.md5.is_some();
    if is_sent || parts::Asked::of(&upload.facts).is_some() || has_announced(cx, upload).await? {
        wanted_of(upload, client)?;
    }
    Ok(())
}

/// Whether a part of an upload under a client's key came with another checksum than the one that all have.
async fn has_announced(cx: &Cx, upload: &Upload) -> Result<bool, S3Fault> {
    if upload.seal != Seal::Customer {
        return Ok(false);
    }
    let listed = cx.s3.objects.part_list(upload, 0, PARTS_MAX).await;
    let (listed, _) = listed.map_err(|error| About::default().fault(error))?;
    Ok(listed.iter().any(|part| part.checksums.len() > 1))
}

fn listed(request: &CompleteMultipartUploadRequest) -> Result<Vec<Listed>, S3Fault> {
    let parts = request.multipart_upload.as_ref().map(|upload| upload.parts.as_slice()).unwrap_or_default();
    if parts.is_empty() {
        return Err(S3Fault::new(S3Code::MalformedXml));
    }
    let one = |part: &karri_proto::aws::s3::CompletedPart| {
        let number = part_number(part.part_number.ok_or_else(|| S3Fault::new(S3Code::MalformedXml))?)?;
        let etag = part.etag.clone().ok_or_else(|| S3Fault::new(S3Code::MalformedXml))?;
        let checksums = checksums_of!(part).into_iter();
        let checksums = checksums.filter_map(|(algorithm, text)| Some((algorithm, text?.to_owned())));
        Ok(Listed { number, etag, checksums: checksums.collect() })
    };
    parts.iter().map(one).collect()
}

pub async fn abort_multipart_upload(
    cx: Cx,
    request: AbortMultipartUploadRequest,
) -> Result<AbortMultipartUploadOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let (key, id) = (&request.key, &request.upload_id);
    let upload = upload_for(&cx, &bucket, key, id, "s3:AbortMultipartUpload", WRITE).await?;
    let about = About::key(&bucket.name, key).upload(id);
    cx.s3.objects.upload_abort(bucket.id, key, upload.id).await.map_err(|e| about.fault(e))?;
    Ok(AbortMultipartUploadOutput::default())
}

async fn initiator(cx: &Cx, account: &str) -> Result<Initiator, S3Fault> {
    let owner = owner(cx, account).await?;
    Ok(Initiator { display_name: owner.display_name, id: owner.id })
}

pub async fn list_parts(cx: Cx, request: ListPartsRequest) -> Result<ListPartsOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let (key, id) = (&request.key, &request.upload_id);
    let action = "s3:ListMultipartUploadParts";
    let upload = upload_for(&cx, &bucket, key, id, action, Grant::Nobody).await?;
    let (max_parts, limit) = checked_max("max-parts", request.max_parts)?;
    let after = request.part_number_marker.unwrap_or_default();
    let after_number = u16::try_from(after).map_err(|_| {
        let text = "Argument part-number-marker must be an integer between 0 and 2147483647";
        S3Fault::invalid_argument("part-number-marker", &after.to_string(), text)
    })?;
    let about = About::key(&bucket.name, key).upload(id);
    let listed = cx.s3.objects.part_list(&upload, after_number, limit).await;
    let (parts, more) = listed.map_err(|e| about.fault(e))?;
    let asked = parts::Asked::of(&upload.facts);
    Ok(ListPartsOutput {
        checksum_algorithm: asked.map(|asked| asked.algorithm.name().to_owned()),
        checksum_type: asked.map(|asked| asked.kind.name().to_owned()),
        initiator: Some(initiator(&cx, &upload.initiator).await?),
        owner: Some(owner(&cx, &upload.owner).await?),
        is_truncated: more,
        max_parts: max_parts.min(KEYS_MAX),
        next_part_number_marker: parts.last().map(|part| i32::from(part.number)),
        part_number_marker: after,
        parts: parts.iter().map(part).collect(),
        storage_class: Some(upload.facts.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned())),
        bucket: request.bucket,
        key: request.key,
        upload_id: request.upload_id,
        ..ListPartsOutput::default()
    })
}

fn part(part: &Part) -> karri_proto::aws::s3::Part {
    let mut shown_part = karri_proto::aws::s3::Part {
        part_number: Some(i32::from(part.number)),
        etag: Some(format!("\"{}\"", part.etag)),
        size: i64::try_from(part.size).ok(),
        last_modified: Some(time(part.modified)),
        ..karri_proto::aws::s3::Part::default()
    };
    let shown = part.checksums.first().and_then(checksum::shown_part);
    show_checksum!(shown_part, &shown);
    shown_part
}

pub async fn list_multipart_uploads(
    cx: Cx,
    request: ListMultipartUploadsRequest,
) -> Result<ListMultipartUploadsOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let (action, grant) = ("s3:ListBucketMultipartUploads", Grant::Bucket(Permission::Read));
    let bucket = authorise::bucket_for(&cx, name, expected, action, grant).await?;
    let (max_uploads, limit) = checked_max("max-uploads", request.max_uploads)?;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let marker = given(&request.upload_id_marker);
    let query = UploadQuery {
        prefix: request.prefix.clone().unwrap_or_default(),
        delimiter: given(&request.delimiter),
        key_marker: given(&request.key_marker),
        upload_marker: marker.as_deref().map(parse_marker).transpose()?,
        limit,
    };
    let page = match limit {
        0 => Page { entries: Vec::new(), prefixes: Vec::new(), next: None },
        _ => cx.s3.objects.upload_list(bucket.id, &query).await.map_err(|e| About::bucket(name).fault(e))?,
    };
    let spelling = Spelling::of(request.encoding_type.as_deref());
    let mut uploads = Vec::with_capacity(page.entries.len());
    for upload in &page.entries {
        let asked = parts::Asked::of(&upload.facts);
        uploads.push(MultipartUpload {
            checksum_algorithm: asked.map(|asked| asked.algorithm.name().to_owned()),
            checksum_type: asked.map(|asked| asked.kind.name().to_owned()),
            initiated: Some(time(upload.initiated)),
            initiator: Some(initiator(&cx, &upload.initiator).await?),
            key: Some(spelling.spell(&upload.key)),
            owner: Some(owner(&cx, &upload.owner).await?),
            storage_class: Some(upload.facts.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned())),
            upload_id: Some(upload.id.to_string()),
            version_id: None,
        });
    }
    Ok(ListMultipartUploadsOutput {
        common_prefixes: spelling.prefixes(&page.prefixes),
        delimiter: spelling.spell_some(query.delimiter.clone()),
        encoding_type: request.encoding_type,
        is_truncated: page.next.is_some(),
        key_marker: spelling.spell(&request.key_marker.unwrap_or_default()),
        max_uploads: max_uploads.min(KEYS_MAX),
        next_upload_id_marker: page.next.as_ref().and_then(|next| next.upload).map(|id| id.to_string()),
        next_key_marker: page.next.map(|next| spelling.spell(&next.key)),
        prefix: spelling.spell_some(request.prefix),
        request_charged: None,
        upload_id_marker: request.upload_id_marker.unwrap_or_default(),
        uploads,
        bucket: request.bucket,
    })
}

fn parse_marker(text: &str) -> Result<UploadId, S3Fault> {
    text.parse().map_err(|_| S3Fault::invalid_argument("upload-id-marker", text, "Invalid uploadId marker"))
}
