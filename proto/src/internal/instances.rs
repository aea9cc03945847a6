//! Instances as one controller asks the next for them: served by the cc to the clc and by the nc to its cc.

use super::openapi::named;
use super::{ApiError, Caller};
use crate::ids::InstanceId;
use crate::instance::{InstanceIntent, InstanceReport};
use crate::resources::ClusterResources;
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, put_with};
use async_trait::async_trait;
use axum::extract::{Path, Query, State};
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub const REPORTS_PER_PAGE_MAX: usize = 500;
pub const REPORT_WAIT_MAX: Duration = Duration::from_secs(20);

/// Where a reader stands in a sender's changes. `epoch` names one life of the sender's numbering:
/// after a restart that lost it, a reader starts anew and hears everything once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cursor {
    pub epoch: u64,
    pub sequence: u64,
}

/// Changes after a cursor, each instance at most once and in its newest state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportPage {
    pub next: Cursor,
    /// The reader's cursor was of another epoch: this page starts a full telling. What the reader
    /// knows and does not hear of until `caught_up` is unknown to the sender.
    pub restarted: bool,
    pub caught_up: bool,
    pub reports: Vec<InstanceReport>,
    /// Present when it changed since the cursor.
    pub resources: Option<ClusterResources>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsoleOutput {
    /// The last 64 KiB at most.
    pub base64: String,
    pub at_unix_ms: i64,
}

#[async_trait]
pub trait InstanceService: Send + Sync + 'static {
    /// Durable before it answers. Idempotent; an older intent than the known one changes nothing.
    async fn instance_put(&self, caller: &Caller, intent: InstanceIntent)
    -> Result<InstanceReport, ApiError>;
    /// Allowed once the phase is final; idempotent.
    async fn instance_forget(&self, caller: &Caller, id: &InstanceId) -> Result<(), ApiError>;
    /// Waits up to `wait` for a change.
    async fn instance_reports(
        &self,
        caller: &Caller,
        after: Cursor,
        wait: Duration,
    ) -> Result<ReportPage, ApiError>;
    async fn instance_console(&self, caller: &Caller, id: &InstanceId) -> Result<ConsoleOutput, ApiError>;
}

type Service = State<Arc<dyn InstanceService>>;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct ReportsQuery {
    epoch: u64,
    sequence: u64,
    wait_ms: u64,
}

pub fn router(service: Arc<dyn InstanceService>) -> Router {
    api().with_state(service).into()
}

pub(super) fn api() -> ApiRouter<Arc<dyn InstanceService>> {
    ApiRouter::new()
        .api_route(
            "/v1/instances/{id}",
            put_with(handle_put, named("instance_put")).delete_with(handle_forget, named("instance_forget")),
        )
        .api_route("/v1/instances/{id}/console", get_with(handle_console, named("instance_console")))
        .api_route("/v1/reports", get_with(handle_reports, named("instance_reports")))
}

async fn handle_put(
    State(service): Service,
    caller: Caller,
    Path(id): Path<InstanceId>,
    Json(intent): Json<InstanceIntent>,
) -> Result<Json<InstanceReport>, ApiError> {
    if intent.id != id {
        return Err(ApiError::invalid(format!("the path names {id}, the body {}", intent.id)));
    }
    service.instance_put(&caller, intent).await.map(Json)
}

async fn handle_forget(
    State(service): Service,
    caller: Caller,
    Path(id): Path<InstanceId>,
) -> Result<(), ApiError> {
    service.instance_forget(&caller, &id).await
}

async fn handle_console(
    State(service): Service,
    caller: Caller,
    Path(id): Path<InstanceId>,
) -> Result<Json<ConsoleOutput>, ApiError> {
    service.instance_console(&caller, &id).await.map(Json)
}

async fn handle_reports(
    State(service): Service,
    caller: Caller,
    Query(query): Query<ReportsQuery>,
) -> Result<Json<ReportPage>, ApiError> {
    let after = Cursor { epoch: query.epoch, sequence: query.sequence };
    let wait = Duration::from_millis(query.wait_ms).min(REPORT_WAIT_MAX);
    service.instance_reports(&caller, after, wait).await.map(Json)
}

#[async_trait]
impl InstanceService for InternalClient {
    async fn instance_put(
        &self,
        caller: &Caller,
        intent: InstanceIntent,
    ) -> Result<InstanceReport, ApiError> {
        self.put(&format!("/v1/instances/{}", intent.id), &caller.request_id, &intent).await
    }

    async fn instance_forget(&self, caller: &Caller, id: &InstanceId) -> Result<(), ApiError> {
        self.delete(&format!("/v1/instances/{id}"), &caller.request_id).await
    }

    async fn instance_reports(
        &self,
        caller: &Caller,
        after: Cursor,
        wait: Duration,
    ) -> Result<ReportPage, ApiError> {
        let path = format!(
            "/v1/reports?epoch={}&sequence={}&wait_ms={}",
            after.epoch,
            after.sequence,
            wait.as_millis()
        );
        self.get_waiting(&path, &caller.request_id, wait).await
    }

    async fn instance_console(&self, caller: &Caller, id: &InstanceId) -> Result<ConsoleOutput, ApiError> {
        self.get(&format!("/v1/instances/{id}/console"), &caller.request_id).await
    }
}
