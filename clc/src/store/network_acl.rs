//! Network ACLs, their entries, and which subnets go by which.

use super::tag::tags_drop_in_txn;
use super::{Store, StoreError, Tx};
use crate::app::security_group::terms::{ALL, net4, ports_of, protocol_text, traffic};
use karri_proto::network::{AclEntry, Traffic};
use sqlx::Row as _;
use sqlx::any::AnyRow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAcl {
    pub id: String,
    pub account: String,
    pub vpc_id: String,
    pub is_default: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAclEntry {
    pub acl_id: String,
    pub egress: bool,
    pub entry: AclEntry,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAclAssociation {
    pub id: String,
    pub acl_id: String,
    pub subnet_id: String,
}

fn network_acl_of(row: &AnyRow) -> Result<NetworkAcl, StoreError> {
    Ok(NetworkAcl {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        vpc_id: row.try_get("vpc_id")?,
        is_default: row.try_get::<i64, _>("is_default")? != 0,
    })
}

pub(super) fn entry_of(row: &AnyRow) -> Result<NetworkAclEntry, StoreError> {
    let corrupt = |text: &dyn std::fmt::Display| StoreError::corrupt("entry of a network ACL", text);
    let number = |column| row.try_get::<i64, _>(column);
    let port = |column| {
        let value = number(column)?;
        i32::try_from(value).map_err(|_| corrupt(&value))
    };
    let (protocol, cidr): (String, String) = (row.try_get("protocol")?, row.try_get("cidr")?);
    let traffic: Traffic = traffic(&protocol, Some(port("from_port")?), Some(port("to_port")?))
        .map_err(|fault| corrupt(&fault))?;
    let entry = AclEntry {
        number: u16::try_from(number("number")?).map_err(|error| corrupt(&error))?,
        allow: number("allow")? != 0,
        traffic,
        range: net4(&cidr).map_err(|fault| corrupt(&fault))?,
    };
    Ok(NetworkAclEntry { acl_id: row.try_get("acl_id")?, egress: number("egress")? != 0, entry })
}

fn association_of(row: &AnyRow) -> Result<NetworkAclAssociation, StoreError> {
    Ok(NetworkAclAssociation {
        id: row.try_get("id")?,
        acl_id: row.try_get("acl_id")?,
        subnet_id: row.try_get("subnet_id")?,
    })
}

pub async fn network_acl_insert_in_txn(tx: &mut Tx, acl: &NetworkAcl) -> Result<(), StoreError> {
    let statement = "INSERT INTO network_acls (id, account, vpc_id, is_default) VALUES ($1, $2, $3, $4)";
    sqlx::query(statement)
        .bind(&acl.id)
        .bind(&acl.account)
        .bind(&acl.vpc_id)
        .bind(i64::from(acl.is_default))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn network_acls_of_vpc_in_txn(tx: &mut Tx, vpc: &str) -> Result<Vec<NetworkAcl>, StoreError> {
    let statement = "SELECT * FROM network_acls WHERE vpc_id = $1 ORDER BY id";
    let rows = sqlx::query(statement).bind(vpc).fetch_all(&mut **tx).await?;
    rows.iter().map(network_acl_of).collect()
}

pub async fn network_acl_entry_insert_in_txn(tx: &mut Tx, entry: &NetworkAclEntry) -> Result<(), StoreError> {
    let statement = "INSERT INTO network_acl_entries (acl_id, egress, number, protocol, from_port, to_port, allow, cidr) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let NetworkAclEntry { acl_id, egress, entry: AclEntry { number, allow, traffic, range } } = entry;
    let (from, to) = ports_of(*traffic).unwrap_or((ALL, ALL));
    sqlx::query(statement)
        .bind(acl_id)
        .bind(i64::from(*egress))
        .bind(i64::from(*number))
        .bind(protocol_text(*traffic))
        .bind(i64::from(from))
        .bind(i64::from(to))
        .bind(i64::from(*allow))
        .bind(range.to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn network_acl_association_insert_in_txn(
    tx: &mut Tx,
    association: &NetworkAclAssociation,
) -> Result<(), StoreError> {
    let statement = "INSERT INTO network_acl_associations (id, acl_id, subnet_id) VALUES ($1, $2, $3)";
    sqlx::query(statement)
        .bind(&association.id)
        .bind(&association.acl_id)
        .bind(&association.subnet_id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn network_acl_fetch_in_txn(tx: &mut Tx, id: &str) -> Result<Option<NetworkAcl>, StoreError> {
    let row = sqlx::query("SELECT * FROM network_acls WHERE id = $1").bind(id);
    row.fetch_optional(&mut **tx).await?.as_ref().map(network_acl_of).transpose()
}

/// With its entries and tags.
pub async fn network_acl_delete_in_txn(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM network_acls WHERE id = $1").bind(id).execute(&mut **tx).await?;
    tags_drop_in_txn(tx, id).await
}

/// False: there is no such entry.
pub async fn network_acl_entry_delete_in_txn(
    tx: &mut Tx,
    acl: &str,
    egress: bool,
    number: u16,
) -> Result<bool, StoreError> {
    let statement = "DELETE FROM network_acl_entries WHERE acl_id = $1 AND egress = $2 AND number = $3";
    let query = sqlx::query(statement).bind(acl).bind(i64::from(egress)).bind(i64::from(number));
    Ok(query.execute(&mut **tx).await?.rows_affected() == 1)
}

/// Toward one side, in their order.
pub async fn network_acl_entries_in_txn(
    tx: &mut Tx,
    acl: &str,
    egress: bool,
) -> Result<Vec<AclEntry>, StoreError> {
    let statement = "SELECT * FROM network_acl_entries WHERE acl_id = $1 AND egress = $2 ORDER BY number";
    let rows = sqlx::query(statement).bind(acl).bind(i64::from(egress)).fetch_all(&mut **tx).await?;
    rows.iter().map(|row| Ok(entry_of(row)?.entry)).collect()
}

/// Toward one side.
pub async fn network_acl_entry_count_in_txn(
    tx: &mut Tx,
    acl: &str,
    egress: bool,
) -> Result<usize, StoreError> {
    let statement = "SELECT COUNT(*) FROM network_acl_entries WHERE acl_id = $1 AND egress = $2";
    let query = sqlx::query_scalar(statement).bind(acl).bind(i64::from(egress));
    let count: i64 = query.fetch_one(&mut **tx).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

pub async fn network_acl_association_fetch_in_txn(
    tx: &mut Tx,
    id: &str,
) -> Result<Option<NetworkAclAssociation>, StoreError> {
    let row = sqlx::query("SELECT * FROM network_acl_associations WHERE id = $1").bind(id);
    row.fetch_optional(&mut **tx).await?.as_ref().map(association_of).transpose()
}

pub async fn network_acl_association_delete_in_txn(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM network_acl_associations WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// A subnet that goes by it.
pub async fn network_acl_user_in_txn(tx: &mut Tx, acl: &str) -> Result<Option<String>, StoreError> {
    let statement =
        "SELECT subnet_id FROM network_acl_associations WHERE acl_id = $1 ORDER BY subnet_id LIMIT 1";
    Ok(sqlx::query_scalar(statement).bind(acl).fetch_optional(&mut **tx).await?)
}

impl Store {
    pub async fn network_acl_list(&self, account: &str) -> Result<Vec<NetworkAcl>, StoreError> {
        let statement = "SELECT * FROM network_acls WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(network_acl_of).collect()
    }

    /// Of all ACLs of an account, in their order.
    pub async fn network_acl_entry_list(&self, account: &str) -> Result<Vec<NetworkAclEntry>, StoreError> {
        let statement = "SELECT network_acl_entries.* FROM network_acl_entries JOIN network_acls \
             ON network_acls.id = network_acl_entries.acl_id WHERE network_acls.account = $1 \
             ORDER BY network_acl_entries.acl_id, network_acl_entries.egress, network_acl_entries.number";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(entry_of).collect()
    }

    pub async fn network_acl_association_list(
        &self,
        account: &str,
    ) -> Result<Vec<NetworkAclAssociation>, StoreError> {
        let statement = "SELECT network_acl_associations.* FROM network_acl_associations JOIN network_acls \
             ON network_acls.id = network_acl_associations.acl_id WHERE network_acls.account = $1 \
             ORDER BY network_acl_associations.id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(association_of).collect()
    }
}
