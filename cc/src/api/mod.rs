//! The edge: who may call what, and the six services. No decisions.

mod facts;
mod fleet;
mod instance;
mod kernel;
mod node;
mod story;

use crate::app::router::Site;
use crate::drive::Eyes;
use crate::drive::nodes::NodeClients;
use crate::keeper::{Keeper, KeeperError};
use axum::Router;
use karri_proto::internal::caller::guarded;
use karri_proto::internal::nodes::NodeWelcome;
use karri_proto::internal::{
    ApiError, Role, facts as network, fleet as fleets, instances, kernel as kernels, nodes, story as stories,
};
use karri_proto::network::{NetworkMode, SegmentDriver};
use karri_proto::runtime::process::Base;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct Api {
    pub base: Base,
    pub keeper: Keeper,
    /// For calls on to nodes.
    pub nodes: NodeClients,
    pub welcome: NodeWelcome,
    /// How the cluster's instances are joined to networks.
    pub mode: NetworkMode,
    /// And its segments to other hosts.
    pub driver: SegmentDriver,
    /// Where this host takes packets of segments.
    pub tunnel: Option<std::net::Ipv4Addr>,
    pub site: Site,
    pub eyes: Arc<dyn Eyes>,
}

pub fn router(api: Api) -> Router {
    let cluster = api.base.identity.cluster.clone();
    let api = Arc::new(api);
    let of_clc = instances::router(api.clone())
        .merge(network::router(api.clone()))
        .merge(stories::router(api.clone()))
        .merge(kernels::router(api.clone()))
        .merge(fleets::router(api.clone()));
    let of_nodes = nodes::router(api);
    guarded(of_clc, |id| id.role == Role::Clc)
        .merge(guarded(of_nodes, move |id| id.role == Role::Nc && id.cluster == cluster))
}

impl From<KeeperError> for ApiError {
    fn from(error: KeeperError) -> Self {
        ApiError::internal(error)
    }
}
