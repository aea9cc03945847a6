//! VPCs with their ranges.

use super::shape::rows_of;
use super::subnet::Subnet;
use super::{Store, StoreError, Tx};
use crate::app::address::range_of_vpc;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use std::collections::HashMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vpc {
    pub id: String,
    pub account: String,
    /// The first range. A default VPC's is one that has all of its subnets.
    pub cidr: String,
    /// Its subnets lie in the flat networks of their zones.
    pub is_default: bool,
    pub dns_support: bool,
    pub dns_hostnames: bool,
    pub usage_metrics: bool,
    /// None: EC2's "default".
    pub dhcp_options_id: Option<String>,
    pub transit: u32,
    /// Beside the first.
    pub more_ranges: Vec<VpcRange>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpcRange {
    pub association_id: String,
    pub cidr: String,
}

impl Vpc {
    /// With EC2's attributes of a VPC that somebody makes.
    pub fn plain(id: &str, account: &str, cidr: &str) -> Self {
        Self {
            id: id.to_owned(),
            account: account.to_owned(),
            cidr: cidr.to_owned(),
            is_default: false,
            dns_support: true,
            dns_hostnames: false,
            usage_metrics: false,
            dhcp_options_id: None,
            transit: 0,
            more_ranges: Vec::new(),
        }
    }

    pub fn further_ranges(&self) -> Vec<String> {
        self.more_ranges.iter().map(|range| range.cidr.clone()).collect()
    }

    /// Every range, the first one first.
    pub fn ranges(&self) -> impl Iterator<Item = &str> {
        [self.cidr.as_str()].into_iter().chain(self.more_ranges.iter().map(|range| range.cidr.as_str()))
    }
}

fn vpc_of(row: &AnyRow) -> Result<Vpc, StoreError> {
    let flag = |column| Ok::<bool, sqlx::Error>(row.try_get::<i64, _>(column)? != 0);
    let transit: i64 = row.try_get("transit")?;
    Ok(Vpc {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        cidr: row.try_get("cidr")?,
        is_default: flag("is_default")?,
        dns_support: flag("dns_support")?,
        dns_hostnames: flag("dns_hostnames")?,
        usage_metrics: flag("usage_metrics")?,
        dhcp_options_id: row.try_get("dhcp_options_id")?,
        transit: u32::try_from(transit).map_err(|_| StoreError::corrupt("tag of a VPC", transit))?,
        more_ranges: Vec::new(),
    })
}

/// VPCs with those of the rows of `vpc_ranges` that are theirs; a default one's range is to have all of its subnets.
fn completed<'s>(
    rows: &[AnyRow],
    ranges: &[AnyRow],
    subnets: impl Iterator<Item = (&'s str, &'s str)>,
) -> Result<Vec<Vpc>, StoreError> {
    let mut more: HashMap<String, Vec<VpcRange>> = HashMap::new();
    for row in ranges {
        let range = VpcRange { association_id: row.try_get("association_id")?, cidr: row.try_get("cidr")? };
        more.entry(row.try_get("vpc_id")?).or_default().push(range);
    }
    let mut within: HashMap<&str, Vec<&str>> = HashMap::new();
    for (vpc, cidr) in subnets {
        within.entry(vpc).or_default().push(cidr);
    }
    let complete = |row| {
        let vpc = vpc_of(row)?;
        let more_ranges = more.remove(&vpc.id).unwrap_or_default();
        let own = within.get(vpc.id.as_str()).into_iter().flatten().copied();
        let cidr = if vpc.is_default { range_of_vpc(&vpc.cidr, own) } else { vpc.cidr };
        Ok(Vpc { cidr, more_ranges, ..vpc })
    };
    rows.iter().map(complete).collect()
}

/// The VPC and the range of each of these rows of subnets.
fn placed(rows: &[AnyRow]) -> Result<Vec<(String, String)>, StoreError> {
    rows.iter().map(|row| Ok((row.try_get("vpc_id")?, row.try_get("cidr")?))).collect()
}

fn borrowed(placed: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    placed.iter().map(|(vpc, cidr)| (vpc.as_str(), cidr.as_str()))
}

const VPCS_OF_ACCOUNT: &str = "SELECT * FROM vpcs WHERE account = $1 ORDER BY id";
const RANGES_OF_ACCOUNT: &str = "SELECT vpc_ranges.* FROM vpc_ranges JOIN vpcs ON vpcs.id = vpc_ranges.vpc_id \
     WHERE vpcs.account = $1 ORDER BY association_id";

/// Which of all VPCs.
#[derive(Debug, Clone, Copy)]
enum Which<'a> {
    Id(&'a str),
    Account(&'a str),
}

async fn vpcs_read(connection: &mut AnyConnection, which: Which<'_>) -> Result<Vec<Vpc>, StoreError> {
    let (vpcs, ranges, subnets, value) = match which {
        Which::Id(id) => (
            "SELECT * FROM vpcs WHERE id = $1",
            "SELECT * FROM vpc_ranges WHERE vpc_id = $1 ORDER BY association_id",
            "SELECT vpc_id, cidr FROM subnets WHERE vpc_id = $1",
            id,
        ),
        Which::Account(account) => (
            VPCS_OF_ACCOUNT,
            RANGES_OF_ACCOUNT,
            "SELECT vpc_id, cidr FROM subnets WHERE account = $1",
            account,
        ),
    };
    let vpcs = sqlx::query(vpcs).bind(value).fetch_all(&mut *connection).await?;
    let ranges = sqlx::query(ranges).bind(value).fetch_all(&mut *connection).await?;
    let subnets = placed(&sqlx::query(subnets).bind(value).fetch_all(&mut *connection).await?)?;
    completed(&vpcs, &ranges, borrowed(&subnets))
}

/// Those of the ids that are there.
pub(super) async fn vpcs_by_id(connection: &mut AnyConnection, ids: &[&str]) -> Result<Vec<Vpc>, StoreError> {
    let vpcs = rows_of(connection, "SELECT * FROM vpcs WHERE id", ids, "").await?;
    let statement = "SELECT * FROM vpc_ranges WHERE vpc_id";
    let ranges = rows_of(connection, statement, ids, " ORDER BY association_id").await?;
    let subnets =
        placed(&rows_of(connection, "SELECT vpc_id, cidr FROM subnets WHERE vpc_id", ids, "").await?)?;
    completed(&vpcs, &ranges, borrowed(&subnets))
}

/// Of all VPCs that have some.
pub async fn further_ranges_in_txn(tx: &mut Tx) -> Result<HashMap<String, Vec<String>>, StoreError> {
    let statement = "SELECT vpc_id, cidr FROM vpc_ranges ORDER BY association_id";
    let mut further: HashMap<String, Vec<String>> = HashMap::new();
    for row in sqlx::query(statement).fetch_all(&mut **tx).await? {
        further.entry(row.try_get("vpc_id")?).or_default().push(row.try_get("cidr")?);
    }
    Ok(further)
}

/// Without its further ranges, of which a new one has none.
pub async fn vpc_insert_in_txn(tx: &mut Tx, vpc: &Vpc) -> Result<(), StoreError> {
    let statement = "INSERT INTO vpcs (id, account, cidr, is_default, dns_support, dns_hostnames, usage_metrics, \
         dhcp_options_id, transit) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    sqlx::query(statement)
        .bind(&vpc.id)
        .bind(&vpc.account)
        .bind(&vpc.cidr)
        .bind(i64::from(vpc.is_default))
        .bind(i64::from(vpc.dns_support))
        .bind(i64::from(vpc.dns_hostnames))
        .bind(i64::from(vpc.usage_metrics))
        .bind(&vpc.dhcp_options_id)
        .bind(i64::from(vpc.transit))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn vpc_attributes_update_in_txn(tx: &mut Tx, vpc: &Vpc) -> Result<(), StoreError> {
    let statement = "UPDATE vpcs SET dns_support = $1, dns_hostnames = $2, usage_metrics = $3, \
         dhcp_options_id = $4 WHERE id = $5";
    sqlx::query(statement)
        .bind(i64::from(vpc.dns_support))
        .bind(i64::from(vpc.dns_hostnames))
        .bind(i64::from(vpc.usage_metrics))
        .bind(&vpc.dhcp_options_id)
        .bind(&vpc.id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// With all that is only its own: subnets, tables, ACLs, groups. Their tags and what is told of them the caller takes
/// away first.
pub async fn vpc_delete_in_txn(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM vpcs WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(())
}

pub async fn vpc_fetch_in_txn(tx: &mut Tx, id: &str) -> Result<Option<Vpc>, StoreError> {
    Ok(vpcs_read(tx, Which::Id(id)).await?.pop())
}

pub async fn vpc_list_in_txn(tx: &mut Tx, account: &str) -> Result<Vec<Vpc>, StoreError> {
    vpcs_read(tx, Which::Account(account)).await
}

/// Everyone's default VPCs: id and account.
pub async fn default_vpcs_in_txn(tx: &mut Tx) -> Result<Vec<(String, String)>, StoreError> {
    let rows = sqlx::query("SELECT id, account FROM vpcs WHERE is_default = 1").fetch_all(&mut **tx).await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("account")?))).collect()
}

pub async fn vpc_range_insert_in_txn(tx: &mut Tx, vpc: &str, range: &VpcRange) -> Result<(), StoreError> {
    let statement = "INSERT INTO vpc_ranges (association_id, vpc_id, cidr) VALUES ($1, $2, $3)";
    let query = sqlx::query(statement).bind(&range.association_id).bind(vpc).bind(&range.cidr);
    query.execute(&mut **tx).await?;
    Ok(())
}

pub async fn vpc_range_delete_in_txn(tx: &mut Tx, association: &str) -> Result<(), StoreError> {
    let statement = "DELETE FROM vpc_ranges WHERE association_id = $1";
    sqlx::query(statement).bind(association).execute(&mut **tx).await?;
    Ok(())
}

/// The VPC that a further range belongs to.
pub async fn vpc_of_range_in_txn(tx: &mut Tx, association: &str) -> Result<Option<String>, StoreError> {
    let statement = "SELECT vpc_id FROM vpc_ranges WHERE association_id = $1";
    Ok(sqlx::query_scalar(statement).bind(association).fetch_optional(&mut **tx).await?)
}

/// For who holds back those that would remove it.
pub async fn vpc_is_there_in_txn(tx: &mut Tx, id: &str) -> Result<bool, StoreError> {
    let count: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM vpcs WHERE id = $1").bind(id).fetch_one(&mut **tx).await?;
    Ok(count > 0)
}

impl Store {
    /// For who has read the account's subnets.
    pub(super) async fn vpcs_around(
        &self,
        account: &str,
        subnets: &[Subnet],
    ) -> Result<Vec<Vpc>, StoreError> {
        let vpcs = sqlx::query(VPCS_OF_ACCOUNT).bind(account).fetch_all(self.reader()).await?;
        let ranges = sqlx::query(RANGES_OF_ACCOUNT).bind(account).fetch_all(self.reader()).await?;
        completed(&vpcs, &ranges, subnets.iter().map(|one| (one.vpc_id.as_str(), one.cidr.as_str())))
    }

    pub async fn vpc_list(&self, account: &str) -> Result<Vec<Vpc>, StoreError> {
        vpcs_read(&mut *self.reader().acquire().await?, Which::Account(account)).await
    }

    /// Whoever's it is.
    pub async fn vpc_fetch(&self, id: &str) -> Result<Option<Vpc>, StoreError> {
        Ok(vpcs_read(&mut *self.reader().acquire().await?, Which::Id(id)).await?.pop())
    }
}
