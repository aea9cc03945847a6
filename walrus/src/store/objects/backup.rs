//! Copies the store while it is being used: the database as it is at one instant, then every blob that it
//! names. Blobs never change, so on the same file system they are linked, not copied. Nothing is swept
//! meanwhile. The copy can be opened, and checked, as a store.

use super::error::StoreError;
use super::{DATABASE, Objects, sqlite_options};
use crate::store::keeper::BlobId;
use sqlx::{ConnectOptions, Connection};
use std::fs::{self, File};
use std::io;
use std::path::Path;

const BLOBS_AT_ONCE: i64 = 1000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupReport {
    pub database_bytes: u64,
    pub blobs: u64,
    pub blob_bytes: u64,
    /// Of damaged objects.
    pub blobs_missing: u64,
}

impl Objects {
    /// `to` is a directory that is empty or not there.
    pub async fn backup(&self, to: &Path) -> Result<BackupReport, StoreError> {
        fs::create_dir_all(to)?;
        if fs::read_dir(to)?.next().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the directory is not empty").into());
        }
        let _turn = self.0.sweeping.lock().await;
        let copy = to.join(DATABASE);
        let text = copy.to_str().ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
        let mut connection = sqlite_options(&self.0.config.dir.join(DATABASE)).connect().await?;
        sqlx::query("VACUUM INTO ?").bind(text).execute(&mut connection).await?;
        connection.close().await?;
        File::open(&copy)?.sync_all()?;
        let mut report =
            BackupReport { database_bytes: fs::metadata(&copy)?.len(), ..BackupReport::default() };
        self.copy_blobs(to, &mut report).await?;
        File::open(to)?.sync_all()?;
        Ok(report)
    }

    async fn copy_blobs(&self, to: &Path, report: &mut BackupReport) -> Result<(), StoreError> {
        let mut copied = sqlite_options(&to.join(DATABASE)).connect().await?;
        let mut after = i64::MIN;
        loop {
            let sql = "SELECT id, bytes FROM blobs WHERE state <> 1 AND id > ? ORDER BY id LIMIT ?";
            let query = sqlx::query_as(sql).bind(after).bind(BLOBS_AT_ONCE);
            let blobs: Vec<(i64, i64)> = query.fetch_all(&mut copied).await?;
            let Some((last, _)) = blobs.last() else { break };
            after = *last;
            for (id, bytes) in blobs {
                match self.0.keeper.copy_out(BlobId(id as u64), to).await {
                    Ok(()) => {
                        report.blobs += 1;
                        report.blob_bytes += bytes as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => report.blobs_missing += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(copied.close().await?)
    }
}
