//! Images: kernels, ramdisks, machine images.

use super::blob_release::blob_is_released_in_txn;
use super::snapshot::snapshot_is_there_in_txn;
use super::tag::{tags_drop_in_txn, tags_put_in_txn};
use super::{Store, StoreError, Tx};
use crate::app::image::{Image, ImageKind, ImageState};
use crate::app::now_ms;
use crate::app::tag::{Taggable, Tags};
use karri_proto::instance::Digest;
use sqlx::Row as _;
use sqlx::any::AnyRow;

fn image_of(row: &AnyRow) -> Result<Image, StoreError> {
    let kind: String = row.try_get("kind")?;
    let state: String = row.try_get("state")?;
    let definition: String = row.try_get("definition")?;
    Ok(Image {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        name: row.try_get("name")?,
        state: ImageState::parse(&state).ok_or_else(|| StoreError::corrupt("state of image", state))?,
        public: row.try_get::<i64, _>("is_public")? != 0,
        kind: ImageKind::parse(&kind).ok_or_else(|| StoreError::corrupt("kind of image", kind))?,
        definition: serde_json::from_str(&definition)
            .map_err(|e| StoreError::corrupt("definition of an image", e))?,
        created_ms: row.try_get("created_at")?,
        request_id: row.try_get("request_id")?,
    })
}

/// Images that can be started, snapshots and instances that are there, of a blob. All say so in their JSON, and a
/// digest stands for nothing else.
const USERS: &str = "SELECT COUNT(*) FROM (\
     SELECT id FROM images WHERE state IN ('available', 'pending') AND definition LIKE $1 \
     UNION ALL SELECT id FROM snapshots WHERE deleted_at IS NULL AND definition LIKE $1 \
     UNION ALL SELECT id FROM instances WHERE state <> 'terminated' AND spec LIKE $1) AS users";

pub(super) async fn blob_users_in_txn(tx: &mut Tx, digest: &Digest) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(USERS).bind(format!("%{digest}%")).fetch_one(&mut **tx).await?)
}

/// `holds_blob`: the image store keeps its blob until it is told that the image is gone.
pub(super) async fn image_insert_in_txn(
    tx: &mut Tx,
    image: &Image,
    holds_blob: bool,
) -> Result<(), StoreError> {
    let definition = serde_json::to_string(&image.definition)
        .map_err(|e| StoreError::corrupt("definition of an image", e))?;
    let statement = "INSERT INTO images (id, account, name, state, is_public, kind, definition, created_at, \
         holds_blob, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    sqlx::query(statement)
        .bind(&image.id)
        .bind(&image.account)
        .bind(&image.name)
        .bind(image.state.as_str())
        .bind(i64::from(image.public))
        .bind(image.kind.as_str())
        .bind(definition)
        .bind(image.created_ms)
        .bind(i64::from(holds_blob))
        .bind(&image.request_id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

impl Store {
    /// False: its blob is being let go, or its snapshot is gone. A unique violation: the account has an available or pending image of that
    /// name.
    pub async fn image_insert(&self, image: &Image, tags: &Tags) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        if let Some(blob) = &image.definition.blob
            && blob_is_released_in_txn(&mut tx, &blob.digest).await?
        {
            return Ok(false);
        }
        if let Some(id) = &image.definition.snapshot_id
            && !snapshot_is_there_in_txn(&mut tx, id).await?
        {
            return Ok(false);
        }
        image_insert_in_txn(&mut tx, image, false).await?;
        tags_put_in_txn(&mut tx, &image.account, Taggable::Image, &image.id, tags).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub async fn image_fetch(&self, id: &str) -> Result<Option<Image>, StoreError> {
        let read = async {
            let row = sqlx::query("SELECT * FROM images WHERE id = $1").bind(id);
            row.fetch_optional(self.reader()).await?.as_ref().map(image_of).transpose()
        };
        self.known(&self.known.images, id, read).await
    }

    /// One that has the name.
    pub async fn image_fetch_by_name(&self, account: &str, name: &str) -> Result<Option<Image>, StoreError> {
        let statement =
            "SELECT * FROM images WHERE account = $1 AND name = $2 AND state IN ('available', 'pending')";
        let row = sqlx::query(statement).bind(account).bind(name);
        row.fetch_optional(self.reader()).await?.as_ref().map(image_of).transpose()
    }

    /// The images of everyone. There are few, and who may see which is not for SQL to say.
    pub async fn image_list(&self) -> Result<Vec<Image>, StoreError> {
        let statement = "SELECT * FROM images WHERE state <> 'deregistered' ORDER BY id";
        let rows = sqlx::query(statement).fetch_all(self.reader()).await?;
        rows.iter().map(image_of).collect()
    }

    /// False: it was not registered. Everyone's tags on it go; the row stays for instances that name it.
    pub async fn image_deregister(&self, id: &str) -> Result<bool, StoreError> {
        self.image_end(id, false).await
    }

    /// As `image_deregister`, and the blob is to go once nothing needs it.
    pub async fn image_delete(&self, id: &str) -> Result<bool, StoreError> {
        self.image_end(id, true).await
    }

    async fn image_end(&self, id: &str, with_blob: bool) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let statement = "UPDATE images SET state = 'deregistered', deregistered_at = $2, drops_blob = $3 \
             WHERE id = $1 AND state <> 'deregistered'";
        let query = sqlx::query(statement).bind(id).bind(now_ms()).bind(i64::from(with_blob));
        let done = query.execute(&mut *tx).await?;
        tags_drop_in_txn(&mut tx, id).await?;
        self.commit_and_forget(tx).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Those that are being made, the oldest first.
    pub async fn image_list_pending(&self) -> Result<Vec<Image>, StoreError> {
        let statement = "SELECT * FROM images WHERE state = 'pending' ORDER BY created_at, id";
        let rows = sqlx::query(statement).fetch_all(self.reader()).await?;
        rows.iter().map(image_of).collect()
    }

    /// What came of a pending image. False: it is pending no more.
    pub async fn image_settle(&self, image: &Image) -> Result<bool, StoreError> {
        let definition = serde_json::to_string(&image.definition)
            .map_err(|e| StoreError::corrupt("definition of an image", e))?;
        let mut tx = self.begin().await?;
        let statement = "UPDATE images SET state = $2, definition = $3, holds_blob = $4 \
             WHERE id = $1 AND state = 'pending'";
        let done = sqlx::query(statement)
            .bind(&image.id)
            .bind(image.state.as_str())
            .bind(definition)
            .bind(i64::from(image.state == ImageState::Available))
            .execute(&mut *tx)
            .await?;
        self.commit_and_forget(tx).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Images from bundles that were deregistered before then, and whose blobs the image store still keeps.
    pub async fn image_list_to_release(&self, before_ms: i64) -> Result<Vec<Image>, StoreError> {
        let statement = "SELECT * FROM images WHERE state = 'deregistered' AND holds_blob = 1 \
             AND COALESCE(deregistered_at, 0) < $1";
        let rows = sqlx::query(statement).bind(before_ms).fetch_all(self.reader()).await?;
        rows.iter().map(image_of).collect()
    }

    pub async fn image_released(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE images SET holds_blob = 0 WHERE id = $1").bind(id).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// Images that were deleted before then, and whose blobs are still to go.
    pub async fn image_list_to_drop(&self, before_ms: i64) -> Result<Vec<Image>, StoreError> {
        let statement = "SELECT * FROM images WHERE drops_blob = 1 AND COALESCE(deregistered_at, 0) < $1";
        let rows = sqlx::query(statement).bind(before_ms).fetch_all(self.reader()).await?;
        rows.iter().map(image_of).collect()
    }

    pub async fn image_dropped(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let statement = "UPDATE images SET holds_blob = 0, drops_blob = 0 WHERE id = $1";
        sqlx::query(statement).bind(id).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// Whether anything needs the blob: see `USERS`.
    pub async fn blob_is_used(&self, digest: &Digest) -> Result<bool, StoreError> {
        let pattern = format!("%{digest}%");
        let users: i64 = sqlx::query_scalar(USERS).bind(pattern).fetch_one(self.reader()).await?;
        Ok(users > 0)
    }
}
