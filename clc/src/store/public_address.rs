//! Public addresses that are given out, and what they lead to.
//!
//! Whoever writes here has taken the turn of networks, so a free address that is found is free at the commit.

use super::together::Statement;
use super::{Store, StoreError, Tx, placeholders};
use crate::app::instance::Instance;
use karri_proto::instance::PortSpec;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// Of the address that was given out last.
const LAST: &str = "public_addresses";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicAddress {
    pub ip: Ipv4Addr,
    pub account: String,
    /// None: an instance's own, from its start to its stop.
    pub allocation_id: Option<String>,
    pub leads_to: Option<Holder>,
}

/// What an address leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// None: the address is an instance's own.
    pub association_id: Option<String>,
    pub port_id: String,
    pub private_ip: Ipv4Addr,
    pub vpc_id: String,
    pub subnet_id: String,
    /// None: it is a NAT gateway's.
    pub instance_id: Option<String>,
    pub nat_gateway_id: Option<String>,
}

fn number(ip: Ipv4Addr) -> i64 {
    i64::from(u32::from(ip))
}

fn ip_of(number: i64) -> Result<Ipv4Addr, StoreError> {
    u32::try_from(number).map(Ipv4Addr::from).map_err(|_| StoreError::corrupt("public address", number))
}

pub(super) fn public_address_of(row: &AnyRow) -> Result<PublicAddress, StoreError> {
    let text = |column| row.try_get::<Option<String>, _>(column);
    let places = (text("port_id")?, text("private_ip")?, text("vpc_id")?, text("subnet_id")?);
    let leads_to = match places {
        (Some(port_id), Some(private_ip), Some(vpc_id), Some(subnet_id)) => Some(Holder {
            association_id: text("association_id")?,
            port_id,
            private_ip: private_ip.parse().map_err(|e| StoreError::corrupt("private address", e))?,
            vpc_id,
            subnet_id,
            instance_id: text("instance_id")?,
            nat_gateway_id: text("nat_gateway_id")?,
        }),
        _ => None,
    };
    Ok(PublicAddress {
        ip: ip_of(row.try_get("number")?)?,
        account: row.try_get("account")?,
        allocation_id: text("allocation_id")?,
        leads_to,
    })
}

/// So many free addresses of these ranges, after the one that was given out last; fewer: there are no more.
pub async fn public_addresses_take_in_txn(
    tx: &mut Tx,
    ranges: &[RangeInclusive<u32>],
    count: usize,
) -> Result<Vec<Ipv4Addr>, StoreError> {
    let statement = "SELECT value FROM counters WHERE name = $1";
    let last: i64 = sqlx::query_scalar(statement).bind(LAST).fetch_one(&mut **tx).await?;
    let ranges = || ranges.iter().map(|range| (i64::from(*range.start()), i64::from(*range.end())));
    let after = ranges().map(|(first, end)| (first.max(last + 1), end));
    let before = ranges().map(|(first, end)| (first, end.min(last)));
    let mut taken: Vec<i64> = Vec::with_capacity(count);
    for (mut first, end) in after.chain(before) {
        while taken.len() < count && first <= end {
            let Some(free) = free_from(tx, first, end).await? else { break };
            taken.push(free);
            first = free + 1;
        }
    }
    if let Some(newest) = taken.last() {
        let statement = "UPDATE counters SET value = $1 WHERE name = $2";
        sqlx::query(statement).bind(*newest).bind(LAST).execute(&mut **tx).await?;
    }
    taken.into_iter().map(ip_of).collect()
}

/// The first free one from `first` to `end`.
async fn free_from(tx: &mut Tx, first: i64, end: i64) -> Result<Option<i64>, StoreError> {
    let statement = "SELECT COUNT(*) FROM public_addresses WHERE number = $1";
    let taken: i64 = sqlx::query_scalar(statement).bind(first).fetch_one(&mut **tx).await?;
    if taken == 0 {
        return Ok(Some(first));
    }
    // The end of the run of given ones that begins there.
    let statement = "SELECT one.number + 1 FROM public_addresses AS one WHERE one.number >= $1 \
         AND NOT EXISTS (SELECT 1 FROM public_addresses AS next WHERE next.number = one.number + 1) \
         ORDER BY one.number LIMIT 1";
    let free: Option<i64> = sqlx::query_scalar(statement).bind(first).fetch_optional(&mut **tx).await?;
    Ok(free.filter(|free| *free <= end))
}

/// False: it is given out already.
pub async fn public_address_insert_in_txn(tx: &mut Tx, one: &PublicAddress) -> Result<bool, StoreError> {
    Ok(insert(one).execute(tx).await? == 1)
}

fn insert(one: &PublicAddress) -> Statement {
    let statement = "INSERT INTO public_addresses (number, account, allocation_id, association_id, port_id, \
         private_ip, vpc_id, subnet_id, instance_id, nat_gateway_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (number) DO NOTHING";
    let to = one.leads_to.as_ref();
    Statement::new(statement)
        .bind(number(one.ip))
        .bind(one.account.clone())
        .bind(one.allocation_id.clone())
        .bind(to.and_then(|to| to.association_id.clone()))
        .bind(to.map(|to| to.port_id.clone()))
        .bind(to.map(|to| to.private_ip.to_string()))
        .bind(to.map(|to| to.vpc_id.clone()))
        .bind(to.map(|to| to.subnet_id.clone()))
        .bind(to.and_then(|to| to.instance_id.clone()))
        .bind(to.and_then(|to| to.nat_gateway_id.clone()))
}

/// The address that an instance has from its start to its stop.
pub(super) fn own_address_insert(instance: &Instance, port: &PortSpec, ip: Ipv4Addr) -> Statement {
    insert(&own_address(instance, port, ip))
}

pub fn own_address(instance: &Instance, port: &PortSpec, ip: Ipv4Addr) -> PublicAddress {
    PublicAddress {
        ip,
        account: instance.account.clone(),
        allocation_id: None,
        leads_to: Some(Holder {
            association_id: None,
            port_id: port.id.to_string(),
            private_ip: port.private_ip,
            vpc_id: port.vpc_id.to_string(),
            subnet_id: port.subnet_id.to_string(),
            instance_id: Some(instance.id.to_string()),
            nat_gateway_id: None,
        }),
    }
}

/// Leads it elsewhere, or nowhere.
pub async fn public_address_lead_in_txn(
    tx: &mut Tx,
    ip: Ipv4Addr,
    to: Option<&Holder>,
) -> Result<(), StoreError> {
    let statement = "UPDATE public_addresses SET association_id = $1, port_id = $2, private_ip = $3, vpc_id = $4, \
         subnet_id = $5, instance_id = $6, nat_gateway_id = $7 WHERE number = $8";
    sqlx::query(statement)
        .bind(to.and_then(|to| to.association_id.as_ref()))
        .bind(to.map(|to| &to.port_id))
        .bind(to.map(|to| to.private_ip.to_string()))
        .bind(to.map(|to| &to.vpc_id))
        .bind(to.map(|to| &to.subnet_id))
        .bind(to.and_then(|to| to.instance_id.as_ref()))
        .bind(to.and_then(|to| to.nat_gateway_id.as_ref()))
        .bind(number(ip))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// It can be given out again.
pub async fn public_address_delete_in_txn(tx: &mut Tx, ip: Ipv4Addr) -> Result<(), StoreError> {
    let statement = "DELETE FROM public_addresses WHERE number = $1";
    sqlx::query(statement).bind(number(ip)).execute(&mut **tx).await?;
    Ok(())
}

async fn one_in_txn(
    tx: &mut Tx,
    statement: &'static str,
    value: &str,
) -> Result<Option<PublicAddress>, StoreError> {
    let row = sqlx::query(statement).bind(value).fetch_optional(&mut **tx).await?;
    row.as_ref().map(public_address_of).transpose()
}

pub async fn public_address_by_ip_in_txn(
    tx: &mut Tx,
    ip: Ipv4Addr,
) -> Result<Option<PublicAddress>, StoreError> {
    let row = sqlx::query("SELECT * FROM public_addresses WHERE number = $1").bind(number(ip));
    row.fetch_optional(&mut **tx).await?.as_ref().map(public_address_of).transpose()
}

pub async fn public_address_by_allocation_in_txn(
    tx: &mut Tx,
    id: &str,
) -> Result<Option<PublicAddress>, StoreError> {
    one_in_txn(tx, "SELECT * FROM public_addresses WHERE allocation_id = $1", id).await
}

pub async fn public_address_by_association_in_txn(
    tx: &mut Tx,
    id: &str,
) -> Result<Option<PublicAddress>, StoreError> {
    one_in_txn(tx, "SELECT * FROM public_addresses WHERE association_id = $1", id).await
}

/// Those of the addresses that are given out.
pub(super) async fn public_addresses_read(
    connection: &mut AnyConnection,
    ips: &[Ipv4Addr],
) -> Result<Vec<PublicAddress>, StoreError> {
    let text = format!("SELECT * FROM public_addresses WHERE number IN {}", placeholders(1, ips.len()));
    let query = ips.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, ip| query.bind(number(*ip)));
    query.fetch_all(connection).await?.iter().map(public_address_of).collect()
}

/// Those that lead to an instance.
pub async fn public_addresses_of_instance_in_txn(
    tx: &mut Tx,
    instance: &str,
) -> Result<Vec<PublicAddress>, StoreError> {
    let statement = "SELECT * FROM public_addresses WHERE instance_id = $1 ORDER BY number";
    let rows = sqlx::query(statement).bind(instance).fetch_all(&mut **tx).await?;
    rows.iter().map(public_address_of).collect()
}

/// Whether any leads into the VPC.
pub async fn vpc_has_public_address_in_txn(tx: &mut Tx, vpc: &str) -> Result<bool, StoreError> {
    let statement = "SELECT number FROM public_addresses WHERE vpc_id = $1 LIMIT 1";
    Ok(sqlx::query(statement).bind(vpc).fetch_optional(&mut **tx).await?.is_some())
}

/// How many elastic ones an account has.
pub async fn elastic_address_count_in_txn(tx: &mut Tx, account: &str) -> Result<usize, StoreError> {
    let statement = "SELECT COUNT(*) FROM public_addresses WHERE account = $1 AND allocation_id IS NOT NULL";
    let count: i64 = sqlx::query_scalar(statement).bind(account).fetch_one(&mut **tx).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

impl Store {
    /// Elastic ones and instances' own.
    pub async fn public_address_list(&self, account: &str) -> Result<Vec<PublicAddress>, StoreError> {
        let statement = "SELECT * FROM public_addresses WHERE account = $1 ORDER BY number";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(public_address_of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseConfig;

    async fn given(tx: &mut Tx, ranges: &[RangeInclusive<u32>], count: usize) -> Vec<u32> {
        let taken = public_addresses_take_in_txn(tx, ranges, count).await.unwrap();
        for ip in &taken {
            let one = PublicAddress { ip: *ip, account: "a".into(), allocation_id: None, leads_to: None };
            assert!(public_address_insert_in_txn(tx, &one).await.unwrap());
            assert!(!public_address_insert_in_txn(tx, &one).await.unwrap());
        }
        taken.into_iter().map(u32::from).collect()
    }

    #[tokio::test]
    async fn addresses_go_round_the_ranges_and_each_is_given_out_once() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/clc.sqlite", directory.path().display());
        let store = Store::open(&DatabaseConfig { url, connections: 1 }).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let ranges = [10..=12, 20..=21];
        assert_eq!(given(&mut tx, &ranges, 2).await, [10, 11]);
        public_address_delete_in_txn(&mut tx, ip_of(10).unwrap()).await.unwrap();
        assert_eq!(given(&mut tx, &ranges, 1).await, [12], "one just given back comes last");
        assert_eq!(given(&mut tx, &ranges, 2).await, [20, 21]);
        assert_eq!(given(&mut tx, &ranges, 2).await, [10], "no more than there are");
        assert_eq!(given(&mut tx, &ranges, 1).await, [0u32; 0]);
        public_address_delete_in_txn(&mut tx, ip_of(21).unwrap()).await.unwrap();
        assert_eq!(given(&mut tx, &ranges, 1).await, [21]);
        assert_eq!(given(&mut tx, &[], 1).await, [0u32; 0]);
    }
}
