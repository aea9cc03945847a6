//! Gives back the space of what is gone: blobs and manifests that no row names, when no reader holds them;
//! answers that nobody asks for again; pages of the database.
//!
//! Removing a blob is its file first and its row afterwards: a crash between the two is done over.

use super::error::StoreError;
use super::lease::Bytes;
use super::manifest::Manifest;
use super::writer::Work;
use super::writer::batch::Batch;
use super::writer::changes::BlobChange;
use super::writer::statements::ids_of;
use super::{Objects, lease};
use crate::store::keeper::{BlobId, is_away};
use futures_util::stream::{self, StreamExt};
use sqlx::Row as _;
use std::time::Duration;

const MANIFESTS_AT_ONCE: i64 = 16;
const BLOBS_AT_ONCE: i64 = 256;
const REMOVALS_AT_ONCE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);
/// A client that asks again for what became of its upload does so within a day.
const COMPLETED_KEPT_MS: i64 = 24 * 3600 * 1000;
const COMPLETED_AT_ONCE: i64 = 1000;
/// Free pages that the database may keep for what comes (64 MiB).
const FREE_PAGES_KEPT: i64 = 16_384;
const FREED_PAGES_AT_ONCE: i64 = 2048;

/// What a round has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub blobs: usize,
    pub manifests: usize,
    /// Still read by somebody.
    pub held: usize,
}

impl Objects {
    /// One round; there may be more to do when it has done anything.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let _turn = self.0.sweeping.lock().await; // a backup keeps it while it copies
        let mut swept = Swept::default();
        self.sweep_manifests(&mut swept).await?;
        self.sweep_blobs(&mut swept).await?;
        let before = (self.0.config.clock)() - COMPLETED_KEPT_MS;
        self.write(Tidy { before }).await?;
        Ok(swept)
    }

    async fn sweep_manifests(&self, swept: &mut Swept) -> Result<(), StoreError> {
        let mut after = i64::MIN;
        loop {
            let sql = "SELECT id, body FROM manifests WHERE state = 1 AND id > ? ORDER BY id LIMIT ?";
            let rows = sqlx::query(sql).bind(after).bind(MANIFESTS_AT_ONCE).fetch_all(&self.0.reader).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.try_get(0)?;
            if !self.0.leases.fetches_ended(PATIENCE).await {
                return Ok(());
            }
            for row in rows {
                self.sweep_manifest(row.try_get::<i64, _>(0)? as u64, row.try_get(1)?, swept).await?;
            }
        }
    }

    async fn sweep_manifest(&self, id: u64, body: &[u8], swept: &mut Swept) -> Result<(), StoreError> {
        if self.0.leases.is_held(Bytes::Manifest(id)) {
            swept.held += 1;
            return Ok(());
        }
        let Some(manifest) = Manifest::decode(body) else {
            tracing::error!(manifest = id, "a manifest that is garbage cannot be read; its blobs stay");
            return Ok(());
        };
        let blobs = manifest.blobs().map(|(blob, _)| blob).collect();
        self.write(ManifestSwept { id, blobs }).await?;
        swept.manifests += 1;
        Ok(())
    }

    async fn sweep_blobs(&self, swept: &mut Swept) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let sql = "SELECT id FROM blobs WHERE state = 1 AND id > ? ORDER BY id LIMIT ?";
            let query = sqlx::query_scalar(sql).bind(after).bind(BLOBS_AT_ONCE);
            let found: Vec<i64> = query.fetch_all(&self.0.reader).await?;
            let Some(last) = found.last() else { return Ok(()) };
            after = *last;
            if !self.0.leases.fetches_ended(PATIENCE).await {
                return Ok(());
            }
            let (held, free): (Vec<u64>, Vec<u64>) = found
                .into_iter()
                .map(|id| id as u64)
                .partition(|id| self.0.leases.is_held(lease::Bytes::Blob(*id)));
            swept.held += held.len();
            let (gone, away) = self.remove_blobs(free).await;
            swept.blobs += gone.len();
            self.0.forget_damage(&gone);
            self.write(BlobsSwept(gone)).await?;
            away.map_or(Ok(()), Err)?;
        }
    }

    /// Those that are gone, and that the engine is away if it is: then the others are not asked for.
    async fn remove_blobs(&self, free: Vec<u64>) -> (Vec<u64>, Option<StoreError>) {
        let keeper = &self.0.keeper;
        let removals = free.into_iter().map(|id| async move { (id, keeper.remove(BlobId(id)).await) });
        let mut removals = stream::iter(removals).buffer_unordered(REMOVALS_AT_ONCE);
        let mut gone = Vec::new();
        while let Some((id, removed)) = removals.next().await {
            match removed {
                Ok(()) => gone.push(id),
                Err(error) if is_away(&error) => return (gone, Some(error.into())),
                Err(error) => {
                    tracing::warn!(blob = %BlobId(id), %error, "a blob cannot be removed; tried again later");
                }
            }
        }
        (gone, None)
    }
}

struct ManifestSwept {
    id: u64,
    blobs: Vec<BlobId>,
}

impl Work for ManifestSwept {
    type Answer = ();

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        for blob in &self.blobs {
            batch.changes.blobs.insert(blob.0, BlobChange::Garbage);
        }
        let query = sqlx::query("DELETE FROM manifests WHERE id = ? AND state = 1").bind(self.id as i64);
        query.execute(&mut *batch.connection).await?;
        Ok(())
    }
}

struct BlobsSwept(Vec<u64>);

impl Work for BlobsSwept {
    type Answer = ();

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        ids_of(batch.connection, "DELETE FROM blobs WHERE id IN", &self.0).await
    }
}

struct Tidy {
    before: i64,
}

impl Work for Tidy {
    type Answer = ();

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        let sql = "DELETE FROM completed WHERE upload IN \
             (SELECT upload FROM completed WHERE at < ? ORDER BY at LIMIT ?)";
        let query = sqlx::query(sql).bind(self.before).bind(COMPLETED_AT_ONCE);
        query.execute(&mut *batch.connection).await?;
        let free = sqlx::query_scalar("PRAGMA freelist_count");
        let free: i64 = free.fetch_one(&mut *batch.connection).await?;
        if free > FREE_PAGES_KEPT {
            let pages = (free - FREE_PAGES_KEPT).min(FREED_PAGES_AT_ONCE);
            let sql = sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({pages})"));
            sqlx::raw_sql(sql).fetch_all(&mut *batch.connection).await?;
        }
        Ok(())
    }
}
