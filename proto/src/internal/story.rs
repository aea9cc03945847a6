//! `karri why`: the log lines of one instance or request, from every controller that had a part in it.

use super::openapi::named;
use super::{ApiError, Caller};
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub const STORY_LINES_MAX: usize = 1000;

/// One log line. `fields` are as logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoryLine {
    /// RFC 3339, UTC: sorts as text.
    pub timestamp: String,
    /// The controller: `clc`, `cc zone-a`, `nc node-1`.
    pub who: String,
    pub level: String,
    pub message: String,
    pub fields: serde_json::Map<String, serde_json::Value>,
}

#[async_trait]
pub trait StoryService: Send + Sync + 'static {
    /// Own lines and those of the controllers below; one that does not answer is named in a line.
    async fn story(&self, caller: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError>;
}

pub fn router(service: Arc<dyn StoryService>) -> Router {
    api().with_state(service).into()
}

pub(super) fn api() -> ApiRouter<Arc<dyn StoryService>> {
    ApiRouter::new().api_route("/v1/story/{about}", get_with(handle_story, named("story")))
}

async fn handle_story(
    State(service): State<Arc<dyn StoryService>>,
    caller: Caller,
    Path(about): Path<String>,
) -> Result<Json<Vec<StoryLine>>, ApiError> {
    let valid = !about.is_empty()
        && about.len() <= 64
        && about.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !valid {
        return Err(ApiError::invalid("an instance id or a request id is expected"));
    }
    service.story(&caller, &about).await.map(Json)
}

#[async_trait]
impl StoryService for InternalClient {
    async fn story(&self, caller: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError> {
        self.get(&format!("/v1/story/{about}"), &caller.request_id).await
    }
}
