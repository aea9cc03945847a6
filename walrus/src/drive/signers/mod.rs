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
use karri_proto::policy::{Identity, Kind, Policy, Requester};
use karri_proto::sign::Secret;
use std::sync::Arc;
use time::OffsetDateTime;

/// A user who signs.
#[derive(Debug, Clone)]
pub struct Signer {
    pub access_key_id: String,
    pub who: Who,
    pub secret: Secret,
    /// The user's own.
    pub policies: Vec<Policy>,
    /// Of temporary credentials.
    pub session: Option<Session>,
}

/// What temporary credentials add to the user's own.
#[derive(Debug, Clone)]
pub struct Session {
    pub issued: OffsetDateTime,
    pub expires: OffsetDateTime,
    /// The arn is a federated user's, who is no user of the account.
    pub federated: bool,
    /// What narrows the user's policies.
    pub policies: Option<Vec<Policy>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthFault {
    #[error("the access key id is not known")]
    UnknownKey,
    #[error("the session token does not belong to the key")]
    BadToken,
    #[error("the session is over")]
    ExpiredToken,
    /// Whether there is such a key cannot be said now.
    #[error("who signs cannot be found out: {0}")]
    Unavailable(String),
}

#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// Who holds this key. A request with a session token is answered only if the token is the key's, and not over.
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
    fn new(record: SignerRecord) -> Self {
        let arn = &record.who.arn;
        let policies = parsed(&record.policies, arn);
        let session = record.session.map(|session| Session {
            issued: moment(session.issued_unix_ms),
            expires: moment(session.expires_unix_ms),
            federated: session.federated,
            policies: session.policies.map(|documents| parsed(&documents, arn)),
        });
        Self {
            access_key_id: record.access_key_id,
            who: record.who,
            secret: Secret::new(record.secret_access_key.0),
            policies,
            session,
        }
    }

    fn is_expired(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.expires <= OffsetDateTime::now_utc())
    }

    pub fn is_federated(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.federated)
    }

    /// The user's, whoever uses its credentials.
    pub fn user_arn(&self) -> String {
        format!("arn:aws:iam::{}:user/{}", self.who.account.id, self.who.user)
    }

    /// For [`karri_proto::policy::decide`].
    pub fn requester(&self) -> Requester<'_> {
        Requester::User {
            account: &self.who.account.id,
            identity: Identity {
                policies: &self.policies,
                session: self.session.as_ref().and_then(|session| session.policies.as_deref()),
            },
            administrator: self.who.administrator,
            root: self.who.root,
        }
    }
}

/// Policies are all of them or none: to leave out one that cannot be read might widen what the others allow.
fn parsed(documents: &[String], arn: &str) -> Vec<Policy> {
    let policies: Result<Vec<Policy>, _> =
        documents.iter().map(|document| Policy::parse(document, Kind::Identity)).collect();
    policies.unwrap_or_else(|fault| {
        tracing::warn!(arn, %fault, "a user's policy cannot be read");
        Vec::new()
    })
}

/// What is out of all range is long over.
fn moment(unix_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// No key is written otherwise; what is, is not asked for.
fn is_key_id(text: &str) -> bool {
    (3..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
