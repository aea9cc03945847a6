//! Accounts, their users with policies, and access keys.

use super::network_change::{networks_of_account_gone_in_txn, networks_turn_in_txn};
use super::security_group::rules_of_account_delete_in_txn;
use super::{Store, StoreError, Tx, counter_next_in_txn};
use crate::app::account::administrator::AdministratorKey;
use karri_proto::internal::admin::{AccessKey, Account, User};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// An access key as it lies in the database.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    pub key: AccessKey,
    pub sealed_secret: String,
}

/// All that a request's signature leads to.
#[derive(Debug, Clone)]
pub struct Identity {
    pub key: KeyRecord,
    pub account: Account,
    pub user_id: String,
    /// Policy documents.
    pub policies: Vec<String>,
}

fn account_of(row: &AnyRow) -> Result<Account, StoreError> {
    Ok(Account {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        administrator: row.try_get::<i64, _>("administrator")? != 0,
        email: row.try_get("email")?,
        created_at_unix_ms: row.try_get("created_at")?,
    })
}

pub fn user_arn(account: &str, user: &str) -> String {
    format!("arn:aws:iam::{account}:user/{user}")
}

/// Every change of accounts, users, keys or policies takes a number, so that caches of them notice.
pub async fn identities_touch_in_txn(tx: &mut Tx) -> Result<(), StoreError> {
    counter_next_in_txn(tx, "identities").await.map(drop)
}

pub async fn account_insert_in_txn(tx: &mut Tx, account: &Account) -> Result<(), StoreError> {
    let statement =
        "INSERT INTO accounts (id, name, administrator, email, created_at) VALUES ($1, $2, $3, $4, $5)";
    sqlx::query(statement)
        .bind(&account.id)
        .bind(&account.name)
        .bind(i64::from(account.administrator))
        .bind(&account.email)
        .bind(account.created_at_unix_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// With its users, keys, network, key pairs, tags and images; the caller has seen that no instance is left.
pub async fn account_delete_in_txn(tx: &mut Tx, id: &str) -> Result<bool, StoreError> {
    rules_of_account_delete_in_txn(tx, id).await?;
    let change = networks_turn_in_txn(tx).await?;
    networks_of_account_gone_in_txn(tx, change, id).await?;
    for statement in [
        "DELETE FROM segment_tags WHERE holder IN (SELECT id FROM subnets WHERE account = $1)",
        "DELETE FROM segment_tags WHERE holder IN (SELECT id FROM vpcs WHERE account = $1)",
        "DELETE FROM internet_gateways WHERE account = $1",
        "DELETE FROM ports WHERE id IN (SELECT port_id FROM nat_gateways WHERE account = $1)",
        "DELETE FROM nat_gateways WHERE account = $1",
        "DELETE FROM ports WHERE id IN (SELECT id FROM network_interfaces WHERE account = $1)",
        "DELETE FROM network_interfaces WHERE account = $1",
        "DELETE FROM public_addresses WHERE account = $1",
        "DELETE FROM creation_tokens WHERE account = $1",
        // Subnets, groups, route tables and ACLs go with the VPC.
        "DELETE FROM vpcs WHERE account = $1",
        "DELETE FROM dhcp_options WHERE account = $1",
        "DELETE FROM prefix_lists WHERE account = $1",
        "DELETE FROM key_pairs WHERE account = $1",
        "DELETE FROM tags WHERE account = $1",
        "DELETE FROM tags WHERE resource_id IN (SELECT id FROM images WHERE account = $1)",
        // Others' instances may have been started from its public ones, and name them.
        "UPDATE images SET state = 'deregistered' WHERE account = $1",
        // Their blobs are let go like those of deleted ones.
        "UPDATE snapshots SET deleted_at = 0 WHERE account = $1 AND deleted_at IS NULL",
    ] {
        sqlx::query(statement).bind(id).execute(&mut **tx).await?;
    }
    let done = sqlx::query("DELETE FROM accounts WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(done.rows_affected() > 0)
}

/// With its policies and keys.
pub async fn user_delete_in_txn(tx: &mut Tx, account: &str, user: &str) -> Result<bool, StoreError> {
    let statement = "DELETE FROM users WHERE account = $1 AND name = $2";
    let done = sqlx::query(statement).bind(account).bind(user).execute(&mut **tx).await?;
    Ok(done.rows_affected() > 0)
}

pub async fn key_delete_in_txn(tx: &mut Tx, access_key_id: &str) -> Result<bool, StoreError> {
    let statement = "DELETE FROM access_keys WHERE id = $1";
    let done = sqlx::query(statement).bind(access_key_id).execute(&mut **tx).await?;
    Ok(done.rows_affected() > 0)
}

/// The keys of all administrators' accounts.
pub async fn administrator_keys_in_txn(tx: &mut Tx) -> Result<Vec<AdministratorKey>, StoreError> {
    let statement = "SELECT k.id AS id, k.account AS account, k.user_name AS user_name, p.document AS document \
         FROM access_keys k JOIN accounts a ON a.id = k.account AND a.administrator <> 0 \
         JOIN user_policies p ON p.account = k.account AND p.user_name = k.user_name ORDER BY k.id";
    let mut keys: Vec<AdministratorKey> = Vec::new();
    for row in sqlx::query(statement).fetch_all(&mut **tx).await? {
        let (id, document): (String, String) = (row.try_get("id")?, row.try_get("document")?);
        match keys.last_mut() {
            Some(last) if last.access_key_id == id => last.policies.push(document),
            _ => keys.push(AdministratorKey {
                access_key_id: id,
                account: row.try_get("account")?,
                user: row.try_get("user_name")?,
                policies: vec![document],
            }),
        }
    }
    Ok(keys)
}

/// `user_id` is the `AIDA…` name that never changes.
pub async fn user_insert_in_txn(tx: &mut Tx, user: &User, user_id: &str) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO users (account, name, id, created_at) VALUES ($1, $2, $3, $4)")
        .bind(&user.account)
        .bind(&user.name)
        .bind(user_id)
        .bind(user.created_at_unix_ms)
        .execute(&mut **tx)
        .await?;
    let statement = "INSERT INTO user_policies (account, user_name, name, document) VALUES ($1, $2, $3, $4)";
    for (name, document) in &user.policies {
        let query = sqlx::query(statement).bind(&user.account).bind(&user.name);
        query.bind(name).bind(document).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Whose a key is.
pub async fn key_account_in_txn(tx: &mut Tx, access_key_id: &str) -> Result<Option<String>, StoreError> {
    let statement = "SELECT account FROM access_keys WHERE id = $1";
    Ok(sqlx::query_scalar(statement).bind(access_key_id).fetch_optional(&mut **tx).await?)
}

/// Replaces the secret of a key of the same id: `karri up` brings its own keys again and again.
pub async fn key_put_in_txn(tx: &mut Tx, record: &KeyRecord) -> Result<(), StoreError> {
    let statement = "INSERT INTO access_keys (id, account, user_name, sealed_secret, created_at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET \
         account = excluded.account, user_name = excluded.user_name, sealed_secret = excluded.sealed_secret";
    sqlx::query(statement)
        .bind(&record.key.access_key_id)
        .bind(&record.key.account)
        .bind(&record.key.user)
        .bind(&record.sealed_secret)
        .bind(record.key.created_at_unix_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

impl Store {
    pub async fn account_list(&self) -> Result<Vec<Account>, StoreError> {
        let rows = sqlx::query("SELECT * FROM accounts ORDER BY id").fetch_all(self.reader()).await?;
        rows.iter().map(account_of).collect()
    }

    /// By id or by name.
    pub async fn account_fetch(&self, id_or_name: &str) -> Result<Option<Account>, StoreError> {
        let statement = "SELECT * FROM accounts WHERE id = $1 OR name = $2";
        let row = sqlx::query(statement).bind(id_or_name).bind(id_or_name);
        row.fetch_optional(self.reader()).await?.as_ref().map(account_of).transpose()
    }

    pub async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query("SELECT * FROM accounts WHERE email = $1").bind(email);
        row.fetch_optional(self.reader()).await?.as_ref().map(account_of).transpose()
    }

    pub async fn user_list(&self, account: &str) -> Result<Vec<User>, StoreError> {
        let statement = "SELECT account, name, created_at FROM users WHERE account = $1 ORDER BY name";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        let mut users = Vec::with_capacity(rows.len());
        for row in &rows {
            let name: String = row.try_get("name")?;
            users.push(User {
                account: account.to_owned(),
                arn: user_arn(account, &name),
                policies: self.user_policies(account, &name).await?,
                created_at_unix_ms: row.try_get("created_at")?,
                name,
            });
        }
        Ok(users)
    }

    /// What never changes about a user, whatever it is called.
    pub async fn user_id_fetch(&self, account: &str, user: &str) -> Result<Option<String>, StoreError> {
        let statement = "SELECT id FROM users WHERE account = $1 AND name = $2";
        Ok(sqlx::query_scalar(statement).bind(account).bind(user).fetch_optional(self.reader()).await?)
    }

    async fn user_policies(&self, account: &str, user: &str) -> Result<Vec<(String, String)>, StoreError> {
        let statement =
            "SELECT name, document FROM user_policies WHERE account = $1 AND user_name = $2 ORDER BY name";
        let rows = sqlx::query(statement).bind(account).bind(user).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok((row.try_get("name")?, row.try_get("document")?))).collect()
    }

    pub async fn key_list(&self, account: &str) -> Result<Vec<AccessKey>, StoreError> {
        let statement = "SELECT * FROM access_keys WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok(key_of(row)?.key)).collect()
    }

    pub async fn identity_fetch(&self, access_key_id: &str) -> Result<Option<Identity>, StoreError> {
        let statement = "SELECT * FROM access_keys WHERE id = $1";
        let row = sqlx::query(statement).bind(access_key_id).fetch_optional(self.reader()).await?;
        let Some(row) = row else { return Ok(None) };
        let key = key_of(&row)?;
        let Some(account) = self.account_fetch(&key.key.account).await? else { return Ok(None) };
        let Some(user_id) = self.user_id_fetch(&key.key.account, &key.key.user).await? else {
            return Ok(None);
        };
        let policies = self.user_policies(&key.key.account, &key.key.user).await?;
        let policies = policies.into_iter().map(|(_, document)| document).collect();
        Ok(Some(Identity { key, account, user_id, policies }))
    }
}

fn key_of(row: &AnyRow) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        key: AccessKey {
            access_key_id: row.try_get("id")?,
            secret_access_key: None,
            account: row.try_get("account")?,
            user: row.try_get("user_name")?,
            created_at_unix_ms: row.try_get("created_at")?,
        },
        sealed_secret: row.try_get("sealed_secret")?,
    })
}
