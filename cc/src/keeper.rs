//! Keeps the book and the store as one: a single task owns both, runs what others ask of the book, commits
//! what changed in one transaction per batch, and only then lets anyone know.
//!
//! When a commit fails, the book is thrown away and loaded again: memory never knows more than the disk.

use crate::app::book::{Book, Settings};
use crate::store::{Reader, Store, StoreError};
use karri_proto::runtime::clock::Clock;
use karri_proto::runtime::metrics::Metrics;
use karri_proto::runtime::process::Base;
use karri_proto::runtime::server::Shutdown;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot, watch};

const QUEUE_MAX: usize = 1024;
const BATCH_MAX: usize = 256;
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// What one asker wants done, and how it hears of the outcome once that is durable.
type Job = Box<dyn FnOnce(&mut Book, i64) -> Completion + Send>;
type Completion = Box<dyn FnOnce(Result<(), String>) + Send>;

#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("the change could not be stored: {0}")]
    NotStored(String),
    #[error("the cluster controller is stopping")]
    Stopped,
}

/// A handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Keeper {
    jobs: mpsc::Sender<Job>,
    news: watch::Receiver<u64>,
    leases: watch::Receiver<u64>,
    routers: watch::Receiver<u64>,
    wakes: Arc<Wakes>,
    pub reader: Reader,
}

/// Two bells per node: the first is made when the node is first heard of.
#[derive(Debug)]
struct Wakes {
    bells: Mutex<HashMap<String, Arc<Notify>>>,
    /// For what networks let through.
    facts: Mutex<HashMap<String, Arc<Notify>>>,
    new_nodes: mpsc::UnboundedSender<String>,
}

impl Wakes {
    fn bell(&self, name: &str) -> Arc<Notify> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bells.get(name) {
            return bell.clone();
        }
        // As many as there were nodes in this life: one that was forgotten may come back.
        let _ = self.new_nodes.send(name.to_owned());
        bells.entry(name.to_owned()).or_default().clone()
    }

    fn facts_bell(&self, name: &str) -> Arc<Notify> {
        let mut bells = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bells.get(name) {
            return bell.clone();
        }
        bells.entry(name.to_owned()).or_default().clone()
    }
}

impl Keeper {
    /// Loads the book and starts the task. The receiver names every node once.
    pub async fn start(
        base: &Base,
        mut store: Store,
        reader: Reader,
        settings: Settings,
    ) -> Result<(Self, mpsc::UnboundedReceiver<String>), StoreError> {
        let clock = Clock::start();
        let book = Book::load(store.load().await?, settings, clock.now_ms());
        let (jobs, inbox) = mpsc::channel(QUEUE_MAX);
        let (new_nodes, node_names) = mpsc::unbounded_channel();
        let (news_sender, news) = watch::channel(book.sequence());
        let (leases_sender, leases) = watch::channel(book.leases_version());
        let (routers_sender, routers) = watch::channel(book.routers_version());
        let wakes = Arc::new(Wakes { bells: Mutex::default(), facts: Mutex::default(), new_nodes });
        let mut task = Task {
            book,
            store,
            settings,
            clock,
            news: news_sender,
            leases: leases_sender,
            routers: routers_sender,
            wakes: wakes.clone(),
            metrics: base.metrics.clone(),
        };
        task.commit().await?; // what followed from the rows alone
        base.spawn(task.run(inbox, base.shutdown.clone()));
        Ok((Self { jobs, news, leases, routers, wakes, reader }, node_names))
    }

    /// Runs `ask` on the book and returns its answer when all it changed is durable.
    pub async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Book, i64) -> T + Send + 'static,
    ) -> Result<T, KeeperError> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |book, now_ms| {
            let answer = ask(book, now_ms);
            Box::new(move |stored| {
                let _ = sender.send(stored.map(|()| answer));
            })
        });
        self.jobs.send(job).await.map_err(|_| KeeperError::Stopped)?;
        receiver.await.map_err(|_| KeeperError::Stopped)?.map_err(KeeperError::NotStored)
    }

    /// Changes whenever there is something new to report.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.clone()
    }

    /// Changes whenever DHCP may have to know other leases.
    pub fn leases(&self) -> watch::Receiver<u64> {
        self.leases.clone()
    }

    /// Changes whenever routers may have to be otherwise.
    pub fn routers(&self) -> watch::Receiver<u64> {
        self.routers.clone()
    }

    /// Rings when there may be something to tell the node.
    pub fn bell(&self, name: &str) -> Arc<Notify> {
        self.wakes.bell(name)
    }

    /// Rings when there may be something to tell the node about networks.
    pub fn facts_bell(&self, name: &str) -> Arc<Notify> {
        self.wakes.facts_bell(name)
    }
}

struct Task {
    book: Book,
    store: Store,
    settings: Settings,
    clock: Clock,
    news: watch::Sender<u64>,
    leases: watch::Sender<u64>,
    routers: watch::Sender<u64>,
    wakes: Arc<Wakes>,
    metrics: Arc<Metrics>,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Job>, mut shutdown: Shutdown) {
        self.announce();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                count = inbox.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return },
                () = shutdown.wait() => return,
            }
            let now_ms = self.clock.now_ms();
            let done: Vec<Completion> = batch.drain(..).map(|job| job(&mut self.book, now_ms)).collect();
            let stored = self.commit().await.map_err(|error| error.to_string());
            done.into_iter().for_each(|completion| completion(stored.clone()));
            match stored {
                Ok(()) => self.announce(),
                Err(error) => {
                    tracing::error!(error, "cannot store changes: reading the database again");
                    tokio::select! {
                        () = self.reload() => self.announce(),
                        () = shutdown.wait() => return,
                    }
                }
            }
        }
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let changes = self.book.take_changes();
        if changes.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        self.store.commit(&changes).await?;
        self.metrics.observe("karri_cc_commit_seconds", &[], began.elapsed());
        Ok(())
    }

    async fn reload(&mut self) {
        loop {
            match self.store.load().await {
                Ok(snapshot) => {
                    self.book = Book::load(snapshot, self.settings, self.clock.now_ms());
                    if self.commit().await.is_ok() {
                        return;
                    }
                    tokio::time::sleep(RELOAD_PAUSE).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the database still cannot be read");
                    tokio::time::sleep(RELOAD_PAUSE).await;
                }
            }
        }
    }

    fn announce(&mut self) {
        for name in self.book.take_woken() {
            self.wakes.bell(&name).notify_one();
        }
        for name in self.book.take_facts_woken() {
            self.wakes.facts_bell(&name).notify_one();
        }
        let changed = |old: &mut u64, new: u64| std::mem::replace(old, new) != new;
        self.news.send_if_modified(|sequence| changed(sequence, self.book.sequence()));
        self.leases.send_if_modified(|version| changed(version, self.book.leases_version()));
        self.routers.send_if_modified(|version| changed(version, self.book.routers_version()));
    }
}
