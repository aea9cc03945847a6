//! Tags, of every kind of resource in one table.

use super::{IDS_PER_STATEMENT_MAX, Store, StoreError, Tx, placeholders};
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::HashMap;

pub type Tags = Vec<(String, String)>;

/// Sets tags; one of the same key is replaced.
pub async fn tags_put_in_txn(
    tx: &mut Tx,
    account: &str,
    resource_type: &str,
    resource_id: &str,
    tags: &[(String, String)],
) -> Result<(), StoreError> {
    let statement = "INSERT INTO tags (resource_id, key, value, account, resource_type) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (resource_id, key) DO UPDATE SET value = excluded.value";
    for (key, value) in tags {
        let query = sqlx::query(statement).bind(resource_id).bind(key).bind(value);
        query.bind(account).bind(resource_type).execute(&mut **tx).await?;
    }
    Ok(())
}

/// The tags of each of these resources, sorted by key; one without tags is absent.
pub async fn tags_of_in_txn(tx: &mut Tx, ids: &[&str]) -> Result<HashMap<String, Tags>, StoreError> {
    let mut found: HashMap<String, Tags> = HashMap::new();
    for ids in ids.chunks(IDS_PER_STATEMENT_MAX) {
        let list = placeholders(1, ids.len());
        let statement = format!(
            "SELECT resource_id, key, value FROM tags WHERE resource_id IN {list} ORDER BY resource_id, key"
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for id in ids {
            query = query.bind(*id);
        }
        for row in query.fetch_all(&mut **tx).await? {
            found
                .entry(row.try_get("resource_id")?)
                .or_default()
                .push((row.try_get("key")?, row.try_get("value")?));
        }
    }
    Ok(found)
}

impl Store {
    /// Every tag of every resource of a type, for rebuilding what is kept in memory.
    pub async fn tags_of_type(&self, resource_type: &str) -> Result<HashMap<String, Tags>, StoreError> {
        let statement =
            "SELECT resource_id, key, value FROM tags WHERE resource_type = $1 ORDER BY resource_id, key";
        let mut found: HashMap<String, Tags> = HashMap::new();
        for row in sqlx::query(statement).bind(resource_type).fetch_all(self.reader()).await? {
            found
                .entry(row.try_get("resource_id")?)
                .or_default()
                .push((row.try_get("key")?, row.try_get("value")?));
        }
        Ok(found)
    }
}
