//! Images: kernels, ramdisks, machine images.

use super::{Store, StoreError};
use crate::app::image::{Image, ImageKind};
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
    pub async fn image_insert(&self, image: &Image) -> Result<(), StoreError> {
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
        tx.commit().await?;
        Ok(())
    }

    pub async fn image_fetch(&self, id: &str) -> Result<Option<Image>, StoreError> {
        let row = sqlx::query("SELECT * FROM images WHERE id = $1").bind(id);
        row.fetch_optional(self.reader()).await?.as_ref().map(image_of).transpose()
    }
}
