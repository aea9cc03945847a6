//! Internet gateways.

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

impl Store {
    pub async fn internet_gateway_list(&self, account: &str) -> Result<Vec<InternetGateway>, StoreError> {
        let statement = "SELECT * FROM internet_gateways WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(internet_gateway_of).collect()
    }
}
