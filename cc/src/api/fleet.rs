//! Nodes, as the operator wants them.

use super::Api;
use crate::app::book::NotForgotten;
use async_trait::async_trait;
use karri_proto::internal::fleet::FleetService;
use karri_proto::internal::{ApiError, Caller};

impl From<NotForgotten> for ApiError {
    fn from(refusal: NotForgotten) -> Self {
        match refusal {
            NotForgotten::Unknown(_) => ApiError::not_found(refusal.to_string()),
            NotForgotten::Alive(_) | NotForgotten::Occupied { .. } => ApiError::conflict(refusal.to_string()),
        }
    }
}

#[async_trait]
impl FleetService for Api {
    async fn node_forget(&self, caller: &Caller, node: &str, force: bool) -> Result<(), ApiError> {
        let name = node.to_owned();
        self.keeper.ask(move |book, now_ms| book.node_forget(&name, force, now_ms)).await??;
        tracing::info!(request_id = caller.request_id, node, force, "node forgotten");
        Ok(())
    }
}
