//! Key pairs: public halves only.

use super::{Store, StoreError};
use crate::app::key_pair::KeyPair;
use sqlx::Row as _;
use sqlx::any::AnyRow;

fn key_pair_of(row: &AnyRow) -> Result<KeyPair, StoreError> {
    Ok(KeyPair {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        name: row.try_get("name")?,
        kind: row.try_get("kind")?,
        fingerprint: row.try_get("fingerprint")?,
        openssh: row.try_get("openssh")?,
        created_ms: row.try_get("created_at")?,
    })
}

impl Store {
    pub async fn key_pair_insert(&self, pair: &KeyPair) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let statement = "INSERT INTO key_pairs (id, account, name, kind, fingerprint, openssh, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)";
        sqlx::query(statement)
            .bind(&pair.id)
            .bind(&pair.account)
            .bind(&pair.name)
            .bind(&pair.kind)
            .bind(&pair.fingerprint)
            .bind(&pair.openssh)
            .bind(pair.created_ms)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn key_pair_fetch(&self, account: &str, name: &str) -> Result<Option<KeyPair>, StoreError> {
        let row = sqlx::query("SELECT * FROM key_pairs WHERE account = $1 AND name = $2");
        let row = row.bind(account).bind(name).fetch_optional(self.reader()).await?;
        row.as_ref().map(key_pair_of).transpose()
    }
}
