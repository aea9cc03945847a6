//! Who a signature belongs to: a bounded memory of access keys, so that verifying a request needs no
//! database.
//!
//! The memory is emptied whenever accounts, users, keys or policies change. Several controllers on one
//! PostgreSQL watch the counter of such changes (`reconcile/follow`).

use crate::store::memory::Memory;
use crate::store::{Sealer, Store, StoreError};
use karri_proto::policy::{Kind, Policy};
use karri_proto::sign::Secret;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Keys remembered at most, known and unknown ones together. A full memory is emptied.
const REMEMBERED_MAX: usize = 20_000;

/// A user who signed a request.
#[derive(Debug)]
pub struct Signer {
    pub account: String,
    pub administrator: bool,
    pub user: String,
    /// `AIDA…`
    pub user_id: String,
    pub arn: String,
    pub secret: Secret,
    pub policies: Vec<Policy>,
}

#[derive(Debug)]
pub struct Identities {
    sealer: Sealer,
    /// By access key, those that nobody has too.
    memory: Memory<Option<Arc<Signer>>>,
    changed: Notify,
}

impl Identities {
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer, memory: Memory::new(REMEMBERED_MAX), changed: Notify::new() }
    }

    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Forgets everything; the next requests look again, and who waits for a change does.
    pub fn clear(&self) {
        self.memory.forget();
        self.changed.notify_waiters();
    }

    /// Completes at the next change after this call.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub async fn signer(
        &self,
        store: &Store,
        access_key_id: &str,
    ) -> Result<Option<Arc<Signer>>, StoreError> {
        let found = async {
            let signer = self.fetch(store, access_key_id).await?;
            Ok::<_, StoreError>(Some(signer.map(Arc::new)))
        };
        Ok(self.memory.get(access_key_id, found).await?.flatten())
    }

    async fn fetch(&self, store: &Store, access_key_id: &str) -> Result<Option<Signer>, StoreError> {
        let Some(identity) = store.identity_fetch(access_key_id).await? else { return Ok(None) };
        let key = &identity.key.key;
        let secret = self.sealer.open(access_key_id, &identity.key.sealed_secret)?;
        // Documents were read when they were given; one that cannot be read now must not widen anything.
        let policies: Result<Vec<Policy>, _> =
            identity.policies.iter().map(|document| Policy::parse(document, Kind::Identity)).collect();
        let policies = policies.unwrap_or_else(|fault| {
            tracing::warn!(account = key.account, user = key.user, %fault, "a stored policy cannot be read");
            Vec::new()
        });
        Ok(Some(Signer {
            arn: crate::store::account::user_arn(&key.account, &key.user),
            account: key.account.clone(),
            administrator: identity.account.administrator,
            user: key.user.clone(),
            user_id: identity.user_id,
            secret: Secret::new(secret),
            policies,
        }))
    }
}
