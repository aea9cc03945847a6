//! Rows that do not verify: what they say is not to be relied on, so nothing is done by it. They go when
//! somebody overwrites the key or deletes that version, and the loss is told. A file that only such a row named
//! stays, as nobody can say that it was that one; a check names it.

use super::super::error::StoreError;
use super::super::row::{FLAG_NULL, Row};
use super::super::{BucketId, VersionId};
use super::batch::{Batch, Key};
use super::delete::NEWEST_OTHER_VERSION;

/// What a row of `live` that does not verify says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    pub seq: i64,
    pub flags: i64,
}

impl Lost {
    /// Whether it is the one that a request names.
    pub fn is(self, version: VersionId) -> bool {
        super::super::row::version_of(self.flags, self.seq) == version
    }
}

impl Batch<'_> {
    /// The current version's row goes.
    pub async fn lose_live(&mut self, key: &Key) -> Result<(), StoreError> {
        self.flush().await?;
        let sql = "DELETE FROM live WHERE bucket = ? AND key = ?";
        let query = sqlx::query(sql).bind(key.0.0).bind(key.1.as_bytes());
        query.execute(&mut *self.connection).await?;
        self.found_lost(key);
        self.lost(key).await
    }

    /// An older version's row goes.
    pub async fn lose_version(&mut self, key: &Key, version: VersionId) -> Result<(), StoreError> {
        self.flush().await?;
        let (flag, seq) = match version {
            VersionId::Null => (FLAG_NULL, None),
            VersionId::Seq(seq) => (0, Some(seq as i64)),
        };
        let sql =
            "DELETE FROM history WHERE bucket = ? AND key = ? AND flags & 1 = ? AND seq = coalesce(?, seq)";
        let query = sqlx::query(sql).bind(key.0.0).bind(key.1.as_bytes()).bind(flag).bind(seq);
        query.execute(&mut *self.connection).await?;
        self.lost(key).await
    }

    /// The newest version in `history` but `seq`. Those that cannot be read go on the way.
    pub async fn newest_other(&mut self, key: &Key, seq: u64) -> Result<Option<Row>, StoreError> {
        loop {
            match self.history(NEWEST_OTHER_VERSION, key, seq).await {
                Err(StoreError::Corrupt(_)) => {}
                found => return found,
            }
            let sql = "DELETE FROM history WHERE bucket = ?1 AND key = ?2 AND seq = \
                 (SELECT max(seq) FROM history WHERE bucket = ?1 AND key = ?2 AND seq <> ?3)";
            let query = sqlx::query(sql).bind(key.0.0).bind(key.1.as_bytes()).bind(seq as i64);
            query.execute(&mut *self.connection).await?;
            self.lost(key).await?;
        }
    }

    /// Tells it, and counts what is left: how large it was cannot be said.
    async fn lost(&mut self, key: &Key) -> Result<(), StoreError> {
        let (bucket, key) = (key.0.0, &key.1);
        tracing::error!(bucket, %key, "a version whose row does not verify is gone, as it was to be");
        self.shared.metrics.count("karri_walrus_damaged_rows_total", &[]);
        self.count_anew(BucketId(bucket)).await
    }

    async fn count_anew(&mut self, bucket: BucketId) -> Result<(), StoreError> {
        let sql = "UPDATE buckets SET (versions, bytes) = (SELECT count(*), coalesce(sum(size), 0) FROM \
             (SELECT size FROM live WHERE bucket = ?1 \
              UNION ALL SELECT size FROM history WHERE bucket = ?1 AND NOT flags & 2)) WHERE id = ?1";
        sqlx::query(sql).bind(bucket.0).execute(&mut *self.connection).await?;
        Ok(())
    }
}
