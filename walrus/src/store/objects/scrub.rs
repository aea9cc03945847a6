//! Looks for rot before a reader meets it, a little at a time: every blob, every row and its bytes, then blobs
//! that no row names. Where it is is remembered, so that a restart goes on from there. A blob that did not
//! verify is looked at again: its disk may have been away.

use super::Objects;
use super::error::StoreError;
use super::lease::Bytes;
use super::manifest::Manifest;
use super::meta::{ORPHANS_FROM, SCRUB_ENDED, SCRUB_PLACE, SCRUB_STAGE};
use super::read::inline_of;
use super::row::{Row, version_columns};
use crate::store::keeper::pace::Pace;
use crate::store::keeper::read::{ReadError, verify};
use crate::store::keeper::{BlobId, is_away};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::HashSet;
use std::io;
use std::sync::PoisonError;

const DAMAGED_AT_ONCE: i64 = 1000;
const ROWS_AT_ONCE: i64 = 64;
const MANIFESTS_AT_ONCE: i64 = 4;
/// About what a version's row takes, without its key.
const ROW_BYTES: usize = 200;
const LISTED_AT_ONCE: usize = 4096;

const STAGE_BLOBS: i64 = 0;
const STAGE_INLINE: i64 = 1;
const STAGE_LIVE: i64 = 2;
const STAGE_HISTORY: i64 = 3;
const STAGE_MANIFESTS: i64 = 4;
const STAGE_ORPHANS: i64 = 5;

/// A version's key in its table.
pub(super) type RowPlace = (i64, Vec<u8>, i64);

#[derive(Debug, Clone, Copy)]
enum Table {
    Live,
    History,
}

impl Table {
    /// Rows behind bucket ?1, key ?2 and, of that key's versions, ?3.
    fn rows(self) -> &'static str {
        match self {
            Table::Live => concat!(
                "SELECT ",
                version_columns!("live"),
                " FROM live WHERE (bucket, key) > (?1, ?2) AND ?3 = ?3 ORDER BY bucket, key LIMIT ?4"
            ),
            Table::History => concat!(
                "SELECT ",
                version_columns!("history"),
                " FROM history WHERE (bucket, key) >= (?1, ?2) AND ((bucket, key) > (?1, ?2) OR seq < ?3) \
                 ORDER BY bucket, key, seq DESC LIMIT ?4"
            ),
        }
    }
}

/// A blob's row.
struct KnownBlob {
    id: BlobId,
    bytes: u64,
    damaged: bool,
}

impl KnownBlob {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let (id, bytes, state): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(Self { id: BlobId(id as u64), bytes: bytes as u64, damaged: state == 2 })
    }
}

/// The version that a row's bucket, key and seq name.
fn named(row: &SqliteRow) -> Result<String, StoreError> {
    let (bucket, seq): (i64, i64) = (row.try_get(0)?, row.try_get(2)?);
    let key = String::from_utf8_lossy(row.try_get(1)?).into_owned();
    Ok(format!("{key} of bucket {bucket}, version {}", super::VersionId::Seq(seq as u64)))
}

impl Scrubbed {
    async fn looked_at(&mut self, bytes: usize, pace: &mut Pace) {
        self.rows += 1;
        self.bytes += bytes as u64;
        pace.spent(bytes as u64).await;
    }
}

/// What a stretch of work has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scrubbed {
    pub bytes: u64,
    pub blobs: u64,
    pub rows: u64,
    pub damaged: u64,
    /// Blobs that did not verify once, and do.
    pub sound_again: u64,
    /// Blobs of interrupted writes, which were removed.
    pub orphans: u64,
    /// Everything has been looked at.
    pub ended: bool,
}

impl Objects {
    /// Goes on for about so many bytes.
    pub async fn scrub(&self, budget_bytes: u64, pace: &mut Pace) -> Result<Scrubbed, StoreError> {
        let (mut stage, mut place) =
            (self.meta_fetch(SCRUB_STAGE).await?, self.meta_fetch(SCRUB_PLACE).await?);
        let mut scrubbed = Scrubbed::default();
        while scrubbed.bytes < budget_bytes && !scrubbed.ended {
            let next = match stage {
                STAGE_BLOBS => self.scrub_blob(place, &mut scrubbed, pace).await?,
                STAGE_INLINE => self.scrub_inline(place, &mut scrubbed, pace).await?,
                STAGE_LIVE => self.scrub_rows(Table::Live, place, &mut scrubbed, pace).await?,
                STAGE_HISTORY => self.scrub_rows(Table::History, place, &mut scrubbed, pace).await?,
                STAGE_MANIFESTS => self.scrub_manifests(place, &mut scrubbed, pace).await?,
                _ => {
                    scrubbed.orphans += self.remove_orphans(0).await?;
                    None
                }
            };
            (stage, place) = match next {
                Some(next) => (stage, next),
                None if stage >= STAGE_ORPHANS => {
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

    /// The blob behind `place`; where it came to.
    async fn scrub_blob(
        &self,
        place: i64,
        scrubbed: &mut Scrubbed,
        pace: &mut Pace,
    ) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT id, bytes, state FROM blobs WHERE state <> 1 AND id > ? ORDER BY id LIMIT 1";
        let row = sqlx::query(sql).bind(place).fetch_optional(&self.0.reader).await?;
        let Some(row) = row else { return Ok(None) };
        let known = KnownBlob::read(&row)?;
        self.verify_blob(&known, scrubbed, pace).await?;
        Ok(Some(known.id.0 as i64))
    }

    /// Looks again at blobs that did not verify.
    pub async fn recheck_damaged(&self, pace: &mut Pace) -> Result<Scrubbed, StoreError> {
        let sql = "SELECT id, bytes, state FROM blobs WHERE state = 2 ORDER BY id LIMIT ?";
        let rows = sqlx::query(sql).bind(DAMAGED_AT_ONCE).fetch_all(&self.0.reader).await?;
        let mut scrubbed = Scrubbed::default();
        for row in rows {
            self.verify_blob(&KnownBlob::read(&row)?, &mut scrubbed, pace).await?;
        }
        Ok(scrubbed)
    }

    async fn verify_blob(
        &self,
        known: &KnownBlob,
        scrubbed: &mut Scrubbed,
        pace: &mut Pace,
    ) -> Result<(), StoreError> {
        let blob = known.id;
        let lease = self.0.leases.take(Bytes::Blob(blob.0));
        let found = verify(&*self.0.keeper, blob, pace).await;
        drop(lease);
        scrubbed.blobs += 1;
        scrubbed.bytes += known.bytes;
        let cause = match found {
            Ok(found) if found == known.bytes => {
                if known.damaged && self.0.sound(blob).await {
                    scrubbed.sound_again += 1;
                }
                return Ok(());
            }
            Ok(found) => format!("has {found} bytes instead of {}", known.bytes),
            Err(ReadError::Io(error)) if is_away(&error) => return Err(error.into()),
            Err(ReadError::Io(error)) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(%blob, %error, "a blob cannot be read");
                return Ok(());
            }
            Err(error) => error.to_string(),
        };
        if !known.damaged && self.is_kept(blob.0 as i64).await? {
            scrubbed.damaged += 1;
            let object = self.owner_of("blob", blob.0).await?;
            tracing::error!(%blob, object, cause, "an object's bytes are damaged");
            self.0.damaged(blob).await;
        }
        Ok(())
    }

    async fn is_kept(&self, id: i64) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT 1 FROM blobs WHERE id = ? AND state = 0").bind(id);
        Ok(query.fetch_optional(&self.0.reader).await?.is_some())
    }

    /// Which version has `number` in that column, for a person to read. Looks at all of them.
    async fn owner_of(&self, column: &'static str, number: u64) -> Result<String, StoreError> {
        let sql = format!(
            "SELECT bucket, key, seq FROM live WHERE {column} = ?1 \
             UNION ALL SELECT bucket, key, seq FROM history WHERE {column} = ?1 LIMIT 1"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(number as i64);
        let Some(row) = query.fetch_optional(&self.0.reader).await? else {
            return Ok("one that was uploaded in parts".to_owned());
        };
        named(&row)
    }

    async fn damaged_row(&self, object: String, what: &'static str, scrubbed: &mut Scrubbed) {
        scrubbed.damaged += 1;
        self.0.metrics.count("karri_walrus_damaged_rows_total", &[]);
        tracing::error!(object, what, "an object is damaged in the database");
    }

    async fn scrub_inline(
        &self,
        place: i64,
        scrubbed: &mut Scrubbed,
        pace: &mut Pace,
    ) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT id, crc, bytes FROM inline WHERE id > ? ORDER BY id LIMIT ?";
        let rows = sqlx::query(sql).bind(place).bind(ROWS_AT_ONCE).fetch_all(&self.0.reader).await?;
        let mut last = None;
        for row in rows {
            let (id, crc): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let bytes: &[u8] = row.try_get(2)?;
            last = Some(id);
            if inline_of(id as u64, crc, bytes).is_none() {
                let object = self.owner_of("seq", id as u64).await?;
                self.damaged_row(object, "its bytes", scrubbed).await;
            }
            scrubbed.looked_at(bytes.len(), pace).await;
        }
        Ok(last)
    }

    async fn scrub_manifests(
        &self,
        place: i64,
        scrubbed: &mut Scrubbed,
        pace: &mut Pace,
    ) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT id, body FROM manifests WHERE state = 0 AND id > ? ORDER BY id LIMIT ?";
        let rows = sqlx::query(sql).bind(place).bind(MANIFESTS_AT_ONCE).fetch_all(&self.0.reader).await?;
        let mut last = None;
        for row in rows {
            let id: i64 = row.try_get(0)?;
            let body: &[u8] = row.try_get(1)?;
            last = Some(id);
            if Manifest::decode(body).is_none() {
                let object = self.owner_of("seq", id as u64).await?;
                self.damaged_row(object, "which parts it has", scrubbed).await;
            }
            scrubbed.looked_at(body.len(), pace).await;
        }
        Ok(last)
    }

    /// A few rows of a bucket behind `place`, or of the next one. Within a bucket the place is in memory only.
    async fn scrub_rows(
        &self,
        table: Table,
        place: i64,
        scrubbed: &mut Scrubbed,
        pace: &mut Pace,
    ) -> Result<Option<i64>, StoreError> {
        let within = self.0.scrub_row.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (bucket, key, seq) =
            within.filter(|(bucket, ..)| *bucket == place).unwrap_or((place, Vec::new(), 0));
        let query = sqlx::query(table.rows()).bind(bucket).bind(&key).bind(seq).bind(ROWS_AT_ONCE);
        let mut last = None;
        for row in query.fetch_all(&self.0.reader).await? {
            let (bucket, key, seq): (i64, &[u8], i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            last = Some((bucket, key.to_vec(), seq));
            if Row::read(&row, 0).is_err() {
                self.damaged_row(named(&row)?, "its row", scrubbed).await;
            }
            scrubbed.looked_at(ROW_BYTES + key.len(), pace).await;
        }
        let place = last.as_ref().map(|(bucket, ..)| *bucket);
        *self.0.scrub_row.lock().unwrap_or_else(PoisonError::into_inner) = last;
        Ok(place)
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
