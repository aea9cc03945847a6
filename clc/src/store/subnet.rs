//! Subnets.

use super::{Store, StoreError, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::net::Ipv4Addr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    pub id: String,
    pub account: String,
    pub vpc_id: String,
    pub zone: String,
    pub cidr: String,
    pub gateway: Ipv4Addr,
    pub is_default: bool,
    /// Of its segment; 0: it lies in the flat network of its zone.
    pub tag: u32,
    pub map_public_ip: bool,
}

impl Subnet {
    pub fn is_flat(&self) -> bool {
        self.tag == 0
    }
}

pub(super) fn subnet_of(row: &AnyRow) -> Result<Subnet, StoreError> {
    let gateway: String = row.try_get("gateway")?;
    let tag: i64 = row.try_get("tag")?;
    Ok(Subnet {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        vpc_id: row.try_get("vpc_id")?,
        zone: row.try_get("zone")?,
        cidr: row.try_get("cidr")?,
        gateway: gateway.parse().map_err(|e| StoreError::corrupt("gateway", e))?,
        is_default: row.try_get::<i64, _>("is_default")? != 0,
        tag: u32::try_from(tag).map_err(|_| StoreError::corrupt("tag of a subnet", tag))?,
        map_public_ip: row.try_get::<i64, _>("map_public_ip")? != 0,
    })
}

pub async fn subnet_insert_in_txn(tx: &mut Tx, subnet: &Subnet) -> Result<(), StoreError> {
    let statement = "INSERT INTO subnets (id, account, vpc_id, zone, cidr, gateway, is_default, tag, map_public_ip) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    sqlx::query(statement)
        .bind(&subnet.id)
        .bind(&subnet.account)
        .bind(&subnet.vpc_id)
        .bind(&subnet.zone)
        .bind(&subnet.cidr)
        .bind(subnet.gateway.to_string())
        .bind(i64::from(subnet.is_default))
        .bind(i64::from(subnet.tag))
        .bind(i64::from(subnet.map_public_ip))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn subnet_attributes_update_in_txn(tx: &mut Tx, subnet: &Subnet) -> Result<(), StoreError> {
    let statement = "UPDATE subnets SET map_public_ip = $1 WHERE id = $2";
    let query = sqlx::query(statement).bind(i64::from(subnet.map_public_ip)).bind(&subnet.id);
    query.execute(&mut **tx).await?;
    Ok(())
}

/// With its associations. Its tags and what is told of it the caller takes away first.
pub async fn subnet_delete_in_txn(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM subnets WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(())
}

pub async fn subnet_fetch_in_txn(tx: &mut Tx, id: &str) -> Result<Option<Subnet>, StoreError> {
    let row = sqlx::query("SELECT * FROM subnets WHERE id = $1").bind(id).fetch_optional(&mut **tx).await?;
    row.as_ref().map(subnet_of).transpose()
}

pub async fn subnets_of_vpc_in_txn(tx: &mut Tx, vpc: &str) -> Result<Vec<Subnet>, StoreError> {
    let statement = "SELECT * FROM subnets WHERE vpc_id = $1 ORDER BY id";
    let rows = sqlx::query(statement).bind(vpc).fetch_all(&mut **tx).await?;
    rows.iter().map(subnet_of).collect()
}

/// A zone whose cluster changed its range: its flat subnets follow. Returns those that were otherwise, as they are now.
pub async fn subnets_of_zone_update_in_txn(
    tx: &mut Tx,
    zone: &str,
    cidr: &str,
    gateway: Ipv4Addr,
) -> Result<Vec<Subnet>, StoreError> {
    let statement = "UPDATE subnets SET cidr = $1, gateway = $2 WHERE zone = $3 AND tag = 0 \
         AND (cidr <> $4 OR gateway <> $5) RETURNING *";
    let gateway = gateway.to_string();
    let query = sqlx::query(statement).bind(cidr).bind(&gateway).bind(zone).bind(cidr).bind(&gateway);
    query.fetch_all(&mut **tx).await?.iter().map(subnet_of).collect()
}

impl Store {
    pub async fn subnet_list(&self, account: &str) -> Result<Vec<Subnet>, StoreError> {
        let statement = "SELECT * FROM subnets WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(subnet_of).collect()
    }

    /// Whoever's it is.
    pub async fn subnet_fetch(&self, id: &str) -> Result<Option<Subnet>, StoreError> {
        let row = sqlx::query("SELECT * FROM subnets WHERE id = $1").bind(id);
        row.fetch_optional(self.reader()).await?.as_ref().map(subnet_of).transpose()
    }
}
