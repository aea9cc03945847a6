//! InstanceService for the cluster controller.

use crate::node::Node;
use crate::reconcile::instance::wake;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{InstanceIntent, InstanceReport};
use karri_proto::internal::instances::{
    ConsoleOutput, Cursor, InstanceService, REPORTS_PER_PAGE_MAX, ReportPage,
};
use karri_proto::internal::{ApiError, Caller};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

pub struct Instances(pub Arc<Node>);

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)?
}

/// As people read it off their clocks.
fn wall_unix_ms() -> i64 {
    let now = OffsetDateTime::now_utc();
    now.unix_timestamp() * 1000 + i64::from(now.millisecond())
}

impl Instances {
    fn page(&self, after: Cursor) -> ReportPage {
        let page = self.0.journal.page(after, REPORTS_PER_PAGE_MAX);
        let reports = page.changed.iter().filter_map(|id| self.0.report(id)).collect();
        ReportPage {
            next: page.next,
            restarted: page.restarted,
            caught_up: page.caught_up,
            reports,
            resources: None, // a node tells its own in its hello
        }
    }
}

#[async_trait]
impl InstanceService for Instances {
    async fn instance_put(&self, _: &Caller, intent: InstanceIntent) -> Result<InstanceReport, ApiError> {
        let node = self.0.clone();
        let (instance_id, request_id) = (intent.id.clone(), intent.request_id.clone());
        let (generation, attempt, desired) = (intent.generation, intent.attempt, intent.desired);
        let (report, news) = blocking(move || node.accept(intent)).await?;
        if news {
            tracing::info!(%instance_id, request_id, generation, attempt, ?desired, "intent accepted");
            wake(&self.0, &instance_id);
        }
        Ok(report)
    }

    async fn instance_forget(&self, caller: &Caller, id: &InstanceId) -> Result<(), ApiError> {
        let (node, instance_id) = (self.0.clone(), id.clone());
        blocking(move || node.forget(&instance_id)).await?;
        tracing::info!(instance_id = %id, request_id = caller.request_id, "forgotten");
        Ok(())
    }

    async fn instance_reports(
        &self,
        _: &Caller,
        after: Cursor,
        wait: Duration,
    ) -> Result<ReportPage, ApiError> {
        let page = self.page(after);
        if page.restarted || !page.reports.is_empty() || wait.is_zero() {
            return Ok(page);
        }
        // Its end without news is an answer too.
        let _ = tokio::time::timeout(wait, self.0.journal.changed_after(page.next)).await;
        Ok(self.page(after))
    }

    async fn instance_console(&self, _: &Caller, id: &InstanceId) -> Result<ConsoleOutput, ApiError> {
        if self.0.report(id).is_none() {
            return Err(ApiError::not_found(format!("{id} is not on this node")));
        }
        let bytes = match self.0.drives.hypervisor.console(id).await {
            Some(bytes) => bytes,
            None => self.0.drives.storage.console(id).await,
        };
        Ok(ConsoleOutput { base64: STANDARD.encode(bytes), at_unix_ms: wall_unix_ms() })
    }
}
