//! Copies the store while it is being used: the database as it is at one instant, then every blob that it
//! names. Blobs never change, so on the same file system they are linked, not copied. Nothing is swept
//! meanwhile. The copy can be opened, and checked, as a store; its database gets its name last, so that half
//! a copy is not taken for one.

use super::error::StoreError;
use super::{DATABASE, Objects, sqlite_options};
use crate::store::keeper::BlobId;
use karri_proto::internal::objects::BackupProgress;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::fs::{self, File};
use std::io;
use std::path::Path;

const BLOBS_AT_ONCE: i64 = 1000;
const UNFINISHED: &str = "walrus.db.unfinished";

/// Hears how far it is.
type Tell<'a> = &'a (dyn Fn(BackupProgress) + Sync);

impl Objects {
    /// `to` is a directory that is empty or not there.
    pub async fn backup(&self, to: &Path, tell: Tell<'_>) -> Result<BackupProgress, StoreError> {
        fs::create_dir_all(to)?;
        if fs::read_dir(to)?.next().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the directory is not empty").into());
        }
        let _turn = self.0.sweeping.lock().await;
        let copy = to.join(UNFINISHED);
        self.copy_database(&copy).await?;
        let mut copied = sqlite_options(&copy).connect().await?;
        let progress = self.copy_blobs(&mut copied, &copy, to, tell).await?;
        copied.close().await?;
        let to = to.to_owned();
        let named = tokio::task::spawn_blocking(move || make_durable(&to));
        named.await.map_err(io::Error::other)??;
        Ok(progress)
    }

    async fn copy_database(&self, copy: &Path) -> Result<(), StoreError> {
        let text = copy.to_str().ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
        let mut connection = sqlite_options(&self.0.config.dir.join(DATABASE)).connect().await?;
        sqlx::query("VACUUM INTO ?").bind(text).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    async fn copy_blobs(
        &self,
        copied: &mut SqliteConnection,
        copy: &Path,
        to: &Path,
        tell: Tell<'_>,
    ) -> Result<BackupProgress, StoreError> {
        let totals = "SELECT count(*), coalesce(sum(bytes), 0) FROM blobs WHERE state <> 1";
        let (blobs, bytes): (i64, i64) = sqlx::query_as(totals).fetch_one(&mut *copied).await?;
        let mut progress = BackupProgress {
            database_bytes: fs::metadata(copy)?.len(),
            blobs_total: blobs as u64,
            blob_bytes_total: bytes as u64,
            ..BackupProgress::default()
        };
        let mut after = i64::MIN;
        loop {
            let sql = "SELECT id, bytes FROM blobs WHERE state <> 1 AND id > ? ORDER BY id LIMIT ?";
            let query = sqlx::query_as(sql).bind(after).bind(BLOBS_AT_ONCE);
            let blobs: Vec<(i64, i64)> = query.fetch_all(&mut *copied).await?;
            let Some((last, _)) = blobs.last() else { return Ok(progress) };
            after = *last;
            for (id, bytes) in blobs {
                tell(progress);
                match self.0.keeper.copy_out(BlobId(id as u64), to).await {
                    Ok(()) => {
                        progress.blobs += 1;
                        progress.blob_bytes += bytes as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => progress.blobs_missing += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// Every name in the copy is durable, then it is one. Blocking.
fn make_durable(to: &Path) -> io::Result<()> {
    let blobs = to.join("blobs");
    fs::create_dir_all(&blobs)?;
    for directory in fs::read_dir(&blobs)? {
        File::open(directory?.path())?.sync_all()?;
    }
    File::open(&blobs)?.sync_all()?;
    File::open(to.join(UNFINISHED))?.sync_all()?;
    fs::rename(to.join(UNFINISHED), to.join(DATABASE))?;
    File::open(to)?.sync_all()?;
    // The directory's own name; what holds it may be closed to us, and was there before.
    match to.parent().map(File::open) {
        Some(Ok(parent)) => parent.sync_all(),
        _ => Ok(()),
    }
}
