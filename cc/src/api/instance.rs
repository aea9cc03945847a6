//! Instances, for the cloud controller.

use super::Api;
use crate::app::book::Refusal;
use async_trait::async_trait;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{InstanceIntent, InstanceReport};
use karri_proto::internal::instances::{
    ConsoleOutput, Cursor, InstanceService, REPORTS_PER_PAGE_MAX, ReportPage,
};
use karri_proto::internal::{ApiError, Caller};
use std::time::Duration;
use tokio::time::Instant;

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Forgotten | Refusal::NotFinal | Refusal::AddressTaken => {
                ApiError::conflict(refusal.to_string())
            }
            Refusal::NotTheOwner => ApiError::forbidden(refusal.to_string()),
            Refusal::TooManyNodes => ApiError::full(refusal.to_string()),
        }
    }
}

#[async_trait]
impl InstanceService for Api {
    async fn instance_put(
        &self,
        _caller: &Caller,
        intent: InstanceIntent,
    ) -> Result<InstanceReport, ApiError> {
        Ok(self.keeper.ask(move |book, now_ms| book.put(intent, now_ms)).await??)
    }

    async fn instance_forget(&self, _caller: &Caller, id: &InstanceId) -> Result<(), ApiError> {
        let id = id.clone();
        Ok(self.keeper.ask(move |book, now_ms| book.forget(&id, now_ms)).await??)
    }

    async fn instance_reports(
        &self,
        _caller: &Caller,
        after: Cursor,
        wait: Duration,
    ) -> Result<ReportPage, ApiError> {
        let until = Instant::now() + wait;
        let mut news = self.keeper.news();
        let mut shutdown = self.base.shutdown.clone();
        loop {
            news.borrow_and_update();
            let page = self.keeper.ask(move |book, _| book.page(after, REPORTS_PER_PAGE_MAX)).await?;
            if page.restarted || !page.reports.is_empty() || page.resources.is_some() {
                return Ok(page);
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return Ok(page) },
                () = tokio::time::sleep_until(until) => return Ok(page),
                () = shutdown.wait() => return Ok(page),
            }
        }
    }

    async fn instance_console(&self, caller: &Caller, id: &InstanceId) -> Result<ConsoleOutput, ApiError> {
        let wanted = id.clone();
        let node = self.keeper.ask(move |book, _| {
            let name = book.row(&wanted)?.node.clone()?;
            book.node(&name).map(|node| (node.record.owner.clone(), node.record.url.clone()))
        });
        let (owner, url) = node.await?.ok_or_else(|| ApiError::not_found(format!("{id} is on no node")))?;
        self.nodes.to(&owner, &url)?.instance_console(caller, id).await
    }
}
