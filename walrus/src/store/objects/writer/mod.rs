//! The one task that writes. Work that waits together runs in one transaction and shares one sync of the disk;
//! each is answered when that is over.
//!
//! Work that refuses (a condition, a missing bucket) has written nothing and leaves the others alone. An
//! error of the database undoes the whole group, and all of it is answered so.

pub(super) mod batch;
pub(super) mod bucket;
pub(super) mod changes;
pub(super) mod complete;
pub(super) mod damage;
pub(super) mod delete;
pub(super) mod events;
pub(super) mod lose;
pub(super) mod put;
pub(super) mod statements;
pub(super) mod update;
pub(super) mod upload;

use super::Shared;
use super::bucket::Bucket;
use super::error::{Refusal, StoreError};
use super::ids::BucketId;
use super::object::Object;
use batch::{Batch, Key};
use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

/// Work that waits; more than that waits for a place.
const QUEUE_MAX: usize = 1024;
/// Work that shares a transaction.
const GROUP_MAX: usize = 128;
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(20);
/// Pages of the log after which it is copied into the database (16 MiB).
const CHECKPOINT_PAGES: &str = "4096";
/// Numbers are set aside this far ahead (as microseconds: ten minutes), so that a clock that is set back
/// does not make one come twice.
const SEQ_AHEAD: u64 = 600_000_000;

/// What a check may look at. It runs inside the transaction and may run more than once.
#[derive(Debug, Clone, Copy)]
pub struct Existing<'a> {
    pub bucket: &'a Bucket,
    /// The newest version, unless that is a delete marker.
    pub current: Option<&'a Object>,
    /// What would be destroyed: the null version that is overwritten, the version that is deleted.
    pub target: Option<&'a Object>,
}

pub type Check = Arc<dyn Fn(&Existing<'_>) -> Result<(), Refusal> + Send + Sync>;

/// Something to be done in a transaction.
pub(super) trait Work: Send + 'static {
    type Answer: Send + 'static;

    /// Names the keys whose current versions it will look at: they are read for the whole group at once.
    fn keys(&self, _wanted: &mut Vec<Key>) {}

    /// An error of the caller's kind must come before anything is changed.
    fn run<'a>(
        &'a mut self,
        batch: &'a mut Batch<'_>,
    ) -> impl Future<Output = Result<Self::Answer, StoreError>> + Send + 'a;

    /// It is on disk, or may be: what it brought along belongs to the store now.
    fn kept(&mut self) {}
}

/// How a group ended.
enum Outcome {
    Committed,
    /// Nothing of it is there.
    Undone(StoreError),
    /// The commit failed: after a crash it may be there.
    Unknown(StoreError),
}

trait Job: Send {
    fn keys(&self, wanted: &mut Vec<Key>);
    fn run<'a>(&'a mut self, batch: &'a mut Batch<'_>) -> BoxFuture<'a, Result<(), StoreError>>;
    fn finish(self: Box<Self>, outcome: &Outcome);
}

struct Task<W: Work> {
    work: W,
    answer: Option<Result<W::Answer, StoreError>>,
    reply: oneshot::Sender<Result<W::Answer, StoreError>>,
}

impl<W: Work> Job for Task<W> {
    fn keys(&self, wanted: &mut Vec<Key>) {
        self.work.keys(wanted);
    }

    fn run<'a>(&'a mut self, batch: &'a mut Batch<'_>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let answer = self.work.run(batch).await;
            if let Err(Some(broken)) = answer.as_ref().map_err(StoreError::breaks_all) {
                return Err(broken);
            }
            self.answer = Some(answer);
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>, outcome: &Outcome) {
        let answer = match outcome {
            Outcome::Committed => self.answer.take().unwrap_or(Err(StoreError::Closed)),
            Outcome::Undone(error) | Outcome::Unknown(error) => {
                Err(error.breaks_all().unwrap_or(StoreError::Closed))
            }
        };
        let may_be_there = matches!(outcome, Outcome::Unknown(_)) || answer.is_ok();
        if may_be_there {
            self.work.kept();
        }
        let _ = self.reply.send(answer); // who asked may have gone
    }
}

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: mpsc::Sender<Box<dyn Job>>,
    task: Mutex<Option<JoinHandle<()>>>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

impl Queue {
    pub async fn start(connection: SqliteConnection, shared: Arc<Shared>) -> Result<Self, StoreError> {
        let writer = Writer::new(connection, shared).await?;
        let (jobs, waiting) = mpsc::channel(QUEUE_MAX);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(writer.run(waiting, stopped));
        Ok(Self { jobs, task: Mutex::new(Some(task)), stop: Mutex::new(Some(stop)) })
    }

    pub async fn run<W: Work>(&self, work: W) -> Result<W::Answer, StoreError> {
        let place = tokio::time::timeout(QUEUE_WAIT_MAX, self.jobs.reserve()).await;
        let place = place.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        place.send(Box::new(Task { work, answer: None, reply }));
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Finishes what waits.
    pub async fn close(&self) {
        drop(self.stop.lock().await.take());
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

pub(super) async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    let options = options.clone().pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
    Ok(options.connect().await?)
}

struct Writer {
    connection: SqliteConnection,
    shared: Arc<Shared>,
    state: State,
}

/// What the writer remembers from one group to the next.
pub(super) struct State {
    seq: u64,
    /// Below this a number may be given out.
    seq_end: u64,
    buckets: HashMap<BucketId, Arc<Bucket>>,
}

impl Writer {
    async fn new(mut connection: SqliteConnection, shared: Arc<Shared>) -> Result<Self, StoreError> {
        let end = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'seq_end'");
        let end: Option<i64> = end.fetch_optional(&mut connection).await?;
        let seq = end.unwrap_or(0) as u64;
        let state = State { seq, seq_end: seq, buckets: HashMap::new() };
        Ok(Self { connection, shared, state })
    }

    async fn run(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>, mut stopped: oneshot::Receiver<()>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        loop {
            tokio::select! {
                biased;
                count = jobs.recv_many(&mut group, GROUP_MAX) => if count == 0 { break },
                _ = &mut stopped => jobs.close(), // what waits is still received
            }
            if !group.is_empty() {
                self.group(&mut group).await;
            }
        }
        let _ = sqlx::Connection::close(self.connection).await;
    }

    async fn group(&mut self, group: &mut Vec<Box<dyn Job>>) {
        let outcome = self.commit(group).await;
        if let Outcome::Undone(error) | Outcome::Unknown(error) = &outcome {
            tracing::error!(%error, works = group.len(), "a group of writes failed");
            self.shared.metrics.count("karri_walrus_failed_commits_total", &[]);
            self.state.buckets.clear();
        }
        for job in group.drain(..) {
            job.finish(&outcome);
        }
    }

    async fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Outcome {
        let mut batch = Batch::new(&mut self.connection, &self.shared, &mut self.state);
        if let Err(error) = fill(&mut batch, group).await {
            batch.undo().await;
            return Outcome::Undone(error);
        }
        match batch.commit().await {
            Ok(()) => Outcome::Committed,
            Err(error) => Outcome::Unknown(error),
        }
    }
}

async fn fill(batch: &mut Batch<'_>, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
    batch.begin().await?;
    let mut wanted = Vec::with_capacity(group.len());
    for job in &*group {
        job.keys(&mut wanted);
    }
    batch.load(wanted).await?;
    for job in group {
        job.run(batch).await?;
    }
    batch.flush().await
}

#[cfg(test)]
mod tests {
    use super::super::{DATABASE, Objects, ObjectsConfig, sqlite_options};
    use super::*;
    use crate::store::keeper::local::LocalKeeper;

    #[tokio::test]
    async fn numbers_that_were_set_aside_by_what_was_undone_are_set_aside_again() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Arc::new(LocalKeeper::open(dir.path()).unwrap());
        let objects = Objects::open(ObjectsConfig::new(dir.path()), keeper, Arc::default()).await.unwrap();
        let connection = connect(&sqlite_options(&dir.path().join(DATABASE))).await.unwrap();
        let mut writer = Writer::new(connection, objects.0.shared.clone()).await.unwrap();
        let mut batch = Batch::new(&mut writer.connection, &writer.shared, &mut writer.state);
        batch.begin().await.unwrap();
        batch.undo().await;
        let mut batch = Batch::new(&mut writer.connection, &writer.shared, &mut writer.state);
        batch.begin().await.unwrap();
        let given = batch.seq();
        batch.commit().await.unwrap();
        let end = objects.meta_fetch("seq_end").await.unwrap() as u64;
        assert!(end > given && writer.state.seq_end == end, "{given} may be given out again after a crash");
    }
}
