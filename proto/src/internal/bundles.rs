//! Images out of objects at Walrus: an object is the manifest of a bundle, or it is a disk itself.
//!
//! ```text
//!   inspect  may this user read it (a manifest's parts too), is it sound?   quick: nothing is decrypted
//!   make     starts to make the image, or says how far it is                asked again until it is made
//!   abandon  nobody wants it made any more
//!   release  no image of the cloud is on this blob any more
//! ```
//!
//! What a user may read is found out by `inspect`, in the user's own request. `make` names the object by its
//! ETag, and a manifest its parts by their digests: it makes nothing else than what was permitted.

use super::blobs::{BlobPurpose, ImportedBlob};
use super::caller::guarded;
use super::openapi::named;
use super::signers::SecretText;
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

/// An object, and who wants an image of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BundleAsked {
    pub bucket: String,
    pub key: String,
    /// Whose right to read counts.
    pub access_key_id: String,
    /// With temporary credentials.
    #[serde(default)]
    pub session_token: Option<SecretText>,
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

/// What an object that is a disk image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskFacts {
    /// Of the object as it was read.
    pub etag: String,
    /// Found by content: `raw`, `qcow2`, `vmdk`, `vhd`, `vhdx`.
    pub format: String,
    /// Of the object.
    pub bytes: u64,
    /// Of the disk that it holds.
    pub virtual_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Inspected {
    Bundle(BundleFacts),
    Disk(DiskFacts),
}

/// What an object was found to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A manifest, with parts beside it.
    #[default]
    Bundle,
    Disk,
}

/// An object that was inspected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct BundleToMake {
    #[serde(default)]
    pub kind: SourceKind,
    pub bucket: String,
    pub key: String,
    pub etag: String,
    /// Whose certificates a manifest's signature counts for.
    pub account: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BundleProgress {
    /// In bytes of the object or of the bundle's parts.
    Making { done: u64, all: u64 },
    /// The blob stays until it is released.
    Made(ImportedBlob),
}

#[async_trait]
pub trait BundleService: Send + Sync + 'static {
    /// `NotFound`: no such bucket or key; `Forbidden`: the user may not read one of the objects;
    /// `Invalid`: the object, or what a manifest names, is wrong.
    async fn bundle_inspect(&self, caller: &Caller, asked: &BundleAsked) -> Result<Inspected, ApiError>;
    /// Idempotent. `Invalid`: no image comes of it, however often it is asked for: also when the object is another
    /// one by now.
    async fn bundle_make(&self, caller: &Caller, bundle: &BundleToMake) -> Result<BundleProgress, ApiError>;
    /// Idempotent. What is made already stays as a copy.
    async fn bundle_abandon(&self, caller: &Caller, bundle: &BundleToMake) -> Result<(), ApiError>;
    /// Idempotent. A blob that was not made of an object stays as it is.
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
        .api_route("/v1/bundles/abandon", post_with(handle_abandon, named("bundle_abandon")))
        .api_route("/v1/bundles/holds/{digest}", delete_with(handle_release, named("bundle_release")))
}

async fn handle_inspect(
    State(service): Service,
    caller: Caller,
    Json(asked): Json<BundleAsked>,
) -> Result<Json<Inspected>, ApiError> {
    service.bundle_inspect(&caller, &asked).await.map(Json)
}

async fn handle_make(
    State(service): Service,
    caller: Caller,
    Json(bundle): Json<BundleToMake>,
) -> Result<Json<BundleProgress>, ApiError> {
    service.bundle_make(&caller, &bundle).await.map(Json)
}

async fn handle_abandon(
    State(service): Service,
    caller: Caller,
    Json(bundle): Json<BundleToMake>,
) -> Result<Json<()>, ApiError> {
    service.bundle_abandon(&caller, &bundle).await.map(Json)
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
    async fn bundle_inspect(&self, caller: &Caller, asked: &BundleAsked) -> Result<Inspected, ApiError> {
        self.post("/v1/bundles/inspect", &caller.request_id, asked).await
    }

    async fn bundle_make(&self, caller: &Caller, bundle: &BundleToMake) -> Result<BundleProgress, ApiError> {
        self.post("/v1/bundles/make", &caller.request_id, bundle).await
    }

    async fn bundle_abandon(&self, caller: &Caller, bundle: &BundleToMake) -> Result<(), ApiError> {
        self.post("/v1/bundles/abandon", &caller.request_id, bundle).await
    }

    async fn bundle_release(&self, caller: &Caller, digest: &Digest) -> Result<(), ApiError> {
        self.delete(&format!("/v1/bundles/holds/{digest}"), &caller.request_id).await
    }
}
