//! The numbers of changes of VPCs and of what belongs to them.
//!
//! Who changes such rows takes the next number of the counter `networks` first: that makes writers wait for each other,
//! and numbers stand in the order of the commits. Of every thing that clusters are told, which a change of rows makes
//! otherwise, the number is written by its key.

use super::shape::shapes_read;
use super::together::Statement;
use super::{Store, StoreError, Tx, counter_next_in_txn};
use karri_proto::network::{Shape, ShapeKey};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::collections::HashSet;

pub const NETWORKS: &str = "networks";
const SWEPT: &str = "networks_swept";
/// So many numbers back one may still follow; who is further behind reads everything.
const GONE_KEPT: i64 = 100_000;

/// Everything that changes VPCs, or what belongs to one but its security groups, begins with this; after a turn of
/// instances or rules, where it takes those, too.
pub async fn networks_turn_in_txn(tx: &mut Tx) -> Result<i64, StoreError> {
    counter_next_in_txn(tx, NETWORKS).await
}

/// What is told of this is now otherwise, or new.
pub async fn network_touch_in_txn(tx: &mut Tx, change: i64, key: &ShapeKey) -> Result<(), StoreError> {
    put_in_txn(tx, change, key, false).await
}

/// It is no more.
pub async fn network_gone_in_txn(tx: &mut Tx, change: i64, key: &ShapeKey) -> Result<(), StoreError> {
    put_in_txn(tx, change, key, true).await
}

/// As `network_touch_in_txn`, to be carried out.
pub(super) fn network_touch(change: i64, key: &ShapeKey) -> Statement {
    put(change, key, false)
}

async fn put_in_txn(tx: &mut Tx, change: i64, key: &ShapeKey, gone: bool) -> Result<(), StoreError> {
    put(change, key, gone).execute(tx).await.map(drop)
}

fn put(change: i64, key: &ShapeKey, gone: bool) -> Statement {
    let statement = "INSERT INTO network_changes (key, change_number, gone) VALUES ($1, $2, $3) \
         ON CONFLICT (key) DO UPDATE SET change_number = excluded.change_number, gone = excluded.gone";
    Statement::new(statement).bind(key.to_string()).bind(change).bind(i64::from(gone))
}

/// An account goes with all of its networks.
pub async fn networks_of_account_gone_in_txn(
    tx: &mut Tx,
    change: i64,
    account: &str,
) -> Result<(), StoreError> {
    for statement in [
        "UPDATE network_changes SET change_number = $1, gone = 1 \
         WHERE key IN (SELECT 'vpc/' || id FROM vpcs WHERE account = $2)",
        "UPDATE network_changes SET change_number = $1, gone = 1 \
         WHERE key IN (SELECT 'subnet/' || id FROM subnets WHERE account = $2)",
        "UPDATE network_changes SET change_number = $1, gone = 1 \
         WHERE key IN (SELECT 'route-table/' || id FROM route_tables WHERE account = $2)",
        "UPDATE network_changes SET change_number = $1, gone = 1 \
         WHERE key IN (SELECT 'acl/' || id FROM network_acls WHERE account = $2)",
        "UPDATE network_changes SET change_number = $1, gone = 1 \
         WHERE key IN (SELECT 'nat/' || id FROM nat_gateways WHERE account = $2)",
    ] {
        sqlx::query(statement).bind(change).bind(account).execute(&mut **tx).await?;
    }
    Ok(())
}

fn key_of(text: &str) -> Result<ShapeKey, StoreError> {
    let corrupt = || StoreError::corrupt("key of a network", text);
    let (kind, id) = text.split_once('/').ok_or_else(corrupt)?;
    Ok(match kind {
        "vpc" => ShapeKey::Vpc(id.parse().map_err(|_| corrupt())?),
        "subnet" => ShapeKey::Subnet(id.parse().map_err(|_| corrupt())?),
        "route-table" => ShapeKey::RouteTable(id.parse().map_err(|_| corrupt())?),
        "acl" => ShapeKey::Acl(id.parse().map_err(|_| corrupt())?),
        "nat" => ShapeKey::Nat(id.parse().map_err(|_| corrupt())?),
        "address" => ShapeKey::Address(id.parse().map_err(|_| corrupt())?),
        _ => return Err(corrupt()),
    })
}

/// What changed of VPCs between two numbers.
#[derive(Debug, Default)]
pub struct NetworkChanges {
    /// Up to this number.
    pub to: i64,
    /// This is everything there is, and not only what changed.
    pub whole: bool,
    pub shapes: Vec<Shape>,
    pub gone: Vec<ShapeKey>,
}

impl Store {
    /// None: nothing changed after that number. `after` None asks for everything.
    pub async fn networks_changed_after(
        &self,
        after: Option<i64>,
    ) -> Result<Option<NetworkChanges>, StoreError> {
        // First, so that what is read afterwards is not older.
        let to = self.counter_fetch(NETWORKS).await?;
        if after == Some(to) {
            return Ok(None);
        }
        let after = after.filter(|after| *after <= to); // a number of another life of this database says nothing
        let changes = self.networks_read(to, after).await?;
        // Asked last: what was let go of meanwhile may have been missed.
        let swept = self.counter_fetch(SWEPT).await?;
        match after.is_some_and(|after| after < swept) {
            true => self.networks_read(to, None).await.map(Some),
            false => Ok(Some(changes)),
        }
    }

    async fn networks_read(&self, to: i64, after: Option<i64>) -> Result<NetworkChanges, StoreError> {
        let mut connection = self.reader().acquire().await?;
        let statement = "SELECT key, gone FROM network_changes WHERE change_number > $1";
        let rows = sqlx::query(statement).bind(after.unwrap_or(-1)).fetch_all(&mut *connection).await?;
        let read = |row: &AnyRow| {
            let key: String = row.try_get("key")?;
            Ok((key_of(&key)?, row.try_get::<i64, _>("gone")? != 0))
        };
        let keys = rows.iter().map(read).collect::<Result<Vec<_>, StoreError>>()?;
        let (gone, there): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(_, gone)| *gone);
        let only = |keys: Vec<(ShapeKey, bool)>| keys.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let (mut gone, there) = (only(gone), only(there));
        let shapes = shapes_read(&mut connection, &there).await?;
        // What went while this was read has a newer number, and is gone already.
        let found: HashSet<ShapeKey> = shapes.iter().map(Shape::key).collect();
        gone.extend(there.into_iter().filter(|key| !found.contains(key)));
        Ok(NetworkChanges { to, whole: after.is_none(), shapes, gone })
    }

    /// Lets go of what nobody follows from that far back.
    pub async fn networks_sweep(&self) -> Result<(), StoreError> {
        let upto = self.counter_fetch(NETWORKS).await?.saturating_sub(GONE_KEPT);
        if upto <= self.counter_fetch(SWEPT).await? {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        let statement = "UPDATE counters SET value = $1 WHERE name = $2";
        sqlx::query(statement).bind(upto).bind(SWEPT).execute(&mut *tx).await?;
        let statement = "DELETE FROM network_changes WHERE gone = 1 AND change_number <= $1";
        sqlx::query(statement).bind(upto).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let keys = [
            ShapeKey::Vpc("vpc-0123456789abcdef0".parse().unwrap()),
            ShapeKey::Subnet("subnet-0123456789abcdef0".parse().unwrap()),
            ShapeKey::RouteTable("rtb-0123456789abcdef0".parse().unwrap()),
            ShapeKey::Acl("acl-0123456789abcdef0".parse().unwrap()),
            ShapeKey::Nat("nat-0123456789abcdef0".parse().unwrap()),
            ShapeKey::Address([192, 0, 2, 1].into()),
        ];
        for key in keys {
            assert_eq!(key_of(&key.to_string()).unwrap(), key);
        }
        for text in ["", "vpc", "vpc/x", "colour/blue", "address/300.0.0.1"] {
            assert!(key_of(text).is_err(), "{text}");
        }
    }
}
