//! Finding one version: from memory when it is a current one that was read or written lately.

use super::error::StoreError;
use super::ids::{BucketId, VersionId};
use super::object::{Content, Object};
use super::read::{inline_of, leased};
use super::row::{FLAG_MARKER, Row, version_columns, version_of};
use super::{Inner, Objects};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use std::sync::Arc;

/// A version with the bytes that lie in a row.
macro_rules! with_bytes {
    ($table:literal, $tail:literal) => {
        concat!(
            "SELECT ",
            version_columns!($table),
            ", inline.crc, inline.bytes FROM ",
            $table,
            " LEFT JOIN inline ON inline.id = ",
            $table,
            ".seq ",
            $tail
        )
    };
}

const CURRENT: &str = with_bytes!("live", "WHERE live.bucket = ?1 AND live.key = ?2");
const CURRENT_OF_SEQ: &str =
    with_bytes!("live", "WHERE live.bucket = ?1 AND live.key = ?2 AND live.seq = ?3 AND NOT live.flags & 1");
const CURRENT_NULL: &str = with_bytes!("live", "WHERE live.bucket = ?1 AND live.key = ?2 AND live.flags & 1");
const OLD_OF_SEQ: &str = with_bytes!(
    "history",
    "WHERE history.bucket = ?1 AND history.key = ?2 AND history.seq = ?3 AND NOT history.flags & 1"
);
const OLD_NULL: &str =
    with_bytes!("history", "WHERE history.bucket = ?1 AND history.key = ?2 AND history.flags & 1");

impl Objects {
    /// The newest version of a key, or the one that is named (which may be a delete marker).
    pub async fn object_fetch(
        &self,
        bucket: BucketId,
        key: &str,
        version: Option<VersionId>,
    ) -> Result<Arc<Object>, StoreError> {
        let known = self.0.hot.get((bucket, key), |object| object.bucket == bucket && *object.key == *key);
        match (version, known) {
            (None, Some(known)) => Ok(known),
            (Some(version), Some(known)) if known.version == version => Ok(known),
            (None, None) => self.current(bucket, key).await,
            (Some(version), _) => self.version(bucket, key, version).await,
        }
    }

    async fn current(&self, bucket: BucketId, key: &str) -> Result<Arc<Object>, StoreError> {
        let ticket = self.0.hot.ticket((bucket, key));
        if let Some(object) = self.one(CURRENT, bucket, key, 0).await? {
            self.0.hot.put(ticket, object.clone(), object.weight());
            return Ok(object);
        }
        let newest = "SELECT flags, seq FROM history WHERE bucket = ? AND key = ? ORDER BY seq DESC LIMIT 1";
        let row = sqlx::query(newest).bind(bucket.0).bind(key.as_bytes());
        let row = row.fetch_optional(&self.0.reader).await?;
        let marker = row.map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?;
        let marker = marker.filter(|(flags, _)| flags & FLAG_MARKER != 0);
        Err(StoreError::NoSuchKey { marker: marker.map(|(flags, seq)| version_of(flags, seq)) })
    }

    async fn version(
        &self,
        bucket: BucketId,
        key: &str,
        version: VersionId,
    ) -> Result<Arc<Object>, StoreError> {
        // A version may move between the tables while we look: it is in one of them before and after.
        for _ in 0..2 {
            let (tables, seq) = match version {
                VersionId::Null => ([CURRENT_NULL, OLD_NULL], 0),
                VersionId::Seq(seq) => ([CURRENT_OF_SEQ, OLD_OF_SEQ], seq),
            };
            for sql in tables {
                if let Some(object) = self.one(sql, bucket, key, seq).await? {
                    return Ok(object);
                }
            }
        }
        Err(StoreError::NoSuchVersion)
    }

    async fn one(
        &self,
        sql: &'static str,
        bucket: BucketId,
        key: &str,
        seq: u64,
    ) -> Result<Option<Arc<Object>>, StoreError> {
        let fetch = self.0.leases.fetch();
        let query = sqlx::query(sql).bind(bucket.0).bind(key.as_bytes()).bind(seq as i64);
        let row = query.fetch_optional(&self.0.reader).await?;
        let object = row.map(|row| readable(&self.0, &row)).transpose();
        drop(fetch);
        object
    }
}

/// A version whose bytes can be read: those of a row are here, others are leased.
fn readable(inner: &Inner, row: &SqliteRow) -> Result<Arc<Object>, StoreError> {
    const INLINE: usize = super::row::COLUMNS;
    let found = Row::read(row, 0)?.object;
    let mut object = Arc::into_inner(found).ok_or(StoreError::Closed)?;
    let lease = leased(&object).map(|bytes| inner.leases.take(bytes));
    match &mut object.content {
        Content::Empty => {}
        Content::Inline(bytes) => {
            let stored: Option<&[u8]> = row.try_get(INLINE + 1)?;
            let crc: Option<i64> = row.try_get(INLINE)?;
            *bytes = crc.zip(stored).and_then(|(crc, stored)| inline_of(object.seq, crc, stored));
            if bytes.is_none() {
                let (bucket, key) = (object.bucket.0, &object.key);
                tracing::error!(bucket, %key, version = %object.version, "an object's bytes are damaged");
                inner.metrics.count("karri_walrus_damaged_rows_total", &[]);
                return Err(object.corrupt());
            }
        }
        Content::Blob(_, place) | Content::Manifest(place, _) => *place = lease,
    }
    Ok(Arc::new(object))
}
