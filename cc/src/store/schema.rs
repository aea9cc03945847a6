//! Migrations: forward only, each in one transaction, compiled in.

use super::StoreError;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row as _};

const MIGRATIONS: [(i64, &str); 8] = [
    (1, include_str!("../../../migrations/cc/0001_cluster.sql")),
    (2, include_str!("../../../migrations/cc/0002_left_behind.sql")),
    (3, include_str!("../../../migrations/cc/0003_network_facts.sql")),
    (4, include_str!("../../../migrations/cc/0004_tunnels.sql")),
    (5, include_str!("../../../migrations/cc/0005_captures.sql")),
    (6, include_str!("../../../migrations/cc/0006_network_mode.sql")),
    (7, include_str!("../../../migrations/cc/0007_segment_driver.sql")),
    (8, include_str!("../../../migrations/cc/0008_region_names.sql")),
];

pub async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY) STRICT")
        .execute(&mut *connection)
        .await?;
    let done = sqlx::query("SELECT coalesce(max(version), 0) AS version FROM migrations")
        .fetch_one(&mut *connection)
        .await?;
    let done: i64 = done.try_get("version")?;
    let newest = MIGRATIONS.last().map_or(0, |(version, _)| *version);
    if done > newest {
        return Err(StoreError::content("the schema", format!("version {done} is newer than {newest}")));
    }
    for (version, sql) in MIGRATIONS.into_iter().filter(|(version, _)| *version > done) {
        let mut transaction = connection.begin().await?;
        sqlx::raw_sql(sql).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO migrations (version) VALUES (?)")
            .bind(version)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
    }
    Ok(())
}
