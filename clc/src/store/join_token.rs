//! Join tokens: only their hash is kept, and each is good for one node. And the names that nodes were given
//! certificates for: a name belongs to the token that it was given out with, until the node is forgotten.

use super::{Store, StoreError, Tx, counter_next_in_txn};
use sha2::{Digest, Sha256};
use sqlx::Row as _;

fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenUse {
    /// It lets the node into this cluster.
    Good { cluster: String },
    /// Unknown, used by another node, or expired.
    Void,
    /// The cluster has a node of that name already, and the token is not for replacing it.
    NameTaken { cluster: String },
}

/// Whether the name was given out with another token; None: it was not given out.
async fn is_anothers_in_txn(
    tx: &mut Tx,
    cluster: &str,
    name: &str,
    hash: &str,
) -> Result<Option<bool>, StoreError> {
    let statement = "SELECT token_hash FROM node_names WHERE cluster = $1 AND name = $2";
    let row = sqlx::query_scalar::<_, String>(statement).bind(cluster).bind(name);
    Ok(row.fetch_optional(&mut **tx).await?.map(|given| given != hash))
}

impl Store {
    /// `replaces`: the node may take the name of one that the cluster has.
    pub async fn join_token_insert(
        &self,
        secret: &str,
        cluster: &str,
        replaces: bool,
        expires_ms: i64,
    ) -> Result<(), StoreError> {
        let statement =
            "INSERT INTO join_tokens (secret_hash, cluster, expires_at, replaces) VALUES ($1, $2, $3, $4)";
        let mut tx = self.begin().await?;
        let query = sqlx::query(statement).bind(hash(secret)).bind(cluster).bind(expires_ms);
        query.bind(i64::from(replaces)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Uses the token for `node`, whose name is given out with it. The same node may repeat itself: its first
    /// answer may have been lost. `present` says whether a cluster has a node of that name, however it came.
    pub async fn join_token_use(
        &self,
        secret: &str,
        node: &str,
        now_ms: i64,
        present: impl Fn(&str) -> bool,
    ) -> Result<TokenUse, StoreError> {
        let hash = hash(secret);
        let mut tx = self.begin().await?;
        // First, so that two nodes of one name wait for each other.
        counter_next_in_txn(&mut tx, "clusters").await?;
        let statement = "UPDATE join_tokens SET used_by = $1 \
             WHERE secret_hash = $2 AND expires_at > $3 AND (used_by IS NULL OR used_by = $4) \
             RETURNING cluster, replaces";
        let query = sqlx::query(statement).bind(node).bind(&hash).bind(now_ms).bind(node);
        let Some(row) = query.fetch_optional(&mut *tx).await? else { return Ok(TokenUse::Void) };
        let (cluster, replaces): (String, i64) = (row.try_get("cluster")?, row.try_get("replaces")?);
        let taken = is_anothers_in_txn(&mut tx, &cluster, node, &hash).await?;
        if taken.unwrap_or_else(|| present(&cluster)) && replaces == 0 {
            return Ok(TokenUse::NameTaken { cluster });
        }
        let statement = "INSERT INTO node_names (cluster, name, token_hash, given_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (cluster, name) DO UPDATE SET token_hash = excluded.token_hash, \
             given_at = excluded.given_at";
        let query = sqlx::query(statement).bind(&cluster).bind(node).bind(&hash).bind(now_ms);
        query.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(TokenUse::Good { cluster })
    }

    /// Another node may have the name. False: it was not given out.
    pub async fn node_name_free(&self, cluster: &str, name: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let statement = "DELETE FROM node_names WHERE cluster = $1 AND name = $2";
        let done = sqlx::query(statement).bind(cluster).bind(name).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    pub async fn join_tokens_purge(&self, now_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let statement = "DELETE FROM join_tokens WHERE expires_at <= $1";
        sqlx::query(statement).bind(now_ms).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}
