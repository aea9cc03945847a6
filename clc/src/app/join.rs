//! How a node comes in: an operator's token, good for one machine and for a short time, against a certificate.
//!
//! A machine is told by its key: whoever repeats itself with the same key may have lost the answer, another key is
//! another machine. Each certificate is written down before it is handed out, so that it can be refused later.

use super::App;
use crate::store::join_token::{Joiner, TokenUse};
use karri_proto::internal::admin::{NewToken, Token};
use karri_proto::internal::join::{JoinAnswer, JoinRequest, JoinToken};
use karri_proto::internal::{ApiError, Identity, Role};
use karri_proto::runtime::pki::request_key_hash;
use karri_proto::runtime::tls::{fingerprint, validity_of_pem};
use rand::RngCore;

const VALID_SECS_MAX: u32 = 7 * 24 * 3600;
const SECRET_BYTES: usize = 32;
const NAME_CHARS_MAX: usize = 63;

/// Two nodes of one name would run the same instances twice.
fn name_taken(cluster: &str, name: &str) -> ApiError {
    ApiError::conflict(format!(
        "{cluster} has a node \"{name}\" already: give this one another name (--name), or, if it is the same \
         machine or takes its place, join with a token made by `karri node token --replace`; `karri node forget \
         {name}` frees the name of a node that is gone"
    ))
}

/// A token that a second machine brings under the first one's name.
fn token_spent(cluster: &str, name: &str) -> ApiError {
    ApiError::forbidden(format!(
        "another machine has used this token and is the node \"{name}\" of {cluster}: a token is for one machine. Make \
         one for this machine (karri node token) and give it another name (--name), or, if it takes the place of \
         {name}, make it with `karri node token --replace` or free the name first with `karri node forget {name}`"
    ))
}

impl App {
    pub async fn token_create(&self, new: NewToken) -> Result<Token, ApiError> {
        if new.valid_secs == 0 || new.valid_secs > VALID_SECS_MAX {
            return Err(ApiError::invalid(format!("a token is valid for 1 to {VALID_SECS_MAX} seconds")));
        }
        if self.clusters.get(&new.cluster).is_none() {
            return Err(ApiError::not_found(format!("there is no cluster \"{}\"", new.cluster)));
        }
        let mut secret = [0u8; SECRET_BYTES];
        rand::rngs::OsRng.fill_bytes(&mut secret);
        let secret = hex::encode(secret);
        let now_ms = super::now_ms();
        let expires_at_unix_ms = now_ms + i64::from(new.valid_secs) * 1000;
        self.store.join_tokens_purge(now_ms).await?;
        self.store.join_token_insert(&secret, &new.cluster, new.replace, expires_at_unix_ms).await?;
        let ca_fingerprint = fingerprint(self.authority.certificate_pem()).map_err(ApiError::internal)?;
        let token = JoinToken { clc_url: self.internal_url(), ca_fingerprint, secret };
        let (cluster, valid_secs, replace) = (&new.cluster, new.valid_secs, new.replace);
        tracing::info!(cluster, valid_secs, replace, "join token made");
        Ok(Token { token: token.encode(), expires_at_unix_ms })
    }

    pub async fn node_join(&self, request: JoinRequest) -> Result<JoinAnswer, ApiError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        let name = &request.name;
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.bytes().all(plain) {
            return Err(ApiError::invalid("a node's name has up to 63 letters, digits, dots and dashes"));
        }
        let present =
            |cluster: &str| self.cluster_resources(cluster).nodes.iter().any(|node| node.facts.name == *name);
        let bad = |error| ApiError::invalid(format!("certificate request: {error}"));
        let key_hash = request_key_hash(&request.csr_pem).map_err(bad)?;
        let joiner = Joiner { name, key_hash: &key_hash };
        let used = self.store.join_token_use(&request.secret, joiner, super::now_ms(), present).await?;
        let cluster = match used {
            TokenUse::Good { cluster } => cluster,
            TokenUse::Void => {
                return Err(ApiError::forbidden("the token is unknown, used by another node, or expired"));
            }
            TokenUse::AnotherMachine { cluster } => return Err(token_spent(&cluster, name)),
            TokenUse::NameTaken { cluster } => return Err(name_taken(&cluster, name)),
        };
        let link = self.clusters.get(&cluster);
        let link = link.ok_or_else(|| ApiError::not_found(format!("there is no cluster \"{cluster}\"")))?;
        let identity = Identity::new(Role::Nc, &cluster, name);
        let certificate_pem = self.authority.sign_request(&request.csr_pem, &identity).map_err(bad)?;
        self.certificate_given(&certificate_pem, &cluster, joiner).await?;
        tracing::info!(cluster, node = name, "node joined");
        Ok(JoinAnswer {
            identity,
            certificate_pem,
            ca_pem: self.authority.certificate_pem().to_owned(),
            cc_url: link.hello().url,
            walrus_url: self.walrus_url.clone(),
        })
    }

    async fn certificate_given(&self, pem: &str, cluster: &str, joiner: Joiner<'_>) -> Result<(), ApiError> {
        let fingerprint = fingerprint(pem).map_err(ApiError::internal)?;
        let until = validity_of_pem(pem).map_err(ApiError::internal)?.until;
        let expires_ms = i64::try_from(until.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
        let store = &self.store;
        let written =
            store.node_certificate_insert(&fingerprint, cluster, joiner.name, joiner.key_hash, expires_ms);
        if written.await? {
            return Ok(());
        }
        Err(ApiError::conflict(format!("the node \"{}\" was forgotten while it joined", joiner.name)))
    }
}
