//! Tags, of every kind of resource in one table.
//!
//! A tag is of the account that gave it. That is the resource's owner, but for images: whoever sees one may
//! tag it, and nobody sees another account's tags.

use super::together::Statement;
use super::{IDS_PER_STATEMENT_MAX, Store, StoreError, Tx, placeholders};
use crate::app::tag::Taggable;
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::HashMap;

pub type Tags = Vec<(String, String)>;

/// Sets tags; one of the same key is replaced.
pub async fn tags_put_in_txn(
    tx: &mut Tx,
    account: &str,
    kind: Taggable,
    resource_id: &str,
    tags: &[(String, String)],
) -> Result<(), StoreError> {
    for statement in tags_put(account, kind, resource_id, tags) {
        statement.execute(tx).await?;
    }
    Ok(())
}

pub(super) fn tags_put(
    account: &str,
    kind: Taggable,
    resource_id: &str,
    tags: &[(String, String)],
) -> impl Iterator<Item = Statement> {
    let statement = "INSERT INTO tags (resource_id, key, value, account, resource_type) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (account, resource_id, key) DO UPDATE SET value = excluded.value";
    tags.iter().map(move |(key, value)| {
        Statement::new(statement).bind(resource_id).bind(key).bind(value).bind(account).bind(kind.as_str())
    })
}

/// The tags of each of these resources, which none but their owners tag, sorted by key; one without tags is
/// absent.
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

/// Removes an account's tags by key; one that is given with a value only if it has that value.
pub async fn tags_delete_in_txn(
    tx: &mut Tx,
    account: &str,
    resource_id: &str,
    keys: &[(String, Option<String>)],
) -> Result<(), StoreError> {
    let by_key = "DELETE FROM tags WHERE account = $1 AND resource_id = $2 AND key = $3";
    let by_value = "DELETE FROM tags WHERE account = $1 AND resource_id = $2 AND key = $3 AND value = $4";
    for (key, value) in keys {
        let statement = if value.is_some() { by_value } else { by_key };
        let query = sqlx::query(statement).bind(account).bind(resource_id).bind(key);
        let query = match value {
            Some(value) => query.bind(value),
            None => query,
        };
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// Removes all of an account's tags on a resource.
/// All but the cloud's own.
pub async fn tags_delete_all_in_txn(tx: &mut Tx, account: &str, resource_id: &str) -> Result<(), StoreError> {
    let statement = "DELETE FROM tags WHERE account = $1 AND resource_id = $2 AND key NOT LIKE 'aws:%'";
    sqlx::query(statement).bind(account).bind(resource_id).execute(&mut **tx).await?;
    Ok(())
}

/// A resource that is gone takes everyone's tags with it.
pub async fn tags_drop_in_txn(tx: &mut Tx, resource_id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM tags WHERE resource_id = $1").bind(resource_id).execute(&mut **tx).await?;
    Ok(())
}

/// Without the cloud's own, which count against nobody.
pub async fn tag_count_in_txn(tx: &mut Tx, account: &str, resource_id: &str) -> Result<usize, StoreError> {
    let statement =
        "SELECT COUNT(*) FROM tags WHERE account = $1 AND resource_id = $2 AND key NOT LIKE 'aws:%'";
    let count: i64 =
        sqlx::query_scalar(statement).bind(account).bind(resource_id).fetch_one(&mut **tx).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// A tag with what it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    pub resource_id: String,
    pub resource_type: String,
    pub key: String,
    pub value: String,
}

impl Store {
    /// Every tag that an account has given.
    pub async fn tag_list(&self, account: &str) -> Result<Vec<TagRow>, StoreError> {
        let statement = "SELECT resource_id, resource_type, key, value FROM tags WHERE account = $1 \
             ORDER BY resource_id, key";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok(TagRow {
                resource_id: row.try_get("resource_id")?,
                resource_type: row.try_get("resource_type")?,
                key: row.try_get("key")?,
                value: row.try_get("value")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// The tags that an account has given to one resource, sorted by key.
    pub async fn tags_of_resource(&self, account: &str, id: &str) -> Result<Tags, StoreError> {
        let statement = "SELECT key, value FROM tags WHERE account = $1 AND resource_id = $2 ORDER BY key";
        let rows = sqlx::query(statement).bind(account).bind(id).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok((row.try_get("key")?, row.try_get("value")?))).collect()
    }

    /// The tags that an account has given to resources of a type; one without tags is absent.
    pub async fn tags_of_account(
        &self,
        account: &str,
        kind: Taggable,
    ) -> Result<HashMap<String, Tags>, StoreError> {
        let statement = "SELECT resource_id, key, value FROM tags WHERE account = $1 AND resource_type = $2 \
             ORDER BY resource_id, key";
        let rows = sqlx::query(statement).bind(account).bind(kind.as_str());
        let mut found: HashMap<String, Tags> = HashMap::new();
        for row in rows.fetch_all(self.reader()).await? {
            let tag = (row.try_get("key")?, row.try_get("value")?);
            found.entry(row.try_get("resource_id")?).or_default().push(tag);
        }
        Ok(found)
    }

    /// Every tag of every resource of a type that none but its owner tags, for rebuilding what is kept in memory.
    pub async fn tags_of_type(&self, kind: Taggable) -> Result<HashMap<String, Tags>, StoreError> {
        let statement =
            "SELECT resource_id, key, value FROM tags WHERE resource_type = $1 ORDER BY resource_id, key";
        let mut found: HashMap<String, Tags> = HashMap::new();
        for row in sqlx::query(statement).bind(kind.as_str()).fetch_all(self.reader()).await? {
            found
                .entry(row.try_get("resource_id")?)
                .or_default()
                .push((row.try_get("key")?, row.try_get("value")?));
        }
        Ok(found)
    }
}
