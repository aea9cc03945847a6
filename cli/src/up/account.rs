//! The account `admin`, its user and the keys that the operator's file holds.

use crate::cloud::Cloud;
use crate::credentials::s3cfg;
use crate::credentials::{Credentials, S3Access};
use karri_proto::internal::admin::{AdminService, NewAccount, NewKey, NewPolicy, NewUser};

pub const ACCOUNT: &str = "admin";
pub const USER: &str = "admin";
const POLICY: &str = "AdministratorAccess";

/// The file's keys, or new ones, valid for these endpoints and written back.
pub fn keys(cloud: &Cloud, region: &str, endpoint: &str, s3: Option<String>) -> anyhow::Result<Credentials> {
    let path = cloud.home().credentials();
    let s3cmd_config = cloud.home().s3cfg().display().to_string();
    let s3 = s3.map(|endpoint| S3Access { endpoint, s3cmd_config });
    let fresh = || Credentials::random(&mut rand::thread_rng(), region, endpoint);
    let kept = Credentials::read(&path)?.unwrap_or_else(fresh);
    let keys = Credentials { region: region.to_owned(), endpoint: endpoint.to_owned(), s3, ..kept };
    keys.write(&path)?;
    if let Some(s3) = &keys.s3 {
        s3cfg::write(&keys, s3)?;
    }
    Ok(keys)
}

/// The cloud controller knows the account, the user and the keys; true: the account is new.
pub async fn establish(cloud: &Cloud, keys: &Credentials) -> anyhow::Result<bool> {
    let (clc, caller) = (cloud.clc()?, cloud.caller());
    let new = !clc.account_list(caller).await?.iter().any(|account| account.name == ACCOUNT);
    if new {
        let account = NewAccount { name: ACCOUNT.to_owned(), administrator: true, email: None };
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
