//! JoinService: a node's way in, once per token.

use super::Internal;
use async_trait::async_trait;
use karri_proto::internal::ApiError;
use karri_proto::internal::join::{JoinAnswer, JoinRequest, JoinService};

#[async_trait]
impl JoinService for Internal {
    async fn join(&self, request: JoinRequest) -> Result<JoinAnswer, ApiError> {
        self.app.node_join(request).await
    }
}
