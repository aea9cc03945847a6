//! Route tables, their routes, and which subnets go by which.

use super::tag::tags_drop_in_txn;
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

pub async fn route_table_fetch_in_txn(tx: &mut Tx, id: &str) -> Result<Option<RouteTable>, StoreError> {
    let row = sqlx::query("SELECT * FROM route_tables WHERE id = $1").bind(id);
    row.fetch_optional(&mut **tx).await?.as_ref().map(route_table_of).transpose()
}

/// With its routes and tags.
pub async fn route_table_delete_in_txn(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM route_tables WHERE id = $1").bind(id).execute(&mut **tx).await?;
    tags_drop_in_txn(tx, id).await
}

pub async fn route_fetch_in_txn(
    tx: &mut Tx,
    table: &str,
    destination: &str,
) -> Result<Option<Route>, StoreError> {
    let statement = "SELECT * FROM routes WHERE route_table_id = $1 AND destination = $2";
    let row = sqlx::query(statement).bind(table).bind(destination).fetch_optional(&mut **tx).await?;
    row.as_ref().map(route_of).transpose()
}

pub async fn routes_of_table_in_txn(tx: &mut Tx, table: &str) -> Result<Vec<Route>, StoreError> {
    let statement = "SELECT * FROM routes WHERE route_table_id = $1 ORDER BY destination";
    let rows = sqlx::query(statement).bind(table).fetch_all(&mut **tx).await?;
    rows.iter().map(route_of).collect()
}

/// How many routes a table has. One to a prefix list counts as all that the list may have.
pub async fn routes_weigh_in_txn(tx: &mut Tx, table: &str) -> Result<usize, StoreError> {
    let statement = "SELECT CAST(COALESCE(SUM(COALESCE(prefix_lists.max_entries, 1)), 0) AS BIGINT) FROM routes \
         LEFT JOIN prefix_lists ON prefix_lists.id = routes.destination WHERE route_table_id = $1";
    let count: i64 = sqlx::query_scalar(statement).bind(table).fetch_one(&mut **tx).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

pub async fn route_target_update_in_txn(tx: &mut Tx, route: &Route) -> Result<(), StoreError> {
    let statement = "UPDATE routes SET target = $1 WHERE route_table_id = $2 AND destination = $3";
    let query = sqlx::query(statement).bind(&route.target).bind(&route.route_table_id);
    query.bind(&route.destination).execute(&mut **tx).await?;
    Ok(())
}

/// False: there is no such route.
pub async fn route_delete_in_txn(tx: &mut Tx, table: &str, destination: &str) -> Result<bool, StoreError> {
    let statement = "DELETE FROM routes WHERE route_table_id = $1 AND destination = $2";
    let done = sqlx::query(statement).bind(table).bind(destination).execute(&mut **tx).await?;
    Ok(done.rows_affected() == 1)
}

/// The tables with routes to it.
pub async fn route_tables_to_in_txn(tx: &mut Tx, target: &str) -> Result<Vec<String>, StoreError> {
    let statement = "SELECT DISTINCT route_table_id FROM routes WHERE target = $1 ORDER BY route_table_id";
    Ok(sqlx::query_scalar(statement).bind(target).fetch_all(&mut **tx).await?)
}

pub async fn route_table_association_fetch_in_txn(
    tx: &mut Tx,
    id: &str,
) -> Result<Option<RouteTableAssociation>, StoreError> {
    let row = sqlx::query("SELECT * FROM route_table_associations WHERE id = $1").bind(id);
    row.fetch_optional(&mut **tx).await?.as_ref().map(association_of).transpose()
}

pub async fn route_table_association_of_subnet_in_txn(
    tx: &mut Tx,
    subnet: &str,
) -> Result<Option<RouteTableAssociation>, StoreError> {
    let row = sqlx::query("SELECT * FROM route_table_associations WHERE subnet_id = $1").bind(subnet);
    row.fetch_optional(&mut **tx).await?.as_ref().map(association_of).transpose()
}

/// One of a table's associations; those with subnets come before that of the VPC's main table.
pub async fn route_table_user_in_txn(
    tx: &mut Tx,
    table: &str,
) -> Result<Option<RouteTableAssociation>, StoreError> {
    let statement = "SELECT * FROM route_table_associations WHERE route_table_id = $1 \
         ORDER BY CASE WHEN subnet_id IS NULL THEN 1 ELSE 0 END, subnet_id LIMIT 1";
    let row = sqlx::query(statement).bind(table).fetch_optional(&mut **tx).await?;
    row.as_ref().map(association_of).transpose()
}

pub async fn route_table_association_delete_in_txn(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM route_table_associations WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// The subnets that go by the VPC's main table.
pub async fn subnets_by_main_table_in_txn(tx: &mut Tx, vpc: &str) -> Result<Vec<String>, StoreError> {
    let statement = "SELECT id FROM subnets WHERE vpc_id = $1 AND NOT EXISTS \
         (SELECT 1 FROM route_table_associations WHERE subnet_id = subnets.id) ORDER BY id";
    Ok(sqlx::query_scalar(statement).bind(vpc).fetch_all(&mut **tx).await?)
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
