//! FactService for the cluster controller.

use crate::facts::NodeFacts;
use async_trait::async_trait;
use karri_proto::internal::facts::{FactService, FactsAt, FactsPage};
use karri_proto::internal::{ApiError, Caller};
use std::sync::Arc;

pub struct Facts(pub Arc<NodeFacts>);

#[async_trait]
impl FactService for Facts {
    async fn facts_put(&self, _: &Caller, page: FactsPage) -> Result<FactsAt, ApiError> {
        let facts = self.0.clone();
        tokio::task::spawn_blocking(move || facts.put(page)).await.map_err(ApiError::internal)?
    }
}
