//! What a VPC and a subnet have from their beginning, beside their own rows.

use super::dhcp_options::{DhcpOptions, dhcp_options_insert_in_txn};
use super::internet_gateway::{InternetGateway, internet_gateway_insert_in_txn};
use super::network_acl::{
    NetworkAcl, NetworkAclAssociation, NetworkAclEntry, network_acl_association_insert_in_txn,
    network_acl_entry_insert_in_txn, network_acl_insert_in_txn,
};
use super::network_change::network_touch_in_txn;
use super::route_table::{
    Route, RouteTable, RouteTableAssociation, route_insert_in_txn, route_table_association_insert_in_txn,
    route_table_insert_in_txn,
};
use super::{StoreError, Tx};
use crate::app::vpc::parts::{ALLOW_ALL, CREATED_ROUTE, EVERYWHERE, default_dhcp_options, part_id};
use karri_proto::ids::{InternetGatewayId, NetworkAclId, RouteTableId};
use karri_proto::network::ShapeKey;

fn id<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::corrupt("id of a network", text))
}

/// A new VPC's main route table and default ACL, and a default VPC's way to the internet. `change` is the number that
/// `networks_turn_in_txn` gave.
pub async fn vpc_parts_insert_in_txn(
    tx: &mut Tx,
    change: i64,
    vpc: &str,
    account: &str,
    is_default: bool,
) -> Result<(), StoreError> {
    let table = part_id(RouteTableId::PREFIX, vpc);
    let route_table = RouteTable { id: table.clone(), account: account.to_owned(), vpc_id: vpc.to_owned() };
    route_table_insert_in_txn(tx, &route_table).await?;
    let main = RouteTableAssociation {
        id: part_id("rtbassoc", vpc),
        route_table_id: table.clone(),
        vpc_id: vpc.to_owned(),
        subnet_id: None,
    };
    route_table_association_insert_in_txn(tx, &main).await?;
    if is_default {
        let gateway = InternetGateway {
            id: part_id(InternetGatewayId::PREFIX, vpc),
            account: account.to_owned(),
            vpc_id: Some(vpc.to_owned()),
        };
        internet_gateway_insert_in_txn(tx, &gateway).await?;
        let route = Route {
            route_table_id: table.clone(),
            destination: EVERYWHERE.to_owned(),
            target: gateway.id,
            origin: CREATED_ROUTE.to_owned(),
        };
        route_insert_in_txn(tx, &route).await?;
    }
    let acl = default_acl_insert_in_txn(tx, vpc, account).await?;
    network_touch_in_txn(tx, change, &ShapeKey::Vpc(id(vpc)?)).await?;
    network_touch_in_txn(tx, change, &ShapeKey::RouteTable(id(&table)?)).await?;
    network_touch_in_txn(tx, change, &ShapeKey::Acl(id(&acl)?)).await
}

async fn default_acl_insert_in_txn(tx: &mut Tx, vpc: &str, account: &str) -> Result<String, StoreError> {
    let acl = NetworkAcl {
        id: part_id(NetworkAclId::PREFIX, vpc),
        account: account.to_owned(),
        vpc_id: vpc.to_owned(),
        is_default: true,
    };
    network_acl_insert_in_txn(tx, &acl).await?;
    for egress in [false, true] {
        let entry = NetworkAclEntry { acl_id: acl.id.clone(), egress, entry: ALLOW_ALL };
        network_acl_entry_insert_in_txn(tx, &entry).await?;
    }
    Ok(acl.id)
}

/// A new subnet goes by its VPC's default ACL, and by its main table without being told so.
pub async fn subnet_parts_insert_in_txn(
    tx: &mut Tx,
    change: i64,
    subnet: &str,
    vpc: &str,
) -> Result<(), StoreError> {
    let statement = "SELECT id FROM network_acls WHERE vpc_id = $1 AND is_default = 1";
    let acl_id: String = sqlx::query_scalar(statement).bind(vpc).fetch_one(&mut **tx).await?;
    let association =
        NetworkAclAssociation { id: part_id("aclassoc", subnet), acl_id, subnet_id: subnet.to_owned() };
    network_acl_association_insert_in_txn(tx, &association).await?;
    network_touch_in_txn(tx, change, &ShapeKey::Subnet(id(subnet)?)).await
}

/// An account's default set.
pub async fn account_dhcp_options_insert_in_txn(
    tx: &mut Tx,
    account: &str,
) -> Result<DhcpOptions, StoreError> {
    let set = default_dhcp_options(account);
    dhcp_options_insert_in_txn(tx, &set).await?;
    Ok(set)
}
