//! Route tables, their routes, and which subnets go by which.

use super::{Store, StoreError, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTable {
    pub id: String,
    pub account: String,
    pub vpc_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub route_table_id: String,
    pub destination: String,
    pub target: String,
    /// EC2's word for how it came.
    pub origin: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTableAssociation {
    pub id: String,
    pub route_table_id: String,
    pub vpc_id: String,
    /// None: the VPC's main table.
    pub subnet_id: Option<String>,
}

fn route_table_of(row: &AnyRow) -> Result<RouteTable, StoreError> {
    let text = |column| row.try_get::<String, _>(column);
    Ok(RouteTable { id: text("id")?, account: text("account")?, vpc_id: text("vpc_id")? })
}

pub(super) fn route_of(row: &AnyRow) -> Result<Route, StoreError> {
    Ok(Route {
        route_table_id: row.try_get("route_table_id")?,
        destination: row.try_get("destination")?,
        target: row.try_get("target")?,
        origin: row.try_get("origin")?,
    })
}

fn association_of(row: &AnyRow) -> Result<RouteTableAssociation, StoreError> {
    Ok(RouteTableAssociation {
        id: row.try_get("id")?,
        route_table_id: row.try_get("route_table_id")?,
        vpc_id: row.try_get("vpc_id")?,
        subnet_id: row.try_get("subnet_id")?,
    })
}

pub async fn route_table_insert_in_txn(tx: &mut Tx, table: &RouteTable) -> Result<(), StoreError> {
    let statement = "INSERT INTO route_tables (id, account, vpc_id) VALUES ($1, $2, $3)";
    let query = sqlx::query(statement).bind(&table.id).bind(&table.account).bind(&table.vpc_id);
    query.execute(&mut **tx).await?;
    Ok(())
}

pub async fn route_tables_of_vpc_in_txn(tx: &mut Tx, vpc: &str) -> Result<Vec<RouteTable>, StoreError> {
    let statement = "SELECT * FROM route_tables WHERE vpc_id = $1 ORDER BY id";
    let rows = sqlx::query(statement).bind(vpc).fetch_all(&mut **tx).await?;
    rows.iter().map(route_table_of).collect()
}

pub async fn route_insert_in_txn(tx: &mut Tx, route: &Route) -> Result<(), StoreError> {
    let statement =
        "INSERT INTO routes (route_table_id, destination, target, origin) VALUES ($1, $2, $3, $4)";
    sqlx::query(statement)
        .bind(&route.route_table_id)
        .bind(&route.destination)
        .bind(&route.target)
        .bind(&route.origin)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn route_table_association_insert_in_txn(
    tx: &mut Tx,
    association: &RouteTableAssociation,
) -> Result<(), StoreError> {
    let statement = "INSERT INTO route_table_associations (id, route_table_id, vpc_id, subnet_id) \
         VALUES ($1, $2, $3, $4)";
    sqlx::query(statement)
        .bind(&association.id)
        .bind(&association.route_table_id)
        .bind(&association.vpc_id)
        .bind(&association.subnet_id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The association that makes a table the VPC's main one.
pub async fn main_route_table_in_txn(
    tx: &mut Tx,
    vpc: &str,
) -> Result<Option<RouteTableAssociation>, StoreError> {
    let statement = "SELECT * FROM route_table_associations WHERE vpc_id = $1 AND subnet_id IS NULL";
    let row = sqlx::query(statement).bind(vpc).fetch_optional(&mut **tx).await?;
    row.as_ref().map(association_of).transpose()
}

impl Store {
    pub async fn route_table_list(&self, account: &str) -> Result<Vec<RouteTable>, StoreError> {
        let statement = "SELECT * FROM route_tables WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(route_table_of).collect()
    }

    /// Of all tables of an account.
    pub async fn route_list(&self, account: &str) -> Result<Vec<Route>, StoreError> {
        let statement = "SELECT routes.* FROM routes JOIN route_tables ON route_tables.id = routes.route_table_id \
             WHERE route_tables.account = $1 ORDER BY routes.route_table_id, routes.destination";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(route_of).collect()
    }

    pub async fn route_table_association_list(
        &self,
        account: &str,
    ) -> Result<Vec<RouteTableAssociation>, StoreError> {
        let statement = "SELECT route_table_associations.* FROM route_table_associations JOIN route_tables \
             ON route_tables.id = route_table_associations.route_table_id WHERE route_tables.account = $1 \
             ORDER BY route_table_associations.id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(association_of).collect()
    }
}
