//! GetObjectAttributes; and RestoreObject, which has nothing to do here.

use super::authorise::{self, Act, Grant};
use super::cx::{Cx, time};
use super::fault::About;
use super::list::checked_max;
use super::object_get::{Actions, Found, READ, find};
use crate::app::s3::acl::Permission;
use crate::app::s3::checksum::{self, show_checksum};
use crate::app::s3::encryption::{client_key, key_to_read};
use crate::store::objects::{ChecksumType, PartFacts, Versioning};
use karri_proto::aws::s3::{
    Checksum, GetObjectAttributesOutput, GetObjectAttributesParts, GetObjectAttributesRequest, ObjectPart,
    RestoreObjectOutput, RestoreObjectRequest, S3Code, S3Fault,
};

const ATTRIBUTES: Actions = Actions {
    current: "s3:GetObjectAttributes",
    version: "s3:GetObjectVersionAttributes",
    grant: Grant::Object(Permission::Read),
};

pub async fn get_object_attributes(
    cx: Cx,
    request: GetObjectAttributesRequest,
) -> Result<GetObjectAttributesOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let version = request.version_id.as_deref();
    let found = find(&cx, bucket, &request.key, version, ATTRIBUTES).await?;
    let action = if version.is_some() { READ.version } else { READ.current };
    let act = Act::on_key(action, READ.grant, &request.key).at(&found.object).of_version(version);
    authorise::allow(&cx, &found.bucket, act)?;
    let client = client_key!(request);
    let object = &found.object;
    key_to_read(object.facts.sse.as_deref(), client)?;
    let wants = |name: &str| request.object_attributes.iter().any(|attribute| attribute == name);
    let parts = if wants("ObjectParts") { parts(&cx, &found, &request).await? } else { None };
    Ok(GetObjectAttributesOutput {
        checksum: wants("Checksum").then(|| checksum(&found)).flatten(),
        etag: wants("ETag").then(|| object.etag.to_string()),
        object_parts: parts,
        object_size: wants("ObjectSize").then(|| i64::try_from(object.size).unwrap_or(i64::MAX)),
        storage_class: wants("StorageClass")
            .then(|| object.facts.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned())),
        last_modified: Some(time(object.modified)),
        version_id: (found.bucket.versioning != Versioning::Off).then(|| object.version.to_string()),
        ..GetObjectAttributesOutput::default()
    })
}

fn checksum(found: &Found) -> Option<Checksum> {
    let shown = checksum::shown(&found.object.facts, found.object.etag.parts)?;
    let kind = Some(checksum::kind_text(shown.kind).to_owned());
    let mut checksum = Checksum { checksum_type: kind, ..Checksum::default() };
    show_checksum!(checksum, Some(&shown));
    Some(checksum)
}

async fn parts(
    cx: &Cx,
    found: &Found,
    request: &GetObjectAttributesRequest,
) -> Result<Option<GetObjectAttributesParts>, S3Fault> {
    let all = cx.s3.objects.object_parts(&found.object).await.map_err(|e| About::default().fault(e))?;
    if all.is_empty() {
        return Ok(None);
    }
    let (max_parts, limit) = checked_max("x-amz-max-parts", request.max_parts)?;
    let after = request.part_number_marker.unwrap_or_default();
    let behind: Vec<&PartFacts> = all.iter().filter(|part| i32::from(part.number) > after).collect();
    let page = &behind[..behind.len().min(limit)];
    let composite =
        found.object.facts.checksums.first().is_some_and(|one| one.kind == ChecksumType::Composite);
    Ok(Some(GetObjectAttributesParts {
        is_truncated: Some(page.len() < behind.len()),
        max_parts: Some(max_parts),
        next_part_number_marker: Some(page.last().map_or(0, |part| i32::from(part.number))),
        part_number_marker: Some(after),
        // AWS shows single parts only where they have checksums that tell something.
        parts: page.iter().map(|part| shown(part, composite)).collect(),
        total_parts_count: i32::try_from(all.len()).ok(),
    }))
}

fn shown(part: &PartFacts, composite: bool) -> ObjectPart {
    let mut shown = ObjectPart {
        part_number: Some(i32::from(part.number)),
        size: i64::try_from(part.size).ok(),
        ..ObjectPart::default()
    };
    let checksum = part.checksum.as_ref().filter(|_| composite).and_then(checksum::shown_part);
    show_checksum!(shown, &checksum);
    shown
}

pub async fn restore_object(cx: Cx, request: RestoreObjectRequest) -> Result<RestoreObjectOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let restore = Actions { current: "s3:RestoreObject", version: "s3:RestoreObject", grant: Grant::Nobody };
    find(&cx, bucket, &request.key, request.version_id.as_deref(), restore).await?;
    let text = "Restore is not allowed for the object's current storage class";
    Err(S3Fault::saying(S3Code::InvalidObjectState, text))
}
