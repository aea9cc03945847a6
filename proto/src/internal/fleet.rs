//! What becomes of a cluster's nodes by the word of the operator: the cloud controller asks its clusters.

use super::admin::Deletion;
use super::openapi::named;
use super::{ApiError, Caller};
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::delete_with;
use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, Query, State};
use std::sync::Arc;

#[async_trait]
pub trait FleetService: Send + Sync + 'static {
    /// A node that is gone for good. Refused while it answers, and while it has instances unless they are
    /// taken for lost.
    async fn node_forget(&self, caller: &Caller, node: &str, force: bool) -> Result<(), ApiError>;
}

pub fn router(service: Arc<dyn FleetService>) -> Router {
    api().with_state(service).into()
}

pub(super) fn api() -> ApiRouter<Arc<dyn FleetService>> {
    ApiRouter::new().api_route("/v1/nodes/{node}", delete_with(handle_forget, named("node_forget")))
}

async fn handle_forget(
    State(service): State<Arc<dyn FleetService>>,
    caller: Caller,
    Path(node): Path<String>,
    Query(deletion): Query<Deletion>,
) -> Result<(), ApiError> {
    service.node_forget(&caller, &node, deletion.force).await
}

#[async_trait]
impl FleetService for InternalClient {
    async fn node_forget(&self, caller: &Caller, node: &str, force: bool) -> Result<(), ApiError> {
        let path = self.path(&["v1", "nodes", node]);
        self.delete(&format!("{path}?force={force}"), &caller.request_id).await
    }
}
