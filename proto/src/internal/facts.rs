//! Facts about networks, told from the clc to a cluster and from a cluster to its nodes.
//!
//! The sender numbers its changes; `epoch` names one life of that numbering. A page carries the receiver from
//! one number to another: a receiver that stands elsewhere takes nothing of it, says where it stands, and is
//! told from there, or everything anew. Everything may need several pages; what they tell takes the place of
//! what the receiver had when the last of them is there, not before.

use super::openapi::named;
use super::{ApiError, Caller};
use crate::network::FactChange;
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::put_with;
use async_trait::async_trait;
use axum::extract::State;
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub const FACTS_PER_PAGE_MAX: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FactsPage {
    pub epoch: u64,
    /// None: the first page of everything.
    pub from: Option<u64>,
    pub to: u64,
    /// The receiver knows, with this page, all that there is up to `to`.
    pub caught_up: bool,
    pub changes: Vec<FactChange>,
}

/// Where a receiver stands. `epoch` 0: it knows nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FactsAt {
    pub epoch: u64,
    pub at: u64,
}

#[async_trait]
pub trait FactService: Send + Sync + 'static {
    /// Durable before it answers. A page that does not begin where the receiver stands changes nothing; the
    /// answer tells where that is.
    async fn facts_put(&self, caller: &Caller, page: FactsPage) -> Result<FactsAt, ApiError>;
}

type Service = State<Arc<dyn FactService>>;

pub fn router(service: Arc<dyn FactService>) -> Router {
    api().with_state(service).into()
}

pub(super) fn api() -> ApiRouter<Arc<dyn FactService>> {
    ApiRouter::new().api_route("/v1/facts", put_with(handle_put, named("facts_put")))
}

async fn handle_put(
    State(service): Service,
    caller: Caller,
    Json(page): Json<FactsPage>,
) -> Result<Json<FactsAt>, ApiError> {
    service.facts_put(&caller, page).await.map(Json)
}

#[async_trait]
impl FactService for InternalClient {
    async fn facts_put(&self, caller: &Caller, page: FactsPage) -> Result<FactsAt, ApiError> {
        self.put("/v1/facts", &caller.request_id, &page).await
    }
}
