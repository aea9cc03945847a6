//! `karri why`: the log lines of one instance or request, from every controller that had a part in it.

use super::openapi::named;
use super::{ApiError, Caller};
use crate::ids::InstanceId;
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

pub const NO_STORY: &str = "an instance id or a request id is expected";

/// Whether it reads as something that lines are told about: an instance's id, or a request's (a UUID from
/// EC2's answers, `cli-` and digits from the command line).
pub fn has_a_story(about: &str) -> bool {
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let mut groups = about.split('-');
    let uuid = [8, 4, 4, 4, 12].iter().all(|length| groups.next().is_some_and(|group| hex(group, *length)));
    let request = uuid && groups.next().is_none();
    let command = about.strip_prefix("cli-").is_some_and(|digits| hex(digits, 16));
    request || command || about.parse::<InstanceId>().is_ok()
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
    if !has_a_story(&about) {
        return Err(ApiError::invalid(NO_STORY));
    }
    service.story(&caller, &about).await.map(Json)
}

#[async_trait]
impl StoryService for InternalClient {
    async fn story(&self, caller: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError> {
        self.get(&format!("/v1/story/{about}"), &caller.request_id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_and_requests_have_a_story() {
        for about in [
            "i-0123456789abcdef0",
            "i-0a1b2c3d",
            "12345678-90ab-4cde-8f01-234567890abc",
            "cli-0123456789abcdef",
        ] {
            assert!(has_a_story(about), "{about}");
        }
        for about in ["", "foo", "i-1", "cli-1", "running", "12345678-90ab-4cde-8f01-234567890abc-1", "../v1"]
        {
            assert!(!has_a_story(about), "{about}");
        }
    }
}
