//! How a cluster makes itself known to the cloud controller: an availability zone and where it answers.

use super::openapi::named;
use super::{ApiError, Caller};
use crate::network::{NetworkMode, RegionNames, VlanRange};
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::put_with;
use async_trait::async_trait;
use axum::extract::State;
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterHello {
    /// The availability zone this cluster is, or has a part in.
    pub zone: String,
    /// The zone is another cluster's, to which this one adds nodes.
    #[serde(default)]
    pub extends: bool,
    pub url: String,
    /// The range its flat bridge carries and its gateway: the default subnet of the zone.
    pub subnet_cidr: String,
    pub gateway: std::net::Ipv4Addr,
    /// How its instances are joined to networks.
    #[serde(default)]
    pub mode: NetworkMode,
    /// None: its hosts exchange no packets of segments with those of other clusters.
    #[serde(default)]
    pub tunnels: Option<Tunnels>,
    /// What tags of segments its subnets get. None: of those of the whole cloud.
    #[serde(default)]
    pub vlans: Option<VlanRange>,
    pub version: String,
}

/// How the hosts of a cluster exchange packets of segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tunnels {
    /// Where the cluster controller's own host takes them; none: from nobody.
    pub address: Option<std::net::Ipv4Addr>,
    /// What the network between the hosts carries in one packet, in bytes.
    pub mtu: u32,
    /// VXLAN's UDP port.
    pub port: u16,
}

/// What the cloud wants every cluster to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterWelcome {
    pub region: String,
    /// Certificates of nodes of this cluster that are refused from now on, by their fingerprints. None: as before.
    #[serde(default)]
    pub revoked: Option<Vec<String>>,
    /// None: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<RegionNames>,
}

#[async_trait]
pub trait ClusterService: Send + Sync + 'static {
    /// The cluster's name is the one in its certificate.
    async fn cluster_hello(&self, caller: &Caller, hello: ClusterHello) -> Result<ClusterWelcome, ApiError>;
}

pub fn router(service: Arc<dyn ClusterService>) -> Router {
    api().with_state(service).into()
}

pub(super) fn api() -> ApiRouter<Arc<dyn ClusterService>> {
    ApiRouter::new().api_route("/v1/clusters", put_with(handle_hello, named("cluster_hello")))
}

async fn handle_hello(
    State(service): State<Arc<dyn ClusterService>>,
    caller: Caller,
    Json(hello): Json<ClusterHello>,
) -> Result<Json<ClusterWelcome>, ApiError> {
    service.cluster_hello(&caller, hello).await.map(Json)
}

#[async_trait]
impl ClusterService for InternalClient {
    async fn cluster_hello(&self, caller: &Caller, hello: ClusterHello) -> Result<ClusterWelcome, ApiError> {
        self.put("/v1/clusters", &caller.request_id, &hello).await
    }
}
