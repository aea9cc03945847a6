//! What clusters are told of is numbered by keys; rows have ids as text.

use super::network_change::{network_gone_in_txn, network_touch_in_txn};
use super::{StoreError, Tx};
use karri_proto::network::ShapeKey;
use std::str::FromStr;

fn key<T: FromStr>(make: fn(T) -> ShapeKey, id: &str) -> Result<ShapeKey, StoreError> {
    id.parse().map(make).map_err(|_| StoreError::corrupt("id of a network", id))
}

/// What is told of this is now otherwise, or new.
pub async fn touched_in_txn<T: FromStr>(
    tx: &mut Tx,
    change: i64,
    make: fn(T) -> ShapeKey,
    id: &str,
) -> Result<(), StoreError> {
    network_touch_in_txn(tx, change, &key(make, id)?).await
}

/// It is no more.
pub async fn gone_in_txn<T: FromStr>(
    tx: &mut Tx,
    change: i64,
    make: fn(T) -> ShapeKey,
    id: &str,
) -> Result<(), StoreError> {
    network_gone_in_txn(tx, change, &key(make, id)?).await
}

/// Routes of a VPC's tables to prefix lists: an entry that lies in the VPC is none.
pub async fn routes_to_lists_touched_in_txn(tx: &mut Tx, change: i64, vpc: &str) -> Result<(), StoreError> {
    for table in super::prefix_list::tables_with_lists_in_txn(tx, vpc).await? {
        touched_in_txn(tx, change, ShapeKey::RouteTable, &table).await?;
    }
    Ok(())
}

/// Routes to it lead elsewhere than before, or nowhere.
pub async fn routes_to_touched_in_txn(tx: &mut Tx, change: i64, target: &str) -> Result<(), StoreError> {
    for table in super::route_table::route_tables_to_in_txn(tx, target).await? {
        touched_in_txn(tx, change, ShapeKey::RouteTable, &table).await?;
    }
    Ok(())
}
