//! Carries imports and exports on, round by round, until there is something to tell.
//!
//! A round asks the image store about every task; it works at what it is asked about and at nothing else. A task that is
//! cancelled is given up there first, so that nothing comes of it afterwards.

use super::bundle::BundleSource;
use super::export::ExportWork;
use super::import::ImportWork;
use super::import_snapshot::SnapshotWork;
use super::making::{AT_ONCE_MAX, LATE, MakingError, PENDING_MAX};
use super::task::{Event, ImageTask, TaskState, Work, percent};
use super::{ImageKind, fair};
use crate::app::{App, now_ms};
use crate::store::image_task::Made;
use futures_util::future::join_all;
use karri_proto::internal::ApiError;
use karri_proto::internal::blobs::{BlobFacts, ImportedBlob};
use karri_proto::internal::bundles::BundleProgress;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::exports::ExportProgress;
use std::time::Duration;

/// What is over is told about for so long.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is to be done about a task after the image store was asked.
#[derive(Debug, PartialEq)]
enum Next<T> {
    Wait { percent: u8, doing: &'static str },
    Fail(String),
    Finish(T),
}

impl App {
    pub async fn image_tasks_work(&self) -> Result<(), MakingError> {
        let open = self.store.image_task_list_open().await?;
        let turn = fair::turn(open, |task| task.account.clone(), AT_ONCE_MAX);
        let worked = join_all(turn.iter().map(|task| self.image_task_work(task))).await;
        worked.into_iter().collect()
    }

    async fn image_task_work(&self, task: &ImageTask) -> Result<(), MakingError> {
        match (task.state, &task.work) {
            (TaskState::Deleting, work) => self.image_task_give_up(task, work).await,
            (TaskState::Active, Work::Import(work)) => self.import_work(task, work).await,
            (TaskState::Active, Work::ImportSnapshot(work)) => self.snapshot_work(task, work).await,
            (TaskState::Active, Work::Export(work)) => self.export_work(task, work).await,
            (TaskState::Deleted | TaskState::Completed, _) => Ok(()),
        }
    }

    async fn image_task_give_up(&self, task: &ImageTask, work: &Work) -> Result<(), MakingError> {
        let caller = self.caller(task.logged_as());
        let given_up = match work {
            Work::Import(work) => {
                self.bundles.bundle_abandon(&caller, &work.source.to_make(&task.account)).await
            }
            Work::ImportSnapshot(work) => {
                self.bundles.bundle_abandon(&caller, &work.source.to_make(&task.account)).await
            }
            Work::Export(work) => self.exports.export_abandon(&caller, &work.to_export()).await,
        };
        given_up.map_err(MakingError::Walrus)?;
        if let Some(over) = task.after(Event::GivenUp, task.message.clone(), now_ms()) {
            self.store.image_task_settle(task.state, &over, Made::Nothing).await?;
        }
        Ok(())
    }

    async fn import_work(&self, task: &ImageTask, work: &ImportWork) -> Result<(), MakingError> {
        match self.disk_made(task, &work.source).await? {
            Some(made) => self.import_finish(task, work, made).await,
            None => Ok(()),
        }
    }

    async fn snapshot_work(&self, task: &ImageTask, work: &SnapshotWork) -> Result<(), MakingError> {
        match self.disk_made(task, &work.source).await? {
            Some(made) => self.snapshot_finish(task, work, made).await,
            None => Ok(()),
        }
    }

    /// The disk once it is in the image store; until then, and when it never will be, the task is told so.
    async fn disk_made(
        &self,
        task: &ImageTask,
        source: &BundleSource,
    ) -> Result<Option<ImportedBlob>, MakingError> {
        let asked =
            self.bundles.bundle_make(&self.caller(task.logged_as()), &source.to_make(&task.account)).await;
        let asked = asked.map(|progress| match progress {
            BundleProgress::Making { done, all } => {
                Next::Wait { percent: percent(done, all), doing: "converting" }
            }
            BundleProgress::Made(made) => judged(made),
        });
        match next(asked, is_late(task)).map_err(MakingError::Walrus)? {
            Next::Wait { percent, doing } => self.image_task_tell(task, percent, doing).await?,
            Next::Fail(reason) => self.image_task_fail(task, reason).await?,
            Next::Finish(made) => return Ok(Some(made)),
        }
        Ok(None)
    }

    async fn import_finish(
        &self,
        task: &ImageTask,
        work: &ImportWork,
        made: ImportedBlob,
    ) -> Result<(), MakingError> {
        let digest = made.blob.digest.clone();
        let image = work.image(task, made.blob, now_ms());
        let Some(mut over) = task.after(Event::Done, None, now_ms()) else { return Ok(()) };
        over.work = Work::Import(ImportWork { image_id: Some(image.id.clone()), ..work.clone() });
        if self.store.image_task_settle(task.state, &over, Made::Image(&image)).await? {
            let request_id = task.logged_as();
            tracing::info!(request_id, task_id = task.id, image_id = image.id, %digest, "the image is imported");
            return Ok(());
        }
        self.blob_let_go(task.logged_as(), &digest).await.map(drop) // it was cancelled in between
    }

    async fn snapshot_finish(
        &self,
        task: &ImageTask,
        work: &SnapshotWork,
        made: ImportedBlob,
    ) -> Result<(), MakingError> {
        let digest = made.blob.digest.clone();
        let snapshot = work.snapshot(&task.id, &task.account, made.blob, now_ms());
        let Some(mut over) = task.after(Event::Done, None, now_ms()) else { return Ok(()) };
        let snapshot_id = Some(snapshot.id.clone());
        over.work = Work::ImportSnapshot(SnapshotWork { snapshot_id, ..work.clone() });
        if self.store.image_task_settle(task.state, &over, Made::Snapshot(&snapshot)).await? {
            let (request_id, snapshot_id) = (task.logged_as(), &snapshot.id);
            tracing::info!(request_id, task_id = task.id, snapshot_id, %digest, "the snapshot is imported");
            return Ok(());
        }
        self.blob_let_go(task.logged_as(), &digest).await.map(drop) // it was cancelled in between
    }

    async fn export_work(&self, task: &ImageTask, work: &ExportWork) -> Result<(), MakingError> {
        let asked = self.exports.export_make(&self.caller(task.logged_as()), &work.to_export()).await;
        let asked = asked.map(|progress| match progress {
            ExportProgress::Exporting { all: 0, .. } => Next::Wait { percent: 0, doing: "converting" },
            ExportProgress::Exporting { done, all } => {
                Next::Wait { percent: percent(done, all), doing: "updating" }
            }
            ExportProgress::Exported { bytes, .. } => Next::Finish(bytes),
        });
        match next(asked, is_late(task)).map_err(MakingError::Walrus)? {
            Next::Wait { percent, doing } => self.image_task_tell(task, percent, doing).await,
            Next::Fail(reason) => self.image_task_fail(task, reason).await,
            Next::Finish(bytes) => {
                let Some(over) = task.after(Event::Done, None, now_ms()) else { return Ok(()) };
                if self.store.image_task_settle(task.state, &over, Made::Nothing).await? {
                    tracing::info!(
                        request_id = task.logged_as(),
                        task_id = task.id,
                        image_id = work.image_id,
                        bytes,
                        "the image is exported"
                    );
                }
                Ok(())
            }
        }
    }

    /// How far it is; written only when that is news.
    async fn image_task_tell(&self, task: &ImageTask, percent: u8, doing: &str) -> Result<(), MakingError> {
        let percent = percent.max(task.progress_percent); // a lost image store begins anew, a task does not
        if task.progress_percent == percent && task.message.as_deref() == Some(doing) {
            return Ok(());
        }
        Ok(self.store.image_task_progress(&task.id, percent, doing).await?)
    }

    async fn image_task_fail(&self, task: &ImageTask, reason: String) -> Result<(), MakingError> {
        let request_id = task.logged_as();
        tracing::info!(request_id, task_id = task.id, reason, "nothing came of the task");
        if let Some(over) = task.after(Event::Failed, Some(reason), now_ms()) {
            self.store.image_task_settle(task.state, &over, Made::Nothing).await?;
        }
        Ok(())
    }

    pub async fn image_tasks_purge(&self) -> Result<(), MakingError> {
        Ok(self.store.image_task_purge(now_ms() - KEPT.as_millis() as i64).await?)
    }
}

fn is_late(task: &ImageTask) -> bool {
    now_ms() - task.created_ms > PENDING_MAX.as_millis() as i64
}

/// An error that another try may not have is the round's. EC2 tells whose fault it was before the reason.
fn next<T>(asked: Result<Next<T>, ApiError>, late: bool) -> Result<Next<T>, ApiError> {
    let late_reason = || Ok(Next::Fail(format!("ServerError: {LATE}")));
    match asked {
        Ok(Next::Wait { .. }) if late => late_reason(),
        Ok(next) => Ok(next),
        Err(error) => match error.kind {
            ApiErrorKind::Invalid => {
                Ok(Next::Fail(format!("ClientError: Disk validation failed [{}]", error.message)))
            }
            ApiErrorKind::Forbidden | ApiErrorKind::NotFound => {
                Ok(Next::Fail(format!("ClientError: {}", error.message)))
            }
            ApiErrorKind::Full => Ok(Next::Fail(format!("ServerError: {}", error.message))),
            ApiErrorKind::Conflict | ApiErrorKind::Unreachable | ApiErrorKind::Internal if late => {
                late_reason()
            }
            ApiErrorKind::Conflict | ApiErrorKind::Unreachable | ApiErrorKind::Internal => Err(error),
        },
    }
}

fn judged(made: ImportedBlob) -> Next<ImportedBlob> {
    let facts = BlobFacts { blob: made.blob.clone(), content: made.content };
    match super::register::check_content(ImageKind::Machine, &facts) {
        Ok(()) => Next::Finish(made),
        Err(fault) => Next::Fail(format!("ClientError: Disk validation failed [{}]", fault.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_try_may_not_have_is_tried_again_and_not_for_ever() {
        let gone = || Err::<Next<()>, _>(ApiError::unreachable("away"));
        assert!(next(gone(), false).is_err());
        assert_eq!(next(gone(), true), Ok(Next::Fail(format!("ServerError: {LATE}"))));
        let wait = || Ok::<Next<()>, ApiError>(Next::Wait { percent: 3, doing: "converting" });
        assert_eq!(next(wait(), false), wait());
        assert_eq!(next(wait(), true), Ok(Next::Fail(format!("ServerError: {LATE}"))));
    }

    #[test]
    fn whose_fault_it_was_is_told() {
        for (error, reason) in [
            (ApiError::invalid("torn"), "ClientError: Disk validation failed [torn]"),
            (ApiError::forbidden("not yours"), "ClientError: not yours"),
            (ApiError::full("no room"), "ServerError: no room"),
        ] {
            assert_eq!(next::<()>(Err(error), false), Ok(Next::Fail(reason.to_owned())));
        }
    }
}
