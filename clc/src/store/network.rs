//! Default VPCs, their subnets (one per zone) and security groups.

use super::{Store, StoreError, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::net::Ipv4Addr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vpc {
    pub id: String,
    pub account: String,
    pub cidr: String,
    pub is_default: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    pub id: String,
    pub account: String,
    pub vpc_id: String,
    pub zone: String,
    pub cidr: String,
    pub gateway: Ipv4Addr,
    pub is_default: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroup {
    pub id: String,
    pub account: String,
    pub vpc_id: String,
    pub name: String,
    pub description: String,
}

fn vpc_of(row: &AnyRow) -> Result<Vpc, StoreError> {
    Ok(Vpc {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        cidr: row.try_get("cidr")?,
        is_default: row.try_get::<i64, _>("is_default")? != 0,
    })
}

fn subnet_of(row: &AnyRow) -> Result<Subnet, StoreError> {
    let gateway: String = row.try_get("gateway")?;
    Ok(Subnet {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        vpc_id: row.try_get("vpc_id")?,
        zone: row.try_get("zone")?,
        cidr: row.try_get("cidr")?,
        gateway: gateway.parse().map_err(|e| StoreError::corrupt("gateway", e))?,
        is_default: row.try_get::<i64, _>("is_default")? != 0,
    })
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

pub async fn vpc_insert_in_txn(tx: &mut Tx, vpc: &Vpc) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO vpcs (id, account, cidr, is_default) VALUES ($1, $2, $3, $4)")
        .bind(&vpc.id)
        .bind(&vpc.account)
        .bind(&vpc.cidr)
        .bind(i64::from(vpc.is_default))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn subnet_insert_in_txn(tx: &mut Tx, subnet: &Subnet) -> Result<(), StoreError> {
    let statement = "INSERT INTO subnets (id, account, vpc_id, zone, cidr, gateway, is_default) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(statement)
        .bind(&subnet.id)
        .bind(&subnet.account)
        .bind(&subnet.vpc_id)
        .bind(&subnet.zone)
        .bind(&subnet.cidr)
        .bind(subnet.gateway.to_string())
        .bind(i64::from(subnet.is_default))
        .execute(&mut **tx)
        .await?;
    Ok(())
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

/// A zone whose cluster changed its range: its subnets follow.
pub async fn subnets_of_zone_update_in_txn(
    tx: &mut Tx,
    zone: &str,
    cidr: &str,
    gateway: Ipv4Addr,
) -> Result<(), StoreError> {
    let statement = "UPDATE subnets SET cidr = $1, gateway = $2 WHERE zone = $3";
    sqlx::query(statement).bind(cidr).bind(gateway.to_string()).bind(zone).execute(&mut **tx).await?;
    Ok(())
}

pub async fn default_vpcs_in_txn(tx: &mut Tx) -> Result<Vec<Vpc>, StoreError> {
    let rows = sqlx::query("SELECT * FROM vpcs WHERE is_default = 1").fetch_all(&mut **tx).await?;
    rows.iter().map(vpc_of).collect()
}

pub async fn default_subnets_in_txn(tx: &mut Tx, zone: &str) -> Result<Vec<Subnet>, StoreError> {
    let statement = "SELECT * FROM subnets WHERE is_default = 1 AND zone = $1";
    let rows = sqlx::query(statement).bind(zone).fetch_all(&mut **tx).await?;
    rows.iter().map(subnet_of).collect()
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
    pub async fn network_fetch(&self, account: &str) -> Result<Option<Network>, StoreError> {
        let read = async {
            let vpcs = self.vpc_list(account).await?;
            if vpcs.is_empty() {
                return Ok(None);
            }
            let subnets = self.subnet_list(account).await?;
            let security_groups = self.security_group_list(account).await?;
            Ok(Some(Network { vpcs, subnets, security_groups }))
        };
        self.known(&self.known.networks, account, read).await
    }

    pub async fn vpc_list(&self, account: &str) -> Result<Vec<Vpc>, StoreError> {
        let statement = "SELECT * FROM vpcs WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(vpc_of).collect()
    }

    pub async fn subnet_list(&self, account: &str) -> Result<Vec<Subnet>, StoreError> {
        let statement = "SELECT * FROM subnets WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(subnet_of).collect()
    }

    pub async fn security_group_list(&self, account: &str) -> Result<Vec<SecurityGroup>, StoreError> {
        let statement = "SELECT * FROM security_groups WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(security_group_of).collect()
    }
}
