//! The cluster's database: SQLite, one writer, every commit on disk before it is acknowledged.
//!
//! What is stored is what cannot be had again from the nodes: what users want, where it is placed, what
//! the clc was told, tombstones, and the numbering of reports. What nodes say of themselves is stored so
//! that they can be reached before their next heartbeat.

mod facts;
mod instance;
mod mode;
mod names;
mod node;
mod schema;

use crate::app::book::{Changes, Snapshot};
use karri_proto::ids::InstanceId;
use karri_proto::instance::InstanceIntent;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row as _};
use std::path::Path;
use std::time::Duration;

pub use mode::ModeError;

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS_MAX: u32 = 4;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("database: {what} is not what this version writes: {cause}")]
    Content { what: String, cause: String },
    #[error("the cluster controller is stopping")]
    Stopped,
}

impl StoreError {
    fn content(what: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self::Content { what: what.into(), cause: cause.to_string() }
    }
}

/// The writing half. There is one.
#[derive(Debug)]
pub struct Store {
    connection: SqliteConnection,
}

/// The reading half: intents, which are too big to keep in memory.
#[derive(Debug, Clone)]
pub struct Reader {
    pool: SqlitePool,
}

impl Store {
    /// Opens or makes the database and brings it up to date. `new_epoch` is used when it is new.
    pub async fn open(path: &Path, new_epoch: u64) -> Result<(Self, Reader), StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        schema::migrate(&mut connection).await?;
        sqlx::query("INSERT INTO numbering (only, epoch, sequence) VALUES (1, ?, 0) ON CONFLICT DO NOTHING")
            .bind(signed(new_epoch))
            .execute(&mut connection)
            .await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .min_connections(0)
            .connect_lazy_with(options.read_only(true).create_if_missing(false));
        Ok((Self { connection }, Reader { pool }))
    }

    pub async fn load(&mut self) -> Result<Snapshot, StoreError> {
        let connection = &mut self.connection;
        let numbering =
            sqlx::query("SELECT epoch, sequence FROM numbering").fetch_one(&mut *connection).await?;
        Ok(Snapshot {
            rows: instance::instance_list(connection).await?,
            nodes: node::node_list(connection).await?,
            tombstones: instance::tombstone_list(connection).await?,
            left_behind: instance::left_behind_list(connection).await?,
            facts: facts::facts_load(connection).await?,
            names: names::names_load(connection).await?,
            epoch: unsigned(numbering.try_get("epoch")?),
            sequence: unsigned(numbering.try_get("sequence")?),
        })
    }

    /// All of it or nothing, on disk when this returns.
    pub async fn commit(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for (id, row) in &changes.rows {
            match row {
                Some(row) => {
                    instance::instance_put_in_txn(&mut transaction, row, changes.intents.get(id)).await?;
                }
                None => instance::instance_delete_in_txn(&mut transaction, id).await?,
            }
        }
        for (id, until_ms) in &changes.tombstones {
            instance::tombstone_put_in_txn(&mut transaction, id, *until_ms).await?;
        }
        for ((node, id), there) in &changes.left_behind {
            instance::left_behind_put_in_txn(&mut transaction, node, id, *there).await?;
        }
        for (name, record) in &changes.nodes {
            match record {
                Some(record) => node::node_put_in_txn(&mut transaction, name, record).await?,
                None => node::node_delete_in_txn(&mut transaction, name).await?,
            }
        }
        facts::facts_put_in_txn(&mut transaction, &changes.facts).await?;
        if let Some(names) = &changes.names {
            names::names_put_in_txn(&mut transaction, names).await?;
        }
        if let Some(sequence) = changes.sequence {
            sqlx::query("UPDATE numbering SET sequence = ?")
                .bind(signed(sequence))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

impl Reader {
    /// Whether the database can be read.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT epoch FROM numbering").fetch_one(&self.pool).await?;
        Ok(())
    }

    pub async fn intent(&self, id: &InstanceId) -> Result<Option<InstanceIntent>, StoreError> {
        instance::intent_fetch(&self.pool, id).await
    }
}

/// SQLite's integers are signed; ours that grow without end never reach the last bit.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
