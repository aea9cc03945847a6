//! Internet gateways.

use super::tag::tags_drop_in_txn;
use super::{Store, StoreError, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternetGateway {
    pub id: String,
    pub account: String,
    /// What it is attached to.
    pub vpc_id: Option<String>,
}

fn internet_gateway_of(row: &AnyRow) -> Result<InternetGateway, StoreError> {
    Ok(InternetGateway {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        vpc_id: row.try_get("vpc_id")?,
    })
}

pub async fn internet_gateway_insert_in_txn(
    tx: &mut Tx,
    gateway: &InternetGateway,
) -> Result<(), StoreError> {
    let statement = "INSERT INTO internet_gateways (id, account, vpc_id) VALUES ($1, $2, $3)";
    let query = sqlx::query(statement).bind(&gateway.id).bind(&gateway.account).bind(&gateway.vpc_id);
    query.execute(&mut **tx).await?;
    Ok(())
}

/// The one that is attached to a VPC.
pub async fn internet_gateway_of_vpc_in_txn(
    tx: &mut Tx,
    vpc: &str,
) -> Result<Option<InternetGateway>, StoreError> {
    let row = sqlx::query("SELECT * FROM internet_gateways WHERE vpc_id = $1").bind(vpc);
    row.fetch_optional(&mut **tx).await?.as_ref().map(internet_gateway_of).transpose()
}

pub async fn internet_gateway_fetch_in_txn(
    tx: &mut Tx,
    id: &str,
) -> Result<Option<InternetGateway>, StoreError> {
    let row = sqlx::query("SELECT * FROM internet_gateways WHERE id = $1").bind(id);
    row.fetch_optional(&mut **tx).await?.as_ref().map(internet_gateway_of).transpose()
}

/// `vpc` None: it is detached.
pub async fn internet_gateway_attach_in_txn(
    tx: &mut Tx,
    id: &str,
    vpc: Option<&str>,
) -> Result<(), StoreError> {
    let statement = "UPDATE internet_gateways SET vpc_id = $1 WHERE id = $2";
    sqlx::query(statement).bind(vpc).bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// With its tags.
pub async fn internet_gateway_delete_in_txn(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM internet_gateways WHERE id = $1").bind(id).execute(&mut **tx).await?;
    tags_drop_in_txn(tx, id).await
}

pub async fn internet_gateway_count_in_txn(tx: &mut Tx, account: &str) -> Result<usize, StoreError> {
    let statement = "SELECT COUNT(*) FROM internet_gateways WHERE account = $1";
    let count: i64 = sqlx::query_scalar(statement).bind(account).fetch_one(&mut **tx).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

impl Store {
    pub async fn internet_gateway_list(&self, account: &str) -> Result<Vec<InternetGateway>, StoreError> {
        let statement = "SELECT * FROM internet_gateways WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(internet_gateway_of).collect()
    }
}
