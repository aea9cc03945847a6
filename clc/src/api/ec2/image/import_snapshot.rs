//! ImportSnapshot and the tasks that it makes.

use super::import::user_bucket;
use super::owner;
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::listing::{Shown, absent, ids_or_page, named, page, tell, tell_tags};
use crate::api::ec2::tag::{shown, specified};
use crate::api::ec2::token::token;
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::image::import::DiskContainer;
use crate::app::image::import_snapshot::{SnapshotWork, check};
use crate::app::image::task::{Asked, ImageTask, TaskState, Work, too_many};
use crate::app::now_ms;
use crate::app::tag::{Taggable, Tags};
use crate::store::image_task::TaskInserted;
use karri_proto::aws::ec2::{
    DescribeImportSnapshotTasksRequest, DescribeImportSnapshotTasksResult, ImportSnapshotRequest,
    ImportSnapshotResult, ImportSnapshotTask, SnapshotDiskContainer, SnapshotTaskDetail,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::ImportSnapshotTaskId;

pub fn import_snapshot_asks(_: &Cx, _: &ImportSnapshotRequest) -> Asks {
    Asks::On(vec![Target::new("import-snapshot-task", "*"), Target::new("snapshot", "*")])
}

pub async fn import_snapshot(cx: Cx, request: ImportSnapshotRequest) -> Answer<ImportSnapshotResult> {
    let tags = specified(&request.tag_specifications, Taggable::ImportSnapshotTask)?;
    let (token, tried) = (token(&cx, &request)?, not_dry(&request));
    if let Some(given) = &token.client_token
        && let Some(earlier) = cx.app.store.image_task_by_token(cx.account(), given).await?
    {
        return answer(&token.same(earlier)?, tags);
    }
    if request.encrypted == Some(true) || request.kms_key_id.is_some() {
        return Err(Fault::new(FaultCode::Unsupported, "Encrypted snapshots are not supported"));
    }
    let caller = cx.app.caller(&cx.request_id);
    let disk = request.disk_container.map(disk);
    let work = check(&*cx.app.bundles, &caller, owner(&cx), request.description, disk).await?;
    tried?;
    let id = String::from(ImportSnapshotTaskId::random(&mut rand::thread_rng()));
    let asked = Asked { request_id: &cx.request_id, now_ms: now_ms() };
    let task = ImageTask::new(id, cx.account(), Work::ImportSnapshot(work), token.clone(), asked);
    match cx.app.store.image_task_insert(&task, Taggable::ImportSnapshotTask, &tags).await? {
        TaskInserted::New => {
            cx.app.images_pending.notify_one();
            tracing::info!(request_id = %cx.request_id, task_id = task.id, "import accepted");
            answer(&task, tags)
        }
        TaskInserted::Before(earlier) => answer(&token.same(earlier)?, tags),
        TaskInserted::TooMany => Err(too_many()),
    }
}

fn disk(container: SnapshotDiskContainer) -> DiskContainer {
    let user_bucket = container.user_bucket.unwrap_or_default();
    DiskContainer {
        description: container.description,
        device_name: None,
        format: container.format,
        url: container.url,
        bucket: user_bucket.s3_bucket,
        key: user_bucket.s3_key,
    }
}

fn work(task: &ImageTask) -> Result<&SnapshotWork, Fault> {
    match &task.work {
        Work::ImportSnapshot(work) => Ok(work),
        Work::Import(_) | Work::Export(_) => Err(Fault::internal("a snapshot's import task of an image")),
    }
}

fn answer(task: &ImageTask, tags: Tags) -> Answer<ImportSnapshotResult> {
    let told = describe(task, &tags)?;
    Ok(ImportSnapshotResult {
        description: told.description,
        import_task_id: told.import_task_id,
        snapshot_task_detail: told.snapshot_task_detail,
        tags: told.tags,
    })
}

fn describe(task: &ImageTask, tags: &Tags) -> Result<ImportSnapshotTask, Fault> {
    let work = work(task)?;
    let active = task.state == TaskState::Active;
    #[allow(clippy::cast_precision_loss)] // EC2 tells bytes as a floating-point number
    let disk_image_size = Some(work.object_bytes as f64);
    let detail = SnapshotTaskDetail {
        description: work.disk_description.clone(),
        disk_image_size,
        encrypted: Some(false),
        format: Some(work.format.to_ascii_uppercase()),
        progress: active.then(|| task.progress_percent.to_string()),
        snapshot_id: work.snapshot_id.clone(),
        status: Some(task.state.as_str().to_owned()),
        status_message: task.message.clone(),
        url: work.url.clone(),
        user_bucket: work.url.is_none().then(|| user_bucket(&work.source)),
        ..SnapshotTaskDetail::default()
    };
    Ok(ImportSnapshotTask {
        description: work.description.clone(),
        import_task_id: Some(task.id.clone()),
        snapshot_task_detail: Some(detail),
        tags: shown(tags),
    })
}

pub async fn describe_import_snapshot_tasks(
    cx: Cx,
    request: DescribeImportSnapshotTasksRequest,
) -> Answer<DescribeImportSnapshotTasksResult> {
    ids_or_page(&request.import_task_ids, request.max_results, "importTaskIds")?;
    for id in &request.import_task_ids {
        id.parse::<ImportSnapshotTaskId>()?;
    }
    let tasks = cx.app.store.image_task_list(cx.account(), ImportSnapshotTaskId::PREFIX).await?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidConversionTaskId, "import task ID", ids);
    let tasks = named(&request.import_task_ids, tasks, |task| &task.id, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::ImportSnapshotTask).await?;
    let told = tasks.iter().map(|task| describe(task, &tags.remove(&task.id).unwrap_or_default()));
    let key = |task: &ImportSnapshotTask| task.import_task_id.clone().unwrap_or_default();
    let (import_snapshot_tasks, next_token) = page(&request, told.collect::<Result<_, _>>()?, key)?;
    Ok(DescribeImportSnapshotTasksResult { import_snapshot_tasks, next_token })
}

impl Filterable for Shown<ImportSnapshotTask> {
    const FILTERS: &'static [&'static str] = &["task-state"];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        if name == "task-state" {
            tell(each, &self.0.snapshot_task_detail.as_ref().and_then(|detail| detail.status.clone()));
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}
