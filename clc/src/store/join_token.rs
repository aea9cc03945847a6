//! Join tokens: only their hash is kept, and each is good for one machine. And the names that nodes were given
//! certificates for: a name belongs to the machine that it was given out to, which its key stands for, until the
//! node is forgotten.

use super::node_certificate::node_certificates_revoke_in_txn;
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
    /// Another machine has used it, under the same name.
    AnotherMachine { cluster: String },
    /// The cluster has a node of that name already, and the token is not for replacing it.
    NameTaken { cluster: String },
}

/// A machine that wants to be a node.
#[derive(Debug, Clone, Copy)]
pub struct Joiner<'a> {
    pub name: &'a str,
    /// Of its public key.
    pub key_hash: &'a str,
}

/// With what a name was given out.
struct Given {
    token_hash: String,
    /// None: before keys were kept.
    key_hash: Option<String>,
}

async fn given_in_txn(tx: &mut Tx, cluster: &str, name: &str) -> Result<Option<Given>, StoreError> {
    let statement = "SELECT token_hash, key_hash FROM node_names WHERE cluster = $1 AND name = $2";
    let row = sqlx::query(statement).bind(cluster).bind(name).fetch_optional(&mut **tx).await?;
    let read = |row: &sqlx::any::AnyRow| {
        Ok(Given { token_hash: row.try_get("token_hash")?, key_hash: row.try_get("key_hash")? })
    };
    row.as_ref().map(read).transpose()
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

    /// Uses the token for a machine, to which the name is given out. The same machine may repeat itself: its first
    /// answer may have been lost. `present` says whether a cluster has a node of that name, however it came.
    pub async fn join_token_use(
        &self,
        secret: &str,
        joiner: Joiner<'_>,
        now_ms: i64,
        present: impl Fn(&str) -> bool,
    ) -> Result<TokenUse, StoreError> {
        let hash = hash(secret);
        let mut tx = self.begin().await?;
        // First, so that two machines of one name wait for each other.
        counter_next_in_txn(&mut tx, "clusters").await?;
        let statement = "UPDATE join_tokens SET used_by = $1 \
             WHERE secret_hash = $2 AND expires_at > $3 AND (used_by IS NULL OR used_by = $4) \
             RETURNING cluster, replaces";
        let query = sqlx::query(statement).bind(joiner.name).bind(&hash).bind(now_ms).bind(joiner.name);
        let Some(row) = query.fetch_optional(&mut *tx).await? else { return Ok(TokenUse::Void) };
        let (cluster, replaces): (String, i64) = (row.try_get("cluster")?, row.try_get("replaces")?);
        let given = given_in_txn(&mut tx, &cluster, joiner.name).await?;
        let same_key = given.as_ref().and_then(|given| given.key_hash.as_deref()) == Some(joiner.key_hash);
        match &given {
            Some(given) if given.token_hash == hash && given.key_hash.is_some() && !same_key => {
                return Ok(TokenUse::AnotherMachine { cluster });
            }
            Some(given) if given.token_hash == hash || same_key || replaces != 0 => {}
            None if replaces != 0 || !present(&cluster) => {}
            Some(_) | None => return Ok(TokenUse::NameTaken { cluster }),
        }
        if !same_key {
            // Of the machine whose place is taken.
            node_certificates_revoke_in_txn(&mut tx, &cluster, joiner.name, now_ms).await?;
        }
        let statement = "INSERT INTO node_names (cluster, name, token_hash, key_hash, given_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (cluster, name) DO UPDATE SET \
             token_hash = excluded.token_hash, key_hash = excluded.key_hash, given_at = excluded.given_at";
        let query = sqlx::query(statement).bind(&cluster).bind(joiner.name).bind(&hash);
        query.bind(joiner.key_hash).bind(now_ms).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(TokenUse::Good { cluster })
    }

    /// Another machine may have the name, and the certificates of the one that had it are refused. False: it was not
    /// given out.
    pub async fn node_name_free(&self, cluster: &str, name: &str, now_ms: i64) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let statement = "DELETE FROM node_names WHERE cluster = $1 AND name = $2";
        let done = sqlx::query(statement).bind(cluster).bind(name).execute(&mut *tx).await?;
        node_certificates_revoke_in_txn(&mut tx, cluster, name, now_ms).await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// And certificates that have expired.
    pub async fn join_tokens_purge(&self, now_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for statement in [
            "DELETE FROM join_tokens WHERE expires_at <= $1",
            "DELETE FROM node_certificates WHERE expires_at <= $1",
        ] {
            sqlx::query(statement).bind(now_ms).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
