//! Uploads in parts: what is under way. Completing is in `assemble.rs`, writing in `writer/upload.rs`.

use super::Objects;
use super::bytes::Stored;
use super::error::StoreError;
use super::facts::{Checksum, Facts, UnixMs, encode_checksums};
use super::ids::{BucketId, ETag, UploadId};
use super::list::readable;
use super::page::{Next, Page, common_prefix, keys, page, walk};
use super::row::{key_of, seal_of};
use super::runs::Runs;
use super::writer::upload::{PartWrite, UploadAbort, UploadCreate};
use crate::store::keeper::seal::Seal;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use std::sync::{Arc, LazyLock};

#[derive(Debug, Clone)]
pub struct NewUpload {
    pub bucket: BucketId,
    pub key: Arc<str>,
    /// Of the object to be.
    pub owner: Arc<str>,
    pub initiator: Arc<str>,
    /// How the parts are to be written.
    pub seal: Seal,
    /// Of the object to be.
    pub facts: Facts,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    pub id: UploadId,
    pub bucket: BucketId,
    pub key: Arc<str>,
    pub initiated: UnixMs,
    pub owner: Arc<str>,
    pub initiator: Arc<str>,
    pub seal: Seal,
    pub facts: Facts,
}

pub struct PartPut {
    pub bucket: BucketId,
    pub key: Arc<str>,
    pub upload: UploadId,
    /// From 1.
    pub number: u16,
    pub etag: ETag,
    pub content: Stored,
    pub checksums: Vec<Checksum>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub number: u16,
    pub modified: UnixMs,
    pub size: u64,
    pub etag: ETag,
    pub checksums: Vec<Checksum>,
}

#[derive(Debug, Clone, Default)]
pub struct UploadQuery {
    pub prefix: String,
    pub delimiter: Option<String>,
    /// Only what comes behind all uploads of this key, or behind the upload below.
    pub key_marker: Option<String>,
    pub upload_marker: Option<UploadId>,
    pub limit: usize,
}

macro_rules! uploads {
    ($where:literal) => {
        concat!(
            "SELECT bucket, key, seq, initiated, owner, initiator, flags, class, facts FROM uploads WHERE ",
            $where
        )
    };
}

const ONE: &str = uploads!("bucket = ? AND key = ? AND seq = ?");
const FLAT: &str = uploads!("bucket = ?1 AND key >= ?2 AND key < ?3 ORDER BY key, seq LIMIT ?4");
const REST: &str = uploads!("bucket = ?1 AND key = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4");
const OLD: &str = uploads!(
    "bucket = ?1 AND key >= ?2 AND key < ?3 AND (key > ?2 OR seq > ?5) AND initiated < ?6 \
     ORDER BY key, seq LIMIT ?4"
);

static WALK: LazyLock<String> = LazyLock::new(|| {
    let least = "SELECT key FROM uploads WHERE bucket = ?1 AND key {from} AND key < ?3 ORDER BY key LIMIT 1";
    walk(least, "SELECT k FROM walk WHERE k IS NOT NULL")
});

fn read_all(rows: &[SqliteRow]) -> Result<Vec<Upload>, StoreError> {
    rows.iter().filter_map(|row| readable(read(row)).transpose()).collect()
}

fn read(row: &SqliteRow) -> Result<Upload, StoreError> {
    let key = key_of(row.try_get(1)?)?;
    let facts = Facts::decode(row.try_get(8)?);
    let mut facts = facts.ok_or_else(|| StoreError::Corrupt(format!("an upload of {key}")))?;
    facts.storage_class = row.try_get(7)?;
    Ok(Upload {
        id: UploadId(row.try_get::<i64, _>(2)? as u64),
        bucket: BucketId(row.try_get(0)?),
        key,
        initiated: row.try_get(3)?,
        owner: row.try_get::<&str, _>(4)?.into(),
        initiator: row.try_get::<&str, _>(5)?.into(),
        seal: seal_of(row.try_get(6)?),
        facts,
    })
}

/// The columns of a part, as [`PartRow::read`] wants them.
macro_rules! part_rows {
    ($tail:literal) => {
        concat!("SELECT number, seq, flags, modified, size, etag, blob, facts FROM parts WHERE ", $tail)
    };
}

/// A part, and where its bytes lie.
#[derive(Debug, Clone)]
pub(super) struct PartRow {
    pub part: Part,
    pub seq: u64,
    pub flags: i64,
    pub blob: i64,
}

impl PartRow {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("the row of a part".to_owned());
        let part = Part {
            number: row.try_get(0)?,
            modified: row.try_get(3)?,
            size: row.try_get::<i64, _>(4)? as u64,
            etag: ETag::from_row(row.try_get(5)?).ok_or_else(corrupt)?,
            checksums: Facts::decode(row.try_get(7)?).ok_or_else(corrupt)?.checksums,
        };
        let seq = row.try_get::<i64, _>(1)? as u64;
        Ok(Self { part, seq, flags: row.try_get(2)?, blob: row.try_get(6)? })
    }
}

impl Objects {
    pub async fn upload_create(&self, new: NewUpload) -> Result<Upload, StoreError> {
        self.write(UploadCreate(new)).await
    }

    pub async fn upload_fetch(
        &self,
        bucket: BucketId,
        key: &str,
        id: UploadId,
    ) -> Result<Upload, StoreError> {
        let row = sqlx::query(ONE).bind(bucket.0).bind(key.as_bytes()).bind(id.0 as i64);
        let row = row.fetch_optional(&self.0.reader).await?;
        read(&row.ok_or(StoreError::NoSuchUpload)?)
    }

    /// Takes the place of a part of the same number.
    pub async fn part_put(&self, put: PartPut) -> Result<Part, StoreError> {
        let facts = encode_checksums(&put.checksums);
        self.write(PartWrite { put, facts }).await
    }

    /// Behind the part `after`, and whether there are more.
    pub async fn part_list(
        &self,
        upload: &Upload,
        after: u16,
        limit: usize,
    ) -> Result<(Vec<Part>, bool), StoreError> {
        const PAGE: &str = part_rows!("upload = ? AND number > ? ORDER BY number LIMIT ?");
        let rows = sqlx::query(PAGE).bind(upload.id.0 as i64).bind(after).bind(limit as i64 + 1);
        let rows = rows.fetch_all(&self.0.reader).await?;
        let parts = rows.iter().take(limit).map(|row| Ok(PartRow::read(row)?.part));
        Ok((parts.collect::<Result<_, StoreError>>()?, rows.len() > limit))
    }

    /// An upload with all its parts, as they were at one instant.
    pub(super) async fn upload_with_parts(
        &self,
        bucket: BucketId,
        key: &str,
        id: UploadId,
    ) -> Result<(Upload, Vec<PartRow>), StoreError> {
        const ALL: &str = part_rows!("upload = ? ORDER BY number");
        let mut tx = self.0.reader.begin().await?;
        let row = sqlx::query(ONE).bind(bucket.0).bind(key.as_bytes()).bind(id.0 as i64);
        let row = row.fetch_optional(&mut *tx).await?.ok_or(StoreError::NoSuchUpload)?;
        let parts = sqlx::query(ALL).bind(id.0 as i64).fetch_all(&mut *tx).await?;
        Ok((read(&row)?, parts.iter().map(PartRow::read).collect::<Result<_, _>>()?))
    }

    pub async fn upload_list(
        &self,
        bucket: BucketId,
        query: &UploadQuery,
    ) -> Result<Page<Upload>, StoreError> {
        let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
        let mut runs = Runs {
            tx: self.0.reader.begin().await?,
            bucket,
            flat: FLAT,
            walk: WALK.as_str(),
            read: read_all,
            prefix: &query.prefix,
            delimiter,
            wanted: if query.limit == 0 { 0 } else { query.limit + 1 },
            items: Vec::new(),
        };
        if let (Some(key), Some(upload)) = (&query.key_marker, query.upload_marker)
            && key.starts_with(&query.prefix)
            && common_prefix(key, &query.prefix, delimiter).is_none()
        {
            let rest = sqlx::query(REST).bind(bucket.0).bind(key.as_bytes()).bind(upload.0 as i64);
            let rows = rest.bind(runs.wanted as i64).fetch_all(&mut *runs.tx).await?;
            runs.add(&rows)?;
        }
        runs.fill(keys(&query.prefix, delimiter, query.key_marker.as_deref())).await?;
        let next = |upload: &Upload| Next { upload: Some(upload.id), ..Next::key(&upload.key) };
        Ok(page(runs.items, query.limit, next))
    }

    /// Uploads that were begun before `before`, behind `after`.
    pub async fn upload_scan(
        &self,
        bucket: BucketId,
        prefix: &str,
        before: UnixMs,
        after: Option<&Upload>,
        limit: usize,
    ) -> Result<Vec<Upload>, StoreError> {
        let range = keys(prefix, None, None);
        let (from, seq) = match after {
            Some(after) => (after.key.as_bytes().to_vec(), after.id.0 as i64),
            None => (range.start, 0),
        };
        let query = sqlx::query(OLD).bind(bucket.0).bind(from).bind(range.end).bind(limit as i64);
        read_all(&query.bind(seq).bind(before).fetch_all(&self.0.reader).await?)
    }

    pub async fn upload_abort(&self, bucket: BucketId, key: &str, id: UploadId) -> Result<(), StoreError> {
        self.write(UploadAbort { key: (bucket, key.into()), id }).await
    }
}
