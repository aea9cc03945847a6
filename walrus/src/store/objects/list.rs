//! Listing the current objects of a bucket.

use super::Objects;
use super::error::StoreError;
use super::facts::{ChecksumAlgorithm, ChecksumType, UnixMs};
use super::ids::{BucketId, ETag, VersionId};
use super::page::{Item, Next, Page, common_prefix, keys, page, walk};
use super::row::{checksum_of, key_of, version_of};
use rusqlite::Connection;
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

/// Those columns of a row.
pub(super) struct Columns<'r> {
    pub key: &'r [u8],
    pub seq: i64,
    pub flags: i64,
    pub modified: UnixMs,
    pub size: i64,
    pub etag: &'r [u8],
    pub owner: &'r str,
    pub class: Option<&'r str>,
}

impl<'r> Columns<'r> {
    pub fn of(row: &'r SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            key: row.try_get(0)?,
            seq: row.try_get(1)?,
            flags: row.try_get(2)?,
            modified: row.try_get(3)?,
            size: row.try_get(4)?,
            etag: row.try_get(5)?,
            owner: row.try_get(6)?,
            class: row.try_get(7)?,
        })
    }

    fn in_place(row: &'r rusqlite::Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            key: row.get_ref(0)?.as_blob()?,
            seq: row.get_ref(1)?.as_i64()?,
            flags: row.get_ref(2)?.as_i64()?,
            modified: row.get_ref(3)?.as_i64()?,
            size: row.get_ref(4)?.as_i64()?,
            etag: row.get_ref(5)?.as_blob()?,
            owner: row.get_ref(6)?.as_str()?,
            class: row.get_ref(7)?.as_str_or_null()?,
        })
    }
}

/// Reads entries; those that follow each other share their owner.
#[derive(Debug, Default)]
pub(super) struct Entries {
    owner: Option<Arc<str>>,
}

impl Entries {
    pub fn read(&mut self, row: &Columns<'_>) -> Result<ListEntry, StoreError> {
        let owner = match &self.owner {
            Some(known) if **known == *row.owner => known.clone(),
            _ => self.owner.insert(row.owner.into()).clone(),
        };
        let key = key_of(row.key)?;
        let etag = ETag::from_row(row.etag);
        Ok(ListEntry {
            version: version_of(row.flags, row.seq),
            modified: row.modified,
            size: row.size as u64,
            etag: etag.ok_or_else(|| StoreError::Corrupt(format!("the row of {key}")))?,
            owner,
            storage_class: row.class.map(str::to_owned),
            checksum: checksum_of(row.flags),
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
        let query = query.clone();
        self.0.lister.run(move |connection| read(connection, bucket, &query)).await
    }
}

fn read(connection: &Connection, bucket: BucketId, query: &ListQuery) -> Result<Page<ListEntry>, StoreError> {
    let ListQuery { prefix, after, limit, .. } = query;
    let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    let range = keys(prefix, delimiter, after.as_deref());
    let wanted = if *limit == 0 { 0 } else { *limit + 1 };
    let mut statement = connection.prepare_cached(if delimiter.is_none() { FLAT } else { &ROLLED_UP })?;
    let mut spare = Spare::default();
    loop {
        let (start, end, most) = (&range.start[..], &range.end[..], spare.rows(wanted));
        let mut rows = match delimiter {
            None => statement.query((bucket.0, start, end, most))?,
            Some(delimiter) => {
                let (from, delimiter) = (prefix.len() as i64, delimiter.as_bytes());
                statement.query((bucket.0, start, end, from, delimiter, most))?
            }
        };
        let (mut entries, mut items, mut count) = (Entries::default(), Vec::with_capacity(wanted), 0);
        while let Some(row) = rows.next()? {
            count += 1;
            let key = std::str::from_utf8(row.get_ref(0)?.as_blob()?).unwrap_or_default();
            match common_prefix(key, prefix, delimiter) {
                Some(prefix) => items.push(Item::Prefix(prefix.to_owned())),
                None => {
                    let entry = Columns::in_place(row).and_then(|row| entries.read(&row));
                    items.extend(readable(entry)?.map(Item::Entry));
                }
            }
        }
        if spare.is_enough(count - items.len()) {
            items.truncate(wanted);
            return Ok(page(items, *limit, |entry| Next::key(&entry.key)));
        }
    }
}
