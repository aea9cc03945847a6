//! Nodes as they last described themselves.

use super::StoreError;
use crate::app::node::NodeRecord;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

pub async fn node_list(connection: &mut SqliteConnection) -> Result<Vec<NodeRecord>, StoreError> {
    let rows = sqlx::query("SELECT owner, url, tunnel, facts FROM nodes").fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let facts: String = row.try_get("facts")?;
            let tunnel: Option<String> = row.try_get("tunnel")?;
            let tunnel = tunnel.map(|text| text.parse()).transpose();
            Ok(NodeRecord {
                owner: row.try_get("owner")?,
                url: row.try_get("url")?,
                tunnel: tunnel.map_err(|e| StoreError::content("a node's tunnel", e))?,
                facts: serde_json::from_str(&facts).map_err(|e| StoreError::content("a node's facts", e))?,
            })
        })
        .collect()
}

pub async fn node_put_in_txn(
    transaction: &mut SqliteConnection,
    name: &str,
    record: &NodeRecord,
) -> Result<(), StoreError> {
    let facts = serde_json::to_string(&record.facts).map_err(|e| StoreError::content("a node's facts", e))?;
    sqlx::query(
        "INSERT INTO nodes (name, owner, url, tunnel, facts) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) \
         DO UPDATE SET owner = excluded.owner, url = excluded.url, tunnel = excluded.tunnel, \
         facts = excluded.facts",
    )
    .bind(name)
    .bind(&record.owner)
    .bind(&record.url)
    .bind(record.tunnel.map(|tunnel| tunnel.to_string()))
    .bind(facts)
    .execute(transaction)
    .await?;
    Ok(())
}

pub async fn node_delete_in_txn(transaction: &mut SqliteConnection, name: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM nodes WHERE name = ?").bind(name).execute(transaction).await?;
    Ok(())
}
