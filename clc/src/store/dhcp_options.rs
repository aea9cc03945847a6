//! Sets of DHCP options.

use super::{Store, StoreError, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// Names and their values, as they were given.
pub type Options = Vec<(String, Vec<String>)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpOptions {
    pub id: String,
    pub account: String,
    /// What the account's new VPCs get. Its options follow the region and are nowhere written.
    pub is_default: bool,
    pub options: Options,
}

pub(super) fn dhcp_options_of(row: &AnyRow) -> Result<DhcpOptions, StoreError> {
    let options: String = row.try_get("options")?;
    Ok(DhcpOptions {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        is_default: row.try_get::<i64, _>("is_default")? != 0,
        options: serde_json::from_str(&options).map_err(|e| StoreError::corrupt("set of DHCP options", e))?,
    })
}

pub async fn dhcp_options_insert_in_txn(tx: &mut Tx, set: &DhcpOptions) -> Result<(), StoreError> {
    let options =
        serde_json::to_string(&set.options).map_err(|e| StoreError::corrupt("set of DHCP options", e))?;
    let statement = "INSERT INTO dhcp_options (id, account, is_default, options) VALUES ($1, $2, $3, $4)";
    sqlx::query(statement)
        .bind(&set.id)
        .bind(&set.account)
        .bind(i64::from(set.is_default))
        .bind(options)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn dhcp_options_fetch_in_txn(tx: &mut Tx, id: &str) -> Result<Option<DhcpOptions>, StoreError> {
    let row = sqlx::query("SELECT * FROM dhcp_options WHERE id = $1").bind(id);
    row.fetch_optional(&mut **tx).await?.as_ref().map(dhcp_options_of).transpose()
}

/// What the account's new VPCs get, unless it has deleted that.
pub async fn default_dhcp_options_in_txn(tx: &mut Tx, account: &str) -> Result<Option<String>, StoreError> {
    let statement = "SELECT id FROM dhcp_options WHERE account = $1 AND is_default = 1";
    Ok(sqlx::query_scalar(statement).bind(account).fetch_optional(&mut **tx).await?)
}

pub async fn dhcp_options_delete_in_txn(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM dhcp_options WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(())
}

pub async fn dhcp_options_count_in_txn(tx: &mut Tx, account: &str) -> Result<usize, StoreError> {
    let statement = "SELECT COUNT(*) FROM dhcp_options WHERE account = $1";
    let count: i64 = sqlx::query_scalar(statement).bind(account).fetch_one(&mut **tx).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// A VPC that has them.
pub async fn dhcp_options_user_in_txn(tx: &mut Tx, id: &str) -> Result<Option<String>, StoreError> {
    let statement = "SELECT id FROM vpcs WHERE dhcp_options_id = $1 ORDER BY id LIMIT 1";
    Ok(sqlx::query_scalar(statement).bind(id).fetch_optional(&mut **tx).await?)
}

impl Store {
    pub async fn dhcp_options_list(&self, account: &str) -> Result<Vec<DhcpOptions>, StoreError> {
        let statement = "SELECT * FROM dhcp_options WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(dhcp_options_of).collect()
    }
}
