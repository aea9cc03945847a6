//! Snapshots.

use super::listing::{
    Shown, ids_or_page, named, page, tell, tell_flag, tell_number, tell_tags, tell_time, time_of,
};
use super::tag::shown;
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target, grant, not_dry};
use crate::app::snapshot::{Snapshot, in_use, not_found};
use crate::app::tag::{Taggable, Tags};
use crate::store::snapshot::SnapshotDeleted;
use karri_proto::aws::Done;
use karri_proto::aws::ec2;
use karri_proto::aws::ec2::{
    DeleteSnapshotRequest, DeleteSnapshotReturnCode, DescribeSnapshotAttributeRequest,
    DescribeSnapshotAttributeResult, DescribeSnapshotsRequest, DescribeSnapshotsResult,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{self, Fault, FaultCode};
use karri_proto::ids::SnapshotId;

/// EC2 tells of a snapshot without a volume so.
const NO_VOLUME: &str = "vol-ffffffff";

pub fn delete_asks(_: &Cx, request: &DeleteSnapshotRequest) -> Asks {
    Asks::On(vec![Target::new("snapshot", &request.snapshot_id)])
}

pub async fn describe_snapshots(
    cx: Cx,
    request: DescribeSnapshotsRequest,
) -> Answer<DescribeSnapshotsResult> {
    ids_or_page(&request.snapshot_ids, request.max_results, "snapshotSet")?;
    for id in &request.snapshot_ids {
        id.parse::<SnapshotId>()?;
    }
    // An administrator reaches everyone's by naming them or their owner.
    let by_name = !request.snapshot_ids.is_empty() || !request.owner_ids.is_empty();
    let reach = cx.is_administrator() && by_name;
    let mut snapshots = cx.app.store.snapshot_list((!reach).then_some(cx.account())).await?;
    snapshots = named(&request.snapshot_ids, snapshots, |one| &one.id, not_found)?;
    if !request.owner_ids.is_empty() {
        snapshots.retain(|one| request.owner_ids.iter().any(|owner| is_of(&cx, one, owner)));
    }
    if !request.restorable_by_user_ids.is_empty() {
        // Nobody is let in by anybody, so each is its owner's to restore.
        snapshots.retain(|one| request.restorable_by_user_ids.iter().any(|user| is_of(&cx, one, user)));
    }
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::Snapshot).await?;
    let told = snapshots.iter().map(|one| describe(one, &tags.remove(&one.id).unwrap_or_default()));
    let key = |one: &ec2::Snapshot| one.snapshot_id.clone().unwrap_or_default();
    let (snapshots, next_token) = page(&request, told.collect(), key)?;
    Ok(DescribeSnapshotsResult { next_token, snapshots })
}

fn is_of(cx: &Cx, snapshot: &Snapshot, owner: &str) -> bool {
    match owner {
        "self" => snapshot.account == cx.account(),
        owner => snapshot.account == owner,
    }
}

fn describe(snapshot: &Snapshot, tags: &Tags) -> ec2::Snapshot {
    let created = time_of(snapshot.created_ms);
    ec2::Snapshot {
        completion_time: Some(created),
        description: Some(snapshot.definition.description.clone()),
        encrypted: Some(false),
        full_snapshot_size_in_bytes: i64::try_from(snapshot.definition.blob.bytes).ok(),
        owner_id: Some(snapshot.account.clone()),
        progress: Some("100%".to_owned()),
        snapshot_id: Some(snapshot.id.clone()),
        start_time: Some(created),
        state: Some("completed".to_owned()),
        storage_tier: Some("standard".to_owned()),
        tags: shown(tags),
        volume_id: Some(NO_VOLUME.to_owned()),
        volume_size: i32::try_from(snapshot.gib()).ok(),
        ..Default::default()
    }
}

impl Filterable for Shown<ec2::Snapshot> {
    const FILTERS: &'static [&'static str] = &[
        "description",
        "encrypted",
        "owner-alias",
        "owner-id",
        "progress",
        "snapshot-id",
        "start-time",
        "status",
        "storage-tier",
        "transfer-type",
        "volume-id",
        "volume-size",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let one = &self.0;
        match name {
            "description" => tell(each, &one.description),
            "encrypted" => tell_flag(each, one.encrypted),
            "owner-id" => tell(each, &one.owner_id),
            "progress" => tell(each, &one.progress),
            "snapshot-id" => tell(each, &one.snapshot_id),
            "start-time" => tell_time(each, one.start_time),
            "status" => tell(each, &one.state),
            "storage-tier" => tell(each, &one.storage_tier),
            "volume-id" => tell(each, &one.volume_id),
            "volume-size" => tell_number(each, one.volume_size),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}

/// One that the caller may see.
async fn found(cx: &Cx, id: &str) -> Result<Snapshot, Fault> {
    let id: SnapshotId = id.parse()?;
    let snapshot = cx.app.store.snapshot_fetch(id.as_str()).await?;
    let snapshot = snapshot.filter(|one| one.is_visible_to(cx.account(), cx.is_administrator()));
    snapshot.ok_or_else(|| id.not_found())
}

pub async fn describe_snapshot_attribute(
    cx: Cx,
    request: DescribeSnapshotAttributeRequest,
) -> Answer<DescribeSnapshotAttributeResult> {
    let snapshot = found(&cx, &request.snapshot_id).await?;
    if !["createVolumePermission", "productCodes"].contains(&request.attribute.as_str()) {
        let shown = fault::shown(&request.attribute);
        let sentence = format!("Value ({shown}) for parameter attribute is invalid. Unknown attribute.");
        return Err(Fault::invalid_parameter(sentence));
    }
    // Nobody has been let in, and nothing is sold.
    Ok(DescribeSnapshotAttributeResult { snapshot_id: Some(snapshot.id), ..Default::default() })
}

pub async fn delete_snapshot(cx: Cx, request: DeleteSnapshotRequest) -> Answer<Done> {
    let snapshot = found(&cx, &request.snapshot_id).await?;
    if let Some(image) = cx.app.store.snapshot_user(&snapshot.id).await? {
        return Err(in_use(&snapshot.id, &image));
    }
    not_dry(&request)?;
    match cx.app.store.snapshot_delete(&snapshot.id).await? {
        SnapshotDeleted::Done => {}
        SnapshotDeleted::InUse(image) => return Err(in_use(&snapshot.id, &image)),
        SnapshotDeleted::Absent => return Err(not_found(&[&snapshot.id])),
    }
    tracing::info!(request_id = %cx.request_id, snapshot_id = snapshot.id, "snapshot deleted");
    Ok(Done)
}

/// What DeregisterImage does about the snapshot of an image that is gone, where it is asked to.
pub async fn delete_with_image(cx: &Cx, id: &str) -> DeleteSnapshotReturnCode {
    let code = match try_delete(cx, id).await {
        Ok(SnapshotDeleted::Done) => "success",
        Ok(SnapshotDeleted::InUse(_)) => "skipped",
        Ok(SnapshotDeleted::Absent) => "client-error",
        Err(fault) if fault.kind() == FaultCode::UnauthorizedOperation => "missing-permissions",
        Err(fault) => {
            let cause = fault.cause().unwrap_or(fault.message());
            tracing::warn!(request_id = %cx.request_id, snapshot_id = id, cause, "snapshot not deleted");
            "internal-error"
        }
    };
    tracing::info!(request_id = %cx.request_id, snapshot_id = id, code, "snapshot of a deregistered image");
    DeleteSnapshotReturnCode { return_code: Some(code.to_owned()), snapshot_id: Some(id.to_owned()) }
}

async fn try_delete(cx: &Cx, id: &str) -> Answer<SnapshotDeleted> {
    let request = DeleteSnapshotRequest { snapshot_id: id.to_owned(), ..Default::default() };
    grant(cx, &request, Asks::On(vec![Target::new("snapshot", id)])).await?;
    Ok(cx.app.store.snapshot_delete(id).await?)
}
