//! Brings the schema up to date. Forward only: a file that was released is never edited.

use super::error::StoreError;
use sqlx::SqliteConnection;

/// In order; a file's version is its place in this list, from 1.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_objects", include_str!("../../../../migrations/walrus/0001_objects.sql")),
    ("0002_events", include_str!("../../../../migrations/walrus/0002_events.sql")),
];

pub(super) async fn run(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let done = all(connection).await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    sqlx::raw_sql(end).execute(connection).await?;
    done
}

async fn all(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let create =
        "CREATE TABLE IF NOT EXISTS schema_versions (version INTEGER PRIMARY KEY, name TEXT NOT NULL)";
    sqlx::query(create).execute(&mut *connection).await?;
    let newest = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM schema_versions");
    let found: i64 = newest.fetch_one(&mut *connection).await?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    for (at, (name, text)) in MIGRATIONS.iter().enumerate().skip(found.max(0) as usize) {
        let failed = |source| StoreError::Migration { name, source };
        sqlx::raw_sql(*text).execute(&mut *connection).await.map_err(failed)?;
        let record = sqlx::query("INSERT INTO schema_versions (version, name) VALUES (?, ?)");
        record.bind(at as i64 + 1).bind(*name).execute(&mut *connection).await?;
        tracing::info!(migration = name, "objects' schema brought forward");
    }
    Ok(())
}
