//! Tags of segments, each given out once at a time.
//!
//! One that was just given back is the last to be given out again: frames of its old segment may still be under way.

use super::{StoreError, Tx};
use karri_proto::network::VlanRange;
use std::ops::RangeInclusive;

/// Of what tags one is given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPool {
    /// The counter that has the last one.
    last: String,
    range: RangeInclusive<u32>,
}

impl TagPool {
    pub fn of_cloud(range: RangeInclusive<u32>) -> Self {
        Self { last: "segment_tags".to_owned(), range }
    }

    pub fn of_zone(zone: &str, vlans: VlanRange) -> Self {
        Self { last: format!("vlans/{zone}"), range: vlans.first.into()..=vlans.last.into() }
    }
}

/// A free tag of the pool for this subnet or VPC; None: all are given out. In the turn of who changes networks.
pub async fn segment_tag_take_in_txn(
    tx: &mut Tx,
    holder: &str,
    pool: &TagPool,
) -> Result<Option<u32>, StoreError> {
    let statement = "SELECT value FROM counters WHERE name = $1";
    let last: Option<i64> = sqlx::query_scalar(statement).bind(&pool.last).fetch_optional(&mut **tx).await?;
    let last = last.unwrap_or_default();
    let (first, end) = (i64::from(*pool.range.start()), i64::from(*pool.range.end()));
    let next = (last + 1).max(first);
    let tag = match free_from(tx, next, end).await? {
        Some(tag) => tag,
        None => match free_from(tx, first, end).await? {
            Some(tag) => tag,
            None => return Ok(None),
        },
    };
    let statement = "INSERT INTO segment_tags (tag, holder) VALUES ($1, $2)";
    sqlx::query(statement).bind(tag).bind(holder).execute(&mut **tx).await?;
    let statement = "INSERT INTO counters (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sqlx::query(statement).bind(&pool.last).bind(tag).execute(&mut **tx).await?;
    Ok(u32::try_from(tag).ok())
}

/// The first free tag from `from` to `end`.
async fn free_from(tx: &mut Tx, from: i64, end: i64) -> Result<Option<i64>, StoreError> {
    let statement = "SELECT COUNT(*) FROM segment_tags WHERE tag = $1";
    let taken: i64 = sqlx::query_scalar(statement).bind(from).fetch_one(&mut **tx).await?;
    if taken == 0 {
        return Ok(Some(from).filter(|tag| *tag <= end));
    }
    // The end of the run of tags that begins there.
    let statement = "SELECT MIN(one.tag) + 1 FROM segment_tags AS one WHERE one.tag >= $1 \
         AND NOT EXISTS (SELECT 1 FROM segment_tags AS next WHERE next.tag = one.tag + 1)";
    let free: Option<i64> = sqlx::query_scalar(statement).bind(from).fetch_one(&mut **tx).await?;
    Ok(free.filter(|tag| *tag <= end))
}

/// How many subnets of the zone have tags that are none of these.
pub async fn subnets_beside_in_txn(tx: &mut Tx, zone: &str, vlans: VlanRange) -> Result<i64, StoreError> {
    let statement = "SELECT COUNT(*) FROM subnets WHERE zone = $1 AND tag <> 0 AND (tag < $2 OR tag > $3)";
    let query = sqlx::query_scalar(statement).bind(zone);
    Ok(query.bind(i64::from(vlans.first)).bind(i64::from(vlans.last)).fetch_one(&mut **tx).await?)
}

/// Nothing where it holds none.
pub async fn segment_tag_free_in_txn(tx: &mut Tx, holder: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM segment_tags WHERE holder = $1").bind(holder).execute(&mut **tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseConfig;
    use crate::store::Store;

    fn of(range: RangeInclusive<u32>) -> TagPool {
        TagPool::of_cloud(range)
    }

    #[tokio::test]
    async fn pools_that_share_tags_give_out_each_once_and_go_round_by_themselves() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/clc.sqlite", directory.path().display());
        let store = Store::open(&DatabaseConfig { url, connections: 1 }).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let zone = |name: &str, first, last| TagPool::of_zone(name, VlanRange { first, last });
        let (a, b) = (zone("zone-a", 10, 12), zone("zone-b", 12, 13));
        let cloud = of(5000..=5001);
        let mut taken = Vec::new();
        for (holder, pool) in
            [("1", &a), ("2", &cloud), ("3", &a), ("4", &b), ("5", &a), ("6", &b), ("7", &b)]
        {
            taken.push(segment_tag_take_in_txn(&mut tx, holder, pool).await.unwrap());
        }
        assert_eq!(taken, [Some(10), Some(5000), Some(11), Some(12), None, Some(13), None]);
        segment_tag_free_in_txn(&mut tx, "1").await.unwrap();
        segment_tag_free_in_txn(&mut tx, "3").await.unwrap();
        // What others have taken in between is nothing to its round.
        assert_eq!(segment_tag_take_in_txn(&mut tx, "8", &cloud).await.unwrap(), Some(5001));
        assert_eq!(segment_tag_take_in_txn(&mut tx, "9", &a).await.unwrap(), Some(10));
    }

    #[tokio::test]
    async fn each_tag_is_given_out_once_and_one_just_given_back_comes_last() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/clc.sqlite", directory.path().display());
        let store = Store::open(&DatabaseConfig { url, connections: 1 }).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let mut taken = Vec::new();
        for holder in ["a", "b", "c", "d"] {
            taken.push(segment_tag_take_in_txn(&mut tx, holder, &of(10..=12)).await.unwrap());
        }
        assert_eq!(taken, [Some(10), Some(11), Some(12), None]);
        segment_tag_free_in_txn(&mut tx, "b").await.unwrap();
        assert_eq!(segment_tag_take_in_txn(&mut tx, "e", &of(10..=12)).await.unwrap(), Some(11));
        for holder in ["e", "a", "c"] {
            segment_tag_free_in_txn(&mut tx, holder).await.unwrap();
        }
        // 11 was the last; 12 is next, then all around.
        assert_eq!(segment_tag_take_in_txn(&mut tx, "f", &of(10..=12)).await.unwrap(), Some(12));
        assert_eq!(segment_tag_take_in_txn(&mut tx, "g", &of(10..=12)).await.unwrap(), Some(10));
        assert_eq!(segment_tag_take_in_txn(&mut tx, "h", &of(10..=12)).await.unwrap(), Some(11));
        // Another range, as configured later: what is taken outside of it is nothing to it.
        assert_eq!(segment_tag_take_in_txn(&mut tx, "i", &of(12..=13)).await.unwrap(), Some(13));
        assert_eq!(segment_tag_take_in_txn(&mut tx, "j", &of(5..=6)).await.unwrap(), Some(5));
    }
}
