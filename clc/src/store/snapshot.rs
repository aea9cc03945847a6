//! Snapshots.

use super::blob_release::blobs_turn_in_txn;
use super::tag::tags_drop_in_txn;
use super::{Store, StoreError, Tx};
use crate::app::now_ms;
use crate::app::snapshot::Snapshot;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// What became of a snapshot that was to be deleted.
#[derive(Debug, PartialEq, Eq)]
pub enum SnapshotDeleted {
    Done,
    /// An available or pending image is registered on it.
    InUse(String),
    /// There is none.
    Absent,
}

fn snapshot_of(row: &AnyRow) -> Result<Snapshot, StoreError> {
    let definition: String = row.try_get("definition")?;
    Ok(Snapshot {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        definition: serde_json::from_str(&definition)
            .map_err(|e| StoreError::corrupt("definition of a snapshot", e))?,
        created_ms: row.try_get("created_at")?,
    })
}

pub(super) async fn snapshot_insert_in_txn(tx: &mut Tx, snapshot: &Snapshot) -> Result<(), StoreError> {
    let definition = serde_json::to_string(&snapshot.definition)
        .map_err(|e| StoreError::corrupt("definition of a snapshot", e))?;
    let statement = "INSERT INTO snapshots (id, account, definition, created_at) VALUES ($1, $2, $3, $4)";
    sqlx::query(statement)
        .bind(&snapshot.id)
        .bind(&snapshot.account)
        .bind(definition)
        .bind(snapshot.created_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Whether it is there still: for whoever has the turn of `blobs_turn_in_txn`.
pub(super) async fn snapshot_is_there_in_txn(tx: &mut Tx, id: &str) -> Result<bool, StoreError> {
    let statement = "SELECT COUNT(*) FROM snapshots WHERE id = $1 AND deleted_at IS NULL";
    let count: i64 = sqlx::query_scalar(statement).bind(id).fetch_one(&mut **tx).await?;
    Ok(count > 0)
}

/// An available or pending image that is registered on it. The definition says so in its JSON.
const USER: &str = "SELECT id FROM images WHERE state IN ('available', 'pending') AND definition LIKE $1 \
     ORDER BY id LIMIT 1";

fn registered_on(id: &str) -> String {
    format!("%\"snapshot_id\":\"{id}\"%")
}

impl Store {
    pub async fn snapshot_fetch(&self, id: &str) -> Result<Option<Snapshot>, StoreError> {
        let statement = "SELECT * FROM snapshots WHERE id = $1 AND deleted_at IS NULL";
        let row = sqlx::query(statement).bind(id);
        row.fetch_optional(self.reader()).await?.as_ref().map(snapshot_of).transpose()
    }

    /// An account's, or everyone's.
    pub async fn snapshot_list(&self, account: Option<&str>) -> Result<Vec<Snapshot>, StoreError> {
        let statement =
            "SELECT * FROM snapshots WHERE deleted_at IS NULL AND ($1 = '' OR account = $1) ORDER BY id";
        let rows = sqlx::query(statement).bind(account.unwrap_or_default());
        rows.fetch_all(self.reader()).await?.iter().map(snapshot_of).collect()
    }

    /// With everyone's tags on it; the row stays until its blob is let go. Whoever registers an image waits for the
    /// same turn, so that one sees what the other has written.
    pub async fn snapshot_delete(&self, id: &str) -> Result<SnapshotDeleted, StoreError> {
        let mut tx = self.begin().await?;
        blobs_turn_in_txn(&mut tx).await?;
        let user = sqlx::query_scalar(USER).bind(registered_on(id)).fetch_optional(&mut *tx).await?;
        if let Some(image) = user {
            return Ok(SnapshotDeleted::InUse(image));
        }
        let statement = "UPDATE snapshots SET deleted_at = $2 WHERE id = $1 AND deleted_at IS NULL";
        let done = sqlx::query(statement).bind(id).bind(now_ms()).execute(&mut *tx).await?;
        if done.rows_affected() == 0 {
            return Ok(SnapshotDeleted::Absent);
        }
        tags_drop_in_txn(&mut tx, id).await?;
        tx.commit().await?;
        Ok(SnapshotDeleted::Done)
    }

    /// An image that is registered on it.
    pub async fn snapshot_user(&self, id: &str) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar(USER).bind(registered_on(id)).fetch_optional(self.reader()).await?)
    }

    /// Those that were deleted before then.
    pub async fn snapshot_list_to_release(&self, before_ms: i64) -> Result<Vec<Snapshot>, StoreError> {
        let statement = "SELECT * FROM snapshots WHERE deleted_at < $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(before_ms).fetch_all(self.reader()).await?;
        rows.iter().map(snapshot_of).collect()
    }

    /// Its blob is let go, or is another's to hold.
    pub async fn snapshot_released(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let statement = "DELETE FROM snapshots WHERE id = $1 AND deleted_at IS NOT NULL";
        sqlx::query(statement).bind(id).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}
