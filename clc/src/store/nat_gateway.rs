//! NAT gateways with their ports. Those that are deleted are there a while longer, to be described.

use super::port::port_delete_in_txn;
use super::{Store, StoreError, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::net::Ipv4Addr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatGateway {
    pub id: String,
    pub account: String,
    pub vpc_id: String,
    pub subnet_id: String,
    pub zone: String,
    pub port_id: String,
    pub private_ip: Ipv4Addr,
    /// None: a private one.
    pub public: Option<NatAddress>,
    pub failure: Option<NatFailure>,
    /// The time of day.
    pub created_ms: i64,
    pub deleted_ms: Option<i64>,
    /// By the clock that never jumps.
    pub settled_ms: i64,
    pub purge_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatAddress {
    pub ip: Ipv4Addr,
    pub allocation_id: String,
    pub association_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatFailure {
    pub code: String,
    pub message: String,
}

impl NatGateway {
    /// It carries packets, or is about to.
    pub fn is_there(&self) -> bool {
        self.deleted_ms.is_none() && self.failure.is_none()
    }
}

pub(super) fn nat_gateway_of(row: &AnyRow) -> Result<NatGateway, StoreError> {
    let text = |column| row.try_get::<Option<String>, _>(column);
    let ip = |text: &str| text.parse().map_err(|e| StoreError::corrupt("address of a NAT gateway", e));
    let public = match (text("public_ip")?, text("allocation_id")?, text("association_id")?) {
        (Some(public), Some(allocation_id), Some(association_id)) => {
            Some(NatAddress { ip: ip(&public)?, allocation_id, association_id })
        }
        _ => None,
    };
    let failure = text("failure_code")?.zip(text("failure_message")?);
    Ok(NatGateway {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        vpc_id: row.try_get("vpc_id")?,
        subnet_id: row.try_get("subnet_id")?,
        zone: row.try_get("zone")?,
        port_id: row.try_get("port_id")?,
        private_ip: ip(&row.try_get::<String, _>("private_ip")?)?,
        public,
        failure: failure.map(|(code, message)| NatFailure { code, message }),
        created_ms: row.try_get("created_at")?,
        deleted_ms: row.try_get("deleted_at")?,
        settled_ms: row.try_get("settled_at")?,
        purge_ms: row.try_get("purge_at")?,
    })
}

pub async fn nat_gateway_insert_in_txn(tx: &mut Tx, one: &NatGateway) -> Result<(), StoreError> {
    let statement = "INSERT INTO nat_gateways (id, account, vpc_id, subnet_id, zone, port_id, private_ip, public_ip, \
         allocation_id, association_id, failure_code, failure_message, created_at, settled_at, purge_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
    let (public, failure) = (one.public.as_ref(), one.failure.as_ref());
    sqlx::query(statement)
        .bind(&one.id)
        .bind(&one.account)
        .bind(&one.vpc_id)
        .bind(&one.subnet_id)
        .bind(&one.zone)
        .bind(&one.port_id)
        .bind(one.private_ip.to_string())
        .bind(public.map(|public| public.ip.to_string()))
        .bind(public.map(|public| &public.allocation_id))
        .bind(public.map(|public| &public.association_id))
        .bind(failure.map(|failure| &failure.code))
        .bind(failure.map(|failure| &failure.message))
        .bind(one.created_ms)
        .bind(one.settled_ms)
        .bind(one.purge_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// It is deleted: its port is gone, its row stays for a while.
pub async fn nat_gateway_end_in_txn(tx: &mut Tx, one: &NatGateway) -> Result<(), StoreError> {
    port_delete_in_txn(tx, &one.port_id).await?;
    let statement = "UPDATE nat_gateways SET deleted_at = $1, settled_at = $2, purge_at = $3 WHERE id = $4";
    let query = sqlx::query(statement).bind(one.deleted_ms).bind(one.settled_ms).bind(one.purge_ms);
    query.bind(&one.id).execute(&mut **tx).await?;
    Ok(())
}

pub async fn nat_gateway_fetch_in_txn(tx: &mut Tx, id: &str) -> Result<Option<NatGateway>, StoreError> {
    let row = sqlx::query("SELECT * FROM nat_gateways WHERE id = $1").bind(id);
    row.fetch_optional(&mut **tx).await?.as_ref().map(nat_gateway_of).transpose()
}

/// Whose gateway it is that has this port.
pub async fn nat_gateway_of_port_in_txn(tx: &mut Tx, port: &str) -> Result<Option<String>, StoreError> {
    let statement = "SELECT account FROM nat_gateways WHERE port_id = $1 AND deleted_at IS NULL \
         AND failure_code IS NULL";
    Ok(sqlx::query_scalar(statement).bind(port).fetch_optional(&mut **tx).await?)
}

/// One that is there, if the subnet has any.
pub async fn nat_gateway_of_subnet_in_txn(tx: &mut Tx, subnet: &str) -> Result<Option<String>, StoreError> {
    let statement = "SELECT id FROM nat_gateways WHERE subnet_id = $1 AND deleted_at IS NULL \
         AND failure_code IS NULL ORDER BY id LIMIT 1";
    Ok(sqlx::query_scalar(statement).bind(subnet).fetch_optional(&mut **tx).await?)
}

/// How many an account has in a zone.
pub async fn nat_gateway_count_in_txn(tx: &mut Tx, account: &str, zone: &str) -> Result<usize, StoreError> {
    let statement = "SELECT COUNT(*) FROM nat_gateways WHERE account = $1 AND zone = $2 AND deleted_at IS NULL \
         AND failure_code IS NULL";
    let query = sqlx::query_scalar(statement).bind(account).bind(zone);
    let count: i64 = query.fetch_one(&mut **tx).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

impl Store {
    /// Also those that are deleted and not out of sight yet.
    pub async fn nat_gateway_list(&self, account: &str) -> Result<Vec<NatGateway>, StoreError> {
        let statement = "SELECT * FROM nat_gateways WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(nat_gateway_of).collect()
    }

    /// Lets go of those that have been visible for long enough, with their tags.
    pub async fn nat_gateways_purge(&self, now_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let statement = "DELETE FROM nat_gateways WHERE purge_at <= $1 RETURNING id";
        let gone: Vec<String> = sqlx::query_scalar(statement).bind(now_ms).fetch_all(&mut *tx).await?;
        for id in &gone {
            super::tag::tags_drop_in_txn(&mut tx, id).await?;
            super::creation_token::creation_token_drop_in_txn(&mut tx, id).await?;
        }
        Ok(tx.commit().await?)
    }
}
