//! Which master keys a store's objects are encrypted with, by a check value of each key: a store must not go
//! on with other keys than those that open what it holds.

use super::row::SEAL_MASTER;
use super::{DATABASE, Objects, StoreError, is_store, meta, sqlite_options};
use crate::store::keeper::seal::MasterKeys;
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};
use std::path::Path;

/// In `meta`, before the number of a key.
const PREFIX: &str = "master_key_";

/// Remembers the check values of `keys`.
///
/// # Errors
/// A key that the store was used with is missing or another one, and there is something that it encrypts.
pub(super) async fn check(connection: &mut SqliteConnection, keys: &MasterKeys) -> Result<(), StoreError> {
    let given = keys.check_values();
    let known = "SELECT name, value FROM meta WHERE name GLOB 'master_key_*'";
    let mut wrong = None;
    for row in sqlx::query(known).fetch_all(&mut *connection).await? {
        let (name, value): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
        let Some(number) = name.strip_prefix(PREFIX).and_then(|number| number.parse().ok()) else { continue };
        match given.get(&number) {
            Some(given) if *given == value => {}
            given => wrong = Some(StoreError::MasterKey { number, missing: given.is_none() }),
        }
    }
    if wrong.is_none() && given.is_empty() {
        wrong = Some(StoreError::MasterKey { number: 1, missing: true });
    }
    if let Some(wrong) = wrong {
        if is_used(connection).await? {
            return Err(wrong);
        }
        // Nothing is lost with keys that have encrypted nothing.
        sqlx::query("DELETE FROM meta WHERE name GLOB 'master_key_*'").execute(&mut *connection).await?;
    }
    for (number, value) in given {
        let sql = "INSERT OR IGNORE INTO meta (name, value) VALUES (?, ?)";
        let query = sqlx::query(sql).bind(format!("{PREFIX}{number}")).bind(value);
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Whether anything is encrypted with a key of the cloud's. Looks at every row if nothing is.
async fn is_used(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    for table in ["live", "history", "uploads", "parts"] {
        let sql = format!("SELECT 1 FROM {table} WHERE flags & 48 = ? LIMIT 1");
        let query = sqlx::query(AssertSqlSafe(sql)).bind(SEAL_MASTER);
        if query.fetch_optional(&mut *connection).await?.is_some() {
            return Ok(true);
        }
    }
    // What is elsewhere, or was when it was written, is encrypted whatever its row says.
    let elsewhere = meta::fetch(connection, meta::ENGINE_MARK).await? != 0;
    let blobs = sqlx::query("SELECT 1 FROM blobs WHERE state <> 1 LIMIT 1");
    Ok(elsewhere && blobs.fetch_optional(connection).await?.is_some())
}

impl Objects {
    /// # Errors
    /// There is a store, and something in it that is encrypted with a key of the cloud's.
    pub async fn expect_no_master_keys(dir: &Path) -> Result<(), StoreError> {
        if !is_store(dir) {
            return Ok(());
        }
        let mut connection = super::writer::connect(&sqlite_options(&dir.join(DATABASE))).await?;
        super::migrate::run(&mut connection).await?;
        let checked = check(&mut connection, &MasterKeys::default()).await;
        connection.close().await?;
        checked
    }
}
