//! Walrus' own log lines, for `karri why`.

use async_trait::async_trait;
use axum::Router;
use karri_proto::internal::caller::guarded;
use karri_proto::internal::story::{self, StoryLine, StoryService};
use karri_proto::internal::{ApiError, Caller, Role};
use karri_proto::runtime::process::{Base, own_story};
use karri_proto::runtime::story_log::StoryLog;
use std::sync::Arc;

struct OwnStory(StoryLog);

#[async_trait]
impl StoryService for OwnStory {
    async fn story(&self, _caller: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError> {
        let (log, about) = (self.0.clone(), about.to_owned());
        tokio::task::spawn_blocking(move || own_story(&log, &about)).await.map_err(ApiError::internal)?
    }
}

pub fn router(base: &Base) -> Router {
    let service = Arc::new(OwnStory(base.story.clone()));
    guarded(story::router(service), |id| matches!(id.role, Role::Clc | Role::Admin))
}
