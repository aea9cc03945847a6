//! Who a signature belongs to: a bounded memory of access keys, so that verifying a request needs no
//! database.
//!
//! The memory is emptied whenever accounts, users, keys or policies change. Several controllers on one
//! PostgreSQL watch the counter of such changes (`reconcile/follow`).

use crate::app::account::policy::minds_tags;
use crate::store::memory::Memory;
use crate::store::{Sealer, Store, StoreError};
use karri_proto::policy::{Kind, Policy};
use karri_proto::sign::Secret;
use std::sync::Arc;

/// Keys remembered at most. A full memory is emptied.
const REMEMBERED_MAX: usize = 20_000;

/// Keys that nobody has are remembered apart: whoever makes them up must not crowd out those who have one.
const UNKNOWN_MAX: usize = 1_000;

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
    /// Whether the policies ask for tags of what is touched.
    pub minds_tags: bool,
}

#[derive(Debug)]
pub struct Identities {
    sealer: Sealer,
    /// By access key.
    memory: Memory<Arc<Signer>>,
    /// Access keys that nobody has.
    unknown: Memory<()>,
}

impl Identities {
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer, memory: Memory::new(REMEMBERED_MAX), unknown: Memory::new(UNKNOWN_MAX) }
    }

    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Forgets everything; the next requests look again.
    pub fn clear(&self) {
        self.memory.forget();
        self.unknown.forget();
    }

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
            minds_tags: policies.iter().any(minds_tags),
            policies,
        }))
    }
}
