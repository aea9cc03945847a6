//! Facts about networks, told from the clc to a cluster and from a cluster to its nodes.
//!
//! The sender numbers its changes; `epoch` names one life of that numbering. A page carries the receiver from
//! one number to another: a receiver that stands elsewhere takes nothing of it, says where it stands, and is
//! told from there, or everything anew. Everything may need several pages; what they tell takes the place of
//! what the receiver had when the last of them is there, not before. A cluster takes any new epoch, a node only
//! one that is greater than all it has seen ([`crate::network::Epochs`]).
//!
//! A page without changes that leads nowhere asks where the receiver stands. Whoever tells facts asks when it
//! begins, and when it hears that the receiver may have lost what it knew: a receiver does not complain.

use super::openapi::named;
use super::{ApiError, Caller};
use crate::network::FactChange;
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::put_with;
use async_trait::async_trait;
use axum::extract::{DefaultBodyLimit, State};
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;

pub const FACTS_PER_PAGE_MAX: usize = 1000;
/// Of the changes of one page that a cluster is sent. The largest fact, a route table of as many routes as it may have,
/// is a fifth of it.
pub const FACTS_PAGE_BYTES_MAX: usize = 512 << 10;
/// Of a page that is taken. As many rules and ports as a page may have, each as large as it may be, are half of it.
pub const FACTS_BODY_BYTES_MAX: usize = 16 << 20;

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

/// A change in its form on the wire, made once for all who are sent it.
#[derive(Debug, Clone)]
pub struct WireChange(Arc<RawValue>);

impl WireChange {
    pub fn new(change: &FactChange) -> Self {
        Self(to_raw_value(change).expect("facts are plain values").into())
    }

    pub fn json(&self) -> &str {
        self.0.get()
    }
}

impl Serialize for WireChange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

/// A [`FactsPage`] of such changes.
#[derive(Debug, Clone, Serialize)]
pub struct WirePage {
    pub epoch: u64,
    pub from: Option<u64>,
    pub to: u64,
    pub caught_up: bool,
    pub changes: Vec<WireChange>,
}

impl InternalClient {
    /// [`FactService::facts_put`].
    pub async fn facts_put_wire(&self, caller: &Caller, page: &WirePage) -> Result<FactsAt, ApiError> {
        self.put(PATH, &caller.request_id, page).await
    }
}

const PATH: &str = "/v1/facts";

type Service = State<Arc<dyn FactService>>;

pub fn router(service: Arc<dyn FactService>) -> Router {
    api().with_state(service).into()
}

pub(super) fn api() -> ApiRouter<Arc<dyn FactService>> {
    ApiRouter::new()
        .api_route(PATH, put_with(handle_put, named("facts_put")))
        .layer(DefaultBodyLimit::max(FACTS_BODY_BYTES_MAX))
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
        self.put(PATH, &caller.request_id, &page).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Fact, FactKey, PortFact};

    #[test]
    fn a_page_made_of_what_is_shared_is_the_same_page() {
        let id: crate::ids::NetworkInterfaceId = "eni-00000001".parse().unwrap();
        let port = PortFact {
            id: id.clone(),
            vpc: "vpc-00000001".parse().unwrap(),
            addresses: vec![[10, 0, 0, 5].into()],
            groups: vec!["sg-00000001".parse().unwrap()],
        };
        let changes = vec![FactChange::Put(Fact::Port(port)), FactChange::Gone(FactKey::Port(id))];
        let wire = WirePage {
            epoch: 7,
            from: Some(1),
            to: 2,
            caught_up: true,
            changes: changes.iter().map(WireChange::new).collect(),
        };
        let page: FactsPage = serde_json::from_str(&serde_json::to_string(&wire).unwrap()).unwrap();
        assert_eq!(page, FactsPage { epoch: 7, from: Some(1), to: 2, caught_up: true, changes });
    }
}
