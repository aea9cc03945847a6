//! Tags, of every kind of resource in one table.

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
    let statement = "INSERT INTO tags (resource_id, key, value, account, resource_type) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (resource_id, key) DO UPDATE SET value = excluded.value";
    tags.iter().map(move |(key, value)| {
        Statement::new(statement).bind(resource_id).bind(key).bind(value).bind(account).bind(kind.as_str())
    })
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

/// Removes tags by key; one that is given with a value only if it has that value.
pub async fn tags_delete_in_txn(
    tx: &mut Tx,
    resource_id: &str,
    keys: &[(String, Option<String>)],
) -> Result<(), StoreError> {
    for (key, value) in keys {
        let delete = "DELETE FROM tags WHERE resource_id = $1 AND key = $2";
        let query = match value {
            Some(value) => sqlx::query("DELETE FROM tags WHERE resource_id = $1 AND key = $2 AND value = $3")
                .bind(resource_id)
                .bind(key)
                .bind(value),
            None => sqlx::query(delete).bind(resource_id).bind(key),
        };
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

pub async fn tags_delete_all_in_txn(tx: &mut Tx, resource_id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM tags WHERE resource_id = $1").bind(resource_id).execute(&mut **tx).await?;
    Ok(())
}

pub async fn tag_count_in_txn(tx: &mut Tx, resource_id: &str) -> Result<usize, StoreError> {
    let statement = "SELECT COUNT(*) FROM tags WHERE resource_id = $1";
    let count: i64 = sqlx::query_scalar(statement).bind(resource_id).fetch_one(&mut **tx).await?;
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

    /// The tags of one resource, sorted by key.
    pub async fn tags_of_resource(&self, id: &str) -> Result<Tags, StoreError> {
        let statement = "SELECT key, value FROM tags WHERE resource_id = $1 ORDER BY key";
        let rows = sqlx::query(statement).bind(id).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok((row.try_get("key")?, row.try_get("value")?))).collect()
    }

    /// The tags of an account's resources of a type; one without tags is absent.
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

    /// Every tag of every resource of a type, for rebuilding what is kept in memory.
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
