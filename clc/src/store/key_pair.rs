//! Key pairs: public halves only.

use super::tag::{tags_drop_in_txn, tags_put_in_txn};
use super::{Store, StoreError};
use crate::app::key_pair::KeyPair;
use crate::app::tag::{Taggable, Tags};
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
    /// A unique violation: the account has one of that name.
    pub async fn key_pair_insert(&self, pair: &KeyPair, tags: &Tags) -> Result<(), StoreError> {
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
        tags_put_in_txn(&mut tx, &pair.account, Taggable::KeyPair, &pair.id, tags).await?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn key_pair_fetch(&self, account: &str, name: &str) -> Result<Option<KeyPair>, StoreError> {
        let read = async {
            let row = sqlx::query("SELECT * FROM key_pairs WHERE account = $1 AND name = $2");
            let row = row.bind(account).bind(name).fetch_optional(self.reader()).await?;
            row.as_ref().map(key_pair_of).transpose()
        };
        self.known(&self.known.key_pairs, &format!("{account}/{name}"), read).await
    }

    pub async fn key_pair_fetch_by_id(&self, account: &str, id: &str) -> Result<Option<KeyPair>, StoreError> {
        let row = sqlx::query("SELECT * FROM key_pairs WHERE account = $1 AND id = $2");
        let row = row.bind(account).bind(id).fetch_optional(self.reader()).await?;
        row.as_ref().map(key_pair_of).transpose()
    }

    pub async fn key_pair_list(&self, account: &str) -> Result<Vec<KeyPair>, StoreError> {
        let statement = "SELECT * FROM key_pairs WHERE account = $1 ORDER BY name";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(key_pair_of).collect()
    }

    /// With its tags. False: it was gone already.
    pub async fn key_pair_delete(&self, id: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("DELETE FROM key_pairs WHERE id = $1").bind(id).execute(&mut *tx).await?;
        tags_drop_in_txn(&mut tx, id).await?;
        self.commit_and_forget(tx).await?;
        Ok(done.rows_affected() > 0)
    }
}
