//! Tags of segments, each given out once at a time.
//!
//! One that was just given back is the last to be given out again: frames of its old segment may still be under way.

use super::{StoreError, Tx};
use std::ops::RangeInclusive;

const LAST: &str = "segment_tags";

/// A free tag of the range for this subnet or VPC; None: all are given out. In the turn of who changes networks.
pub async fn segment_tag_take_in_txn(
    tx: &mut Tx,
    holder: &str,
    range: RangeInclusive<u32>,
) -> Result<Option<u32>, StoreError> {
    let statement = "SELECT value FROM counters WHERE name = $1";
    let last: i64 = sqlx::query_scalar(statement).bind(LAST).fetch_one(&mut **tx).await?;
    let (first, end) = (i64::from(*range.start()), i64::from(*range.end()));
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
    let statement = "UPDATE counters SET value = $1 WHERE name = $2";
    sqlx::query(statement).bind(tag).bind(LAST).execute(&mut **tx).await?;
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

    #[tokio::test]
    async fn each_tag_is_given_out_once_and_one_just_given_back_comes_last() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/clc.sqlite", directory.path().display());
        let store = Store::open(&DatabaseConfig { url, connections: 1 }).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let mut taken = Vec::new();
        for holder in ["a", "b", "c", "d"] {
            taken.push(segment_tag_take_in_txn(&mut tx, holder, 10..=12).await.unwrap());
        }
        assert_eq!(taken, [Some(10), Some(11), Some(12), None]);
        segment_tag_free_in_txn(&mut tx, "b").await.unwrap();
        assert_eq!(segment_tag_take_in_txn(&mut tx, "e", 10..=12).await.unwrap(), Some(11));
        for holder in ["e", "a", "c"] {
            segment_tag_free_in_txn(&mut tx, holder).await.unwrap();
        }
        // 11 was the last; 12 is next, then all around.
        assert_eq!(segment_tag_take_in_txn(&mut tx, "f", 10..=12).await.unwrap(), Some(12));
        assert_eq!(segment_tag_take_in_txn(&mut tx, "g", 10..=12).await.unwrap(), Some(10));
        assert_eq!(segment_tag_take_in_txn(&mut tx, "h", 10..=12).await.unwrap(), Some(11));
        // Another range, as configured later: what is taken outside of it is nothing to it.
        assert_eq!(segment_tag_take_in_txn(&mut tx, "i", 12..=13).await.unwrap(), Some(13));
        assert_eq!(segment_tag_take_in_txn(&mut tx, "j", 5..=6).await.unwrap(), Some(5));
    }
}
