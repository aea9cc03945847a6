//! The addresses of ports: a row for each, whoever has the port.

use super::together::Statement;
use super::{Store, StoreError, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::net::Ipv4Addr;

/// One address of a port.
#[derive(Debug, Clone, Copy)]
pub struct PortAddress<'a> {
    pub port: &'a str,
    pub cluster: &'a str,
    pub network: &'a str,
    pub address: Ipv4Addr,
    /// None: of a NAT gateway, or of an interface that is attached to nothing.
    pub instance: Option<&'a str>,
}

/// Touches no row where the address is taken.
pub(super) fn port_address_insert(one: PortAddress<'_>) -> Statement {
    let statement = "INSERT INTO ports (id, cluster, network, private_ip, instance_id) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (network, private_ip) DO NOTHING";
    Statement::new(statement)
        .bind(one.port)
        .bind(one.cluster)
        .bind(one.network)
        .bind(one.address.to_string())
        .bind(one.instance)
}

/// False: somebody has that address.
pub async fn port_address_insert_in_txn(tx: &mut Tx, one: PortAddress<'_>) -> Result<bool, StoreError> {
    Ok(port_address_insert(one).execute(tx).await? == 1)
}

pub async fn port_address_delete_in_txn(
    tx: &mut Tx,
    port: &str,
    address: Ipv4Addr,
) -> Result<(), StoreError> {
    let statement = "DELETE FROM ports WHERE id = $1 AND private_ip = $2";
    sqlx::query(statement).bind(port).bind(address.to_string()).execute(&mut **tx).await?;
    Ok(())
}

/// One address is another port's from now on, with what leads to it from outside.
pub async fn port_address_move_in_txn(
    tx: &mut Tx,
    from: &str,
    address: Ipv4Addr,
    to: &str,
    instance: Option<&str>,
) -> Result<(), StoreError> {
    for statement in [
        "UPDATE ports SET id = $1, instance_id = $2 WHERE id = $3 AND private_ip = $4",
        "UPDATE public_addresses SET port_id = $1, instance_id = $2 WHERE port_id = $3 AND private_ip = $4",
    ] {
        let query = sqlx::query(statement).bind(to).bind(instance).bind(from);
        query.bind(address.to_string()).execute(&mut **tx).await?;
    }
    Ok(())
}

/// All addresses of a port.
pub async fn port_delete_in_txn(tx: &mut Tx, port: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM ports WHERE id = $1").bind(port).execute(&mut **tx).await?;
    Ok(())
}

/// The port is that instance's now, or nobody's, and so is what leads to it from outside.
pub async fn port_hold_in_txn(tx: &mut Tx, port: &str, instance: Option<&str>) -> Result<(), StoreError> {
    for statement in [
        "UPDATE ports SET instance_id = $1 WHERE id = $2",
        "UPDATE public_addresses SET instance_id = $1 WHERE port_id = $2",
    ] {
        sqlx::query(statement).bind(instance).bind(port).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Which port has an address.
pub async fn port_at_in_txn(
    tx: &mut Tx,
    network: &str,
    address: Ipv4Addr,
) -> Result<Option<String>, StoreError> {
    let statement = "SELECT id FROM ports WHERE network = $1 AND private_ip = $2";
    let query = sqlx::query_scalar(statement).bind(network).bind(address.to_string());
    Ok(query.fetch_optional(&mut **tx).await?)
}

/// The instance that has a port.
pub async fn port_instance_in_txn(tx: &mut Tx, port: &str) -> Result<Option<String>, StoreError> {
    let statement = "SELECT instance_id FROM ports WHERE id = $1 LIMIT 1";
    let found: Option<Option<String>> =
        sqlx::query_scalar(statement).bind(port).fetch_optional(&mut **tx).await?;
    Ok(found.flatten())
}

impl Store {
    /// Of everyone's ports that are no instance's: the network and the address of each.
    pub async fn addresses_of_no_instance(&self) -> Result<Vec<(String, Ipv4Addr)>, StoreError> {
        let statement = "SELECT network, private_ip FROM ports WHERE instance_id IS NULL";
        let rows = sqlx::query(statement).fetch_all(self.reader()).await?;
        let read = |row: &AnyRow| {
            let ip: String = row.try_get("private_ip")?;
            let ip = ip.parse().map_err(|e| StoreError::corrupt("address of a port", e))?;
            Ok((row.try_get("network")?, ip))
        };
        rows.iter().map(read).collect()
    }
}
