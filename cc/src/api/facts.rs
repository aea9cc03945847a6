//! What networks let through, from the cloud controller.

use super::Api;
use async_trait::async_trait;
use karri_proto::internal::facts::{FactService, FactsAt, FactsPage};
use karri_proto::internal::{ApiError, Caller};

#[async_trait]
impl FactService for Api {
    async fn facts_put(&self, _: &Caller, page: FactsPage) -> Result<FactsAt, ApiError> {
        self.keeper.ask(move |book, _| book.facts_put(page)).await?
    }
}
