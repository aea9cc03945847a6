//! Who a signature belongs to: a bounded memory of access keys, so that verifying a request needs no
//! database.
//!
//! The memory is emptied whenever accounts, users, keys or policies change. Several controllers on one
//! PostgreSQL watch the counter of such changes (`reconcile/follow`).

use crate::app::account::policy::minds_tags;
use crate::app::session::Grant;
use crate::store::account::user_arn;
use crate::store::memory::Memory;
use crate::store::{Sealer, Store, StoreError, Tx};
use karri_proto::internal::signers::SecretText;
use karri_proto::policy::{self, Kind, Policy};
use karri_proto::sign::{Secret, SignFault};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Keys remembered at most. A full memory is emptied.
const REMEMBERED_MAX: usize = 20_000;

/// Keys that nobody has are remembered apart: whoever makes them up must not crowd out those who have one.
const UNKNOWN_MAX: usize = 1_000;

/// A user who signed a request.
#[derive(Debug)]
pub struct Signer {
    pub access_key_id: String,
    pub account: String,
    pub administrator: bool,
    /// Of a federated user, the one who let it in.
    pub user: String,
    /// `AIDA…`, and of a federated user `ACCOUNT:NAME`.
    pub user_id: String,
    pub arn: String,
    pub secret: Secret,
    /// The user's own.
    pub policies: Vec<Policy>,
    /// Whether the policies ask for tags of what is touched.
    pub minds_tags: bool,
    /// Of temporary credentials.
    pub session: Option<Session>,
}

/// What temporary credentials add to the user's own.
#[derive(Debug)]
pub struct Session {
    pub token: SecretText,
    pub issued_ms: i64,
    pub expires_ms: i64,
    pub federated: bool,
    /// What narrows the user's policies.
    pub policies: Option<Vec<Policy>>,
}

impl Signer {
    /// What decides about its requests.
    pub fn identity(&self) -> policy::Identity<'_> {
        let session = self.session.as_ref().and_then(|session| session.policies.as_deref());
        policy::Identity { policies: &self.policies, session }
    }

    pub fn is_federated(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.federated)
    }

    pub fn session_token(&self) -> Option<&SecretText> {
        self.session.as_ref().map(|session| &session.token)
    }
}

#[derive(Debug)]
pub struct Identities {
    sealer: Sealer,
    /// By access key.
    memory: Memory<Arc<Signer>>,
    /// Access keys that nobody has.
    unknown: Memory<()>,
    /// Temporary credentials, by their access key.
    sessions: Memory<Arc<Signer>>,
    changed: Notify,
}

impl Identities {
    pub fn new(sealer: Sealer) -> Self {
        let (memory, unknown) = (Memory::new(REMEMBERED_MAX), Memory::new(UNKNOWN_MAX));
        Self { sealer, memory, unknown, sessions: Memory::new(REMEMBERED_MAX), changed: Notify::new() }
    }

    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Forgets everything; the next requests look again, and who waits for a change does.
    pub fn clear(&self) {
        self.memory.forget();
        self.unknown.forget();
        self.sessions.forget();
        self.changed.notify_waiters();
    }

    /// Commits a change of who may do what, and forgets what was known of it: both, even when the caller gives up
    /// in between, or whoever was shut out would stay in.
    pub async fn commit(self: &Arc<Self>, store: &Store, tx: Tx) -> Result<(), StoreError> {
        let identities = self.clone();
        store.commit_and_forget_with(tx, move || identities.clear()).await
    }

    /// Completes at the next change after this call.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Who signs with this key, and with that token if there is one.
    pub async fn find(
        &self,
        store: &Store,
        access_key_id: &str,
        session_token: Option<&str>,
        now_ms: i64,
    ) -> Result<Result<Arc<Signer>, SignFault>, StoreError> {
        let Some(token) = session_token else {
            return Ok(self.signer(store, access_key_id).await?.ok_or(SignFault::UnknownKey));
        };
        let found = self.session(store, access_key_id, token).await?;
        Ok(match found.as_ref().and_then(|signer| signer.session.as_ref()) {
            Some(session) if session.expires_ms <= now_ms => Err(SignFault::ExpiredToken),
            _ => found.ok_or(SignFault::BadToken),
        })
    }

    /// Only what was sealed here is remembered: tokens that are made up cost no look at the database.
    async fn session(
        &self,
        store: &Store,
        access_key_id: &str,
        token: &str,
    ) -> Result<Option<Arc<Signer>>, StoreError> {
        let read = async { self.open(store, access_key_id, token).await.map(|found| found.map(Arc::new)) };
        let found = self.sessions.get(access_key_id, read).await?;
        Ok(found.filter(|signer| signer.session_token().is_some_and(|known| known.0 == token)))
    }

    async fn open(
        &self,
        store: &Store,
        access_key_id: &str,
        token: &str,
    ) -> Result<Option<Signer>, StoreError> {
        let Some(grant) = Grant::open(&self.sealer, access_key_id, token) else { return Ok(None) };
        let Some(user) = self.signer(store, &grant.key).await? else { return Ok(None) };
        if user.user_id != grant.user_id || user.secret.mark() != grant.key_mark {
            return Ok(None); // another user's by now, or its secret was replaced
        }
        let policies = grant.documents().map(|documents| parsed(&documents, &user.account, &user.user));
        let minds = policies.iter().flatten().any(minds_tags);
        Ok(Some(Signer {
            access_key_id: access_key_id.to_owned(),
            arn: grant.arn(&user.account, &user.user),
            user_id: grant.caller_id(&user.account),
            account: user.account.clone(),
            administrator: user.administrator,
            user: user.user.clone(),
            secret: Secret::new(grant.secret),
            minds_tags: user.minds_tags || minds,
            policies: user.policies.clone(),
            session: Some(Session {
                token: SecretText(token.to_owned()),
                issued_ms: grant.issued_ms,
                expires_ms: grant.expires_ms,
                federated: grant.federation.is_some(),
                policies,
            }),
        }))
    }

    /// Who has a long-term key.
    pub async fn signer(
        &self,
        store: &Store,
        access_key_id: &str,
    ) -> Result<Option<Arc<Signer>>, StoreError> {
        let mut found = None;
        let absent = async {
            let read = async { self.fetch(store, access_key_id).await.map(|found| found.map(Arc::new)) };
            found = self.memory.get(access_key_id, read).await?;
            Ok::<_, StoreError>(found.is_none().then_some(()))
        };
        self.unknown.get(access_key_id, absent).await?;
        Ok(found)
    }

    async fn fetch(&self, store: &Store, access_key_id: &str) -> Result<Option<Signer>, StoreError> {
        let Some(identity) = store.identity_fetch(access_key_id).await? else { return Ok(None) };
        let key = &identity.key.key;
        let secret = self.sealer.open(access_key_id, &identity.key.sealed_secret)?;
        let policies = parsed(&identity.policies, &key.account, &key.user);
        Ok(Some(Signer {
            access_key_id: access_key_id.to_owned(),
            arn: user_arn(&key.account, &key.user),
            account: key.account.clone(),
            administrator: identity.account.administrator,
            user: key.user.clone(),
            user_id: identity.user_id,
            secret: Secret::new(secret),
            minds_tags: policies.iter().any(minds_tags),
            policies,
            session: None,
        }))
    }
}

/// Documents were read when they were given; one that cannot be read now must not widen anything.
fn parsed(documents: &[String], account: &str, user: &str) -> Vec<Policy> {
    let policies: Result<Vec<Policy>, _> =
        documents.iter().map(|document| Policy::parse(document, Kind::Identity)).collect();
    policies.unwrap_or_else(|fault| {
        tracing::warn!(account, user, %fault, "a stored policy cannot be read");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseConfig;
    use crate::store::account::{
        KeyRecord, account_insert_in_txn, key_delete_in_txn, key_put_in_txn, user_insert_in_txn,
    };
    use futures_util::FutureExt as _;
    use karri_proto::internal::admin::{AccessKey, Account, User};
    use std::time::{Duration, Instant};

    async fn with_alice(store: &Store, sealer: &Sealer) {
        let account = Account {
            id: "1".into(),
            name: "acme".into(),
            email: None,
            administrator: false,
            created_at_unix_ms: 0,
        };
        let mut tx = store.begin().await.unwrap();
        account_insert_in_txn(&mut tx, &account).await.unwrap();
        let (account, name) = ("1".to_owned(), "alice".to_owned());
        let user = User { arn: String::new(), account, name, policies: Vec::new(), created_at_unix_ms: 0 };
        user_insert_in_txn(&mut tx, &user, "AIDA").await.unwrap();
        let key = AccessKey {
            access_key_id: "AKIAALICE".into(),
            secret_access_key: None,
            account: "1".into(),
            user: "alice".into(),
            created_at_unix_ms: 0,
        };
        let sealed_secret = sealer.seal("AKIAALICE", "secret");
        key_put_in_txn(&mut tx, &KeyRecord { key, sealed_secret }).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn opened(directory: &tempfile::TempDir) -> (Store, Sealer) {
        let url = format!("sqlite://{}/clc.sqlite", directory.path().display());
        let store = Store::open(&DatabaseConfig { url, connections: 2 }).await.unwrap();
        (store, Sealer::load_or_create(&directory.path().join("key")).unwrap())
    }

    #[tokio::test]
    async fn who_is_shut_out_is_out_even_when_the_one_who_asked_for_it_hangs_up() {
        let directory = tempfile::tempdir().unwrap();
        let (store, sealer) = opened(&directory).await;
        with_alice(&store, &sealer).await;
        let identities = Arc::new(Identities::new(sealer));
        assert!(identities.signer(&store, "AKIAALICE").await.unwrap().is_some());
        let mut tx = store.begin().await.unwrap();
        assert!(key_delete_in_txn(&mut tx, "AKIAALICE").await.unwrap());
        // Begun, and not waited for.
        assert!(identities.commit(&store, tx).now_or_never().is_none());
        let begun = Instant::now();
        while identities.signer(&store, "AKIAALICE").await.unwrap().is_some() {
            assert!(begun.elapsed() < Duration::from_secs(10), "she is still let in");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_makes_up_keys_does_not_crowd_out_those_who_have_one() {
        let directory = tempfile::tempdir().unwrap();
        let (store, sealer) = opened(&directory).await;
        with_alice(&store, &sealer).await;
        let identities = Identities::new(sealer);
        assert!(identities.signer(&store, "AKIAALICE").await.unwrap().is_some());
        for n in 0..UNKNOWN_MAX + 10 {
            assert!(identities.signer(&store, &format!("AKIA{n}")).await.unwrap().is_none());
            assert!(identities.unknown.count() <= UNKNOWN_MAX);
        }
        assert_eq!(identities.memory.count(), 1, "alice, and nobody else");
        // From memory: the database does not answer any more.
        store.close().await;
        assert!(identities.signer(&store, "AKIAALICE").await.unwrap().is_some());
    }
}
