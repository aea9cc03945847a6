//! Tells each node what networks let through, as far as its ports need it.
//!
//! Changes are gathered: who else is a member of a group is told at a pace that keeps the calls per second
//! of a large cluster bounded. What a node's own ports need goes at once, and before the instance itself.

use crate::app::facts::Haste;
use crate::drive::nodes::NodeClients;
use crate::keeper::{Keeper, KeeperError};
use karri_proto::internal::ApiError;
use karri_proto::internal::facts::FactsAt;
use karri_proto::runtime::outage::Outage;
use karri_proto::runtime::process::Base;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

const GATHER: Duration = Duration::from_millis(50);
/// Between two pages of what may wait, for each node of the cluster: 250 calls a second.
const PACE_PER_NODE: Duration = Duration::from_millis(4);
const PACE_MAX: Duration = Duration::from_secs(2);
/// Nodes told at once; of a node that is told everything, a list of that is held meanwhile.
const NODES_AT_ONCE: usize = 16;
/// An instance waits so long for its facts, and is sent without them then.
const BEFORE_INSTANCE_MAX: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct FactTelling {
    base: Base,
    keeper: Keeper,
    clients: NodeClients,
    turns: Arc<Semaphore>,
    /// A node is told by one at a time.
    nodes: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl FactTelling {
    pub fn new(base: Base, keeper: Keeper, clients: NodeClients) -> Self {
        Self { base, keeper, clients, turns: Arc::new(Semaphore::new(NODES_AT_ONCE)), nodes: Arc::default() }
    }

    /// Ends when the keeper does.
    pub async fn run(&self, name: &str) {
        let bell = self.keeper.facts_bell(name);
        let (mut silence, mut failures) = (Outage::default(), 0u32);
        let mut last = Instant::now();
        loop {
            let (due, pace) = match self.due(name).await {
                Ok(known) => known,
                Err(KeeperError::Stopped) => return,
                Err(KeeperError::NotStored(_)) => (None, RETRY_PAUSE),
            };
            match due {
                None => {
                    bell.notified().await;
                    tokio::time::sleep(GATHER).await;
                    continue;
                }
                Some(Haste::Paced) if last.elapsed() < pace => {
                    tokio::select! {
                        () = tokio::time::sleep(pace - last.elapsed()) => {}
                        () = bell.notified() => {}
                    }
                    continue;
                }
                Some(_) => {}
            }
            last = Instant::now();
            match self.tell(name).await {
                Ok(()) => {
                    failures = 0;
                    silence.ends();
                }
                Err(error) => {
                    if silence.goes_on(Instant::now()) {
                        tracing::warn!(node = name, %error, "node is not told what its networks let through");
                    }
                    failures = failures.saturating_add(1);
                    tokio::time::sleep((RETRY_PAUSE * failures).min(RETRY_PAUSE_MAX)).await;
                }
            }
        }
    }

    /// An instance is about to be sent to the node: first what its ports need, if that goes.
    pub async fn tell_first(&self, name: &str) {
        if matches!(self.due(name).await, Ok((Some(Haste::Now), _))) {
            // Its failure is the loop's to tell.
            let _ = tokio::time::timeout(BEFORE_INSTANCE_MAX, self.tell(name)).await;
        }
    }

    async fn due(&self, name: &str) -> Result<(Option<Haste>, Duration), KeeperError> {
        let node = name.to_owned();
        let asked = self.keeper.ask(move |book, now_ms| (book.facts_due(&node, now_ms), book.nodes_count()));
        let (due, nodes) = asked.await?;
        let pace = PACE_PER_NODE * u32::try_from(nodes).unwrap_or(u32::MAX);
        Ok((due, pace.clamp(GATHER, PACE_MAX)))
    }

    /// Until what is urgent has been told.
    async fn tell(&self, name: &str) -> Result<(), ApiError> {
        let own = self.turn_of(name);
        let _own = own.lock().await;
        let _turn = self.turns.acquire().await.map_err(ApiError::internal)?;
        while self.tell_page(name).await? {}
        Ok(())
    }

    fn turn_of(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.entry(name.to_owned()).or_default().clone()
    }

    /// `true`: there is more, and it is urgent.
    async fn tell_page(&self, name: &str) -> Result<bool, ApiError> {
        let node = name.to_owned();
        let asked = self.keeper.ask(move |book, now_ms| {
            let page = book.facts_page(&node, now_ms)?;
            let record = &book.node(&node)?.record;
            Some((record.owner.clone(), record.url.clone(), page))
        });
        let Some((owner, url, page)) = asked.await? else { return Ok(false) };
        let to = FactsAt { epoch: page.epoch, at: page.to };
        let wire = page.wire();
        let answer = match self.clients.to(&owner, &url) {
            Ok(client) => client.facts_put_wire(&self.base.caller("facts"), &wire).await,
            Err(error) => Err(error),
        };
        let outcome = if answer.is_ok() { "ok" } else { "failed" };
        self.base.metrics.count("karri_cc_facts_pages_total", &[("outcome", outcome)]);
        let (node, heard) = (name.to_owned(), answer.as_ref().copied().map_err(|error| error.kind));
        let more = self.keeper.ask(move |book, now_ms| {
            book.facts_answered(&node, to, heard, now_ms);
            book.facts_due(&node, now_ms) == Some(Haste::Now)
        });
        let more = more.await?;
        answer.map(|_| more)
    }
}
