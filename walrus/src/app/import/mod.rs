//! Taking an image in: receive, find out what it is, judge it, convert it where needed, keep it.
//!
//! ```text
//!   body ──► incoming/N/image ──► sniff ──► raw ──────────────────────────────┐
//!                                       ├─► qcow2 ── header ── check ──────────┤──► blobs/…
//!                                       ├─► vmdk ─── header ── check, convert ┤
//!                                       └─► vhd ──── header ── convert ───────┘
//! ```
//!
//! Whatever ends an import early (a refusal, a full disk, a client that goes away, a stop) drops its
//! scratch directory and with it everything it wrote. Bytes stream through; memory holds one batch.

mod error;
mod judge;
mod slots;

pub use error::ImportError;

use super::content;
use super::sniff::{self, Kind, Purpose};
use crate::drive::qemu_img::{QemuImg, ToolError};
use crate::store::blobs::{BlobInfo, BlobStore};
use crate::store::holds::Hold;
use crate::store::scratch::Scratch;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use judge::Judged;
use karri_proto::instance::{BlobFormat, Digest};
use karri_proto::internal::blobs::ImportedBlob;
use karri_proto::runtime::process::Base;
use sha2::{Digest as _, Sha256};
use slots::{Slot, Slots};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;

const BATCH_BYTES: usize = 1 << 20;
/// Zeros in blocks of this size become holes.
const HOLE_BYTES: usize = 64 * 1024;
static HOLE: [u8; HOLE_BYTES] = [0; HOLE_BYTES];
const SLOT_WAIT_MAX: Duration = Duration::from_secs(300);
const SOURCE: &str = "image";

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub store_bytes_max: u64,
    pub import_bytes_max: u64,
    pub virtual_bytes_max: u64,
    pub imports_at_once: usize,
    pub reads_at_once: usize,
    pub bundle_cache_bytes_max: u64,
    pub idle: Duration,
}

/// Whom work is done for: accounts take turns.
#[derive(Debug, Clone, Copy)]
pub struct For<'a> {
    pub account: &'a str,
    pub request_id: &'a str,
    /// How long to wait for a turn. A job's is for ever: it ends when nobody asks about it any more.
    patience: Option<Duration>,
}

impl<'a> For<'a> {
    pub fn operator(request_id: &'a str) -> Self {
        Self { account: "", request_id, patience: Some(SLOT_WAIT_MAX) }
    }

    pub fn job(account: &'a str, request_id: &'a str) -> Self {
        Self { account, request_id, patience: None }
    }
}

#[derive(Debug, Clone)]
pub struct Importer {
    store: Arc<BlobStore>,
    tool: QemuImg,
    limits: Limits,
    slots: Slots,
    base: Base,
}

/// A whole upload on disk.
struct Received {
    scratch: Scratch,
    digest: Digest,
    bytes: u64,
}

impl Importer {
    pub fn new(store: Arc<BlobStore>, tool: QemuImg, limits: Limits, base: Base) -> Self {
        Self { store, tool, limits, slots: Slots::new(limits.imports_at_once), base }
    }

    pub fn store(&self) -> &Arc<BlobStore> {
        &self.store
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn tool(&self) -> &QemuImg {
        &self.tool
    }

    /// Keeps the image that `body` carries, held by `hold`. The same bytes again give the same blob.
    pub async fn import<S>(
        &self,
        body: &mut S,
        purpose: Purpose,
        hold: Hold,
        whom: For<'_>,
    ) -> Result<ImportedBlob, ImportError>
    where
        S: Stream<Item = Result<Bytes, ImportError>> + Unpin,
    {
        let began = Instant::now();
        let mut shutdown = self.base.shutdown.clone();
        let result = tokio::select! {
            _ = shutdown.wait() => Err(ImportError::Stopping),
            result = self.run(body, purpose, hold, whom) => result,
        };
        self.tell(&result, whom.request_id, began.elapsed());
        result
    }

    async fn run<S>(
        &self,
        body: &mut S,
        purpose: Purpose,
        hold: Hold,
        whom: For<'_>,
    ) -> Result<ImportedBlob, ImportError>
    where
        S: Stream<Item = Result<Bytes, ImportError>> + Unpin,
    {
        let _slot = self.slot(whom).await?;
        let received = self.receive(body, purpose).await?;
        if let Some(known) = self.store.blob_info(&received.digest) {
            content::suits(known.content(), purpose)?;
            let (store, digest) = (self.store.clone(), received.digest.clone());
            // It may have made room in between.
            if let Some(known) = blocking(move || store.blob_hold(&digest, hold)).await? {
                let format = if known.format == BlobFormat::Raw { Kind::Raw } else { Kind::Qcow2 };
                return Ok(answer(&received.digest, &known, format)); // the very bytes: judged before
            }
        }
        let judged = self.judge(received, purpose).await?;
        self.keep(judged, hold).await
    }

    /// Held by whoever computes: an import, an export.
    pub(crate) async fn slot(&self, whom: For<'_>) -> Result<Slot, ImportError> {
        let turn = self.slots.take(whom.account);
        let slot = match whom.patience {
            Some(patience) => tokio::time::timeout(patience, turn).await.map_err(|_| ImportError::Busy)?,
            None => turn.await,
        };
        slot.ok_or(ImportError::Stopping)
    }

    fn tell(&self, result: &Result<ImportedBlob, ImportError>, request_id: &str, took: Duration) {
        let (format, outcome) = match result {
            Ok(image) => (image.source_format.as_str(), "kept"),
            Err(error) => ("unknown", error.as_str()),
        };
        let metrics = &self.base.metrics;
        metrics.count("karri_walrus_imports_total", &[("format", format), ("result", outcome)]);
        metrics.observe("karri_walrus_import_seconds", &[("result", outcome)], took);
        let millis = took.as_millis() as u64;
        match result {
            Ok(image) => {
                let blob = &image.blob;
                let (digest, bytes, virtual_bytes) = (&blob.digest, blob.bytes, blob.virtual_bytes);
                tracing::info!(request_id, %digest, format, bytes, virtual_bytes, millis, "image imported");
            }
            Err(
                error
                @ (ImportError::Tool(ToolError::Missing(_)) | ImportError::Io(_) | ImportError::Full(_)),
            ) => {
                tracing::warn!(request_id, %error, millis, "image not imported");
            }
            Err(error) => tracing::info!(request_id, %error, millis, "image not imported"),
        }
    }

    async fn receive<S>(&self, body: &mut S, purpose: Purpose) -> Result<Received, ImportError>
    where
        S: Stream<Item = Result<Bytes, ImportError>> + Unpin,
    {
        let store = self.store.clone();
        let (mut scratch, mut intake) = blocking(move || {
            let scratch = store.scratch()?;
            let file = File::create_new(scratch.path(SOURCE))?;
            Ok((scratch, Intake { file, sum: Sha256::new(), bytes: 0 }))
        })
        .await?;
        loop {
            let batch = self.batch(body).await?;
            let end = batch.len() < BATCH_BYTES;
            if intake.bytes == 0 && !batch.is_empty() {
                sniff::early(&batch[..batch.len().min(sniff::HEAD_BYTES)], purpose)?;
            }
            let bytes = intake.bytes + batch.len() as u64;
            if bytes > self.limits.import_bytes_max {
                return Err(ImportError::TooLarge(self.limits.import_bytes_max));
            }
            if !self.reserve(&mut scratch, batch.len() as u64).await? {
                return Err(self.full());
            }
            intake = blocking(move || intake.take(&batch)).await?;
            if end {
                break;
            }
        }
        let bytes = intake.bytes;
        let digest = blocking(move || intake.finish()).await?;
        Ok(Received { scratch, digest, bytes })
    }

    /// Sets `bytes` more aside for what lies in `scratch`; false when the store would hold more than it may.
    /// Copies that nobody needs make room.
    pub(super) async fn reserve(&self, scratch: &mut Scratch, bytes: u64) -> Result<bool, ImportError> {
        if scratch.reserve(bytes) {
            return Ok(true);
        }
        let store = self.store.clone();
        let room = blocking(move || Ok(store.room(bytes))).await?;
        Ok(room.map(|room| scratch.give(room)).is_some())
    }

    fn full(&self) -> ImportError {
        ImportError::Full(format!("blobs.max_gib allows {} bytes", self.limits.store_bytes_max))
    }

    /// The next [`BATCH_BYTES`] or more; fewer only at the end.
    async fn batch<S>(&self, body: &mut S) -> Result<Vec<u8>, ImportError>
    where
        S: Stream<Item = Result<Bytes, ImportError>> + Unpin,
    {
        let mut batch = Vec::with_capacity(BATCH_BYTES + HOLE_BYTES);
        while batch.len() < BATCH_BYTES {
            let next = tokio::time::timeout(self.limits.idle, body.next()).await;
            match next.map_err(|_| ImportError::Stalled(self.limits.idle))? {
                Some(bytes) => batch.extend_from_slice(&bytes?),
                None => break,
            }
        }
        Ok(batch)
    }

    async fn keep(&self, judged: Judged, hold: Hold) -> Result<ImportedBlob, ImportError> {
        let store = self.store.clone();
        blocking(move || {
            let Received { scratch, digest, bytes } = judged.received;
            let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
            let info = BlobInfo {
                format: judged.format,
                bytes,
                virtual_bytes: judged.virtual_bytes,
                source_format: judged.kind.as_str().to_owned(),
                content: Some(judged.content),
                hold,
                imported_at_unix_ms: i64::try_from(now).unwrap_or_default(),
            };
            let kept = store.blob_insert(&scratch, judged.name, &digest, info)?;
            Ok(answer(&digest, &kept, judged.kind))
        })
        .await
    }
}

/// `sent` is how it came this time; the same blob may have come in another format first.
fn answer(digest: &Digest, info: &BlobInfo, sent: Kind) -> ImportedBlob {
    let source_format = sent.as_str().to_owned();
    ImportedBlob { blob: info.as_ref(digest), source_format, content: info.content() }
}

/// Runs what waits for the disk where waiting does no harm.
pub(in crate::app) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ImportError> {
    let result = spawn_blocking(work).await.map_err(|_| ImportError::Stopping)?;
    result.map_err(ImportError::from)
}

/// An upload on its way to disk.
struct Intake {
    file: File,
    sum: Sha256,
    bytes: u64,
}

impl Intake {
    fn take(mut self, batch: &[u8]) -> io::Result<Self> {
        self.sum.update(batch);
        for block in batch.chunks(HOLE_BYTES) {
            if *block == HOLE[..block.len()] {
                self.file.seek(SeekFrom::Current(block.len() as i64))?;
            } else {
                self.file.write_all(block)?;
            }
        }
        self.bytes += batch.len() as u64;
        Ok(self)
    }

    fn finish(self) -> io::Result<Digest> {
        self.file.set_len(self.bytes)?; // it may end in a hole
        self.file.sync_all()?;
        Ok(Digest::from_sha256(self.sum.finalize().into()))
    }
}
