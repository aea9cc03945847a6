//! Managed prefix lists: their entries by version, and who names them.
//!
//! What a change of entries makes otherwise is told to clusters as the rules and route tables that name the list.

use super::shape::rows_of;
use super::told::touched_in_txn;
use super::{IDS_PER_STATEMENT_MAX, Store, StoreError, Tx};
use crate::app::prefix_list::{Entry, Family};
use crate::app::security_group::Lists;
use crate::app::security_group::terms::net_of;
use karri_proto::ids::PrefixListId;
use karri_proto::network::{Direction, ShapeKey};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixList {
    pub id: String,
    pub account: String,
    pub name: String,
    pub family: Family,
    pub max_entries: i32,
    pub version: i64,
    /// What was before it is nowhere any more.
    pub oldest_version: i64,
    /// EC2's word for what was done with it last.
    pub state: String,
}

fn prefix_list_of(row: &AnyRow) -> Result<PrefixList, StoreError> {
    let text = |column| row.try_get::<String, _>(column);
    let corrupt = |text: &dyn std::fmt::Display| StoreError::corrupt("prefix list", text);
    let (family, max_entries) = (text("family")?, row.try_get::<i64, _>("max_entries")?);
    Ok(PrefixList {
        id: text("id")?,
        account: text("account")?,
        name: text("name")?,
        family: Family::of_name(&family).ok_or_else(|| corrupt(&family))?,
        max_entries: i32::try_from(max_entries).map_err(|_| corrupt(&max_entries))?,
        version: row.try_get("version")?,
        oldest_version: row.try_get("oldest_version")?,
        state: text("state")?,
    })
}

fn entry_of(row: &AnyRow) -> Result<Entry, StoreError> {
    Ok(Entry { cidr: row.try_get("cidr")?, description: row.try_get("description")? })
}

pub async fn prefix_list_insert_in_txn(tx: &mut Tx, list: &PrefixList) -> Result<(), StoreError> {
    let statement = "INSERT INTO prefix_lists (id, account, name, family, max_entries, version, oldest_version, state) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    sqlx::query(statement)
        .bind(&list.id)
        .bind(&list.account)
        .bind(&list.name)
        .bind(list.family.as_str())
        .bind(i64::from(list.max_entries))
        .bind(list.version)
        .bind(list.oldest_version)
        .bind(&list.state)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn prefix_list_fetch_in_txn(tx: &mut Tx, id: &str) -> Result<Option<PrefixList>, StoreError> {
    let row = sqlx::query("SELECT * FROM prefix_lists WHERE id = $1").bind(id);
    row.fetch_optional(&mut **tx).await?.as_ref().map(prefix_list_of).transpose()
}

pub async fn prefix_list_count_in_txn(tx: &mut Tx, account: &str) -> Result<usize, StoreError> {
    let statement = "SELECT COUNT(*) FROM prefix_lists WHERE account = $1";
    let count: i64 = sqlx::query_scalar(statement).bind(account).fetch_one(&mut **tx).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// All that can change of it.
pub async fn prefix_list_update_in_txn(tx: &mut Tx, list: &PrefixList) -> Result<(), StoreError> {
    let statement = "UPDATE prefix_lists SET name = $1, max_entries = $2, version = $3, oldest_version = $4, state = $5 \
         WHERE id = $6";
    sqlx::query(statement)
        .bind(&list.name)
        .bind(i64::from(list.max_entries))
        .bind(list.version)
        .bind(list.oldest_version)
        .bind(&list.state)
        .bind(&list.id)
        .execute(&mut **tx)
        .await?;
    let forgotten = "DELETE FROM prefix_list_entries WHERE list_id = $1 AND until_version <= $2";
    sqlx::query(forgotten).bind(&list.id).bind(list.oldest_version).execute(&mut **tx).await?;
    Ok(())
}

/// With its entries.
pub async fn prefix_list_delete_in_txn(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM prefix_lists WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(())
}

const ENTRIES_AT: &str = "SELECT cidr, description FROM prefix_list_entries WHERE list_id = $1 \
     AND since_version <= $2 AND (until_version IS NULL OR until_version > $3) ORDER BY cidr";

pub async fn prefix_list_entries_in_txn(
    tx: &mut Tx,
    list: &str,
    version: i64,
) -> Result<Vec<Entry>, StoreError> {
    let query = sqlx::query(ENTRIES_AT).bind(list).bind(version).bind(version);
    query.fetch_all(&mut **tx).await?.iter().map(entry_of).collect()
}

/// `version` is the first that has it.
pub async fn prefix_list_entry_begin_in_txn(
    tx: &mut Tx,
    list: &str,
    version: i64,
    entry: &Entry,
) -> Result<(), StoreError> {
    let statement = "INSERT INTO prefix_list_entries (list_id, cidr, since_version, until_version, description) \
         VALUES ($1, $2, $3, NULL, $4)";
    let query = sqlx::query(statement).bind(list).bind(&entry.cidr).bind(version);
    query.bind(&entry.description).execute(&mut **tx).await?;
    Ok(())
}

/// `version` is the first without it.
pub async fn prefix_list_entry_end_in_txn(
    tx: &mut Tx,
    list: &str,
    version: i64,
    cidr: &str,
) -> Result<(), StoreError> {
    let statement = "UPDATE prefix_list_entries SET until_version = $1 \
         WHERE list_id = $2 AND cidr = $3 AND until_version IS NULL";
    sqlx::query(statement).bind(version).bind(list).bind(cidr).execute(&mut **tx).await?;
    Ok(())
}

/// What clusters are told of who names it is now otherwise. `rules` and `networks` are the numbers of the two turns.
pub async fn prefix_list_touch_in_txn(
    tx: &mut Tx,
    rules: i64,
    networks: i64,
    list: &str,
) -> Result<(), StoreError> {
    let statement = "UPDATE security_group_rules SET change_number = $1 WHERE peer = $2";
    sqlx::query(statement).bind(rules).bind(list).execute(&mut **tx).await?;
    for table in prefix_list_tables_in_txn(tx, list).await? {
        touched_in_txn(tx, networks, ShapeKey::RouteTable, &table).await?;
    }
    Ok(())
}

/// The groups whose rules name it, with the side of the rules.
pub async fn prefix_list_groups_in_txn(
    tx: &mut Tx,
    list: &str,
) -> Result<Vec<(String, Direction)>, StoreError> {
    let statement = "SELECT DISTINCT group_id, egress FROM security_group_rules WHERE peer = $1 \
         ORDER BY group_id, egress";
    let rows = sqlx::query(statement).bind(list).fetch_all(&mut **tx).await?;
    let side = |row: &AnyRow| {
        let egress = row.try_get::<i64, _>("egress")? != 0;
        Ok((row.try_get("group_id")?, if egress { Direction::Egress } else { Direction::Ingress }))
    };
    rows.iter().map(side).collect()
}

/// The route tables with a route to it.
pub async fn prefix_list_tables_in_txn(tx: &mut Tx, list: &str) -> Result<Vec<String>, StoreError> {
    let statement = "SELECT route_table_id FROM routes WHERE destination = $1 ORDER BY route_table_id";
    Ok(sqlx::query_scalar(statement).bind(list).fetch_all(&mut **tx).await?)
}

/// The route tables of a VPC that have routes to lists.
pub async fn tables_with_lists_in_txn(tx: &mut Tx, vpc: &str) -> Result<Vec<String>, StoreError> {
    let statement = "SELECT DISTINCT route_tables.id FROM route_tables \
         JOIN routes ON routes.route_table_id = route_tables.id \
         WHERE route_tables.vpc_id = $1 AND routes.destination LIKE 'pl-%' ORDER BY route_tables.id";
    Ok(sqlx::query_scalar(statement).bind(vpc).fetch_all(&mut **tx).await?)
}

/// The newest entries of those lists that are there.
pub(super) async fn lists_read(
    connection: &mut AnyConnection,
    ids: &[PrefixListId],
) -> Result<Lists, StoreError> {
    let mut lists = Lists::new();
    let ids: Vec<&str> = ids.iter().map(PrefixListId::as_str).collect();
    for some in ids.chunks(IDS_PER_STATEMENT_MAX) {
        let statement =
            "SELECT list_id, cidr FROM prefix_list_entries WHERE until_version IS NULL AND list_id";
        for row in &rows_of(connection, statement, some, " ORDER BY cidr").await? {
            let (list, cidr): (String, String) = (row.try_get("list_id")?, row.try_get("cidr")?);
            let list = list.parse().map_err(|_| StoreError::corrupt("id of a prefix list", &list))?;
            let net = net_of(&cidr).ok_or_else(|| StoreError::corrupt("entry of a prefix list", &cidr))?;
            lists.entry(list).or_default().push(net);
        }
    }
    Ok(lists)
}

impl Store {
    pub async fn prefix_list_list(&self, account: &str) -> Result<Vec<PrefixList>, StoreError> {
        let statement = "SELECT * FROM prefix_lists WHERE account = $1 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(prefix_list_of).collect()
    }

    pub async fn prefix_list_fetch(&self, id: &str) -> Result<Option<PrefixList>, StoreError> {
        let row = sqlx::query("SELECT * FROM prefix_lists WHERE id = $1").bind(id);
        row.fetch_optional(self.reader()).await?.as_ref().map(prefix_list_of).transpose()
    }

    pub async fn prefix_list_entries(&self, list: &str, version: i64) -> Result<Vec<Entry>, StoreError> {
        let query = sqlx::query(ENTRIES_AT).bind(list).bind(version).bind(version);
        query.fetch_all(self.reader()).await?.iter().map(entry_of).collect()
    }

    /// What names it, with whose that is.
    pub async fn prefix_list_users(&self, list: &str) -> Result<Vec<(String, String)>, StoreError> {
        let statement = "SELECT DISTINCT group_id AS id, account FROM security_group_rules WHERE peer = $1 \
             UNION SELECT route_tables.id AS id, route_tables.account AS account FROM routes \
             JOIN route_tables ON route_tables.id = routes.route_table_id WHERE routes.destination = $2";
        let rows = sqlx::query(statement).bind(list).bind(list).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("account")?))).collect()
    }
}
