//! Who signs S3 requests: one of the three parts of Walrus that others may replace.
//!
//! ```text
//!   Authenticator ◄── Remote   the cloud controller knows; remembered here, so that a request costs no call
//!                 ◄── Fixed    a file knows: tests, and a Walrus without a cloud
//! ```
//!
//! It says whose a key is and what the signature must be checked with; the checking itself is `karri_proto::sign`'s,
//! and what the signer may do is `karri_proto::policy`'s.

mod fixed;
mod kept;
mod pulse;
mod remote;
#[cfg(test)]
mod tests;

pub use fixed::{Entry, Fixed};
pub use karri_proto::internal::signers::{AccountFacts, AccountName, UserCertificate, Who, canonical_id};
pub use remote::Remote;

use async_trait::async_trait;
use karri_proto::internal::signers::SignerRecord;
use karri_proto::policy::{Kind, Policy, Requester};
use karri_proto::sign::Secret;
use std::sync::Arc;

/// A user who signs.
#[derive(Debug, Clone)]
pub struct Signer {
    pub access_key_id: String,
    pub who: Who,
    pub secret: Secret,
    /// The user's own.
    pub policies: Vec<Policy>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthFault {
    #[error("the access key id is not known")]
    UnknownKey,
    /// There are no temporary credentials yet, so no token belongs to any key.
    #[error("the session token does not belong to the key")]
    BadToken,
    /// Whether there is such a key cannot be said now.
    #[error("who signs cannot be found out: {0}")]
    Unavailable(String),
}

#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// Who holds this key. A request with a session token is answered only if the token is the key's.
    async fn signer(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
    ) -> Result<Arc<Signer>, AuthFault>;
    /// None: there is no such account.
    async fn account(&self, name: &AccountName) -> Result<Option<Arc<AccountFacts>>, AuthFault>;
    async fn has_user(&self, account: &str, user: &str) -> Result<bool, AuthFault>;
    /// What the account's users sign bundles with; empty for an account that is not there.
    async fn certificates(&self, account: &str) -> Result<Arc<Vec<UserCertificate>>, AuthFault>;
}

impl Signer {
    /// Policies are all of them or none: to leave out one that cannot be read might widen what the others allow.
    fn new(record: SignerRecord) -> Self {
        let policies: Result<Vec<Policy>, _> =
            record.policies.iter().map(|document| Policy::parse(document, Kind::Identity)).collect();
        let policies = policies.unwrap_or_else(|fault| {
            tracing::warn!(arn = record.who.arn, %fault, "a user's policy cannot be read");
            Vec::new()
        });
        Self {
            access_key_id: record.access_key_id,
            who: record.who,
            secret: Secret::new(record.secret_access_key.0),
            policies,
        }
    }

    /// For [`karri_proto::policy::decide`].
    pub fn requester(&self) -> Requester<'_> {
        Requester::User {
            account: &self.who.account.id,
            policies: &self.policies,
            administrator: self.who.administrator,
            root: self.who.root,
        }
    }
}

/// No key is written otherwise; what is, is not asked for.
fn is_key_id(text: &str) -> bool {
    (3..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
