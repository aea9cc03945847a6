//! Root disks that nodes send for a task, as blobs that may go: whoever works at the task uses one at once.
//!
//! A node may send what the cloud controller has said that it will, and nothing else. What is expected is only
//! remembered: it is said again and again until the task is over.

use super::blobs::drain;
use crate::app::import::{For, ImportError, Importer};
use crate::app::sniff::Purpose;
use crate::store::holds::Hold;
use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::{Json, Router};
use futures_util::StreamExt;
use karri_proto::ids::BundleTaskId;
use karri_proto::internal::blobs::ImportedBlob;
use karri_proto::internal::caller::guarded;
use karri_proto::internal::instance_bundles::{CAPTURE_PATH, CaptureExpected};
use karri_proto::internal::openapi::{self, named};
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const EXPECTED_MAX: usize = 256;
/// What nobody expects any more for so long is refused.
const EXPECTED_FOR: Duration = Duration::from_secs(60);

/// Which nodes may send a disk, and for which tasks.
#[derive(Debug, Clone, Default)]
pub struct Expected(Arc<Mutex<HashMap<BundleTaskId, Expectation>>>);

#[derive(Debug)]
struct Expectation {
    node: Identity,
    account: String,
    until: Instant,
}

impl Expected {
    fn lock(&self) -> MutexGuard<'_, HashMap<BundleTaskId, Expectation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn expect(&self, expected: &CaptureExpected) -> Result<(), ApiError> {
        let mut known = self.lock();
        let now = Instant::now();
        known.retain(|_, one| one.until > now);
        if known.len() >= EXPECTED_MAX && !known.contains_key(&expected.task) {
            return Err(ApiError::unreachable("too many disks are expected"));
        }
        let CaptureExpected { task, node, account } = expected.clone();
        known.insert(task, Expectation { node, account, until: now + EXPECTED_FOR });
        Ok(())
    }

    pub fn refuse(&self, task: &BundleTaskId) {
        self.lock().remove(task);
    }

    /// The account of the task, if this node may send its disk now.
    fn account(&self, task: &BundleTaskId, node: &Identity) -> Result<String, ApiError> {
        let known = self.lock();
        let expected = known.get(task).filter(|one| one.node == *node && one.until > Instant::now());
        let unexpected = || ApiError::forbidden(format!("no disk is expected from {node} for {task}"));
        Ok(expected.ok_or_else(unexpected)?.account.clone())
    }
}

#[derive(Clone)]
struct Captures {
    importer: Importer,
    expected: Expected,
}

pub fn router(importer: Importer, expected: Expected) -> Router {
    let routes = routes().with_state(Captures { importer, expected });
    guarded(routes.into(), |identity| identity.role == Role::Nc)
}

/// What this interface is, for `docs/api`.
pub fn document() -> serde_json::Value {
    openapi::document("CaptureService: root disks, sent by their nodes for a task", routes)
}

fn routes() -> ApiRouter<Captures> {
    ApiRouter::new().api_route(CAPTURE_PATH, post_with(handle_capture, named("capture_send")))
}

async fn handle_capture(
    State(captures): State<Captures>,
    caller: Caller,
    Path(task): Path<BundleTaskId>,
    body: Body,
) -> Result<Json<ImportedBlob>, ApiError> {
    let mut body = body.into_data_stream();
    let result = capture(&captures, &caller, &task, &mut body).await;
    if result.is_err() {
        drain(body);
    }
    result.map(Json)
}

async fn capture(
    captures: &Captures,
    caller: &Caller,
    task: &BundleTaskId,
    body: &mut BodyDataStream,
) -> Result<ImportedBlob, ApiError> {
    let account = captures.expected.account(task, &caller.identity)?;
    let mut body = body.map(|bytes| bytes.map_err(|error| ImportError::Broken(error.to_string())));
    let whom = For::job(&account, &caller.request_id);
    let kept = captures.importer.import(&mut body, Purpose::Any, Hold::Cached, whom).await?;
    let (request_id, digest) = (&caller.request_id, &kept.blob.digest);
    tracing::info!(request_id, task_id = task.as_str(), %digest, node = %caller.identity, "a disk has come");
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_node_that_is_expected_may_send_and_only_while_it_is() {
        let expected = Expected::default();
        let task: BundleTaskId = "bun-0123456789abcdef0".parse().unwrap();
        let [here, there] = ["a", "b"].map(|name| Identity::new(Role::Nc, "zone", name));
        assert!(expected.account(&task, &here).is_err());
        let account = "111111111111".to_owned();
        expected.expect(&CaptureExpected { task: task.clone(), node: here.clone(), account }).unwrap();
        assert_eq!(expected.account(&task, &here).unwrap(), "111111111111");
        assert!(expected.account(&task, &there).is_err());
        expected.lock().get_mut(&task).unwrap().until = Instant::now();
        assert!(expected.account(&task, &here).is_err());
        expected.refuse(&task);
        assert!(expected.lock().is_empty());
    }
}
