//! Who signs, for Walrus: secrets and policies by access key, accounts by what S3 calls them, and a number that
//! says whether any of it has changed.
//!
//! The number is read before what it is told with: a change in between makes the answer look older than it is,
//! never newer.

use super::App;
use super::account::administrator::may_everything;
use super::session::Grant;
use crate::store::StoreError;
use crate::store::account::{Identity, user_arn};
use karri_proto::internal::ApiError;
use karri_proto::internal::admin::Account;
use karri_proto::internal::signers::{
    AccountFacts, AccountName, SecretText, SessionAsked, SessionFacts, SignerRecord, Told, UserCertificate,
    Who,
};
use karri_proto::sign::Secret;
use std::time::Duration;
use tokio::time::Instant;

const IDENTITIES: &str = "identities";

impl App {
    pub async fn signer_record(&self, access_key_id: &str) -> Result<Told<SignerRecord>, ApiError> {
        let version = self.store.counter_fetch(IDENTITIES).await?;
        let Some(identity) = self.store.identity_fetch(access_key_id).await? else {
            return Ok(Told { version, found: None });
        };
        Ok(Told { version, found: Some(self.record(identity)?) })
    }

    /// The same of temporary credentials, whose token says whose they are.
    pub async fn session_record(&self, asked: &SessionAsked) -> Result<Told<SignerRecord>, ApiError> {
        let version = self.store.counter_fetch(IDENTITIES).await?;
        let nobody = Told { version, found: None };
        let SessionAsked { access_key_id, session_token } = asked;
        let grant = Grant::open(self.identities.sealer(), access_key_id, &session_token.0);
        let Some(grant) = grant else { return Ok(nobody) };
        let Some(identity) = self.store.identity_fetch(&grant.key).await? else { return Ok(nobody) };
        let user = self.record(identity)?;
        let mark = Secret::new(user.secret_access_key.0).mark();
        if user.who.user_id != grant.user_id || mark != grant.key_mark {
            return Ok(nobody);
        }
        let policies = grant.documents();
        let account = &user.who.account.id;
        let who = Who {
            arn: grant.arn(account, &user.who.user),
            user_id: grant.caller_id(account),
            root: user.who.root && policies.as_ref().is_none_or(|policies| may_everything(policies)),
            ..user.who
        };
        let session = SessionFacts {
            issued_unix_ms: grant.issued_ms,
            expires_unix_ms: grant.expires_ms,
            federated: grant.federation.is_some(),
            policies,
        };
        let found = SignerRecord {
            access_key_id: access_key_id.clone(),
            who,
            secret_access_key: SecretText(grant.secret),
            session: Some(session),
            policies: user.policies,
        };
        Ok(Told { version, found: Some(found) })
    }

    fn record(&self, identity: Identity) -> Result<SignerRecord, StoreError> {
        let key = identity.key.key;
        let secret = self.identities.sealer().open(&key.access_key_id, &identity.key.sealed_secret)?;
        let who = Who {
            arn: user_arn(&key.account, &key.user),
            user: key.user,
            user_id: identity.user_id,
            administrator: identity.account.administrator,
            root: may_everything(&identity.policies),
            account: facts(&identity.account),
        };
        Ok(SignerRecord {
            access_key_id: key.access_key_id,
            who,
            secret_access_key: SecretText(secret),
            session: None,
            policies: identity.policies,
        })
    }

    pub async fn signer_account(&self, name: &AccountName) -> Result<Told<AccountFacts>, ApiError> {
        let version = self.store.counter_fetch(IDENTITIES).await?;
        let found = match &name.folded() {
            AccountName::Id(id) => self.account_by_id(id).await?.as_ref().map(facts),
            // There is no way back from a digest; accounts are few, and Walrus remembers.
            AccountName::Canonical(id) => {
                let all = self.store.account_list().await?;
                all.iter().map(facts).find(|account| account.canonical_id == *id)
            }
            AccountName::Email(email) => self.store.account_by_email(email).await?.as_ref().map(facts),
        };
        Ok(Told { version, found })
    }

    pub async fn signer_user(&self, account: &str, user: &str) -> Result<Told<String>, ApiError> {
        let version = self.store.counter_fetch(IDENTITIES).await?;
        Ok(Told { version, found: self.store.user_id_fetch(account, user).await? })
    }

    pub async fn signer_certificates(&self, account: &str) -> Result<Told<Vec<UserCertificate>>, ApiError> {
        let version = self.store.counter_fetch(IDENTITIES).await?;
        if self.account_by_id(account).await?.is_none() {
            return Ok(Told { version, found: None });
        }
        let all = self.store.certificate_list(account).await?.into_iter();
        let found = all.map(|one| UserCertificate { id: one.id, user: one.user, pem: one.pem }).collect();
        Ok(Told { version, found: Some(found) })
    }

    /// The version, once it is another than `known` or after `wait`.
    pub async fn signers_version(&self, known: i64, wait: Duration) -> Result<i64, StoreError> {
        let until = Instant::now() + wait;
        let mut shutdown = self.base.shutdown.clone();
        loop {
            let changed = self.identities.changed();
            let version = self.store.counter_fetch(IDENTITIES).await?;
            if version != known || Instant::now() >= until {
                return Ok(version);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => {}
                () = shutdown.wait() => return Ok(version),
            }
        }
    }

    async fn account_by_id(&self, id: &str) -> Result<Option<Account>, StoreError> {
        Ok(self.store.account_fetch(id).await?.filter(|account| account.id == id))
    }
}

fn facts(account: &Account) -> AccountFacts {
    AccountFacts::new(&account.id, &account.name, account.email.as_deref())
}
