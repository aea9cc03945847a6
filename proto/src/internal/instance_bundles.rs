//! Root disks of instances, out of their nodes and into users' buckets as image bundles.
//!
//! ```text
//!   clc   inspect   may this user write a bundle there?           in the user's own request
//!   clc   expect    that node may send a disk for the task        said again until it has
//!   nc    send      the disk, as a stream                         a blob from then on, that may go
//!   clc   make      starts to write the bundle, or says how far   asked again until it is written
//!   clc   abandon   nobody wants it any more
//! ```
//!
//! The objects of a bundle appear when all of them are written, the manifest last. As with an export, the write is
//! permitted once more when it happens.

use super::blobs::ImportedBlob;
use super::caller::guarded;
use super::exports::ExportTarget;
use super::openapi::named;
use super::signers::SecretText;
use super::{ApiError, Caller, Identity, Role};
use crate::ids::BundleTaskId;
use crate::instance::Digest;
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use async_trait::async_trait;
use axum::extract::State;
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

/// `POST` by a node that is expected, body: a qcow2 image without a backing file; the answer is an
/// [`ImportedBlob`].
pub const CAPTURE_PATH: &str = "/v1/captures/{task}";

/// Where a bundle goes: `BUCKET/PREFIX.manifest.xml`, and its parts beside that.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct BundleTarget {
    /// Its key is the manifest's. The right to write is that of its access key.
    pub manifest: ExportTarget,
    /// `PREFIX`
    pub prefix: String,
    /// What that key's holder has signed, where another than the caller writes.
    #[serde(default)]
    pub policy: Option<SignedPolicy>,
}

/// A policy as upload forms have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SignedPolicy {
    /// In base64, as it was signed.
    pub text: SecretText,
    pub signature: SecretText,
}

/// A node that may send the disk of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CaptureExpected {
    pub task: BundleTaskId,
    pub node: Identity,
    /// Accounts take turns.
    pub account: String,
}

/// What a manifest says of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct BundledMachine {
    pub architecture: String,
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    /// `/dev/sda1`
    pub root_device: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct InstanceBundle {
    pub task: BundleTaskId,
    /// Whose image it is: what the manifest says, and whose certificate its keys are encrypted for as well.
    pub account: String,
    /// The disk.
    pub digest: Digest,
    pub machine: BundledMachine,
    pub target: BundleTarget,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceBundleProgress {
    /// In bytes of the disk; nothing is known of `all` at first.
    Making { done: u64, all: u64 },
    /// So many parts beside the manifest.
    Written { parts: u64 },
}

#[async_trait]
pub trait InstanceBundleService: Send + Sync + 'static {
    /// `NotFound`: no such bucket; `Forbidden`: the user may not write there, or the policy does not let it;
    /// `Invalid`: what is said of the bundle is wrong.
    async fn instance_bundle_inspect(&self, caller: &Caller, target: &BundleTarget) -> Result<(), ApiError>;
    /// For a while.
    async fn capture_expect(&self, caller: &Caller, expected: &CaptureExpected) -> Result<(), ApiError>;
    /// Made again, it is another bundle of the same disk in the same place. As `instance_bundle_inspect`, and
    /// `Conflict`: the disk is not there any more.
    async fn instance_bundle_make(
        &self,
        caller: &Caller,
        bundle: &InstanceBundle,
    ) -> Result<InstanceBundleProgress, ApiError>;
    /// Idempotent. True: it was too late, the bundle lies in its bucket; otherwise nothing of it will.
    async fn instance_bundle_abandon(
        &self,
        caller: &Caller,
        bundle: &InstanceBundle,
    ) -> Result<bool, ApiError>;
    /// Idempotent. Nothing is expected for the task any more.
    async fn capture_refuse(&self, caller: &Caller, task: &BundleTaskId) -> Result<(), ApiError>;
}

type Service = State<Arc<dyn InstanceBundleService>>;

pub fn router(service: Arc<dyn InstanceBundleService>) -> Router {
    guarded(api().with_state(service).into(), |identity| identity.role == Role::Clc)
}

pub(super) fn api() -> ApiRouter<Arc<dyn InstanceBundleService>> {
    ApiRouter::new()
        .api_route(
            "/v1/instance-bundles/inspect",
            post_with(handle_inspect, named("instance_bundle_inspect")),
        )
        .api_route("/v1/instance-bundles/expect", post_with(handle_expect, named("capture_expect")))
        .api_route("/v1/instance-bundles/make", post_with(handle_make, named("instance_bundle_make")))
        .api_route(
            "/v1/instance-bundles/abandon",
            post_with(handle_abandon, named("instance_bundle_abandon")),
        )
        .api_route("/v1/instance-bundles/refuse", post_with(handle_refuse, named("capture_refuse")))
}

async fn handle_inspect(
    State(service): Service,
    caller: Caller,
    Json(target): Json<BundleTarget>,
) -> Result<Json<()>, ApiError> {
    service.instance_bundle_inspect(&caller, &target).await.map(Json)
}

async fn handle_expect(
    State(service): Service,
    caller: Caller,
    Json(expected): Json<CaptureExpected>,
) -> Result<Json<()>, ApiError> {
    service.capture_expect(&caller, &expected).await.map(Json)
}

async fn handle_make(
    State(service): Service,
    caller: Caller,
    Json(bundle): Json<InstanceBundle>,
) -> Result<Json<InstanceBundleProgress>, ApiError> {
    service.instance_bundle_make(&caller, &bundle).await.map(Json)
}

async fn handle_abandon(
    State(service): Service,
    caller: Caller,
    Json(bundle): Json<InstanceBundle>,
) -> Result<Json<bool>, ApiError> {
    service.instance_bundle_abandon(&caller, &bundle).await.map(Json)
}

async fn handle_refuse(
    State(service): Service,
    caller: Caller,
    Json(task): Json<BundleTaskId>,
) -> Result<Json<()>, ApiError> {
    service.capture_refuse(&caller, &task).await.map(Json)
}

#[async_trait]
impl InstanceBundleService for InternalClient {
    async fn instance_bundle_inspect(&self, caller: &Caller, target: &BundleTarget) -> Result<(), ApiError> {
        self.post("/v1/instance-bundles/inspect", &caller.request_id, target).await
    }

    async fn capture_expect(&self, caller: &Caller, expected: &CaptureExpected) -> Result<(), ApiError> {
        self.post("/v1/instance-bundles/expect", &caller.request_id, expected).await
    }

    async fn instance_bundle_make(
        &self,
        caller: &Caller,
        bundle: &InstanceBundle,
    ) -> Result<InstanceBundleProgress, ApiError> {
        self.post("/v1/instance-bundles/make", &caller.request_id, bundle).await
    }

    async fn instance_bundle_abandon(
        &self,
        caller: &Caller,
        bundle: &InstanceBundle,
    ) -> Result<bool, ApiError> {
        self.post("/v1/instance-bundles/abandon", &caller.request_id, bundle).await
    }

    async fn capture_refuse(&self, caller: &Caller, task: &BundleTaskId) -> Result<(), ApiError> {
        self.post("/v1/instance-bundles/refuse", &caller.request_id, task).await
    }
}

impl InternalClient {
    /// A disk for a task; answered when it is kept.
    pub async fn capture_send(
        &self,
        caller: &Caller,
        task: &BundleTaskId,
        bytes: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<ImportedBlob, ApiError> {
        let body = reqwest::Body::wrap_stream(bytes);
        let path = self.path(&["v1", "captures", task.as_str()]);
        self.post_stream(&path, &caller.request_id, body).await
    }
}
