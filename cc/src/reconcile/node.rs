//! Three loops per node: one tells it what is wanted, one what its networks let through (`facts.rs`), one
//! listens to what it reports.

use crate::app::book::Task;
use crate::app::node::{bounded, is_of};
use crate::app::stray::stray_intent;
use crate::drive::nodes::NodeClients;
use crate::keeper::Keeper;
use crate::reconcile::facts::FactTelling;
use futures_util::StreamExt;
use karri_proto::instance::{InstanceIntent, InstanceReport};
use karri_proto::internal::ApiError;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::instances::{Cursor, InstanceService, REPORT_WAIT_MAX, ReportPage};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::outage::Outage;
use karri_proto::runtime::process::Base;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

const TASKS_PER_ROUND: usize = 32;
const CALLS_PER_NODE_MAX: usize = 8;
/// Over all nodes.
const CALLS_MAX: usize = 64;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// What a node was told, for which request, and what it said.
struct Called {
    request_id: String,
    answer: Result<Option<InstanceReport>, ApiError>,
}

#[derive(Debug, Clone)]
pub struct Nodes {
    pub base: Base,
    pub keeper: Keeper,
    pub clients: NodeClients,
    pub facts: FactTelling,
    /// A node that answers no report call for this long is lost, so calls must not wait longer.
    pub lost_after: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Loop {
    Tell,
    TellFacts,
    Listen,
}

impl Nodes {
    /// Starts the loops of every node that `names` tells of.
    pub async fn run(self, mut names: mpsc::UnboundedReceiver<String>) {
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        let mut shutdown = self.base.shutdown.clone();
        loop {
            let name = tokio::select! {
                name = names.recv() => name,
                () = shutdown.wait() => return,
            };
            let Some(name) = name else { return };
            for work in [Loop::Tell, Loop::TellFacts, Loop::Listen] {
                let (nodes, name, calls) = (self.clone(), name.clone(), calls.clone());
                let mut shutdown = self.base.shutdown.clone();
                self.base.spawn(async move {
                    let work = async {
                        match work {
                            Loop::Tell => nodes.tell(&name, &calls).await,
                            Loop::TellFacts => nodes.facts.run(&name).await,
                            Loop::Listen => nodes.listen(&name).await,
                        }
                    };
                    tokio::select! {
                        () = work => {}
                        () = shutdown.wait() => {}
                    }
                });
            }
        }
    }

    /// Ends when the keeper does.
    async fn tell(&self, name: &str, calls: &Semaphore) {
        let bell = self.keeper.bell(name);
        loop {
            let node = name.to_owned();
            let asked = self.keeper.ask(move |book, _| {
                let place = book.node(&node).map(|node| {
                    let record = &node.record;
                    (record.owner.clone(), record.url.clone(), node.cursor)
                });
                (place, book.tasks(&node, TASKS_PER_ROUND))
            });
            let (place, tasks) = match asked.await {
                Err(crate::keeper::KeeperError::Stopped) => return,
                told => told.unwrap_or_default(),
            };
            let Some((owner, url, cursor)) = place.filter(|_| !tasks.is_empty()) else {
                bell.notified().await;
                continue;
            };
            // Not for a later life of the node, which may have lost what makes a late order harmless.
            let client = match self.clients.to(&owner, &format!("{url}/lives/{}", cursor.epoch)) {
                Ok(client) => client,
                Err(error) => {
                    tracing::warn!(node = name, %error, "node cannot be called");
                    tokio::time::sleep(RETRY_PAUSE_MAX).await; // our own certificate cannot be read
                    continue;
                }
            };
            if tasks.iter().any(|task| matches!(task, Task::Push { .. })) {
                self.facts.tell_first(name).await;
            }
            let failed = futures_util::stream::iter(tasks)
                .map(|task| self.carry_out(name, &client, cursor, task, calls))
                .buffer_unordered(CALLS_PER_NODE_MAX)
                .fold(false, |failed, one| async move { failed | one })
                .await;
            if failed {
                tokio::time::sleep(RETRY_PAUSE).await; // the next round is the retry
            }
        }
    }

    /// `true`: it has to be tried again.
    async fn carry_out(
        &self,
        name: &str,
        node: &InternalClient,
        cursor: Cursor,
        task: Task,
        calls: &Semaphore,
    ) -> bool {
        let Ok(_permit) = calls.acquire().await else { return true };
        let Some(Called { request_id, answer }) = self.call(node, &task).await else { return false };
        let answer = answer.and_then(|report| match report {
            Some(report) => own_report(name, report).map(Some),
            None => Ok(None),
        });
        let outcome = if answer.is_ok() { "ok" } else { "failed" };
        self.base.metrics.count("karri_cc_node_calls_total", &[("outcome", outcome)]);
        if let Err(error) = &answer {
            tracing::warn!(instance_id = %task.id(), request_id, node = name, %error, "node did not take it");
        }
        let failed = answer.is_err();
        let (name, answer) = (name.to_owned(), answer.map_err(|error| error.kind));
        let stored =
            self.keeper.ask(move |book, now_ms| book.node_answer(&name, cursor, &task, answer, now_ms)).await;
        failed || stored.is_err()
    }

    /// `None`: the instance has changed since; the next round knows more.
    async fn call(&self, node: &InternalClient, task: &Task) -> Option<Called> {
        let stored = match self.keeper.reader.intent(task.id()).await {
            Ok(stored) => stored,
            Err(error) => {
                let error = ApiError::new(ApiErrorKind::Unreachable, error.to_string());
                return Some(Called { request_id: String::new(), answer: Err(error) });
            }
        };
        let intent = match task {
            Task::Push { generation, attempt, .. } => {
                let stored = stored.filter(|intent| intent.generation == *generation)?;
                InstanceIntent { attempt: *attempt, ..stored }
            }
            Task::Terminate { id, generation, attempt } => stray_intent(stored, id, *generation, *attempt),
            Task::Forget { id } => {
                let request_id = stored.map(|intent| intent.request_id).unwrap_or_default();
                let caller = self.base.caller(&request_id);
                let answer = node.instance_forget(&caller, id).await.map(|()| None);
                return Some(Called { request_id, answer });
            }
        };
        let request_id = intent.request_id.clone();
        let answer = node.instance_put(&self.base.caller(&request_id), intent).await.map(Some);
        Some(Called { request_id, answer })
    }

    async fn listen(&self, name: &str) {
        let wait = REPORT_WAIT_MAX.min(self.lost_after / 3);
        let mut failures: u32 = 0;
        let mut silence = Outage::default();
        loop {
            let node = name.to_owned();
            let asked = self.keeper.ask(move |book, _| {
                book.node(&node).map(|node| (node.record.owner.clone(), node.record.url.clone(), node.cursor))
            });
            let (owner, url, cursor) = match asked.await {
                Ok(Some(known)) => known,
                Err(crate::keeper::KeeperError::Stopped) => return,
                Ok(None) | Err(_) => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            let answer = self.reports(name, &owner, &url, cursor, wait).await;
            let node = name.to_owned();
            // A page that could not be stored is asked for again: the cursor is in the book.
            let _ = match answer {
                Ok(page) => {
                    failures = 0;
                    silence.ends();
                    self.keeper.ask(move |book, now_ms| book.node_page(&node, cursor, page, now_ms)).await
                }
                Err(error) => {
                    if silence.goes_on(Instant::now()) {
                        tracing::warn!(node = name, %error, "node does not report");
                    }
                    failures = failures.saturating_add(1);
                    self.keeper.ask(move |book, _| book.node_unreachable(&node)).await
                }
            };
            if failures > 0 {
                tokio::time::sleep((RETRY_PAUSE * failures).min(RETRY_PAUSE_MAX)).await;
            }
        }
    }

    /// Reports of another node are none: nothing of them is taken.
    async fn reports(
        &self,
        name: &str,
        owner: &str,
        url: &str,
        cursor: Cursor,
        wait: Duration,
    ) -> Result<ReportPage, ApiError> {
        let caller = self.base.caller("reports");
        let page = self.clients.to(owner, url)?.instance_reports(&caller, cursor, wait).await?;
        let reports = page.reports.into_iter().map(|report| own_report(name, report));
        Ok(ReportPage { reports: reports.collect::<Result<_, _>>()?, ..page })
    }
}

/// What is taken of a report that came from node `name`.
fn own_report(name: &str, report: InstanceReport) -> Result<InstanceReport, ApiError> {
    if is_of(&report, name) {
        return Ok(bounded(report));
    }
    let other = report.node.as_deref().unwrap_or_default();
    Err(ApiError::unreachable(format!("node {other} answers where {name} is expected")))
}
