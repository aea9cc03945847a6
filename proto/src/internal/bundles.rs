//! Image bundles at Walrus: what a manifest says, and the image that is made of it.
//!
//! ```text
//!   inspect  may this user read manifest and parts, is the manifest sound?   quick: nothing is decrypted
//!   make     starts to make the image, or says how far it is                 asked again until it is made
//!   release  no image of the cloud is on this blob any more
//! ```
//!
//! What a user may read is found out by `inspect`, in the user's own request. `make` names the manifest by its
//! ETag, and the manifest its parts by their digests: it makes nothing else than what was permitted.

use super::blobs::{BlobPurpose, ImportedBlob};
use super::caller::guarded;
use super::openapi::named;
use super::{ApiError, Caller, Role};
use crate::instance::Digest;
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, post_with};
use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A server answers `make` by then, made or not.
pub const MAKE_WAIT: Duration = Duration::from_secs(2);

/// A manifest, and who wants an image of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BundleAsked {
    pub bucket: String,
    pub key: String,
    /// Whose right to read counts.
    pub access_key_id: String,
    /// Where the user's request came from, as policies may ask.
    pub address: Option<IpAddr>,
}

/// What a sound manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BundleFacts {
    /// Of the manifest as it was read.
    pub etag: String,
    pub purpose: BlobPurpose,
    pub architecture: String,
    /// Of the image, as it was bundled.
    pub bytes: u64,
    /// As they stand in the manifest.
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    pub root_device: Option<String>,
}

/// A manifest that was inspected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct BundleToMake {
    pub bucket: String,
    pub key: String,
    pub etag: String,
    /// Whose certificates its signature counts for.
    pub account: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BundleProgress {
    /// In bytes of the bundle.
    Making { done: u64, all: u64 },
    /// The blob stays until it is released.
    Made(ImportedBlob),
}

#[async_trait]
pub trait BundleService: Send + Sync + 'static {
    /// `NotFound`: no such bucket or key; `Forbidden`: the user may not read one of the objects;
    /// `Invalid`: the manifest or what it names is wrong.
    async fn bundle_inspect(&self, caller: &Caller, asked: &BundleAsked) -> Result<BundleFacts, ApiError>;
    /// Idempotent. `Invalid`: no image comes of it, however often it is asked for: also when the manifest is another
    /// one by now.
    async fn bundle_make(&self, caller: &Caller, bundle: &BundleToMake) -> Result<BundleProgress, ApiError>;
    /// Idempotent. A blob that was not made of a bundle stays as it is.
    async fn bundle_release(&self, caller: &Caller, digest: &Digest) -> Result<(), ApiError>;
}

type Service = State<Arc<dyn BundleService>>;

pub fn router(service: Arc<dyn BundleService>) -> Router {
    guarded(api().with_state(service).into(), |identity| identity.role == Role::Clc)
}

pub(super) fn api() -> ApiRouter<Arc<dyn BundleService>> {
    ApiRouter::new()
        .api_route("/v1/bundles/inspect", post_with(handle_inspect, named("bundle_inspect")))
        .api_route("/v1/bundles/make", post_with(handle_make, named("bundle_make")))
        .api_route("/v1/bundles/holds/{digest}", delete_with(handle_release, named("bundle_release")))
}

async fn handle_inspect(
    State(service): Service,
    caller: Caller,
    Json(asked): Json<BundleAsked>,
) -> Result<Json<BundleFacts>, ApiError> {
    service.bundle_inspect(&caller, &asked).await.map(Json)
}

async fn handle_make(
    State(service): Service,
    caller: Caller,
    Json(bundle): Json<BundleToMake>,
) -> Result<Json<BundleProgress>, ApiError> {
    service.bundle_make(&caller, &bundle).await.map(Json)
}

async fn handle_release(
    State(service): Service,
    caller: Caller,
    Path(digest): Path<String>,
) -> Result<(), ApiError> {
    let digest: Digest = digest.parse().map_err(|error| ApiError::invalid(format!("{error}")))?;
    service.bundle_release(&caller, &digest).await
}

#[async_trait]
impl BundleService for InternalClient {
    async fn bundle_inspect(&self, caller: &Caller, asked: &BundleAsked) -> Result<BundleFacts, ApiError> {
        self.post("/v1/bundles/inspect", &caller.request_id, asked).await
    }

    async fn bundle_make(&self, caller: &Caller, bundle: &BundleToMake) -> Result<BundleProgress, ApiError> {
        self.post("/v1/bundles/make", &caller.request_id, bundle).await
    }

    async fn bundle_release(&self, caller: &Caller, digest: &Digest) -> Result<(), ApiError> {
        self.delete(&format!("/v1/bundles/holds/{digest}"), &caller.request_id).await
    }
}
