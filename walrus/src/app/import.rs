//! Taking an image in: receive, find out what it is, judge it, convert it where needed, keep it.
//!
//! ```text
//!   body ──► incoming/N/image ──► sniff ──► raw ─────────────────────────────┐
//!                                       ├─► qcow2 ── header ── check ────────┤──► blobs/…
//!                                       └─► vmdk ─── header ── convert ──────┘
//! ```
//!
//! Whatever ends an import early (a refusal, a full disk, a client that goes away, a stop) drops its
//! scratch directory and with it everything it wrote. Bytes stream through; memory holds one batch.

use super::sniff::{self, Kind, Purpose, Sample};
use super::{Refusal, content, qcow2, vmdk};
use crate::drive::qemu_img::{QemuImg, ToolError};
use crate::store::blobs::{BlobInfo, BlobStore};
use crate::store::scratch::Scratch;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use karri_proto::instance::{BlobFormat, Digest};
use karri_proto::internal::ApiError;
use karri_proto::internal::blobs::{Content, ImportedBlob};
use karri_proto::runtime::process::Base;
use sha2::{Digest as _, Sha256};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

const BATCH_BYTES: usize = 1 << 20;
/// Zeros in blocks of this size become holes.
const HOLE_BYTES: usize = 64 * 1024;
const SLOT_WAIT_MAX: Duration = Duration::from_secs(300);
const SOURCE: &str = "image";
const CONVERTED: &str = "image.qcow2";

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub store_bytes_max: u64,
    pub import_bytes_max: u64,
    pub virtual_bytes_max: u64,
    pub imports_at_once: usize,
    pub reads_at_once: usize,
    pub idle: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the image is larger than {0} bytes, the most that can be imported (blobs.import_max_gib)")]
    TooLarge(u64),
    #[error("the image store is full ({0})")]
    Full(String),
    #[error("too many imports are under way")]
    Busy,
    #[error("the upload stood still for {0:?}")]
    Stalled(Duration),
    #[error("the upload broke off: {0}")]
    Broken(String),
    #[error(transparent)]
    Tool(ToolError),
    #[error("image store: {0}")]
    Io(io::Error),
    #[error("the image store is stopping")]
    Stopping,
}

impl From<io::Error> for ImportError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ImportError::Full(error.to_string())
            }
            _ => ImportError::Io(error),
        }
    }
}

impl From<ToolError> for ImportError {
    fn from(error: ToolError) -> Self {
        match error {
            ToolError::NoSpace => ImportError::Full(error.to_string()),
            ToolError::TooLarge(bytes) => ImportError::TooLarge(bytes),
            ToolError::Damaged(_) | ToolError::Slow(_) | ToolError::Missing(_) => ImportError::Tool(error),
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        match &error {
            ImportError::Refused(_)
            | ImportError::TooLarge(_)
            | ImportError::Stalled(_)
            | ImportError::Broken(_)
            | ImportError::Tool(ToolError::Damaged(_) | ToolError::Slow(_)) => {
                ApiError::invalid(error.to_string())
            }
            ImportError::Full(_) => ApiError::full(error.to_string()),
            ImportError::Busy | ImportError::Stopping => ApiError::unreachable(error),
            ImportError::Tool(_) | ImportError::Io(_) => ApiError::internal(error),
        }
    }
}

impl ImportError {
    /// The label of the metric.
    fn as_str(&self) -> &'static str {
        match self {
            ImportError::Refused(_) | ImportError::TooLarge(_) => "refused",
            ImportError::Tool(ToolError::Damaged(_) | ToolError::Slow(_)) => "refused",
            ImportError::Full(_) => "full",
            ImportError::Busy => "busy",
            ImportError::Stalled(_) | ImportError::Broken(_) => "broken",
            ImportError::Tool(_) | ImportError::Io(_) => "failed",
            ImportError::Stopping => "stopped",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Importer {
    store: Arc<BlobStore>,
    tool: QemuImg,
    limits: Limits,
    slots: Arc<Semaphore>,
    base: Base,
}

/// A whole upload on disk.
struct Received {
    scratch: Scratch,
    digest: Digest,
    bytes: u64,
}

/// A file that may be kept.
struct Judged {
    received: Received,
    name: &'static str,
    kind: Kind,
    content: Content,
    format: BlobFormat,
    virtual_bytes: u64,
}

impl Importer {
    pub fn new(store: Arc<BlobStore>, tool: QemuImg, limits: Limits, base: Base) -> Self {
        Self { store, tool, limits, slots: Arc::new(Semaphore::new(limits.imports_at_once)), base }
    }

    pub fn store(&self) -> &Arc<BlobStore> {
        &self.store
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Keeps the image that `body` carries. The same bytes again give the same blob.
    pub async fn import<S, E>(
        &self,
        body: &mut S,
        purpose: Purpose,
        request_id: &str,
    ) -> Result<ImportedBlob, ImportError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        let began = Instant::now();
        let mut shutdown = self.base.shutdown.clone();
        let result = tokio::select! {
            _ = shutdown.wait() => Err(ImportError::Stopping),
            result = self.run(body, purpose) => result,
        };
        self.tell(&result, request_id, began.elapsed());
        result
    }

    async fn run<S, E>(&self, body: &mut S, purpose: Purpose) -> Result<ImportedBlob, ImportError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        let slot = tokio::time::timeout(SLOT_WAIT_MAX, self.slots.acquire()).await;
        let _slot = slot.map_err(|_| ImportError::Busy)?.map_err(|_| ImportError::Stopping)?;
        let received = self.receive(body, purpose).await?;
        if let Some(known) = self.store.blob_info(&received.digest) {
            content::suits(known.content(), purpose)?;
            let format = if known.format == BlobFormat::Raw { Kind::Raw } else { Kind::Qcow2 };
            return Ok(answer(&received.digest, &known, format)); // the very bytes: judged before
        }
        let judged = self.judge(received, purpose).await?;
        self.keep(judged).await
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

    async fn receive<S, E>(&self, body: &mut S, purpose: Purpose) -> Result<Received, ImportError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
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
            if !scratch.reserve(batch.len() as u64) {
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

    fn full(&self) -> ImportError {
        ImportError::Full(format!("blobs.max_gib allows {} bytes", self.limits.store_bytes_max))
    }

    /// The next [`BATCH_BYTES`] or more; fewer only at the end.
    async fn batch<S, E>(&self, body: &mut S) -> Result<Vec<u8>, ImportError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        let mut batch = Vec::with_capacity(BATCH_BYTES + HOLE_BYTES);
        while batch.len() < BATCH_BYTES {
            let next = tokio::time::timeout(self.limits.idle, body.next()).await;
            match next.map_err(|_| ImportError::Stalled(self.limits.idle))? {
                Some(Ok(bytes)) => batch.extend_from_slice(&bytes),
                Some(Err(error)) => return Err(ImportError::Broken(error.to_string())),
                None => break,
            }
        }
        Ok(batch)
    }

    async fn judge(&self, mut received: Received, purpose: Purpose) -> Result<Judged, ImportError> {
        let look = look(received.scratch.path(SOURCE)).await?;
        let virtual_max = self.limits.virtual_bytes_max;
        let kind = sniff::decide(look.sample(), purpose)?;
        let (name, format, virtual_bytes) = match kind {
            Kind::Raw => (SOURCE, BlobFormat::Raw, received.bytes),
            Kind::Qcow2 => {
                let header = qcow2::parse(&look.head, look.bytes, virtual_max)?;
                self.tool.check(received.scratch.directory(), "qcow2", SOURCE).await?;
                (SOURCE, BlobFormat::Qcow2, header.virtual_bytes)
            }
            Kind::Vmdk => {
                vmdk::parse(&look.head, &look.tail, virtual_max)?;
                // A converter would read zeros where a cut file has ended.
                self.tool.check(received.scratch.directory(), "vmdk", SOURCE).await?;
                let header = self.convert(&mut received).await?;
                (CONVERTED, BlobFormat::Qcow2, header.virtual_bytes)
            }
        };
        let content = content::content(kind, &look.head);
        Ok(Judged { received, name, kind, content, format, virtual_bytes })
    }

    /// Makes a qcow2 of a VMDK whose header has passed; `received` then speaks of the new file.
    async fn convert(&self, received: &mut Received) -> Result<qcow2::Header, ImportError> {
        let scratch = &mut received.scratch;
        let room = self.store.bytes_free();
        let bytes_max = self.limits.import_bytes_max.min(room);
        match self.tool.convert_vmdk(scratch.directory(), SOURCE, CONVERTED, bytes_max).await {
            Err(ToolError::TooLarge(bytes)) if bytes == room => return Err(self.full()),
            other => other?,
        }
        let look = look(scratch.path(CONVERTED)).await?;
        let header = qcow2::parse(&look.head, look.bytes, self.limits.virtual_bytes_max)?;
        if !scratch.reserve(look.bytes) {
            return Err(self.full());
        }
        let path = scratch.path(CONVERTED);
        received.digest = blocking(move || {
            let mut sum = Sha256::new();
            io::copy(&mut File::open(path)?, &mut sum)?;
            Ok(Digest::from_sha256(sum.finalize().into()))
        })
        .await?;
        received.bytes = look.bytes;
        Ok(header)
    }

    async fn keep(&self, judged: Judged) -> Result<ImportedBlob, ImportError> {
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

async fn blocking<T: Send + 'static>(
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
            if block.iter().all(|byte| *byte == 0) {
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

/// The beginning and the end of a file.
struct Look {
    head: Vec<u8>,
    tail: Vec<u8>,
    bytes: u64,
}

impl Look {
    fn sample(&self) -> Sample<'_> {
        Sample { head: &self.head, tail: &self.tail, bytes: self.bytes }
    }
}

async fn look(path: PathBuf) -> Result<Look, ImportError> {
    blocking(move || {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let part = |at: u64, max: usize| {
            let mut part = vec![0; usize::try_from(bytes - at).unwrap_or(max).min(max)];
            file.read_exact_at(&mut part, at).map(|()| part)
        };
        let head = part(0, sniff::HEAD_BYTES)?;
        let tail = part(bytes.saturating_sub(sniff::TAIL_BYTES as u64), sniff::TAIL_BYTES)?;
        Ok(Look { head, tail, bytes })
    })
    .await
}
