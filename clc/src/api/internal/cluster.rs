//! ClusterService: a cluster's heartbeat.

use super::Internal;
use crate::app::names::region_names;
use crate::app::now_ms;
use async_trait::async_trait;
use karri_proto::internal::clusters::{ClusterHello, ClusterService, ClusterWelcome};
use karri_proto::internal::{ApiError, Caller};

#[async_trait]
impl ClusterService for Internal {
    async fn cluster_hello(&self, caller: &Caller, hello: ClusterHello) -> Result<ClusterWelcome, ApiError> {
        self.app.cluster_hello(&caller.identity.name, hello).await?;
        let app = &self.app;
        let revoked = app.store.node_certificates_revoked(Some(&caller.identity.name), now_ms()).await?;
        let names = region_names(&app.region, &app.public_ranges);
        Ok(ClusterWelcome { region: app.region.clone(), revoked: Some(revoked), names: Some(names) })
    }
}
