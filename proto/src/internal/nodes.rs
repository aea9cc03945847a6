//! How a node makes itself known to its cluster controller, again and again: the call is the heartbeat.

use super::{ApiError, Caller};
use crate::resources::NodeFacts;
use crate::runtime::client::InternalClient;
use async_trait::async_trait;
use axum::extract::State;
use axum::routing::put;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
/// Silent for longer, a node counts as dead: nothing new is placed there.
pub const NODE_SILENT_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHello {
    /// Where its InstanceService answers; may end in a path.
    pub url: String,
    pub facts: NodeFacts,
}

/// What the cluster wants every node to know about the network its guests live in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWelcome {
    pub zone: String,
    pub subnet_cidr: String,
    pub gateway: std::net::Ipv4Addr,
}

#[async_trait]
pub trait NodeService: Send + Sync + 'static {
    /// The node's name is the one in its certificate.
    async fn node_hello(&self, caller: &Caller, hello: NodeHello) -> Result<NodeWelcome, ApiError>;
}

pub fn router(service: Arc<dyn NodeService>) -> Router {
    Router::new().route("/v1/nodes", put(handle_hello)).with_state(service)
}

async fn handle_hello(
    State(service): State<Arc<dyn NodeService>>,
    caller: Caller,
    Json(hello): Json<NodeHello>,
) -> Result<Json<NodeWelcome>, ApiError> {
    service.node_hello(&caller, hello).await.map(Json)
}

#[async_trait]
impl NodeService for InternalClient {
    async fn node_hello(&self, caller: &Caller, hello: NodeHello) -> Result<NodeWelcome, ApiError> {
        self.put("/v1/nodes", &caller.request_id, &hello).await
    }
}
