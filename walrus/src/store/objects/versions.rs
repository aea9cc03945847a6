//! Listing the versions of a bucket's keys, newest first within a key, delete markers among them.

use super::Objects;
use super::error::StoreError;
use super::ids::{BucketId, VersionId};
use super::list::{Entries, ListEntry, entry_columns};
use super::page::{Item, Next, Page, common_prefix, keys, page, walk};
use super::row::{FLAG_MARKER, key_of};
use sqlx::{Row as _, Sqlite, Transaction};
use std::ops::Range;
use std::sync::LazyLock;

#[derive(Debug, Clone, Default)]
pub struct VersionQuery {
    pub prefix: String,
    pub delimiter: Option<String>,
    /// Only what comes behind all versions of this key, or behind the version below.
    pub key_marker: Option<String>,
    pub version_marker: Option<VersionId>,
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionEntry {
    pub entry: ListEntry,
    pub is_latest: bool,
    pub is_marker: bool,
}

/// Both tables; of `history` only a delete marker can be a key's newest version.
macro_rules! both {
    ($where:literal) => {
        concat!(
            "SELECT ",
            entry_columns!(),
            ", 1 AS latest FROM live WHERE ",
            $where,
            " UNION ALL SELECT ",
            entry_columns!(),
            ", flags & 2 AND NOT EXISTS (SELECT 1 FROM live l WHERE l.bucket = h.bucket AND l.key = h.key) \
             AND NOT EXISTS (SELECT 1 FROM history n WHERE n.bucket = h.bucket AND n.key = h.key AND n.seq > h.seq) \
             FROM history h WHERE ",
            $where,
            " ORDER BY key, seq DESC LIMIT ?4"
        )
    };
}

const FLAT: &str = both!("bucket = ?1 AND key >= ?2 AND key < ?3");
/// The rest of the versions of the key ?2; ?3 is the seq that was shown last.
const REST: &str = both!("bucket = ?1 AND key = ?2 AND seq < ?3");

static WALK: LazyLock<String> = LazyLock::new(|| {
    let least = "SELECT min(k2) FROM (\
         SELECT min(key) AS k2 FROM live WHERE bucket = ?1 AND key {from} AND key < ?3 \
         UNION ALL SELECT min(key) FROM history WHERE bucket = ?1 AND key {from} AND key < ?3)";
    walk(least, "SELECT k FROM walk WHERE k IS NOT NULL")
});

type Items = Vec<Item<VersionEntry>>;

impl Objects {
    pub async fn version_list(
        &self,
        bucket: BucketId,
        query: &VersionQuery,
    ) -> Result<Page<VersionEntry>, StoreError> {
        let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
        let range = keys(&query.prefix, delimiter, query.key_marker.as_deref());
        let wanted = if query.limit == 0 { 0 } else { query.limit + 1 };
        let mut tx = self.0.reader.begin().await?;
        let mut items = rest_of_key(&mut tx, bucket, query, wanted).await?;
        match delimiter {
            None => flat(&mut tx, bucket, range, wanted, &mut items).await?,
            Some(delimiter) => {
                rolled_up(&mut tx, bucket, query, delimiter, range, wanted, &mut items).await?
            }
        }
        let next = |shown: &VersionEntry| {
            let version = Some(shown.entry.version);
            Next { version, ..Next::key(&shown.entry.key) }
        };
        Ok(page(items, query.limit, next))
    }
}

/// What is left of the key that the page before broke off in.
async fn rest_of_key(
    tx: &mut Transaction<'_, Sqlite>,
    bucket: BucketId,
    query: &VersionQuery,
    wanted: usize,
) -> Result<Items, StoreError> {
    let (Some(key), Some(version)) = (&query.key_marker, query.version_marker) else { return Ok(Vec::new()) };
    if !key.starts_with(&query.prefix)
        || common_prefix(key, &query.prefix, query.delimiter.as_deref()).is_some()
    {
        return Ok(Vec::new());
    }
    let seq = match version {
        VersionId::Seq(seq) => Some(seq as i64),
        VersionId::Null => {
            let sql = "SELECT seq FROM live WHERE bucket = ?1 AND key = ?2 AND flags & 1 \
                 UNION ALL SELECT seq FROM history WHERE bucket = ?1 AND key = ?2 AND flags & 1";
            let query = sqlx::query_scalar(sql).bind(bucket.0).bind(key.as_bytes());
            query.fetch_optional(&mut **tx).await?
        }
    };
    let Some(seq) = seq else { return Ok(Vec::new()) };
    let query = sqlx::query(REST).bind(bucket.0).bind(key.as_bytes()).bind(seq).bind(wanted as i64);
    read(query.fetch_all(&mut **tx).await?)
}

fn read(rows: Vec<sqlx::sqlite::SqliteRow>) -> Result<Items, StoreError> {
    let mut entries = Entries::default();
    let read = |row: &sqlx::sqlite::SqliteRow| {
        let is_marker = row.try_get::<i64, _>(2)? & FLAG_MARKER != 0;
        let is_latest = row.try_get::<i64, _>(8)? != 0;
        Ok(Item::Entry(VersionEntry { entry: entries.read(row)?, is_latest, is_marker }))
    };
    rows.iter().map(read).collect()
}

async fn flat(
    tx: &mut Transaction<'_, Sqlite>,
    bucket: BucketId,
    range: Range<Vec<u8>>,
    wanted: usize,
    items: &mut Items,
) -> Result<(), StoreError> {
    let missing = wanted.saturating_sub(items.len());
    if missing > 0 {
        let query = sqlx::query(FLAT).bind(bucket.0).bind(range.start).bind(range.end).bind(missing as i64);
        items.extend(read(query.fetch_all(&mut **tx).await?)?);
    }
    Ok(())
}

/// Walks over keys and common prefixes, then reads the versions of each run of keys between two prefixes.
async fn rolled_up(
    tx: &mut Transaction<'_, Sqlite>,
    bucket: BucketId,
    query: &VersionQuery,
    delimiter: &str,
    range: Range<Vec<u8>>,
    wanted: usize,
    items: &mut Items,
) -> Result<(), StoreError> {
    let prefix = &query.prefix;
    let missing = wanted.saturating_sub(items.len());
    let walk = sqlx::query(WALK.as_str()).bind(bucket.0).bind(range.start).bind(range.end);
    let walk = walk.bind(prefix.len() as i64).bind(delimiter.as_bytes()).bind(missing as i64);
    let mut run: Option<Range<Vec<u8>>> = None;
    for row in walk.fetch_all(&mut **tx).await? {
        let key = key_of(row.try_get(0)?)?;
        match common_prefix(&key, prefix, Some(delimiter)) {
            Some(rolled) => {
                if let Some(run) = run.take() {
                    flat(tx, bucket, run, wanted, items).await?;
                }
                items.push(Item::Prefix(rolled.to_owned()));
            }
            None => {
                let behind = [key.as_bytes(), &[0]].concat();
                let from = run.map_or_else(|| key.as_bytes().to_vec(), |run| run.start);
                run = Some(from..behind);
            }
        }
        if items.len() >= wanted {
            return Ok(());
        }
    }
    match run {
        Some(run) => flat(tx, bucket, run, wanted, items).await,
        None => Ok(()),
    }
}
