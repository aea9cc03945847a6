//! Images: kernels, ramdisks, machine images.

use super::tag::tags_put_in_txn;
use super::{Store, StoreError};
use crate::app::image::{Image, ImageKind};
use crate::app::tag::{Taggable, Tags};
use sqlx::Row as _;
use sqlx::any::AnyRow;

fn image_of(row: &AnyRow) -> Result<Image, StoreError> {
    let kind: String = row.try_get("kind")?;
    let definition: String = row.try_get("definition")?;
    Ok(Image {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        name: row.try_get("name")?,
        available: row.try_get::<String, _>("state")? == "available",
        public: row.try_get::<i64, _>("is_public")? != 0,
        kind: ImageKind::parse(&kind).ok_or_else(|| StoreError::corrupt("kind of image", kind))?,
        definition: serde_json::from_str(&definition)
            .map_err(|e| StoreError::corrupt("definition of an image", e))?,
        created_ms: row.try_get("created_at")?,
    })
}

impl Store {
    /// A unique violation: the account has an available image of that name.
    pub async fn image_insert(&self, image: &Image, tags: &Tags) -> Result<(), StoreError> {
        let definition = serde_json::to_string(&image.definition)
            .map_err(|e| StoreError::corrupt("definition of an image", e))?;
        let mut tx = self.begin().await?;
        let statement = "INSERT INTO images (id, account, name, state, is_public, kind, definition, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        sqlx::query(statement)
            .bind(&image.id)
            .bind(&image.account)
            .bind(&image.name)
            .bind(if image.available { "available" } else { "deregistered" })
            .bind(i64::from(image.public))
            .bind(image.kind.as_str())
            .bind(definition)
            .bind(image.created_ms)
            .execute(&mut *tx)
            .await?;
        tags_put_in_txn(&mut tx, &image.account, Taggable::Image, &image.id, tags).await?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn image_fetch(&self, id: &str) -> Result<Option<Image>, StoreError> {
        let read = async {
            let row = sqlx::query("SELECT * FROM images WHERE id = $1").bind(id);
            row.fetch_optional(self.reader()).await?.as_ref().map(image_of).transpose()
        };
        self.known(&self.known.images, id, read).await
    }

    /// An available one.
    pub async fn image_fetch_by_name(&self, account: &str, name: &str) -> Result<Option<Image>, StoreError> {
        let statement = "SELECT * FROM images WHERE account = $1 AND name = $2 AND state = 'available'";
        let row = sqlx::query(statement).bind(account).bind(name);
        row.fetch_optional(self.reader()).await?.as_ref().map(image_of).transpose()
    }

    /// The available images of everyone. There are few, and who may see which is not for SQL to say.
    pub async fn image_list(&self) -> Result<Vec<Image>, StoreError> {
        let statement = "SELECT * FROM images WHERE state = 'available' ORDER BY id";
        let rows = sqlx::query(statement).fetch_all(self.reader()).await?;
        rows.iter().map(image_of).collect()
    }

    /// False: it was not available. Its tags go; the row stays for instances that name it.
    pub async fn image_deregister(&self, id: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let statement = "UPDATE images SET state = 'deregistered' WHERE id = $1 AND state = 'available'";
        let done = sqlx::query(statement).bind(id).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM tags WHERE resource_id = $1").bind(id).execute(&mut *tx).await?;
        self.commit_and_forget(tx).await?;
        Ok(done.rows_affected() > 0)
    }
}
