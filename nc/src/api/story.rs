//! StoryService: this node's own log lines. Nobody is below a node.

use async_trait::async_trait;
use karri_proto::internal::story::{StoryLine, StoryService};
use karri_proto::internal::{ApiError, Caller};
use karri_proto::runtime::process::own_story;
use karri_proto::runtime::story_log::StoryLog;

pub struct Story(pub StoryLog);

#[async_trait]
impl StoryService for Story {
    async fn story(&self, _: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError> {
        let (log, about) = (self.0.clone(), about.to_owned());
        tokio::task::spawn_blocking(move || own_story(&log, &about)).await.map_err(ApiError::internal)?
    }
}
