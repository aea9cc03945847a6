//! An account's networks as launches look them up, and security groups.

use super::subnet::Subnet;
use super::vpc::Vpc;
use super::{Store, StoreError, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroup {
    pub id: String,
    pub account: String,
    pub vpc_id: String,
    pub name: String,
    pub description: String,
}

pub(super) fn security_group_of(row: &AnyRow) -> Result<SecurityGroup, StoreError> {
    Ok(SecurityGroup {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        vpc_id: row.try_get("vpc_id")?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
    })
}

pub async fn security_group_insert_in_txn(tx: &mut Tx, group: &SecurityGroup) -> Result<(), StoreError> {
    let statement =
        "INSERT INTO security_groups (id, account, vpc_id, name, description) VALUES ($1, $2, $3, $4, $5)";
    sqlx::query(statement)
        .bind(&group.id)
        .bind(&group.account)
        .bind(&group.vpc_id)
        .bind(&group.name)
        .bind(&group.description)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn security_groups_of_vpc_in_txn(tx: &mut Tx, vpc: &str) -> Result<Vec<SecurityGroup>, StoreError> {
    let statement = "SELECT * FROM security_groups WHERE vpc_id = $1 ORDER BY id";
    let rows = sqlx::query(statement).bind(vpc).fetch_all(&mut **tx).await?;
    rows.iter().map(security_group_of).collect()
}

/// All that an account has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    pub vpcs: Vec<Vpc>,
    pub subnets: Vec<Subnet>,
    pub security_groups: Vec<SecurityGroup>,
}

impl Store {
    /// None: the account has no VPC.
    pub async fn network_fetch(&self, account: &str) -> Result<Option<Arc<Network>>, StoreError> {
        let read = async {
            let subnets = self.subnet_list(account).await?;
            let vpcs = self.vpcs_around(account, &subnets).await?;
            if vpcs.is_empty() {
                return Ok(None);
            }
            let security_groups = self.security_group_list(account).await?;
            Ok(Some(Arc::new(Network { vpcs, subnets, security_groups })))
        };
        self.known(&self.known.networks, account, read).await
    }

    pub async fn security_group_list(&self, account: &str) -> Result<Vec<SecurityGroup>, StoreError> {
        let statement = "SELECT * FROM security_groups WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(security_group_of).collect()
    }
}
