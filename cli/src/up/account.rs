//! The account `admin`, its user and the keys that the operator's file holds.

use crate::cloud::Cloud;
use crate::credentials::Credentials;
use karri_proto::internal::admin::{AdminService, NewAccount, NewKey, NewPolicy, NewUser};

pub const ACCOUNT: &str = "admin";
pub const USER: &str = "admin";
const POLICY: &str = "AdministratorAccess";

/// The file's keys, or new ones, valid for this endpoint and written back.
pub fn keys(cloud: &Cloud, region: &str, endpoint: &str) -> anyhow::Result<Credentials> {
    let path = cloud.home().credentials();
    let fresh = || Credentials::random(&mut rand::thread_rng(), region, endpoint);
    let kept = Credentials::read(&path)?.unwrap_or_else(fresh);
    let keys = Credentials { region: region.to_owned(), endpoint: endpoint.to_owned(), ..kept };
    keys.write(&path)?;
    Ok(keys)
}

/// The cloud controller knows the account, the user and the keys; true: the account is new.
pub async fn establish(cloud: &Cloud, keys: &Credentials) -> anyhow::Result<bool> {
    let (clc, caller) = (cloud.clc()?, cloud.caller());
    let new = !clc.account_list(caller).await?.iter().any(|account| account.name == ACCOUNT);
    if new {
        let account = NewAccount { name: ACCOUNT.to_owned(), administrator: true };
        clc.account_create(caller, account).await?;
    }
    if !clc.user_list(caller, ACCOUNT).await?.iter().any(|user| user.name == USER) {
        let policies = vec![NewPolicy::from(POLICY)];
        clc.user_create(caller, NewUser { account: ACCOUNT.into(), name: USER.into(), policies }).await?;
    }
    let key = NewKey {
        account: ACCOUNT.to_owned(),
        user: USER.to_owned(),
        access_key_id: Some(keys.access_key_id.clone()),
        secret_access_key: Some(keys.secret_access_key.clone()),
    };
    clc.key_create(caller, key).await?;
    Ok(new)
}
