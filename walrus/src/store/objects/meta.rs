//! Numbers that the store remembers about itself.

use super::Objects;
use super::error::StoreError;
use super::writer::Work;
use super::writer::batch::Batch;
use sqlx::SqliteConnection;

/// Blobs from here on may have been left by a run that was cut short.
pub(super) const ORPHANS_FROM: &str = "orphans_from";
/// This run's names begin here.
pub(super) const NAMES_FROM: &str = "names_from";
/// Tells this store's blobs from another one's, since they were first elsewhere.
pub(super) const ENGINE_MARK: &str = "engine_mark";
pub(super) const SCRUB_STAGE: &str = "scrub_stage";
pub(super) const SCRUB_PLACE: &str = "scrub_place";
pub(super) const SCRUB_ENDED: &str = "scrub_ended";

/// Before there is a writer, or without one.
pub(super) async fn fetch(connection: &mut SqliteConnection, name: &str) -> Result<i64, StoreError> {
    let found = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?").bind(name);
    Ok(found.fetch_optional(connection).await?.unwrap_or(0))
}

pub(super) async fn put(
    connection: &mut SqliteConnection,
    name: &'static str,
    value: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (name, value) VALUES (?, ?) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sqlx::query(sql).bind(name).bind(value).execute(connection).await?;
    Ok(())
}

impl Objects {
    pub(super) async fn meta_fetch(&self, name: &str) -> Result<i64, StoreError> {
        let found = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?").bind(name);
        Ok(found.fetch_optional(&self.0.reader).await?.unwrap_or(0))
    }

    pub(super) async fn meta_put(&self, values: &[(&'static str, i64)]) -> Result<(), StoreError> {
        self.write(MetaPut(values.to_vec())).await
    }
}

struct MetaPut(Vec<(&'static str, i64)>);

impl Work for MetaPut {
    type Answer = ();

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        for (name, value) in &self.0 {
            put(&mut *batch.connection, name, *value).await?;
        }
        Ok(())
    }
}
