//! Writing a blob's file. One write is under way at a time and the next buffers wait beside it, so the
//! caller hashes while the disk works; what is written is synced every 16 MiB, so the last sync is short.

use super::super::{Append, BlobId};
use super::directories::Directories;
use super::remove_if_there;
use super::straight::Straight;
use bytes::Bytes;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_blocking};

/// Buffers that wait while others are being written: with those and the one being filled, 1 MiB a writer.
const WAITING_MAX: usize = 2;
const SYNC_EVERY_BYTES: u64 = 16 << 20;

pub struct LocalAppend {
    file: Arc<Straight>,
    incoming: PathBuf,
    id: BlobId,
    directories: Arc<Directories>,
    waiting: Vec<Bytes>,
    writing: Option<JoinHandle<io::Result<()>>>,
    unsynced_bytes: u64,
    syncing: Option<JoinHandle<io::Result<()>>>,
    finished: bool,
}

impl LocalAppend {
    pub fn new(file: Straight, incoming: PathBuf, id: BlobId, directories: Arc<Directories>) -> Self {
        Self {
            file: Arc::new(file),
            incoming,
            id,
            directories,
            waiting: Vec::new(),
            writing: None,
            unsynced_bytes: 0,
            syncing: None,
            finished: false,
        }
    }

    /// Begins to write what waits; nothing else may be under way.
    fn begin(&mut self) {
        let buffers = std::mem::take(&mut self.waiting);
        self.unsynced_bytes += buffers.iter().map(|buffer| buffer.len() as u64).sum::<u64>();
        let file = self.file.clone();
        self.writing = Some(spawn_blocking(move || file.append(&buffers)));
    }

    async fn written(&mut self) -> io::Result<()> {
        ended(&mut self.writing).await?;
        if self.unsynced_bytes >= SYNC_EVERY_BYTES
            && self.syncing.as_ref().is_none_or(JoinHandle::is_finished)
        {
            ended(&mut self.syncing).await?;
            self.unsynced_bytes = 0;
            let file = self.file.clone();
            self.syncing = Some(spawn_blocking(move || file.sync()));
        }
        Ok(())
    }
}

async fn ended(job: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    let result = match job.as_mut() {
        Some(job) => job.await.map_err(io::Error::other)?,
        None => Ok(()),
    };
    *job = None;
    result
}

#[async_trait::async_trait]
impl Append for LocalAppend {
    async fn append(&mut self, bytes: Bytes) -> io::Result<()> {
        self.waiting.push(bytes);
        if self.waiting.len() < WAITING_MAX && self.writing.as_ref().is_some_and(|job| !job.is_finished()) {
            return Ok(());
        }
        self.written().await?;
        self.begin();
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.written().await?;
        self.begin();
        ended(&mut self.writing).await?;
        ended(&mut self.syncing).await?;
        let (file, incoming) = (self.file.clone(), self.incoming.clone());
        let (id, directories) = (self.id, self.directories.clone());
        // First the name, then the syncs: the file's sync then carries the renaming with it, and the
        // directory's finds little to do. A blob without a row is removed by the next start.
        super::blocking(move || directories.place(id, |path| fs::rename(&incoming, path))).await?;
        let synced = super::blocking(move || file.sync()).await;
        let synced = match synced {
            Ok(()) => self.directories.sync(id).await,
            Err(error) => Err(error),
        };
        self.finished = synced.is_ok();
        synced
    }
}

impl Drop for LocalAppend {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let (incoming, id, directories) = (self.incoming.clone(), self.id, self.directories.clone());
        let remove = move || {
            let removed = remove_if_there(&incoming).and_then(|()| directories.remove(id));
            if let Err(error) = removed {
                tracing::warn!(blob = %id, %error, "an unfinished blob cannot be removed; the next start will");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}
