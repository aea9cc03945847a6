//! Carries bundle tasks on, round by round.
//!
//! A round looks at the task, at its instance and at what the image store says, and does one step, which may be repeated.
//! Whatever ends a task, its instance is told that no copy is wanted, and the image store that neither a disk nor a bundle
//! is, before the task is told as over.

use super::{BundleError, BundleState, BundleTask};
use crate::app::image::fair;
use crate::app::image::making::{AT_ONCE_MAX, MakingError};
use crate::app::image::task::percent;
use crate::app::instance::{Instance, State};
use crate::app::{App, now_ms};
use futures_util::future::join_all;
use karri_proto::instance::{CaptureState, Digest};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::instance_bundles::{CaptureExpected, InstanceBundleProgress};
use karri_proto::internal::{ApiError, Identity, Role};
use std::time::Duration;

/// A node gives up long before.
const WORKED_AT_MAX: Duration = Duration::from_secs(24 * 3600);
/// What is over is told about for so long.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, PartialEq)]
enum Next {
    /// Nothing can be done now.
    Wait,
    /// The node of that name is to be told.
    Want(String),
    /// The disk will come, from the node of that name.
    Expect(BundleState, String),
    /// It has.
    Store(Digest),
    Make(Digest),
    GiveUp(BundleError),
}

/// What is to be done about a task that is open.
fn next(task: &BundleTask, instance: Option<&Instance>, now_ms: i64) -> Next {
    if task.state == BundleState::Cancelling {
        return Next::GiveUp(BundleError::cancelled());
    }
    if now_ms - task.started_ms > WORKED_AT_MAX.as_millis() as i64 {
        return Next::GiveUp(BundleError::new("Server.InternalError", "The bundle was not made in a day"));
    }
    if let Some(digest) = &task.digest {
        return Next::Make(digest.clone());
    }
    let instance = instance.filter(|one| !matches!(one.state, State::ShuttingDown | State::Terminated));
    let Some(instance) = instance else {
        let sentence = "The instance was terminated before its disk was copied";
        return Next::GiveUp(BundleError::new("Client.InstanceTerminated", sentence));
    };
    if instance.capture.as_ref() != Some(&task.id) {
        // One that is on its way up or down is not taken off in the middle of that.
        let settled = matches!(instance.state, State::Running | State::Stopped);
        let node = instance.node.clone().filter(|_| settled);
        return node.map_or(Next::Wait, Next::Want);
    }
    let state = match instance.captured.as_ref().map(|seen| &seen.state) {
        None => BundleState::WaitingForShutdown,
        Some(CaptureState::Reading) => BundleState::Bundling,
        Some(CaptureState::Taken(digest)) => return Next::Store(digest.clone()),
        Some(CaptureState::Failed(reason)) => {
            return Next::GiveUp(BundleError::new(&reason.code, reason.message.clone()));
        }
    };
    match &instance.node {
        Some(node) => Next::Expect(state, node.clone()),
        None => Next::Wait,
    }
}

/// How a task ends when the image store says that. None: another try may have better luck.
fn ended(error: &ApiError) -> Option<BundleError> {
    match error.kind {
        ApiErrorKind::Forbidden | ApiErrorKind::NotFound => {
            Some(BundleError::new("Client.S3Error", error.message.clone()))
        }
        ApiErrorKind::Invalid | ApiErrorKind::Full => {
            Some(BundleError::new("Server.InternalError", error.message.clone()))
        }
        ApiErrorKind::Conflict | ApiErrorKind::Unreachable | ApiErrorKind::Internal => None,
    }
}

impl App {
    pub async fn bundle_tasks_work(&self) -> Result<(), MakingError> {
        let open = self.store.bundle_task_list_open().await?;
        let turn = fair::turn(open, |task| task.account.clone(), AT_ONCE_MAX);
        let worked = join_all(turn.iter().map(|task| self.bundle_task_work(task))).await;
        worked.into_iter().collect()
    }

    async fn bundle_task_work(&self, task: &BundleTask) -> Result<(), MakingError> {
        let instance = self.instances.get(&task.instance_id);
        match next(task, instance.as_deref(), now_ms()) {
            Next::Wait => Ok(()),
            Next::Want(node) => {
                self.capture_expect(task, instance.as_deref(), &node).await?; // before it can come
                self.capture_want(task).await
            }
            Next::Expect(state, node) => {
                self.capture_expect(task, instance.as_deref(), &node).await?;
                self.bundle_task_move(task, state).await
            }
            Next::Store(digest) => self.bundle_task_store(task, digest).await,
            Next::Make(digest) => self.bundle_make(task, &digest).await,
            Next::GiveUp(error) => self.bundle_task_give_up(task, error).await,
        }
    }

    async fn capture_expect(
        &self,
        task: &BundleTask,
        instance: Option<&Instance>,
        node: &str,
    ) -> Result<(), MakingError> {
        let cluster = instance.map(|instance| instance.cluster.as_str()).unwrap_or_default();
        let node = Identity::new(Role::Nc, cluster, node);
        let expected = CaptureExpected { task: task.id.clone(), node, account: task.account.clone() };
        let asked = self.instance_bundles.capture_expect(&self.caller(&task.request_id), &expected).await;
        asked.map_err(MakingError::Walrus)
    }

    /// From now on the instance's node works at it.
    async fn capture_want(&self, task: &BundleTask) -> Result<(), MakingError> {
        self.capture_change(task, |instance| {
            let settled = matches!(instance.state, State::Running | State::Stopped);
            if settled && instance.capture.as_ref() != Some(&task.id) {
                (instance.capture, instance.captured) = (Some(task.id.clone()), None);
                instance.advance(&task.request_id);
                return true;
            }
            false
        })
        .await?;
        self.bundle_task_move(task, BundleState::WaitingForShutdown).await
    }

    /// No copy is wanted for the task any more. A node that has it taken already need not hear of that.
    async fn capture_withdraw(&self, task: &BundleTask) -> Result<(), MakingError> {
        self.capture_change(task, |instance| {
            if instance.capture.as_ref() != Some(&task.id) {
                return false;
            }
            let over = instance.captured.take().is_some_and(|seen| seen.state.is_over());
            instance.capture = None;
            if !over && !matches!(instance.state, State::ShuttingDown | State::Terminated) {
                instance.advance(&task.request_id);
            }
            true
        })
        .await
    }

    async fn capture_change(
        &self,
        task: &BundleTask,
        change: impl Fn(&mut Instance) -> bool,
    ) -> Result<(), MakingError> {
        let ids = std::slice::from_ref(&task.instance_id);
        let decide = |instances: &mut [Instance]| {
            Ok::<_, MakingError>(instances.iter_mut().map(&change).collect::<Vec<bool>>())
        };
        let written = self.store.instances_change(ids, decide).await?;
        self.adopt(written);
        Ok(())
    }

    /// What is written down of the disk outlives the instance.
    async fn bundle_task_store(&self, task: &BundleTask, digest: Digest) -> Result<(), MakingError> {
        let stored =
            BundleTask { digest: Some(digest.clone()), ..task.moved(BundleState::Storing, now_ms()) };
        if !self.store.bundle_task_settle(task.state, &stored).await? {
            return Ok(()); // it was cancelled in between, and ends with the copy
        }
        self.capture_withdraw(task).await?;
        self.bundle_make(&stored, &digest).await
    }

    async fn bundle_make(&self, task: &BundleTask, digest: &Digest) -> Result<(), MakingError> {
        let caller = self.caller(&task.request_id);
        match self.instance_bundles.instance_bundle_make(&caller, &task.bundle(digest)).await {
            Ok(InstanceBundleProgress::Making { done, all }) => {
                // A lost image store begins anew, a task does not.
                let percent = percent(done, all).max(task.progress_percent);
                let moved = BundleTask { progress_percent: percent, ..task.moved(task.state, now_ms()) };
                if percent != task.progress_percent {
                    self.store.bundle_task_settle(task.state, &moved).await?;
                }
                Ok(())
            }
            Ok(InstanceBundleProgress::Written { parts }) => {
                let (request_id, task_id) = (&task.request_id, task.id.as_str());
                tracing::info!(request_id, task_id, instance_id = %task.instance_id, parts, "the instance is bundled");
                self.bundle_task_end(task, BundleState::Complete, None).await
            }
            Err(error) => match ended(&error) {
                Some(reason) => self.bundle_task_give_up(task, reason).await,
                None => Err(MakingError::Walrus(error)),
            },
        }
    }

    async fn bundle_task_give_up(&self, task: &BundleTask, error: BundleError) -> Result<(), MakingError> {
        let caller = self.caller(&task.request_id);
        let walrus = &self.instance_bundles;
        if let Some(digest) = &task.digest {
            let written = walrus.instance_bundle_abandon(&caller, &task.bundle(digest)).await;
            if written.map_err(MakingError::Walrus)? {
                return self.bundle_task_end(task, BundleState::Complete, None).await; // too late
            }
        } else {
            walrus.capture_refuse(&caller, &task.id).await.map_err(MakingError::Walrus)?;
        }
        let (request_id, task_id, reason) = (&task.request_id, task.id.as_str(), &error.message);
        tracing::info!(request_id, task_id, instance_id = %task.instance_id, reason, "nothing came of the bundle");
        self.bundle_task_end(task, BundleState::Failed, Some(error)).await
    }

    /// Nothing of it is left anywhere but what is told of it.
    async fn bundle_task_end(
        &self,
        task: &BundleTask,
        state: BundleState,
        error: Option<BundleError>,
    ) -> Result<(), MakingError> {
        let instance = self.instances.get(&task.instance_id);
        let taken = instance.filter(|instance| instance.capture.as_ref() == Some(&task.id));
        let taken = taken.and_then(|instance| match &instance.captured.as_ref()?.state {
            CaptureState::Taken(digest) => Some(digest.clone()),
            CaptureState::Reading | CaptureState::Failed(_) => None,
        });
        self.capture_withdraw(task).await?;
        if let Some(digest) = task.digest.clone().or(taken) {
            self.blob_let_go(&task.request_id, &digest).await?;
        }
        let over = BundleTask { error, ..task.moved(state, now_ms()) };
        self.store.bundle_task_settle(task.state, &over).await?;
        Ok(())
    }

    async fn bundle_task_move(&self, task: &BundleTask, state: BundleState) -> Result<(), MakingError> {
        if task.state != state {
            self.store.bundle_task_settle(task.state, &task.moved(state, now_ms())).await?;
        }
        Ok(())
    }

    pub async fn bundle_tasks_purge(&self) -> Result<(), MakingError> {
        Ok(self.store.bundle_task_purge(now_ms() - KEPT.as_millis() as i64).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::bundle_task::BundleWork;
    use crate::app::instance::sample;
    use karri_proto::instance::{CaptureReport, StateReason};
    use karri_proto::internal::exports::ExportTarget;
    use karri_proto::internal::instance_bundles::{BundleTarget, BundledMachine};

    const NOW_MS: i64 = 1_000_000_000_000;

    fn task(state: BundleState) -> BundleTask {
        let text = str::to_owned;
        let manifest = ExportTarget {
            bucket: text("bucket"),
            key: text("disk.manifest.xml"),
            access_key_id: text("AKIA"),
            session_token: None,
            address: None,
        };
        let machine = BundledMachine {
            architecture: text("x86_64"),
            kernel_id: None,
            ramdisk_id: None,
            root_device: text("/dev/sda1"),
        };
        BundleTask {
            id: "bun-0123456789abcdef0".parse().unwrap(),
            account: text("1"),
            instance_id: sample::instance().id,
            state,
            progress_percent: 0,
            work: BundleWork {
                target: BundleTarget { manifest, prefix: text("disk"), policy: None },
                machine,
            },
            digest: None,
            error: None,
            started_ms: NOW_MS,
            updated_ms: NOW_MS,
            ended_ms: None,
            request_id: text("req-1"),
        }
    }

    fn instance(state: State, captured: Option<CaptureState>) -> Instance {
        let task = task(BundleState::Pending).id;
        let captured = captured.map(|state| CaptureReport { task: task.clone(), state });
        Instance { state, capture: Some(task), captured, node: Some("node".to_owned()), ..sample::instance() }
    }

    fn gives_up(task: &BundleTask, instance: Option<&Instance>, now_ms: i64, code: &str) {
        let Next::GiveUp(error) = next(task, instance, now_ms) else { panic!("it goes on") };
        assert_eq!(error.code, code);
    }

    #[test]
    fn a_task_follows_its_instance() {
        let pending = task(BundleState::Pending);
        let fresh = |state| Instance { capture: None, ..instance(state, None) };
        let node = || "node".to_owned();
        assert_eq!(next(&pending, Some(&fresh(State::Running)), NOW_MS), Next::Want(node()));
        assert_eq!(next(&pending, Some(&fresh(State::Stopped)), NOW_MS), Next::Want(node()));
        assert_eq!(next(&pending, Some(&fresh(State::Stopping)), NOW_MS), Next::Wait);
        let digest = Digest::from_sha256([7; 32]);
        for (captured, expected) in [
            (None, Next::Expect(BundleState::WaitingForShutdown, node())),
            (Some(CaptureState::Reading), Next::Expect(BundleState::Bundling, node())),
            (Some(CaptureState::Taken(digest.clone())), Next::Store(digest.clone())),
        ] {
            assert_eq!(next(&pending, Some(&instance(State::Running, captured)), NOW_MS), expected);
        }
        let storing = BundleTask { digest: Some(digest.clone()), ..task(BundleState::Storing) };
        assert_eq!(next(&storing, None, NOW_MS), Next::Make(digest), "its instance is needed no more");
    }

    #[test]
    fn every_task_ends() {
        let pending = task(BundleState::Pending);
        let running = instance(State::Running, None);
        let late = NOW_MS + WORKED_AT_MAX.as_millis() as i64 + 1;
        gives_up(&pending, Some(&running), late, "Server.InternalError");
        gives_up(&pending, None, NOW_MS, "Client.InstanceTerminated");
        gives_up(&pending, Some(&instance(State::ShuttingDown, None)), NOW_MS, "Client.InstanceTerminated");
        let failed = CaptureState::Failed(StateReason::new("Server.Full", "Server.Full: no room"));
        gives_up(&pending, Some(&instance(State::Running, Some(failed))), NOW_MS, "Server.Full");
        gives_up(&task(BundleState::Cancelling), Some(&running), NOW_MS, "Client.Cancelled");
        assert_eq!(ended(&ApiError::forbidden("x")).unwrap().code, "Client.S3Error");
        assert_eq!(ended(&ApiError::unreachable("x")), None);
    }
}
