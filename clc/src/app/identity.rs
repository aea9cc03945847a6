//! Who a signature belongs to: a bounded memory of access keys, so that verifying a request needs no
//! database.
//!
//! The memory is emptied whenever accounts, users, keys or policies change. Several controllers on one
//! PostgreSQL watch the counter of such changes (`reconcile/follow`).

use crate::store::{Sealer, Store, StoreError};
use karri_proto::policy::{Kind, Policy};
use karri_proto::sign::Secret;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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

#[derive(Debug, Default)]
struct Memory {
    /// Grows at every clearing, so that what was read before it is not put in after it.
    age: u64,
    signers: HashMap<String, Option<Arc<Signer>>>,
}

#[derive(Debug)]
pub struct Identities {
    sealer: Sealer,
    memory: Mutex<Memory>,
}

impl Identities {
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer, memory: Mutex::default() }
    }

    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Forgets everything; the next requests look again.
    pub fn clear(&self) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.age += 1;
        memory.signers.clear();
    }

    pub async fn signer(
        &self,
        store: &Store,
        access_key_id: &str,
    ) -> Result<Option<Arc<Signer>>, StoreError> {
        let age = {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = memory.signers.get(access_key_id) {
                return Ok(known.clone());
            }
            memory.age
        };
        let signer = self.fetch(store, access_key_id).await?.map(Arc::new);
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.age == age {
            if memory.signers.len() >= REMEMBERED_MAX {
                memory.signers.clear();
            }
            memory.signers.insert(access_key_id.to_owned(), signer.clone());
        }
        Ok(signer)
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
