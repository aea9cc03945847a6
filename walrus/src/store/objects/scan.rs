//! All versions of a bucket, page by page, with what lifecycle rules ask of each. A scan is no snapshot: who
//! deletes by it says in a check that the version is still the one that was seen.

use super::Objects;
use super::error::StoreError;
use super::facts::{Facts, Pairs, Retention, UnixMs};
use super::ids::BucketId;
use super::list::{Columns, Entries, entry_columns};
use super::page::keys;
use super::row::FLAG_MARKER;
use super::versions::VersionEntry;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use std::sync::Arc;

/// Where a scan is. Begins with `default()`.
#[derive(Debug, Clone, Default)]
pub struct ScanPlace {
    last: Option<Last>,
}

#[derive(Debug, Clone)]
struct Last {
    key: Arc<str>,
    seq: u64,
    modified: UnixMs,
    /// Noncurrent versions of the key so far.
    noncurrent: u32,
}

#[derive(Debug, Clone)]
pub struct Scanned {
    pub version: VersionEntry,
    pub seq: u64,
    pub tags: Pairs,
    pub retention: Option<Retention>,
    pub legal_hold: bool,
    /// When the next newer version came, of one that is not the newest.
    pub noncurrent_since: Option<UnixMs>,
    /// How many noncurrent versions of the key are newer.
    pub newer_noncurrent: u32,
    /// It is the only version of its key.
    pub is_alone: bool,
}

macro_rules! scanned {
    ($where:literal) => {
        concat!(
            "SELECT ",
            entry_columns!(),
            ", facts, 1 AS latest, NOT EXISTS (SELECT 1 FROM history o WHERE o.bucket = h.bucket AND o.key = h.key) \
             FROM live h WHERE ",
            $where,
            " UNION ALL SELECT ",
            entry_columns!(),
            ", facts, flags & 2 AND NOT EXISTS (SELECT 1 FROM live l WHERE l.bucket = h.bucket AND l.key = h.key) \
             AND NOT EXISTS (SELECT 1 FROM history n WHERE n.bucket = h.bucket AND n.key = h.key AND n.seq > h.seq), \
             flags & 2 AND NOT EXISTS (SELECT 1 FROM history o WHERE o.bucket = h.bucket AND o.key = h.key AND o.seq < h.seq) \
             FROM history h WHERE ",
            $where,
            " ORDER BY key, seq DESC LIMIT ?4"
        )
    };
}

const FLAT: &str = scanned!("bucket = ?1 AND key >= ?2 AND key < ?3");
const REST: &str = scanned!("bucket = ?1 AND key = ?2 AND seq < ?3");

impl Objects {
    /// The next versions whose keys begin with `prefix`, and where to go on; none at the end.
    pub async fn version_scan(
        &self,
        bucket: BucketId,
        prefix: &str,
        place: &mut ScanPlace,
        limit: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        let mut tx = self.0.reader.begin().await?;
        let mut rows = Vec::new();
        if let Some(last) = &place.last {
            let query = sqlx::query(REST).bind(bucket.0).bind(last.key.as_bytes()).bind(last.seq as i64);
            rows = query.bind(limit as i64).fetch_all(&mut *tx).await?;
        }
        if rows.len() < limit {
            let range = keys(prefix, None, place.last.as_ref().map(|last| &*last.key));
            let query = sqlx::query(FLAT).bind(bucket.0).bind(range.start).bind(range.end);
            let missing = (limit - rows.len()) as i64;
            rows.extend(query.bind(missing).fetch_all(&mut *tx).await?);
        }
        let mut entries = Entries::default();
        rows.iter().map(|row| read(row, &mut entries, place)).collect()
    }
}

fn read(row: &SqliteRow, entries: &mut Entries, place: &mut ScanPlace) -> Result<Scanned, StoreError> {
    let entry = entries.read(&Columns::of(row)?)?;
    let facts = Facts::decode(row.try_get(8)?);
    let facts = facts.ok_or_else(|| StoreError::Corrupt(format!("the row of {}", entry.key)))?;
    let seq = row.try_get::<i64, _>(1)? as u64;
    let is_marker = row.try_get::<i64, _>(2)? & FLAG_MARKER != 0;
    let is_latest = row.try_get::<i64, _>(9)? != 0;
    let newer = place.last.take().filter(|last| last.key == entry.key && !is_latest);
    let newer_noncurrent = newer.as_ref().map_or(0, |newer| newer.noncurrent);
    place.last = Some(Last {
        key: entry.key.clone(),
        seq,
        modified: entry.modified,
        noncurrent: newer_noncurrent + u32::from(!is_latest),
    });
    Ok(Scanned {
        seq,
        tags: facts.tags,
        retention: facts.retention,
        legal_hold: facts.legal_hold,
        noncurrent_since: newer.map(|newer| newer.modified),
        newer_noncurrent,
        is_alone: is_latest && row.try_get::<i64, _>(10)? != 0,
        version: VersionEntry { entry, is_latest, is_marker },
    })
}
