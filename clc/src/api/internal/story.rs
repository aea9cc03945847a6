//! StoryService: `karri why`.

use super::Internal;
use async_trait::async_trait;
use karri_proto::internal::story::{StoryLine, StoryService};
use karri_proto::internal::{ApiError, Caller};

#[async_trait]
impl StoryService for Internal {
    async fn story(&self, caller: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError> {
        self.app.story(caller, about).await
    }
}
