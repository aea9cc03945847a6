//! Listing the versions of a bucket's keys, newest first within a key, delete markers among them.

use super::Objects;
use super::error::StoreError;
use super::ids::{BucketId, VersionId};
use super::list::{Columns, Entries, ListEntry, entry_columns, readable};
use super::page::{Next, Page, common_prefix, keys, page, walk};
use super::row::FLAG_MARKER;
use super::runs::Runs;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
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

fn read(rows: &[SqliteRow]) -> Result<Vec<VersionEntry>, StoreError> {
    let mut entries = Entries::default();
    let mut read = |row: &SqliteRow| {
        let is_marker = row.try_get::<i64, _>(2)? & FLAG_MARKER != 0;
        let is_latest = row.try_get::<i64, _>(8)? != 0;
        Ok(VersionEntry { entry: entries.read(&Columns::of(row)?)?, is_latest, is_marker })
    };
    rows.iter().filter_map(|row| readable(read(row)).transpose()).collect()
}

impl Objects {
    pub async fn version_list(
        &self,
        bucket: BucketId,
        query: &VersionQuery,
    ) -> Result<Page<VersionEntry>, StoreError> {
        let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
        let mut runs = Runs {
            tx: self.0.reader.begin().await?,
            bucket,
            flat: FLAT,
            walk: WALK.as_str(),
            read,
            prefix: &query.prefix,
            delimiter,
            wanted: if query.limit == 0 { 0 } else { query.limit + 1 },
            items: Vec::new(),
        };
        if let (Some(key), Some(version)) = (&query.key_marker, query.version_marker)
            && key.starts_with(&query.prefix)
            && common_prefix(key, &query.prefix, delimiter).is_none()
        {
            rest_of_key(&mut runs, key, version).await?;
        }
        runs.fill(keys(&query.prefix, delimiter, query.key_marker.as_deref())).await?;
        let next = |shown: &VersionEntry| {
            let version = Some(shown.entry.version);
            Next { version, ..Next::key(&shown.entry.key) }
        };
        Ok(page(runs.items, query.limit, next))
    }
}

/// What is left of the key that the page before broke off in.
async fn rest_of_key(
    runs: &mut Runs<'_, VersionEntry>,
    key: &str,
    version: VersionId,
) -> Result<(), StoreError> {
    let seq = match version {
        VersionId::Seq(seq) => Some(seq as i64),
        VersionId::Null => {
            let sql = "SELECT seq FROM live WHERE bucket = ?1 AND key = ?2 AND flags & 1 \
                 UNION ALL SELECT seq FROM history WHERE bucket = ?1 AND key = ?2 AND flags & 1";
            let query = sqlx::query_scalar(sql).bind(runs.bucket.0).bind(key.as_bytes());
            query.fetch_optional(&mut *runs.tx).await?
        }
    };
    if let Some(seq) = seq {
        let query = sqlx::query(REST).bind(runs.bucket.0).bind(key.as_bytes()).bind(seq);
        let rows = query.bind(runs.wanted as i64).fetch_all(&mut *runs.tx).await?;
        runs.add(&rows)?;
    }
    Ok(())
}
