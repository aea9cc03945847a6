//! The certificates that nodes were given, and which of them are refused by now.

use super::account::identities_touch_in_txn;
use super::{Store, StoreError, Tx};

impl Store {
    /// Before the certificate is handed out. False: the token that let the node in no longer holds its name.
    pub async fn node_certificate_insert(
        &self,
        fingerprint: &str,
        cluster: &str,
        name: &str,
        key_hash: &str,
        expires_ms: i64,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let statement = "INSERT INTO node_certificates (fingerprint, cluster, name, expires_at) \
             SELECT $1, cluster, name, $2 FROM node_names WHERE cluster = $3 AND name = $4 AND key_hash = $5";
        let query = sqlx::query(statement).bind(fingerprint).bind(expires_ms);
        let done = query.bind(cluster).bind(name).bind(key_hash).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Of a cluster, or of all: those that would still be good.
    pub async fn node_certificates_revoked(
        &self,
        cluster: Option<&str>,
        now_ms: i64,
    ) -> Result<Vec<String>, StoreError> {
        let all = "SELECT fingerprint FROM node_certificates WHERE revoked_at IS NOT NULL AND expires_at > $1 \
             ORDER BY fingerprint";
        let of_cluster = "SELECT fingerprint FROM node_certificates WHERE revoked_at IS NOT NULL AND \
             expires_at > $1 AND cluster = $2 ORDER BY fingerprint";
        let query = match cluster {
            Some(cluster) => sqlx::query_scalar(of_cluster).bind(now_ms).bind(cluster),
            None => sqlx::query_scalar(all).bind(now_ms),
        };
        Ok(query.fetch_all(self.reader()).await?)
    }
}

/// Every certificate that was given out for a name. Walrus hears of it as of a change of users.
pub async fn node_certificates_revoke_in_txn(
    tx: &mut Tx,
    cluster: &str,
    name: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let statement = "UPDATE node_certificates SET revoked_at = $1 \
         WHERE cluster = $2 AND name = $3 AND revoked_at IS NULL";
    let done = sqlx::query(statement).bind(now_ms).bind(cluster).bind(name).execute(&mut **tx).await?;
    if done.rows_affected() > 0 {
        identities_touch_in_txn(tx).await?;
    }
    Ok(())
}
