//! Accounts, users, keys: who may use the cloud. The operator's verbs; IAM's API is to call the same.

pub mod administrator;
mod buckets;
pub mod policy;

use super::App;
use super::network;
use crate::store::account::{
    KeyRecord, account_delete_in_txn, account_insert_in_txn, administrator_keys_in_txn,
    identities_touch_in_txn, key_account_in_txn, key_delete_in_txn, key_put_in_txn, user_arn,
    user_delete_in_txn, user_insert_in_txn,
};
use crate::store::instance::instances_living_in_txn;
use crate::store::network_interface::network_interfaces_in_txn;
use crate::store::{StoreError, Tx, counter_next_in_txn};
use administrator::{AdministratorKey, leaves_nobody, takes_the_last};
use karri_proto::internal::ApiError;
use karri_proto::internal::admin::{AccessKey, Account, NewAccount, NewKey, NewPolicy, NewUser, User};
use karri_proto::policy::{Kind, Policy, managed};
use rand::Rng;
use std::collections::BTreeSet;

const NAME_CHARS_MAX: usize = 64;
const KEY_ID_CHARS: std::ops::RangeInclusive<usize> = 16..=128;
const POLICIES_PER_USER_MAX: usize = 10;
const NAMED_MAX: usize = 5;
const EMAIL_CHARS: std::ops::RangeInclusive<usize> = 3..=254;

fn valid_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(allowed) {
        return Ok(());
    }
    let sentence = "letters, digits and +=,.@_- only, 64 characters at most";
    Err(ApiError::invalid(format!("\"{name}\" is not a valid name: {sentence}")))
}

/// As people write them, whatever their case; one account has it.
fn valid_email(email: &str) -> Result<String, ApiError> {
    let parts = email.split_once('@').filter(|(user, host)| !user.is_empty() && !host.contains('@'));
    let plain = email.chars().all(|c| !c.is_control() && !c.is_whitespace());
    match parts {
        Some((_, host)) if plain && !host.is_empty() && EMAIL_CHARS.contains(&email.len()) => {
            Ok(email.to_lowercase())
        }
        _ => Err(ApiError::invalid(format!("\"{email}\" is not an e-mail address"))),
    }
}

pub(super) fn random_text(alphabet: &[u8], length: usize) -> String {
    let mut rng = rand::rngs::OsRng;
    (0..length).map(|_| char::from(alphabet[rng.gen_range(0..alphabet.len())])).collect()
}

pub(super) const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
pub(super) const BASE62: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn taken(what: &str, name: &str) -> impl Fn(StoreError) -> ApiError {
    let message = format!("{what} \"{name}\" exists already");
    move |error| if error.is_unique_violation() { ApiError::conflict(message.clone()) } else { error.into() }
}

/// Built-in policies by name, documents as they are; every one is read before it is kept.
fn policies_of(given: &[NewPolicy]) -> Result<Vec<(String, String)>, ApiError> {
    if given.len() > POLICIES_PER_USER_MAX {
        return Err(ApiError::invalid(format!("at most {POLICIES_PER_USER_MAX} policies per user")));
    }
    let read = |(n, NewPolicy { name, policy: text }): (usize, &NewPolicy)| {
        if let Some(known) = managed(text) {
            return Ok((known.name.to_owned(), known.document.to_owned()));
        }
        if !text.trim_start().starts_with('{') {
            return Err(ApiError::invalid(format!("there is no policy named \"{text}\"")));
        }
        let read =
            Policy::parse(text, Kind::Identity).map_err(|fault| ApiError::invalid(fault.to_string()))?;
        if let Some(key) = policy::unknown_key(&read) {
            let sentence = "no request has that key, so the statement would never apply as it is meant";
            return Err(ApiError::invalid(format!("unknown condition key or variable {key}: {sentence}")));
        }
        let name = name.clone().unwrap_or_else(|| format!("policy-{}", n + 1));
        valid_name(&name)?;
        Ok((name, text.clone()))
    };
    let policies = given.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    let names: BTreeSet<&str> = policies.iter().map(|(name, _)| name.as_str()).collect();
    if names.len() < policies.len() {
        return Err(ApiError::invalid("two of the user's policies have one name"));
    }
    Ok(policies)
}

/// `2 images (ami-1, ami-2)`; nothing for none.
fn named(what: &str, mut names: Vec<String>) -> Option<String> {
    let count = names.len();
    names.truncate(NAMED_MAX);
    let more = if count > NAMED_MAX { ", …" } else { "" };
    (count > 0).then(|| format!("{count} {what} ({}{more})", names.join(", ")))
}

/// Refuses what would leave nobody to administer the cloud.
async fn keep_an_administrator(
    tx: &mut Tx,
    what: &str,
    goes: impl Fn(&AdministratorKey) -> bool,
) -> Result<(), ApiError> {
    match takes_the_last(&administrator_keys_in_txn(tx).await?, goes) {
        true => Err(last_administrator(what)),
        false => Ok(()),
    }
}

fn last_administrator(what: &str) -> ApiError {
    ApiError::conflict(format!(
        "{what} is the last administrator of this cloud: make another user with AdministratorAccess and a \
         key in an administrator's account first"
    ))
}

/// The same account may bring its key again; nobody takes another's.
async fn key_is_free_in_txn(tx: &mut Tx, key: &AccessKey) -> Result<(), ApiError> {
    match key_account_in_txn(tx, &key.access_key_id).await? {
        Some(account) if account != key.account => {
            Err(ApiError::conflict(format!("access key {} belongs to another account", key.access_key_id)))
        }
        _ => Ok(()),
    }
}

impl App {
    /// Names the stored policies that were given when any key was taken.
    pub async fn policies_check(&self) -> Result<(), StoreError> {
        for account in self.store.account_list().await? {
            for user in self.store.user_list(&account.id).await? {
                for (name, document) in &user.policies {
                    let policy = Policy::parse(document, Kind::Identity).ok();
                    let Some(key) = policy.as_ref().and_then(policy::unknown_key) else { continue };
                    let (account, user) = (&account.id, &user.name);
                    tracing::warn!(
                        account,
                        user,
                        policy = name,
                        key,
                        "a policy has a key that no request has"
                    );
                }
            }
        }
        Ok(())
    }

    /// With its default network, in every zone there is.
    pub async fn account_create(&self, new: NewAccount) -> Result<Account, ApiError> {
        valid_name(&new.name)?;
        let email = new.email.as_deref().map(valid_email).transpose()?;
        if let Some(email) = &email
            && self.store.account_by_email(email).await?.is_some()
        {
            return Err(ApiError::conflict(format!("{email} is another account's e-mail address")));
        }
        let account = Account {
            id: format!("{:012}", rand::rngs::OsRng.gen_range(100_000_000_000u64..1_000_000_000_000)),
            name: new.name,
            administrator: new.administrator,
            email,
            created_at_unix_ms: super::now_ms(),
        };
        let mut tx = self.store.begin().await?;
        identities_touch_in_txn(&mut tx).await?;
        account_insert_in_txn(&mut tx, &account).await.map_err(taken("account", &account.name))?;
        network::account_defaults_in_txn(&mut tx, &account.id, self.default_subnets_public).await?;
        self.identities.commit(&self.store, tx).await?;
        self.networks_changed();
        tracing::info!(account = account.id, name = account.name, "account created");
        Ok(account)
    }

    pub async fn account_find(&self, id_or_name: &str) -> Result<Account, ApiError> {
        let account = self.store.account_fetch(id_or_name).await?;
        account.ok_or_else(|| ApiError::not_found(format!("there is no account \"{id_or_name}\"")))
    }

    pub(super) async fn account_with_user(&self, id_or_name: &str, user: &str) -> Result<Account, ApiError> {
        let account = self.account_find(id_or_name).await?;
        if self.store.user_list(&account.id).await?.iter().any(|known| known.name == user) {
            return Ok(account);
        }
        Err(ApiError::not_found(format!("account {} has no user \"{user}\"", account.name)))
    }

    /// Refused while anything of it runs or it owns buckets, and while it has images, snapshots or key pairs unless forced.
    pub async fn account_delete(&self, id_or_name: &str, force: bool) -> Result<(), ApiError> {
        let account = self.account_find(id_or_name).await?;
        self.owns_no_bucket(&account).await?;
        if !force {
            self.owns_nothing(&account).await?;
        }
        let mut tx = self.store.begin().await?;
        identities_touch_in_txn(&mut tx).await?;
        // Holds back launches, which look for their account before they commit.
        counter_next_in_txn(&mut tx, "instances").await?;
        let count = instances_living_in_txn(&mut tx, &account.id).await?;
        if count > 0 {
            return Err(ApiError::conflict(format!("account {} still has {count} instances", account.name)));
        }
        let goes = |key: &AdministratorKey| key.account == account.id;
        keep_an_administrator(&mut tx, &format!("account {}", account.name), goes).await?;
        let interfaces = network_interfaces_in_txn(&mut tx, &account.id).await?;
        account_delete_in_txn(&mut tx, &account.id).await?;
        self.identities.commit(&self.store, tx).await?;
        interfaces.iter().for_each(|gone| self.interface_addresses_release(gone));
        self.networks_changed();
        tracing::info!(account = account.id, "account deleted");
        Ok(())
    }

    async fn owns_nothing(&self, account: &Account) -> Result<(), ApiError> {
        let images = self.store.image_list().await?;
        let images = images.iter().filter(|image| image.account == account.id).map(|image| &image.id);
        let snapshots = self.store.snapshot_list(Some(&account.id)).await?;
        let pairs = self.store.key_pair_list(&account.id).await?;
        let owned = [
            named("images", images.cloned().collect()),
            named("snapshots", snapshots.into_iter().map(|snapshot| snapshot.id).collect()),
            named("key pairs", pairs.into_iter().map(|pair| pair.name).collect()),
        ];
        let owned: Vec<String> = owned.into_iter().flatten().collect();
        if owned.is_empty() {
            return Ok(());
        }
        let sentence =
            format!("account {} still has {}; forced, they go with it", account.name, owned.join(" and "));
        Err(ApiError::conflict(sentence))
    }

    pub async fn user_create(&self, new: NewUser) -> Result<User, ApiError> {
        valid_name(&new.name)?;
        let account = self.account_find(&new.account).await?;
        let user = User {
            arn: user_arn(&account.id, &new.name),
            account: account.id,
            policies: policies_of(&new.policies)?,
            created_at_unix_ms: super::now_ms(),
            name: new.name,
        };
        let user_id = format!("AIDA{}", random_text(BASE32, 17));
        let mut tx = self.store.begin().await?;
        identities_touch_in_txn(&mut tx).await?;
        user_insert_in_txn(&mut tx, &user, &user_id).await.map_err(taken("user", &user.name))?;
        self.identities.commit(&self.store, tx).await?;
        tracing::info!(account = user.account, user = user.name, "user created");
        Ok(user)
    }

    pub async fn user_delete(&self, account: &str, user: &str) -> Result<(), ApiError> {
        let account = self.account_find(account).await?;
        let mut tx = self.store.begin().await?;
        identities_touch_in_txn(&mut tx).await?;
        let goes = |key: &AdministratorKey| key.account == account.id && key.user == user;
        keep_an_administrator(&mut tx, &format!("user {user}"), goes).await?;
        if !user_delete_in_txn(&mut tx, &account.id, user).await? {
            return Err(ApiError::not_found(format!("account {} has no user \"{user}\"", account.name)));
        }
        self.identities.commit(&self.store, tx).await?;
        tracing::info!(account = account.id, user, "user deleted");
        Ok(())
    }

    pub async fn key_create(&self, new: NewKey) -> Result<AccessKey, ApiError> {
        let account = self.account_with_user(&new.account, &new.user).await?;
        let id = new.access_key_id.unwrap_or_else(|| format!("AKIA{}", random_text(BASE32, 16)));
        let secret = new.secret_access_key.unwrap_or_else(|| random_text(BASE62, 40));
        if !KEY_ID_CHARS.contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(ApiError::invalid("an access key id has 16 to 128 letters, digits and underscores"));
        }
        let key = AccessKey {
            access_key_id: id,
            secret_access_key: None,
            account: account.id,
            user: new.user,
            created_at_unix_ms: super::now_ms(),
        };
        let sealed_secret = self.identities.sealer().seal(&key.access_key_id, &secret);
        let mut tx = self.store.begin().await?;
        identities_touch_in_txn(&mut tx).await?;
        key_is_free_in_txn(&mut tx, &key).await?;
        let before = administrator_keys_in_txn(&mut tx).await?;
        key_put_in_txn(&mut tx, &KeyRecord { key: key.clone(), sealed_secret }).await?;
        if leaves_nobody(&before, &administrator_keys_in_txn(&mut tx).await?) {
            return Err(last_administrator(&format!("who has access key {}", key.access_key_id)));
        }
        self.identities.commit(&self.store, tx).await?;
        tracing::info!(account = key.account, user = key.user, key = key.access_key_id, "access key created");
        Ok(AccessKey { secret_access_key: Some(secret), ..key })
    }

    pub async fn key_delete(&self, access_key_id: &str) -> Result<(), ApiError> {
        let mut tx = self.store.begin().await?;
        identities_touch_in_txn(&mut tx).await?;
        let goes = |key: &AdministratorKey| key.access_key_id == access_key_id;
        keep_an_administrator(&mut tx, &format!("access key {access_key_id}"), goes).await?;
        if !key_delete_in_txn(&mut tx, access_key_id).await? {
            return Err(ApiError::not_found(format!("there is no access key {access_key_id}")));
        }
        self.identities.commit(&self.store, tx).await?;
        tracing::info!(key = access_key_id, "access key deleted");
        Ok(())
    }
}
