//! Join tokens: only their hash is kept, and each is good for one node.

use super::{Store, StoreError};
use sha2::{Digest, Sha256};
use sqlx::Row as _;

fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

impl Store {
    pub async fn join_token_insert(
        &self,
        secret: &str,
        cluster: &str,
        expires_ms: i64,
    ) -> Result<(), StoreError> {
        let statement = "INSERT INTO join_tokens (secret_hash, cluster, expires_at) VALUES ($1, $2, $3)";
        let mut tx = self.begin().await?;
        sqlx::query(statement).bind(hash(secret)).bind(cluster).bind(expires_ms).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The cluster that the token lets `node` into. The same node may repeat itself: its first answer may
    /// have been lost.
    pub async fn join_token_use(
        &self,
        secret: &str,
        node: &str,
        now_ms: i64,
    ) -> Result<Option<String>, StoreError> {
        let mut tx = self.begin().await?;
        let statement = "UPDATE join_tokens SET used_by = $1 \
             WHERE secret_hash = $2 AND expires_at > $3 AND (used_by IS NULL OR used_by = $4) RETURNING cluster";
        let query = sqlx::query(statement).bind(node).bind(hash(secret)).bind(now_ms).bind(node);
        let row = query.fetch_optional(&mut *tx).await?;
        let cluster = row.map(|row| row.try_get("cluster")).transpose()?;
        tx.commit().await?;
        Ok(cluster)
    }

    pub async fn join_tokens_purge(&self, now_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let statement = "DELETE FROM join_tokens WHERE expires_at <= $1";
        sqlx::query(statement).bind(now_ms).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}
