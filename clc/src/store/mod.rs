//! The only SQL of the cloud controller. One store over two engines: SQLite and PostgreSQL.
//!
//! Rows are private to their file and convert outward. Functions are named noun first
//! (`account_insert`); `_in_txn` means that the caller commits. Nothing here decides anything.
//!
//! SQLite: one connection writes, several read (WAL), every commit is on disk when it returns.
//! PostgreSQL: one pool, and [`Store::begin_numbered`] for whoever has to wait for other writers. Statements use `$1`,
//! which both understand; columns are TEXT and BIGINT.

pub mod account;
pub mod blob_release;
pub mod bundle_task;
pub mod certificate;
pub mod cluster;
pub mod creation_token;
pub mod dhcp_options;
pub mod error;
pub mod image;
pub mod image_task;
pub mod instance;
pub mod internet_gateway;
pub mod join_token;
pub mod key_pair;
mod known;
pub mod launch;
pub mod leadership;
mod leave;
pub mod memory;
mod migrate;
pub mod nat_gateway;
pub mod network;
pub mod network_acl;
pub mod network_change;
pub mod network_interface;
mod node_certificate;
pub mod port;
pub mod prefix_list;
pub mod public_address;
pub mod resource;
pub mod route_table;
pub mod seal;
pub mod security_group;
pub mod segment_tag;
mod shape;
pub mod snapshot;
pub mod subnet;
pub mod tag;
mod together;
pub mod told;
mod tx;
pub mod vpc;
pub mod vpc_parts;

pub use error::StoreError;
pub use seal::Sealer;
pub use tx::Tx;

use crate::config::DatabaseConfig;
use known::Known;
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Executor};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// For a connection of the pool. Clients wait for a minute.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Statements take at most this many bound values at once (SQLite allows 32,766).
pub const IDS_PER_STATEMENT_MAX: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

#[derive(Debug, Clone)]
pub struct Store {
    engine: Engine,
    writer: AnyPool,
    reader: AnyPool,
    /// On PostgreSQL: whose turn it is to change instances, of those who want to here.
    turn: Arc<Mutex<()>>,
    known: Arc<Known>,
}

impl Store {
    /// Opens the database, makes it if it is a file that is not there, and brings its schema up to date.
    pub async fn open(config: &DatabaseConfig) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let engine = if config.url.starts_with("sqlite:") { Engine::Sqlite } else { Engine::Postgres };
        let (known, turn) = (Arc::default(), Arc::default());
        let store = match engine {
            Engine::Sqlite => {
                let url = sqlite_url(&config.url);
                let writer = sqlite_pool(&url, 1).await?;
                migrate::run(&writer, engine).await?;
                Self { engine, writer, reader: sqlite_pool(&url, config.connections).await?, turn, known }
            }
            Engine::Postgres => {
                let options = AnyPoolOptions::new().max_connections(config.connections);
                let pool = options.acquire_timeout(CONNECTION_TIMEOUT).connect(&config.url).await?;
                migrate::run(&pool, engine).await?;
                Self { engine, writer: pool.clone(), reader: pool, turn, known }
            }
        };
        Ok(store)
    }

    pub fn engine(&self) -> Engine {
        self.engine
    }

    pub async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(Tx::new(match self.engine {
            // A deferred transaction would fail half-way when another process writes.
            Engine::Sqlite => self.writer.begin_with("BEGIN IMMEDIATE").await?,
            Engine::Postgres => self.writer.begin().await?,
        }))
    }

    /// A transaction and the next number of the `instances` counter, which holds back every other writer of
    /// instances. Those of this process wait for each other here, where that costs nothing: in the database each would
    /// keep a connection waiting, and who only reads would soon find none.
    pub async fn begin_numbered(&self) -> Result<(Tx, i64), StoreError> {
        let turn = match self.engine {
            Engine::Sqlite => None, // they wait for the one connection that writes
            Engine::Postgres => {
                let turn = tokio::time::timeout(CONNECTION_TIMEOUT, self.turn.clone().lock_owned()).await;
                Some(turn.map_err(|_| StoreError::Busy)?)
            }
        };
        let mut tx = self.begin().await?.keeping(turn);
        let number = counter_next_in_txn(&mut tx, "instances").await?;
        Ok((tx, number))
    }

    pub(crate) fn reader(&self) -> &AnyPool {
        &self.reader
    }

    /// The last number given out for a kind of change: what other processes watch.
    pub async fn counter_fetch(&self, name: &'static str) -> Result<i64, StoreError> {
        let statement = "SELECT value FROM counters WHERE name = $1";
        Ok(sqlx::query_scalar(statement).bind(name).fetch_one(&self.reader).await?)
    }

    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

/// The next number of a counter. Holds back every other writer of its kind until the commit, so what
/// the transaction reads afterwards cannot change under it.
pub async fn counter_next_in_txn(tx: &mut Tx, name: &'static str) -> Result<i64, StoreError> {
    let statement = "UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value";
    Ok(sqlx::query_scalar(statement).bind(name).fetch_one(&mut **tx).await?)
}

/// `($3, $4, $5)` for `first` 3 and `count` 3.
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    let names: Vec<String> = (first..first + count).map(|n| format!("${n}")).collect();
    format!("({})", names.join(", "))
}

fn sqlite_url(url: &str) -> String {
    if url.contains('?') { url.to_owned() } else { format!("{url}?mode=rwc") }
}

async fn sqlite_pool(url: &str, connections: u32) -> Result<AnyPool, StoreError> {
    let options = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECTION_TIMEOUT)
        // A connection to a file does not get lost; asking it first is one more way there and back.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(|connection, _| {
            Box::pin(async move {
                let pragmas = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; \
                               PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";
                connection.execute(sqlx::raw_sql(pragmas)).await.map(drop)
            })
        });
    Ok(options.connect(url).await?)
}
