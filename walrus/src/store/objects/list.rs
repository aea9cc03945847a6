//! Listing the current objects of a bucket.

use super::Objects;
use super::error::StoreError;
use super::facts::{ChecksumAlgorithm, ChecksumType, UnixMs};
use super::ids::{BucketId, ETag, VersionId};
use super::page::{Item, Next, Page, common_prefix, keys, page, walk};
use super::row::{checksum_of, key_of, version_of};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use std::sync::{Arc, LazyLock};

#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    pub prefix: String,
    pub delimiter: Option<String>,
    /// Only keys and common prefixes behind it are answered. One that lies below a common prefix is
    /// behind that prefix.
    pub after: Option<String>,
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    pub key: Arc<str>,
    pub version: VersionId,
    pub modified: UnixMs,
    pub size: u64,
    pub etag: ETag,
    pub owner: Arc<str>,
    /// None is STANDARD.
    pub storage_class: Option<String>,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

/// One that cannot be read is told and left out: the others are not less there for it.
pub(super) fn readable<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(StoreError::Corrupt(what)) => {
            tracing::error!(what, "left out of a list, as it does not verify");
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// Rows that are read beyond those that are wanted, in place of those that are left out.
#[derive(Debug, Default)]
pub(super) struct Spare(usize);

impl Spare {
    pub fn rows(&self, wanted: usize) -> i64 {
        (wanted + self.0) as i64
    }

    /// Whether what was read is enough although so many were left out; if not, more is to be read.
    pub fn is_enough(&mut self, left_out: usize) -> bool {
        let enough = left_out <= self.0;
        self.0 = 2 * left_out;
        enough
    }
}

/// The columns of an entry, as [`Entries::read`] wants them.
macro_rules! entry_columns {
    () => {
        "key, seq, flags, modified, size, etag, owner, class"
    };
}
pub(super) use entry_columns;

/// Reads entries; those that follow each other share their owner.
#[derive(Debug, Default)]
pub(super) struct Entries {
    owner: Option<Arc<str>>,
}

impl Entries {
    pub fn read(&mut self, row: &SqliteRow) -> Result<ListEntry, StoreError> {
        let owner: &str = row.try_get(6)?;
        let owner = match &self.owner {
            Some(known) if **known == *owner => known.clone(),
            _ => self.owner.insert(owner.into()).clone(),
        };
        let key = key_of(row.try_get(0)?)?;
        let (seq, flags): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        let etag = ETag::from_row(row.try_get(5)?);
        Ok(ListEntry {
            version: version_of(flags, seq),
            modified: row.try_get(3)?,
            size: row.try_get::<i64, _>(4)? as u64,
            etag: etag.ok_or_else(|| StoreError::Corrupt(format!("the row of {key}")))?,
            owner,
            storage_class: row.try_get(7)?,
            checksum: checksum_of(flags),
            key,
        })
    }
}

const FLAT: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM live WHERE bucket = ?1 AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4"
);

static ROLLED_UP: LazyLock<String> = LazyLock::new(|| {
    let least = "SELECT key FROM live WHERE bucket = ?1 AND key {from} AND key < ?3 ORDER BY key LIMIT 1";
    let tail = "SELECT k, seq, flags, modified, size, etag, owner, class FROM walk LEFT JOIN live \
         ON instr(substr(k, ?4 + 1), ?5) = 0 AND bucket = ?1 AND key = k WHERE k IS NOT NULL";
    walk(least, tail)
});

impl Objects {
    pub async fn object_list(
        &self,
        bucket: BucketId,
        query: &ListQuery,
    ) -> Result<Page<ListEntry>, StoreError> {
        let ListQuery { prefix, after, limit, .. } = query;
        let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
        let range = keys(prefix, delimiter, after.as_deref());
        let wanted = if *limit == 0 { 0 } else { *limit + 1 };
        let mut spare = Spare::default();
        loop {
            let (start, end, most) = (&range.start[..], &range.end[..], spare.rows(wanted));
            let rows = match delimiter {
                None => sqlx::query(FLAT).bind(bucket.0).bind(start).bind(end).bind(most),
                Some(delimiter) => sqlx::query(ROLLED_UP.as_str())
                    .bind(bucket.0)
                    .bind(start)
                    .bind(end)
                    .bind(prefix.len() as i64)
                    .bind(delimiter.as_bytes())
                    .bind(most),
            };
            let rows = rows.fetch_all(&self.0.reader).await?;
            let mut entries = Entries::default();
            let mut items = Vec::with_capacity(rows.len());
            for row in &rows {
                let key = std::str::from_utf8(row.try_get(0)?).unwrap_or_default();
                match common_prefix(key, prefix, delimiter) {
                    Some(prefix) => items.push(Item::Prefix(prefix.to_owned())),
                    None => items.extend(readable(entries.read(row))?.map(Item::Entry)),
                }
            }
            if spare.is_enough(rows.len() - items.len()) {
                items.truncate(wanted);
                return Ok(page(items, *limit, |entry| Next::key(&entry.key)));
            }
        }
    }
}
