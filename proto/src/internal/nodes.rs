//! How a node makes itself known to its cluster controller, again and again: the call is the heartbeat.

use super::openapi::named;
use super::{ApiError, Caller, Identity};
use crate::network::SegmentDriver;
use crate::resources::NodeFacts;
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::put_with;
use async_trait::async_trait;
use axum::extract::State;
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
/// Silent for longer, a node counts as dead: nothing new is placed there.
pub const NODE_SILENT_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeHello {
    /// Where its InstanceService answers; may end in a path.
    pub url: String,
    /// Where it takes packets of segments from other hosts; none: it has ports on the flat network alone.
    #[serde(default)]
    pub tunnel: Option<std::net::Ipv4Addr>,
    /// Its guests are behind QEMU's user networking: it is one for a cluster of mode `user`, and for no other.
    #[serde(default)]
    pub user_network: bool,
    /// How its segments reach other hosts: as those of the cluster do.
    #[serde(default)]
    pub driver: SegmentDriver,
    /// `facts.name` must be one that [`may_be_called`] allows the sender.
    pub facts: NodeFacts,
}

/// Whether a sender may say hello as `name`: by the name in its certificate, or, for a process that
/// simulates several nodes, by that name, a dash and a number.
pub fn may_be_called(sender: &Identity, name: &str) -> bool {
    let digits = |rest: &str| {
        let number = rest.strip_prefix('-').unwrap_or_default();
        !number.is_empty() && number.len() <= 6 && number.bytes().all(|b| b.is_ascii_digit())
    };
    name.strip_prefix(sender.name.as_str()).is_some_and(|rest| rest.is_empty() || digits(rest))
}

/// What the cluster wants every node to know about the network its guests live in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeWelcome {
    pub zone: String,
    pub subnet_cidr: String,
    pub gateway: std::net::Ipv4Addr,
    /// Where the hosts of the cluster take packets of segments, this node's own address among them.
    #[serde(default)]
    pub tunnels: Vec<std::net::Ipv4Addr>,
}

#[async_trait]
pub trait NodeService: Send + Sync + 'static {
    /// The node's name is `hello.facts.name`, checked by [`may_be_called`].
    async fn node_hello(&self, caller: &Caller, hello: NodeHello) -> Result<NodeWelcome, ApiError>;
}

pub fn router(service: Arc<dyn NodeService>) -> Router {
    api().with_state(service).into()
}

pub(super) fn api() -> ApiRouter<Arc<dyn NodeService>> {
    ApiRouter::new().api_route("/v1/nodes", put_with(handle_hello, named("node_hello")))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::Role;

    #[test]
    fn a_node_speaks_for_itself_and_its_numbered_parts() {
        let sender = Identity::new(Role::Nc, "zone-a", "sim");
        for name in ["sim", "sim-0", "sim-499"] {
            assert!(may_be_called(&sender, name), "{name}");
        }
        for name in ["", "sim-", "sim1", "simx", "sim-1x", "other", "sim-0000001", "sim-1-2"] {
            assert!(!may_be_called(&sender, name), "{name}");
        }
    }
}
