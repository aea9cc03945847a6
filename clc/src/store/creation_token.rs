//! Client tokens of what is made in one step: a second telling of the same request is answered with what the first made,
//! as long as that is there.

use super::{StoreError, Tx};
use sqlx::Row as _;

/// What a token was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreationToken {
    pub request_digest: String,
    pub resource_id: String,
}

pub async fn creation_token_fetch_in_txn(
    tx: &mut Tx,
    account: &str,
    token: &str,
) -> Result<Option<CreationToken>, StoreError> {
    let statement =
        "SELECT request_digest, resource_id FROM creation_tokens WHERE account = $1 AND client_token = $2";
    let row = sqlx::query(statement).bind(account).bind(token).fetch_optional(&mut **tx).await?;
    let Some(row) = row else { return Ok(None) };
    let (request_digest, resource_id) = (row.try_get("request_digest")?, row.try_get("resource_id")?);
    Ok(Some(CreationToken { request_digest, resource_id }))
}

pub async fn creation_token_insert_in_txn(
    tx: &mut Tx,
    account: &str,
    token: &str,
    used: &CreationToken,
) -> Result<(), StoreError> {
    let statement = "INSERT INTO creation_tokens (account, client_token, request_digest, resource_id) \
         VALUES ($1, $2, $3, $4)";
    let query = sqlx::query(statement).bind(account).bind(token);
    query.bind(&used.request_digest).bind(&used.resource_id).execute(&mut **tx).await?;
    Ok(())
}

/// What it made is no more.
pub async fn creation_token_drop_in_txn(tx: &mut Tx, resource: &str) -> Result<(), StoreError> {
    let statement = "DELETE FROM creation_tokens WHERE resource_id = $1";
    sqlx::query(statement).bind(resource).execute(&mut **tx).await?;
    Ok(())
}
