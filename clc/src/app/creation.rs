//! Client tokens of what is made in one step.

use super::image::task::Token;
use crate::store::Tx;
use crate::store::creation_token::{
    CreationToken, creation_token_fetch_in_txn, creation_token_insert_in_txn,
};
use karri_proto::fault::{Fault, FaultCode};

/// The id of what an earlier telling of the request made. In the turn of whoever makes such things.
pub async fn made_before_in_txn(tx: &mut Tx, account: &str, token: &Token) -> Result<Option<String>, Fault> {
    let Some(text) = &token.client_token else { return Ok(None) };
    match creation_token_fetch_in_txn(tx, account, text).await? {
        Some(used) if used.request_digest == token.request_digest => Ok(Some(used.resource_id)),
        Some(_) => {
            let sentence = "Arguments on this idempotent request are inconsistent with arguments used in previous \
                            request(s).";
            Err(Fault::new(FaultCode::IdempotentParameterMismatch, sentence))
        }
        None => Ok(None),
    }
}

/// The token answers with this from now on.
pub async fn made_in_txn(tx: &mut Tx, account: &str, token: &Token, resource: &str) -> Result<(), Fault> {
    let Some(text) = &token.client_token else { return Ok(()) };
    let (request_digest, resource_id) = (token.request_digest.clone(), resource.to_owned());
    let used = CreationToken { request_digest, resource_id };
    Ok(creation_token_insert_in_txn(tx, account, text, &used).await?)
}
