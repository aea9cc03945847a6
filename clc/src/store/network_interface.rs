//! Network interfaces that are attached to nothing. Those of instances are in the instances' rows; their addresses are
//! in `port`, both ways.

use super::port::{port_delete_in_txn, port_hold_in_txn};
use super::{Store, StoreError, Tx};
use karri_proto::ids::InstanceId;
use karri_proto::instance::PortSpec;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInterface {
    pub account: String,
    pub cluster: String,
    pub zone: String,
    pub port: PortSpec,
    pub description: String,
    /// From when it was detached; it stays when that is over.
    pub leaving: Option<Leaving>,
}

/// What an interface was that an instance is to have no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    pub attachment: String,
    pub instance: InstanceId,
    /// That of the instance which is the first to lack it.
    pub generation: u64,
    pub attached_ms: i64,
    pub device_index: u32,
    /// It was to outlive the instance.
    pub keep: bool,
}

fn network_interface_of(row: &AnyRow) -> Result<NetworkInterface, StoreError> {
    let (port, leaving): (String, Option<String>) = (row.try_get("port")?, row.try_get("leaving")?);
    let corrupt = |error| StoreError::corrupt("network interface", error);
    Ok(NetworkInterface {
        account: row.try_get("account")?,
        cluster: row.try_get("cluster")?,
        zone: row.try_get("zone")?,
        port: serde_json::from_str(&port).map_err(corrupt)?,
        description: row.try_get("description")?,
        leaving: leaving.map(|json| serde_json::from_str(&json)).transpose().map_err(corrupt)?,
    })
}

/// With the addresses that it has already.
pub async fn network_interface_insert_in_txn(tx: &mut Tx, one: &NetworkInterface) -> Result<(), StoreError> {
    let statement = "INSERT INTO network_interfaces (id, account, cluster, zone, subnet_id, port, description, \
         attachment_id, leaving) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    sqlx::query(statement)
        .bind(one.port.id.as_str())
        .bind(&one.account)
        .bind(&one.cluster)
        .bind(&one.zone)
        .bind(one.port.subnet_id.as_str())
        .bind(written(&one.port)?)
        .bind(&one.description)
        .bind(one.leaving.as_ref().map(|leaving| leaving.attachment.as_str()))
        .bind(one.leaving.as_ref().map(written).transpose()?)
        .execute(&mut **tx)
        .await?;
    port_hold_in_txn(tx, one.port.id.as_str(), None).await
}

fn written(part: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(part).map_err(|e| StoreError::corrupt("network interface", e))
}

pub async fn network_interface_update_in_txn(tx: &mut Tx, one: &NetworkInterface) -> Result<(), StoreError> {
    let statement = "UPDATE network_interfaces SET port = $1, description = $2 WHERE id = $3";
    let query = sqlx::query(statement).bind(written(&one.port)?).bind(&one.description);
    query.bind(one.port.id.as_str()).execute(&mut **tx).await?;
    Ok(())
}

/// No instance is waited for any more.
pub async fn network_interface_left_in_txn(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    let statement = "UPDATE network_interfaces SET attachment_id = NULL, leaving = NULL WHERE id = $1";
    sqlx::query(statement).bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// It is an instance's from now on, with its addresses.
pub async fn network_interface_attach_in_txn(
    tx: &mut Tx,
    id: &str,
    instance: &str,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM network_interfaces WHERE id = $1").bind(id).execute(&mut **tx).await?;
    port_hold_in_txn(tx, id, Some(instance)).await
}

/// It is no more, nor are its addresses.
pub async fn network_interface_delete_in_txn(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM network_interfaces WHERE id = $1").bind(id).execute(&mut **tx).await?;
    port_delete_in_txn(tx, id).await
}

pub async fn network_interface_fetch_in_txn(
    tx: &mut Tx,
    id: &str,
) -> Result<Option<NetworkInterface>, StoreError> {
    let row = sqlx::query("SELECT * FROM network_interfaces WHERE id = $1").bind(id);
    row.fetch_optional(&mut **tx).await?.as_ref().map(network_interface_of).transpose()
}

const OF_ACCOUNT: &str = "SELECT * FROM network_interfaces WHERE account = $1 ORDER BY id";

pub async fn network_interfaces_in_txn(
    tx: &mut Tx,
    account: &str,
) -> Result<Vec<NetworkInterface>, StoreError> {
    let rows = sqlx::query(OF_ACCOUNT).bind(account).fetch_all(&mut **tx).await?;
    rows.iter().map(network_interface_of).collect()
}

/// How many an account has.
pub async fn network_interface_count_in_txn(tx: &mut Tx, account: &str) -> Result<usize, StoreError> {
    let statement = "SELECT COUNT(*) FROM network_interfaces WHERE account = $1";
    let count: i64 = sqlx::query_scalar(statement).bind(account).fetch_one(&mut **tx).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// One that lies in the subnet.
pub async fn network_interface_of_subnet_in_txn(
    tx: &mut Tx,
    subnet: &str,
) -> Result<Option<String>, StoreError> {
    let statement = "SELECT id FROM network_interfaces WHERE subnet_id = $1 ORDER BY id LIMIT 1";
    Ok(sqlx::query_scalar(statement).bind(subnet).fetch_optional(&mut **tx).await?)
}

const LEAVING: &str = "SELECT * FROM network_interfaces WHERE attachment_id = $1";

pub async fn network_interface_leaving_in_txn(
    tx: &mut Tx,
    attachment: &str,
) -> Result<Option<NetworkInterface>, StoreError> {
    let row = sqlx::query(LEAVING).bind(attachment).fetch_optional(&mut **tx).await?;
    row.as_ref().map(network_interface_of).transpose()
}

impl Store {
    /// By the attachment that it had.
    pub async fn network_interface_leaving(
        &self,
        attachment: &str,
    ) -> Result<Option<NetworkInterface>, StoreError> {
        let row = sqlx::query(LEAVING).bind(attachment).fetch_optional(self.reader()).await?;
        row.as_ref().map(network_interface_of).transpose()
    }

    pub async fn network_interface_list(&self, account: &str) -> Result<Vec<NetworkInterface>, StoreError> {
        let rows = sqlx::query(OF_ACCOUNT).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(network_interface_of).collect()
    }
}
