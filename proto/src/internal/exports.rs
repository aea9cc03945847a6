//! Image blobs out of Walrus' image store and into users' buckets, as disk images of a format that they ask for.
//!
//! ```text
//!   inspect  may this user write that object?                   in the user's own request
//!   make     starts to write it, or says how far it is          asked again until it is written
//!   abandon  nobody wants it any more
//! ```
//!
//! Unlike a read, which is pinned to the very bytes that were permitted, a write is permitted once more when the
//! object is written: the bucket may have got another policy since.

use super::caller::guarded;
use super::openapi::named;
use super::signers::SecretText;
use super::{ApiError, Caller, Role};
use crate::instance::Digest;
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use async_trait::async_trait;
use axum::extract::State;
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// An object that a user wants written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ExportTarget {
    pub bucket: String,
    pub key: String,
    /// Whose right to write counts.
    pub access_key_id: String,
    /// With temporary credentials.
    #[serde(default)]
    pub session_token: Option<SecretText>,
    /// Where the user's request came from, as policies may ask.
    pub address: Option<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    Raw,
    /// Of the kind streamOptimized.
    Vmdk,
    /// Of the dynamic kind.
    Vhd,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ImageToExport {
    pub digest: Digest,
    pub format: ExportFormat,
    pub target: ExportTarget,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExportProgress {
    /// In bytes of the object; nothing is known of `all` while the image is converted.
    Exporting {
        done: u64,
        all: u64,
    },
    Exported {
        bytes: u64,
        etag: String,
    },
}

#[async_trait]
pub trait ExportService: Send + Sync + 'static {
    /// `NotFound`: no such bucket; `Forbidden`: the user may not write there.
    async fn export_inspect(&self, caller: &Caller, target: &ExportTarget) -> Result<(), ApiError>;
    /// Idempotent: written again, the object is the same. As `export_inspect`, and `Invalid`: it cannot be written
    /// in that format.
    async fn export_make(&self, caller: &Caller, image: &ImageToExport) -> Result<ExportProgress, ApiError>;
    /// Idempotent. What is written already stays.
    async fn export_abandon(&self, caller: &Caller, image: &ImageToExport) -> Result<(), ApiError>;
}

type Service = State<Arc<dyn ExportService>>;

pub fn router(service: Arc<dyn ExportService>) -> Router {
    guarded(api().with_state(service).into(), |identity| identity.role == Role::Clc)
}

pub(super) fn api() -> ApiRouter<Arc<dyn ExportService>> {
    ApiRouter::new()
        .api_route("/v1/exports/inspect", post_with(handle_inspect, named("export_inspect")))
        .api_route("/v1/exports/make", post_with(handle_make, named("export_make")))
        .api_route("/v1/exports/abandon", post_with(handle_abandon, named("export_abandon")))
}

async fn handle_inspect(
    State(service): Service,
    caller: Caller,
    Json(target): Json<ExportTarget>,
) -> Result<Json<()>, ApiError> {
    service.export_inspect(&caller, &target).await.map(Json)
}

async fn handle_make(
    State(service): Service,
    caller: Caller,
    Json(image): Json<ImageToExport>,
) -> Result<Json<ExportProgress>, ApiError> {
    service.export_make(&caller, &image).await.map(Json)
}

async fn handle_abandon(
    State(service): Service,
    caller: Caller,
    Json(image): Json<ImageToExport>,
) -> Result<Json<()>, ApiError> {
    service.export_abandon(&caller, &image).await.map(Json)
}

#[async_trait]
impl ExportService for InternalClient {
    async fn export_inspect(&self, caller: &Caller, target: &ExportTarget) -> Result<(), ApiError> {
        self.post("/v1/exports/inspect", &caller.request_id, target).await
    }

    async fn export_make(&self, caller: &Caller, image: &ImageToExport) -> Result<ExportProgress, ApiError> {
        self.post("/v1/exports/make", &caller.request_id, image).await
    }

    async fn export_abandon(&self, caller: &Caller, image: &ImageToExport) -> Result<(), ApiError> {
        self.post("/v1/exports/abandon", &caller.request_id, image).await
    }
}
