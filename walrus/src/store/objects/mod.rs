//! Buckets and objects: their facts in SQLite, the bytes of larger objects with a [`Keeper`].
//!
//! ```text
//!   bucket.rs object.rs facts.rs upload.rs ids.rs    what there is
//!   assemble.rs parts.rs                             uploads that become objects; copies
//!   bytes.rs read.rs                                 bytes in and out
//!   fetch.rs page.rs list.rs runs.rs versions.rs scan.rs  reading: any number at a time, each one a snapshot
//!   writer/                                          writing: one task, one transaction for all who wait
//!   lister.rs                                        connections for lists
//!   hot.rs lease.rs                                  what is in memory: current objects; who reads what
//!   housekeeping.rs sweep.rs scrub.rs                giving back space, looking for rot
//!   check/ backup.rs                                 proving a store consistent, copying it
//!   master.rs                                        which keys open what there is
//!   events.rs                                        what is still to be told outside
//!   row.rs wire.rs manifest.rs migrate.rs            how things lie in the database
//! ```
//!
//! What always holds: what an answered write says is on disk. A blob is durable before the row that names it
//! and is removed after it, so a crash leaves at most a blob that nobody names. `live` has a row for a key
//! exactly when the key's newest version is no delete marker; everything else is in `history`.
//!
//! Nothing here decides anything about S3: conditions, locks and checksums are the caller's, as checks that
//! the writer runs inside its transaction.

mod assemble;
mod backup;
mod bucket;
mod bytes;
mod check;
mod error;
mod events;
mod facts;
mod fetch;
mod hot;
mod housekeeping;
mod ids;
mod lease;
mod list;
mod lister;
mod manifest;
mod master;
mod meta;
mod migrate;
mod object;
mod page;
mod parts;
mod read;
mod row;
mod runs;
mod scan;
mod scrub;
mod sweep;
mod upload;
mod versions;
mod wire;
mod writer;

pub use assemble::{Assemble, AssembledPart, Assembly, Completed, UploadComplete};
pub use bucket::{Bucket, BucketPage, BucketQuery, NewBucket, Owned, Usage, Versioning};
pub use bytes::{ByteWriter, INLINE_BYTES_MAX, Stored};
pub use check::{CheckProgress, CheckReport, Problem, check};
pub use error::{Refusal, StoreError};
pub use events::{Event, Happened, NewEvent, Tell, What};
pub use facts::{
    CHECKSUM_ALGORITHMS, Checksum, ChecksumAlgorithm, ChecksumType, Facts, LockMode, Pairs, Retention, UnixMs,
};
pub use housekeeping::{Housekeeping, HousekeepingConfig};
pub use ids::{BucketId, ETag, UnknownId, UploadId, VersionId};
pub use list::{ListEntry, ListQuery};
pub use object::Object;
pub use page::{Next, Page};
pub use parts::PartFacts;
pub use read::{Body, ByteStream};
pub use scan::{ScanPlace, Scanned};
pub use scrub::Scrubbed;
pub use sweep::Swept;
pub use upload::{NewUpload, Part, PartPut, Upload, UploadQuery};
pub use versions::{VersionEntry, VersionQuery};
pub use writer::delete::{Deleted, ObjectDelete};
pub use writer::put::ObjectPut;
pub use writer::update::ObjectChange;
pub use writer::{Check, Existing};

use super::keeper::local::bytes_free;
use super::keeper::seal::MasterKeys;
use super::keeper::{BlobId, Keeper, StoreFacts};
use hot::Hot;
use karri_proto::runtime::metrics::Metrics;
use lease::Leases;
use lister::Lister;
use sqlx::SqliteConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use writer::Queue;

const DATABASE: &str = "walrus.db";
const BUCKETS_BYTES_MAX: usize = 16 << 20;
const STATEMENTS_MAX: usize = 512;
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of each connection: negative, as SQLite wants KiB.
const CACHE_SIZE: i32 = -8192;

/// What time it is; tests turn it.
pub type Clock = fn() -> UnixMs;

#[derive(Debug, Clone)]
pub struct ObjectsConfig {
    /// The database is in it.
    pub dir: PathBuf,
    /// For current objects, with the bytes of small ones.
    pub hot_bytes_max: usize,
    pub readers: u32,
    /// New bytes are refused when less is free, so that there is room to delete.
    pub reserve_bytes: u64,
    pub master_keys: MasterKeys,
    pub clock: Clock,
}

impl ObjectsConfig {
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            hot_bytes_max: 32 << 20,
            readers: 4,
            reserve_bytes: 64 << 20,
            master_keys: MasterKeys::default(),
            clock: now_unix_ms,
        }
    }
}

/// Whether there is one, or a copy of one.
pub fn is_store(dir: &Path) -> bool {
    dir.join(DATABASE).is_file()
}

pub fn now_unix_ms() -> UnixMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as UnixMs)
}

/// A handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    queue: Queue,
}

/// What readers and the writer have in common.
#[derive(Debug)]
struct Shared {
    config: ObjectsConfig,
    keeper: Arc<dyn Keeper>,
    metrics: Arc<Metrics>,
    reader: SqlitePool,
    lister: Arc<Lister>,
    hot: Hot<Arc<Object>>,
    buckets: Hot<Arc<Bucket>>,
    leases: Arc<Leases>,
    /// Counts the groups that have brought events.
    events: watch::Sender<u64>,
    /// The first name that this run may give.
    first_blob: u64,
    next_blob: AtomicU64,
    /// Blobs that did not verify: none of their bytes is served.
    damaged: Mutex<HashSet<u64>>,
    /// Where among the rows of a bucket the scrub is.
    scrub_row: Mutex<Option<scrub::RowPlace>>,
    /// Whose turn it is to remove blobs, or to rely on their staying.
    sweeping: tokio::sync::Mutex<()>,
}

impl std::ops::Deref for Inner {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    fn note_damage(&self, id: BlobId) {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(id.0);
    }

    fn forget_damage(&self, gone: &[u64]) {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| !gone.contains(id));
    }

    fn is_damaged(&self, id: BlobId) -> bool {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).contains(&id.0)
    }

    /// Refuses `bytes` more when what is to stay free would not.
    fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        let free = bytes_free(&self.config.dir)?.min(self.keeper.bytes_free()?);
        if free < self.config.reserve_bytes.saturating_add(bytes) { Err(StoreError::Full) } else { Ok(()) }
    }

    fn blob_id(&self) -> BlobId {
        BlobId(self.next_blob.fetch_add(1, Ordering::Relaxed))
    }
}

impl Objects {
    /// Opens the store, makes it if it is not there, and brings its schema up to date.
    pub async fn open(
        config: ObjectsConfig,
        keeper: Arc<dyn Keeper>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        std::fs::create_dir_all(&config.dir)?;
        let path = config.dir.join(DATABASE);
        let options = sqlite_options(&path);
        let mut connection = writer::connect(&options).await?;
        migrate::run(&mut connection).await?;
        master::check(&mut connection, &config.master_keys).await?;
        let first_blob = first_blob(&mut connection, &*keeper).await?;
        keeper.begin(store_facts(&mut connection, &*keeper).await?).await?;
        let damaged = sqlx::query_scalar("SELECT id FROM blobs WHERE state = 2");
        let damaged: Vec<i64> = damaged.fetch_all(&mut connection).await?;
        let shared = Arc::new(Shared {
            reader: reader(options, config.readers).await?,
            lister: Arc::new(Lister::new(&path, config.readers)),
            hot: Hot::new(config.hot_bytes_max),
            buckets: Hot::new(BUCKETS_BYTES_MAX),
            leases: Arc::default(),
            events: watch::Sender::new(0),
            first_blob,
            next_blob: AtomicU64::new(first_blob),
            sweeping: tokio::sync::Mutex::default(),
            scrub_row: Mutex::default(),
            damaged: Mutex::new(damaged.into_iter().map(|id| id as u64).collect()),
            config,
            keeper,
            metrics,
        });
        let queue = Queue::start(connection, shared.clone()).await?;
        Ok(Self(Arc::new(Inner { shared, queue })))
    }

    /// What was accepted is finished; what comes later is refused.
    pub async fn close(&self) {
        self.0.queue.close().await;
        self.0.lister.close().await;
        self.0.reader.close().await;
    }

    /// Whether the database answers.
    pub async fn probe(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT value FROM meta LIMIT 1").fetch_optional(&self.0.reader).await?;
        Ok(())
    }

    /// Whether larger objects' bytes can be reached.
    pub async fn probe_engine(&self) -> Result<(), StoreError> {
        Ok(self.0.keeper.probe().await?)
    }

    async fn write<W: writer::Work>(&self, work: W) -> Result<W::Answer, StoreError> {
        self.0.queue.run(work).await
    }
}

/// The first name of this run. None is given twice, whatever became of the blob: names that a run before has removed
/// are not, for what is left over is looked for from there on; nor those that may be on their way to an engine.
async fn first_blob(connection: &mut SqliteConnection, keeper: &dyn Keeper) -> Result<u64, StoreError> {
    let newest = sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM blobs");
    let newest: i64 = newest.fetch_one(&mut *connection).await?;
    let looked_at = meta::fetch(connection, meta::ORPHANS_FROM).await?;
    let begun_at = meta::fetch(connection, meta::NAMES_FROM).await?;
    let newest = newest.max(looked_at - 1).max(begun_at) as u64;
    let newest = keeper.newest().await?.map_or(0, |id| id.0).max(newest);
    let first = keeper.first_name(newest);
    // On a disk a name that was never durable is nobody's, and a disk that is full must not hold up a start.
    if keeper.is_elsewhere() {
        meta::put(connection, meta::NAMES_FROM, first as i64).await?;
    }
    Ok(first)
}

/// With a mark, which is made for a store whose blobs are elsewhere for the first time.
async fn store_facts(
    connection: &mut SqliteConnection,
    keeper: &dyn Keeper,
) -> Result<StoreFacts, StoreError> {
    let mut mark = meta::fetch(connection, meta::ENGINE_MARK).await?;
    if mark == 0 && keeper.is_elsewhere() {
        mark = rand::random::<i64>() & i64::MAX | 1;
        meta::put(connection, meta::ENGINE_MARK, mark).await?;
    }
    let any = sqlx::query("SELECT 1 FROM blobs WHERE state <> 1 LIMIT 1");
    let has_blobs = any.fetch_optional(connection).await?.is_some();
    Ok(StoreFacts { mark: mark as u64, has_blobs })
}

fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .auto_vacuum(sqlx::sqlite::SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_MAX)
        .pragma("cache_size", CACHE_SIZE.to_string())
}

async fn reader(options: SqliteConnectOptions, connections: u32) -> Result<SqlitePool, sqlx::Error> {
    let pool = SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        // A connection to a file does not get lost; asking it first is one more way there and back.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None);
    pool.connect_with(options.pragma("query_only", "1")).await
}
