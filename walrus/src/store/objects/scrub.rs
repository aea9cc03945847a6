//! Looks for rot before a reader meets it, a little at a time: every blob, every row's bytes, then blobs that
//! no row names. Where it is is remembered, so that a restart goes on from there.

use super::Objects;
use super::error::StoreError;
use super::lease::Bytes;
use super::meta::{ORPHANS_FROM, SCRUB_ENDED, SCRUB_PLACE, SCRUB_STAGE};
use super::read::inline_of;
use crate::store::keeper::BlobId;
use crate::store::keeper::read::{ReadError, verify};
use sqlx::Row as _;
use std::collections::HashSet;
use std::io;

const BLOBS_AT_ONCE: i64 = 16;
const ROWS_AT_ONCE: i64 = 64;
const LISTED_AT_ONCE: usize = 4096;

const STAGE_BLOBS: i64 = 0;
const STAGE_ROWS: i64 = 1;
const STAGE_ORPHANS: i64 = 2;

/// What a stretch of work has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scrubbed {
    pub bytes: u64,
    pub blobs: u64,
    pub rows: u64,
    pub damaged: u64,
    /// Blobs of interrupted writes, which were removed.
    pub orphans: u64,
    /// Everything has been looked at.
    pub ended: bool,
}

impl Objects {
    /// Goes on for about so many bytes.
    pub async fn scrub(&self, budget_bytes: u64) -> Result<Scrubbed, StoreError> {
        let (mut stage, mut place) =
            (self.meta_fetch(SCRUB_STAGE).await?, self.meta_fetch(SCRUB_PLACE).await?);
        let mut scrubbed = Scrubbed::default();
        while scrubbed.bytes < budget_bytes && !scrubbed.ended {
            let next = match stage {
                STAGE_BLOBS => self.scrub_blobs(place, &mut scrubbed).await?,
                STAGE_ROWS => self.scrub_rows(place, &mut scrubbed).await?,
                _ => {
                    scrubbed.orphans += self.remove_orphans(0).await?;
                    None
                }
            };
            (stage, place) = match next {
                Some(next) => (stage, next),
                None if stage == STAGE_ORPHANS => {
                    scrubbed.ended = true;
                    (STAGE_BLOBS, 0)
                }
                None => (stage + 1, 0),
            };
        }
        let mut values = vec![(SCRUB_STAGE, stage), (SCRUB_PLACE, place)];
        if scrubbed.ended {
            values.push((SCRUB_ENDED, (self.0.config.clock)()));
        }
        self.meta_put(&values).await?;
        Ok(scrubbed)
    }

    /// A few blobs behind `place`; where it came to.
    async fn scrub_blobs(&self, place: i64, scrubbed: &mut Scrubbed) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT id, bytes FROM blobs WHERE state = 0 AND id > ? ORDER BY id LIMIT ?";
        let rows = sqlx::query(sql).bind(place).bind(BLOBS_AT_ONCE).fetch_all(&self.0.reader).await?;
        let mut last = None;
        for row in rows {
            let (id, bytes): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let blob = BlobId(id as u64);
            let lease = self.0.leases.take(Bytes::Blob(blob.0));
            let found = verify(&*self.0.keeper, blob).await;
            drop(lease);
            scrubbed.blobs += 1;
            scrubbed.bytes += bytes as u64;
            last = Some(id);
            let cause = match found {
                Ok(found) if found == bytes as u64 => continue,
                Ok(found) => format!("has {found} bytes instead of {bytes}"),
                Err(ReadError::Io(error)) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::error!(%blob, %error, "a blob cannot be read");
                    continue;
                }
                Err(error) => error.to_string(),
            };
            if self.is_kept(id).await? {
                scrubbed.damaged += 1;
                let object = self.owner_of(blob).await?;
                tracing::error!(%blob, object, cause, "an object's bytes are damaged");
                self.0.damaged(blob).await;
            }
        }
        Ok(last)
    }

    async fn is_kept(&self, id: i64) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT 1 FROM blobs WHERE id = ? AND state = 0").bind(id);
        Ok(query.fetch_optional(&self.0.reader).await?.is_some())
    }

    /// Which version a blob belongs to, for a person to read. Looks at all of them.
    async fn owner_of(&self, blob: BlobId) -> Result<String, StoreError> {
        let sql = "SELECT bucket, key, seq FROM live WHERE blob = ?1 \
             UNION ALL SELECT bucket, key, seq FROM history WHERE blob = ?1 LIMIT 1";
        let row = sqlx::query(sql).bind(blob.0 as i64).fetch_optional(&self.0.reader).await?;
        let Some(row) = row else { return Ok("one that was uploaded in parts".to_owned()) };
        let (bucket, seq): (i64, i64) = (row.try_get(0)?, row.try_get(2)?);
        let key = String::from_utf8_lossy(row.try_get(1)?).into_owned();
        Ok(format!("{key} of bucket {bucket}, version {}", super::VersionId::Seq(seq as u64)))
    }

    async fn scrub_rows(&self, place: i64, scrubbed: &mut Scrubbed) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT id, crc, bytes FROM inline WHERE id > ? ORDER BY id LIMIT ?";
        let rows = sqlx::query(sql).bind(place).bind(ROWS_AT_ONCE).fetch_all(&self.0.reader).await?;
        let mut last = None;
        for row in rows {
            let (id, crc): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let bytes: &[u8] = row.try_get(2)?;
            scrubbed.rows += 1;
            scrubbed.bytes += bytes.len() as u64;
            last = Some(id);
            if inline_of(id as u64, crc, bytes).is_none() {
                scrubbed.damaged += 1;
                self.0.metrics.count("karri_walrus_damaged_rows_total", &[]);
                tracing::error!(row = id, "an object's bytes are damaged");
            }
        }
        Ok(last)
    }

    /// Removes the blobs that an earlier run left without a row.
    pub async fn remove_leftovers(&self) -> Result<u64, StoreError> {
        let from = self.meta_fetch(ORPHANS_FROM).await?;
        let removed = self.remove_orphans(from as u64).await?;
        self.meta_put(&[(ORPHANS_FROM, self.0.first_blob as i64)]).await?;
        Ok(removed)
    }

    /// From blob `from` up to the first one of this run, whose own have rows when they are finished.
    async fn remove_orphans(&self, from: u64) -> Result<u64, StoreError> {
        let (mut after, mut removed) = (from.checked_sub(1).map(BlobId), 0);
        loop {
            let mut listed = self.0.keeper.list(after, LISTED_AT_ONCE).await?;
            listed.retain(|id| id.0 < self.0.first_blob);
            let (Some(first), Some(last)) = (listed.first(), listed.last().copied()) else {
                return Ok(removed);
            };
            let query = sqlx::query_scalar("SELECT id FROM blobs WHERE id BETWEEN ? AND ?");
            let known: Vec<i64> =
                query.bind(first.0 as i64).bind(last.0 as i64).fetch_all(&self.0.reader).await?;
            let known: HashSet<i64> = known.into_iter().collect();
            for id in listed.into_iter().filter(|id| !known.contains(&(id.0 as i64))) {
                tracing::info!(blob = %id, "a blob of an interrupted write is removed");
                self.0.keeper.remove(id).await?;
                removed += 1;
            }
            after = Some(last);
        }
    }
}
