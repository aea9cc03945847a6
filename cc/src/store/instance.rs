//! Instances, their tombstones, and what forgotten nodes had.

use super::{StoreError, signed, unsigned};
use crate::app::row::{Row, stored};
use karri_proto::ids::InstanceId;
use karri_proto::instance::InstanceIntent;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

fn json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|cause| StoreError::content(what, cause))
}

fn to_json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|cause| StoreError::content("a value", cause))
}

fn id_of(row: &SqliteRow) -> Result<InstanceId, StoreError> {
    let text: String = row.try_get("id")?;
    text.parse().map_err(|cause| StoreError::content("an instance id", cause))
}

pub async fn instance_list(connection: &mut SqliteConnection) -> Result<Vec<Row>, StoreError> {
    let rows = sqlx::query("SELECT * FROM instances").fetch_all(connection).await?;
    rows.iter().map(outward).collect()
}

fn outward(row: &SqliteRow) -> Result<Row, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let mut out = stored(&json::<InstanceIntent>(&text("intent")?, "an intent")?);
    out.attempt = u32::try_from(row.try_get::<i64, _>("attempt")?).unwrap_or(u32::MAX);
    out.node = row.try_get("node")?;
    out.tried = json(&text("tried")?, "a list of nodes")?;
    out.ran = row.try_get::<i64, _>("ran")? != 0;
    out.since_ms = row.try_get("since_ms")?;
    out.phase = json(&text("phase")?, "a phase")?;
    let reason: Option<String> = row.try_get("reason")?;
    out.reason = reason.map(|reason| json(&reason, "a reason")).transpose()?;
    out.reboots = unsigned(row.try_get("reboots")?);
    let capture: Option<String> = row.try_get("capture")?;
    out.capture = capture.map(|capture| json(&capture, "a capture")).transpose()?;
    out.sequence = unsigned(row.try_get("sequence")?);
    Ok(out)
}

pub async fn intent_fetch(pool: &SqlitePool, id: &InstanceId) -> Result<Option<InstanceIntent>, StoreError> {
    let row = sqlx::query("SELECT intent FROM instances WHERE id = ?")
        .bind(id.as_str())
        .fetch_optional(pool)
        .await?;
    row.map(|row| json(&row.try_get::<String, _>("intent")?, "an intent")).transpose()
}

/// `intent: None`: it has not changed, and is not written again.
pub async fn instance_put_in_txn(
    transaction: &mut SqliteConnection,
    row: &Row,
    intent: Option<&InstanceIntent>,
) -> Result<(), StoreError> {
    let query = match intent {
        Some(_) => sqlx::query(
            "INSERT INTO instances \
             (attempt, node, tried, ran, since_ms, phase, reason, reboots, capture, sequence, id, intent) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET \
             capture = excluded.capture, attempt = excluded.attempt, node = excluded.node, tried = excluded.tried, ran = excluded.ran, \
             since_ms = excluded.since_ms, phase = excluded.phase, reason = excluded.reason, \
             reboots = excluded.reboots, sequence = excluded.sequence, intent = excluded.intent",
        )
        .bind(i64::from(row.attempt))
        .bind(row.node.clone()),
        None => sqlx::query(
            "UPDATE instances SET attempt = ?, node = ?, tried = ?, ran = ?, since_ms = ?, phase = ?, \
             reason = ?, reboots = ?, capture = ?, sequence = ? WHERE id = ?",
        )
        .bind(i64::from(row.attempt))
        .bind(row.node.clone()),
    };
    let query = query
        .bind(to_json(&row.tried)?)
        .bind(i64::from(row.ran))
        .bind(row.since_ms)
        .bind(to_json(&row.phase)?)
        .bind(row.reason.as_ref().map(to_json).transpose()?)
        .bind(signed(row.reboots))
        .bind(row.capture.as_ref().map(to_json).transpose()?)
        .bind(signed(row.sequence))
        .bind(row.id.as_str().to_owned());
    let query = match intent {
        Some(intent) => query.bind(to_json(intent)?),
        None => query,
    };
    query.execute(transaction).await?;
    Ok(())
}

pub async fn instance_delete_in_txn(
    transaction: &mut SqliteConnection,
    id: &InstanceId,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM instances WHERE id = ?").bind(id.as_str()).execute(transaction).await?;
    Ok(())
}

pub async fn tombstone_list(connection: &mut SqliteConnection) -> Result<Vec<(InstanceId, i64)>, StoreError> {
    let rows = sqlx::query("SELECT id, until_ms FROM tombstones").fetch_all(connection).await?;
    rows.iter().map(|row| Ok((id_of(row)?, row.try_get("until_ms")?))).collect()
}

/// `None` deletes it.
pub async fn tombstone_put_in_txn(
    transaction: &mut SqliteConnection,
    id: &InstanceId,
    until_ms: Option<i64>,
) -> Result<(), StoreError> {
    let query = match until_ms {
        Some(until_ms) => sqlx::query(
            "INSERT INTO tombstones (id, until_ms) VALUES (?, ?) \
             ON CONFLICT (id) DO UPDATE SET until_ms = excluded.until_ms",
        )
        .bind(id.as_str())
        .bind(until_ms),
        None => sqlx::query("DELETE FROM tombstones WHERE id = ?").bind(id.as_str()),
    };
    query.execute(transaction).await?;
    Ok(())
}

pub async fn left_behind_list(
    connection: &mut SqliteConnection,
) -> Result<Vec<(String, InstanceId)>, StoreError> {
    let rows = sqlx::query("SELECT node, instance_id AS id FROM left_behind").fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("node")?, id_of(row)?))).collect()
}

/// `there: false` deletes it.
pub async fn left_behind_put_in_txn(
    transaction: &mut SqliteConnection,
    node: &str,
    id: &InstanceId,
    there: bool,
) -> Result<(), StoreError> {
    let statement = match there {
        true => "INSERT INTO left_behind (node, instance_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
        false => "DELETE FROM left_behind WHERE node = ? AND instance_id = ?",
    };
    sqlx::query(statement).bind(node).bind(id.as_str()).execute(transaction).await?;
    Ok(())
}
