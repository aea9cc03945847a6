//! ImportImage and the tasks that it makes.

use super::owner;
use super::task::cancel;
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::listing::{Shown, absent, ids_or_page, named, page, tell, tell_tags};
use crate::api::ec2::tag::{shown, specified};
use crate::api::ec2::token::token;
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::image::bundle::BundleSource;
use crate::app::image::import::{DiskContainer, ImportDraft, ImportWork, check};
use crate::app::image::task::{Asked, ImageTask, TaskState, Work, too_many};
use crate::app::now_ms;
use crate::app::tag::{Taggable, Tags};
use crate::store::image_task::TaskInserted;
use karri_proto::aws::ec2::{
    CancelImportTaskRequest, CancelImportTaskResult, DescribeImportImageTasksRequest,
    DescribeImportImageTasksResult, ImageDiskContainer, ImportImageRequest, ImportImageResult,
    ImportImageTask, SnapshotDetail, UserBucketDetails,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{self, Fault, FaultCode};
use karri_proto::ids::{ImportImageTaskId, ImportSnapshotTaskId};

pub fn import_asks(_: &Cx, _: &ImportImageRequest) -> Asks {
    Asks::On(vec![Target::new("import-image-task", "*"), Target::new("image", "*")])
}

pub fn cancel_import_asks(_: &Cx, request: &CancelImportTaskRequest) -> Asks {
    let id = request.import_task_id.as_deref().unwrap_or("*");
    let kind = if is_of_snapshot(id) { Taggable::ImportSnapshotTask } else { Taggable::ImportImageTask };
    Asks::On(vec![Target::new(kind.as_str(), id)])
}

/// What kind of import a task is stands in its id.
fn is_of_snapshot(id: &str) -> bool {
    id.starts_with(ImportSnapshotTaskId::PREFIX)
}

pub async fn import_image(cx: Cx, request: ImportImageRequest) -> Answer<ImportImageResult> {
    let tags = specified(&request.tag_specifications, Taggable::ImportImageTask)?;
    let (token, tried) = (token(&cx, &request)?, not_dry(&request));
    if let Some(given) = &token.client_token
        && let Some(earlier) = cx.app.store.image_task_by_token(cx.account(), given).await?
    {
        return answer(&token.same(earlier)?, tags);
    }
    let draft = draft(request)?;
    let caller = cx.app.caller(&cx.request_id);
    let work = check(&*cx.app.bundles, &caller, owner(&cx), draft).await?;
    tried?;
    let id = String::from(ImportImageTaskId::random(&mut rand::thread_rng()));
    let asked = Asked { request_id: &cx.request_id, now_ms: now_ms() };
    let task = ImageTask::new(id, cx.account(), Work::Import(work), token.clone(), asked);
    match cx.app.store.image_task_insert(&task, Taggable::ImportImageTask, &tags).await? {
        TaskInserted::New => {
            cx.app.images_pending.notify_one();
            tracing::info!(request_id = %cx.request_id, task_id = task.id, "import accepted");
            answer(&task, tags)
        }
        TaskInserted::Before(earlier) => answer(&token.same(earlier)?, tags),
        TaskInserted::TooMany => Err(too_many()),
    }
}

fn unsupported(sentence: &'static str) -> Fault {
    Fault::new(FaultCode::Unsupported, sentence)
}

fn draft(request: ImportImageRequest) -> Result<ImportDraft, Fault> {
    if request.encrypted == Some(true) || request.kms_key_id.is_some() {
        return Err(unsupported("Encrypted images are not supported"));
    }
    if !request.license_specifications.is_empty() {
        return Err(unsupported("LicenseSpecifications are not supported: there is no license manager"));
    }
    if request.usage_operation.as_deref().is_some_and(|usage| usage != "RunInstances") {
        return Err(unsupported("The only UsageOperation is RunInstances: this cloud bills nobody"));
    }
    if let Some(other) = request.hypervisor.as_deref().filter(|name| *name != "xen") {
        let shown = fault::shown(other);
        let sentence = format!("Value ({shown}) for parameter hypervisor is invalid. Expecting one of: xen.");
        return Err(Fault::invalid_parameter(sentence));
    }
    let disks = request.disk_containers.into_iter().map(disk).collect::<Result<_, _>>()?;
    Ok(ImportDraft {
        architecture: request.architecture,
        boot_mode: request.boot_mode,
        description: request.description,
        platform: request.platform,
        license_type: request.license_type,
        disks,
    })
}

fn disk(container: ImageDiskContainer) -> Result<DiskContainer, Fault> {
    if container.snapshot_id.is_some() {
        return Err(unsupported("An image of a snapshot is registered with RegisterImage"));
    }
    let user_bucket = container.user_bucket.unwrap_or_default();
    Ok(DiskContainer {
        description: container.description,
        device_name: container.device_name,
        format: container.format,
        url: container.url,
        bucket: user_bucket.s3_bucket,
        key: user_bucket.s3_key,
    })
}

fn work(task: &ImageTask) -> Result<&ImportWork, Fault> {
    match &task.work {
        Work::Import(work) => Ok(work),
        Work::ImportSnapshot(_) | Work::Export(_) => Err(Fault::internal("an image's import task of none")),
    }
}

fn answer(task: &ImageTask, tags: Tags) -> Answer<ImportImageResult> {
    let told = describe(task, &tags)?;
    Ok(ImportImageResult {
        architecture: told.architecture,
        description: told.description,
        encrypted: told.encrypted,
        hypervisor: told.hypervisor,
        image_id: told.image_id,
        import_task_id: told.import_task_id,
        license_type: told.license_type,
        platform: told.platform,
        progress: told.progress,
        snapshot_details: told.snapshot_details,
        status: told.status,
        status_message: told.status_message,
        tags: told.tags,
        usage_operation: told.usage_operation,
        ..ImportImageResult::default()
    })
}

fn describe(task: &ImageTask, tags: &Tags) -> Result<ImportImageTask, Fault> {
    let work = work(task)?;
    let active = task.state == TaskState::Active;
    Ok(ImportImageTask {
        architecture: Some(work.architecture.clone()),
        boot_mode: work.boot_mode.clone(),
        description: work.description.clone(),
        encrypted: Some(false),
        hypervisor: Some("xen".to_owned()),
        image_id: work.image_id.clone(),
        import_task_id: Some(task.id.clone()),
        license_type: work.license_type.clone(),
        platform: Some(work.platform.clone()),
        progress: active.then(|| task.progress_percent.to_string()),
        snapshot_details: vec![detail(task, work)],
        status: Some(task.state.as_str().to_owned()),
        status_message: task.message.clone(),
        tags: shown(tags),
        usage_operation: Some("RunInstances".to_owned()),
        ..ImportImageTask::default()
    })
}

/// Where the disk lies that an import is of.
pub(super) fn user_bucket(source: &BundleSource) -> UserBucketDetails {
    UserBucketDetails { s3_bucket: Some(source.bucket.clone()), s3_key: Some(source.key.clone()) }
}

/// EC2 tells of an imported disk under this name. The image is on the disk itself: no snapshot is made for it.
fn detail(task: &ImageTask, work: &ImportWork) -> SnapshotDetail {
    #[allow(clippy::cast_precision_loss)] // EC2 tells bytes as a floating-point number
    let disk_image_size = Some(work.object_bytes as f64);
    SnapshotDetail {
        description: work.disk_description.clone(),
        device_name: Some(work.device_name.clone()),
        disk_image_size,
        format: Some(work.format.to_ascii_uppercase()),
        status: Some(task.state.as_str().to_owned()),
        url: work.url.clone(),
        user_bucket: work.url.is_none().then(|| user_bucket(&work.source)),
        ..SnapshotDetail::default()
    }
}

pub async fn describe_import_image_tasks(
    cx: Cx,
    request: DescribeImportImageTasksRequest,
) -> Answer<DescribeImportImageTasksResult> {
    ids_or_page(&request.import_task_ids, request.max_results, "importTaskIds")?;
    for id in &request.import_task_ids {
        id.parse::<ImportImageTaskId>()?;
    }
    let tasks = cx.app.store.image_task_list(cx.account(), ImportImageTaskId::PREFIX).await?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidConversionTaskId, "import task ID", ids);
    let tasks = named(&request.import_task_ids, tasks, |task| &task.id, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::ImportImageTask).await?;
    let told = tasks.iter().map(|task| describe(task, &tags.remove(&task.id).unwrap_or_default()));
    let key = |task: &ImportImageTask| task.import_task_id.clone().unwrap_or_default();
    let (import_image_tasks, next_token) = page(&request, told.collect::<Result<_, _>>()?, key)?;
    Ok(DescribeImportImageTasksResult { import_image_tasks, next_token })
}

impl Filterable for Shown<ImportImageTask> {
    const FILTERS: &'static [&'static str] = &["task-state"];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        if name == "task-state" {
            tell(each, &self.0.status);
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}

pub async fn cancel_import_task(cx: Cx, request: CancelImportTaskRequest) -> Answer<CancelImportTaskResult> {
    let missing =
        || Fault::new(FaultCode::MissingParameter, "The request must contain the parameter importTaskId");
    let id = request.import_task_id.as_deref().ok_or_else(missing)?;
    let not_found = match is_of_snapshot(id) {
        true => id.parse::<ImportSnapshotTaskId>()?.not_found(),
        false => id.parse::<ImportImageTaskId>()?.not_found(),
    };
    let reason = request.cancel_reason.clone().filter(|reason| crate::app::text::is_plain(reason));
    let (task, cancelled) = cancel(&cx, &request, "import", id, || not_found, reason).await?;
    Ok(CancelImportTaskResult {
        import_task_id: Some(task.id),
        previous_state: Some(task.state.as_str().to_owned()),
        state: Some(cancelled.state.as_str().to_owned()),
    })
}
