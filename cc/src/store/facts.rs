//! What the cloud controller told of networks.

use super::StoreError;
use crate::app::facts::{FactChanges, StoredFacts};
use karri_proto::internal::facts::FactsAt;
use karri_proto::network::{Fact, FactChange, FactKey};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

pub async fn facts_load(connection: &mut SqliteConnection) -> Result<StoredFacts, StoreError> {
    let told =
        sqlx::query("SELECT epoch, at FROM network_facts_told").fetch_optional(&mut *connection).await?;
    let at = match told {
        Some(row) => FactsAt {
            epoch: row.try_get::<i64, _>("epoch")?.cast_unsigned(),
            at: row.try_get::<i64, _>("at")?.cast_unsigned(),
        },
        None => FactsAt::default(),
    };
    let rows = sqlx::query("SELECT key, value FROM network_facts").fetch_all(connection).await?;
    let facts = rows.iter().map(outward).collect::<Result<_, _>>()?;
    Ok(StoredFacts { at, facts })
}

fn outward(row: &SqliteRow) -> Result<Fact, StoreError> {
    let key: String = row.try_get("key")?;
    let value: String = row.try_get("value")?;
    match serde_json::from_str(&value) {
        Ok(FactChange::Put(fact)) if fact.key().to_string() == key => Ok(fact),
        Ok(_) => Err(StoreError::content(format!("the fact {key}"), "it tells something else")),
        Err(cause) => Err(StoreError::content(format!("the fact {key}"), cause)),
    }
}

pub async fn facts_put_in_txn(
    transaction: &mut SqliteConnection,
    changes: &FactChanges,
) -> Result<(), StoreError> {
    for (key, value) in &changes.values {
        fact_put_in_txn(transaction, key, value.as_deref()).await?;
    }
    if let Some(at) = changes.at {
        sqlx::query(
            "INSERT INTO network_facts_told (only, epoch, at) VALUES (1, ?, ?) \
             ON CONFLICT (only) DO UPDATE SET epoch = excluded.epoch, at = excluded.at",
        )
        .bind(at.epoch.cast_signed())
        .bind(at.at.cast_signed())
        .execute(transaction)
        .await?;
    }
    Ok(())
}

async fn fact_put_in_txn(
    transaction: &mut SqliteConnection,
    key: &FactKey,
    value: Option<&str>,
) -> Result<(), StoreError> {
    let query = match value {
        Some(value) => sqlx::query(
            "INSERT INTO network_facts (key, value) VALUES (?, ?) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(key.to_string())
        .bind(value.to_owned()),
        None => sqlx::query("DELETE FROM network_facts WHERE key = ?").bind(key.to_string()),
    };
    query.execute(transaction).await?;
    Ok(())
}
