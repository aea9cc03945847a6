//! ExportImage and the tasks that it makes.

use super::task::cancel;
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::listing::{Shown, absent, ids_or_page, named, page, tell, tell_tags};
use crate::api::ec2::tag::{shown, specified};
use crate::api::ec2::token::token;
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::image::check_id;
use crate::app::image::export::{ExportWork, blob, format_of, format_text, inspect, key};
use crate::app::image::task::{Asked, ImageTask, TaskState, Work, too_many};
use crate::app::now_ms;
use crate::app::tag::{Taggable, Tags};
use crate::app::text::is_plain;
use crate::store::image_task::TaskInserted;
use karri_proto::aws::Done;
use karri_proto::aws::ec2::{
    CancelExportTaskRequest, DescribeExportImageTasksRequest, DescribeExportImageTasksResult,
    ExportImageRequest, ExportImageResult, ExportImageTask, ExportTaskS3Location,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::ExportImageTaskId;
use karri_proto::internal::exports::ExportTarget;

const DESCRIPTION_CHARS_MAX: usize = 255;

pub fn export_asks(_: &Cx, request: &ExportImageRequest) -> Asks {
    Asks::On(vec![Target::new("export-image-task", "*"), Target::new("image", &request.image_id)])
}

pub fn cancel_export_asks(_: &Cx, request: &CancelExportTaskRequest) -> Asks {
    Asks::On(vec![Target::new("export-image-task", &request.export_task_id)])
}

pub async fn export_image(cx: Cx, request: ExportImageRequest) -> Answer<ExportImageResult> {
    let tags = specified(&request.tag_specifications, Taggable::ExportImageTask)?;
    let token = token(&cx, &request)?;
    if let Some(given) = &token.client_token
        && let Some(earlier) = cx.app.store.image_task_by_token(cx.account(), given).await?
    {
        return answer(&token.same(earlier)?, tags);
    }
    let id = String::from(ExportImageTaskId::random(&mut rand::thread_rng()));
    let work = work_of(&cx, &request, &id).await?;
    not_dry(&request)?;
    let asked = Asked { request_id: &cx.request_id, now_ms: now_ms() };
    let task = ImageTask::new(id, cx.account(), Work::Export(work), token.clone(), asked);
    match cx.app.store.image_task_insert(&task, Taggable::ExportImageTask, &tags).await? {
        TaskInserted::New => {
            cx.app.images_pending.notify_one();
            tracing::info!(request_id = %cx.request_id, task_id = task.id, "export accepted");
            answer(&task, tags)
        }
        TaskInserted::Before(earlier) => answer(&token.same(earlier)?, tags),
        TaskInserted::TooMany => Err(too_many()),
    }
}

/// What is to be exported, if the caller may take it out and write it there.
async fn work_of(cx: &Cx, request: &ExportImageRequest, task_id: &str) -> Result<ExportWork, Fault> {
    let plain = |text: &str| text.chars().count() <= DESCRIPTION_CHARS_MAX && is_plain(text);
    if request.description.as_deref().is_some_and(|text| !plain(text)) {
        let sentence = format!(
            "The parameter description must be at most {DESCRIPTION_CHARS_MAX} characters long and must not contain \
             control characters"
        );
        return Err(Fault::invalid_parameter(sentence));
    }
    check_id(&request.image_id)?;
    let image = cx.app.store.image_fetch(&request.image_id).await?;
    let digest = blob(image.as_ref(), &request.image_id, cx.account(), cx.is_administrator())?;
    let (location, format) = (&request.s3_export_location, format_of(&request.disk_image_format));
    let prefix = location.s3_prefix.clone();
    let target = ExportTarget {
        bucket: location.s3_bucket.clone(),
        key: key(&location.s3_bucket, prefix.as_deref(), task_id, format)?,
        access_key_id: cx.signer.access_key_id.clone(),
        session_token: cx.signer.session_token().cloned(),
        address: cx.client.address,
    };
    inspect(&*cx.app.exports, &cx.app.caller(&cx.request_id), &target).await?;
    let (image_id, description) = (request.image_id.clone(), request.description.clone());
    Ok(ExportWork { image_id, digest, format, target, prefix, description })
}

fn work(task: &ImageTask) -> Result<&ExportWork, Fault> {
    match &task.work {
        Work::Export(work) => Ok(work),
        Work::Import(_) | Work::ImportSnapshot(_) => Err(Fault::internal("an export task of an import")),
    }
}

fn answer(task: &ImageTask, tags: Tags) -> Answer<ExportImageResult> {
    let format = format_text(work(task)?.format);
    let told = describe(task, &tags)?;
    Ok(ExportImageResult {
        description: told.description,
        disk_image_format: Some(format.to_owned()),
        export_image_task_id: told.export_image_task_id,
        image_id: told.image_id,
        progress: told.progress,
        role_name: None,
        s3_export_location: told.s3_export_location,
        status: told.status,
        status_message: told.status_message,
        tags: told.tags,
    })
}

fn describe(task: &ImageTask, tags: &Tags) -> Result<ExportImageTask, Fault> {
    let work = work(task)?;
    let active = task.state == TaskState::Active;
    Ok(ExportImageTask {
        description: work.description.clone(),
        export_image_task_id: Some(task.id.clone()),
        image_id: Some(work.image_id.clone()),
        progress: active.then(|| task.progress_percent.to_string()),
        s3_export_location: Some(ExportTaskS3Location {
            s3_bucket: Some(work.target.bucket.clone()),
            s3_prefix: work.prefix.clone(),
        }),
        status: Some(task.state.as_str().to_owned()),
        status_message: task.message.clone(),
        tags: shown(tags),
    })
}

pub async fn describe_export_image_tasks(
    cx: Cx,
    request: DescribeExportImageTasksRequest,
) -> Answer<DescribeExportImageTasksResult> {
    ids_or_page(&request.export_image_task_ids, request.max_results, "exportImageTaskIds")?;
    for id in &request.export_image_task_ids {
        id.parse::<ExportImageTaskId>()?;
    }
    let tasks = cx.app.store.image_task_list(cx.account(), ExportImageTaskId::PREFIX).await?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidExportTaskIdNotFound, "export task ID", ids);
    let tasks = named(&request.export_image_task_ids, tasks, |task| &task.id, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::ExportImageTask).await?;
    let told = tasks.iter().map(|task| describe(task, &tags.remove(&task.id).unwrap_or_default()));
    let key = |task: &ExportImageTask| task.export_image_task_id.clone().unwrap_or_default();
    let (export_image_tasks, next_token) = page(&request, told.collect::<Result<_, _>>()?, key)?;
    Ok(DescribeExportImageTasksResult { export_image_tasks, next_token })
}

impl Filterable for Shown<ExportImageTask> {
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

/// What is written already stays in the bucket, as on EC2.
pub async fn cancel_export_task(cx: Cx, request: CancelExportTaskRequest) -> Answer<Done> {
    let id: ExportImageTaskId = request.export_task_id.parse()?;
    cancel(&cx, &request, "export", id.as_str(), || id.not_found(), None).await?;
    Ok(Done)
}
