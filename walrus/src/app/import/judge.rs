//! What a received file is, whether it may be kept, and the conversion of what cannot be kept as it is.

use super::{ImportError, Importer, Received, SOURCE, blocking};
use crate::app::sniff::{self, Kind, Purpose, Sample};
use crate::app::{content, qcow2, vhd, vhdx, vmdk};
use crate::drive::qemu_img::{Format, ToolError};
use karri_proto::instance::{BlobFormat, Digest};
use karri_proto::internal::blobs::Content;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const CONVERTED: &str = "image.qcow2";
const TABLE_READ_BYTES: usize = 256 * 1024;

/// A file that may be kept.
pub(super) struct Judged {
    pub(super) received: Received,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) content: Content,
    pub(super) format: BlobFormat,
    pub(super) virtual_bytes: u64,
}

impl Importer {
    pub(super) async fn judge(
        &self,
        mut received: Received,
        purpose: Purpose,
    ) -> Result<Judged, ImportError> {
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
                let header = self.convert(&mut received, Format::Vmdk).await?;
                (CONVERTED, BlobFormat::Qcow2, header.virtual_bytes)
            }
            Kind::Vhd => {
                let header = vhd::parse(&look.head, &look.tail, look.bytes, virtual_max)?;
                if let Some(table) = header.table {
                    check_table(received.scratch.path(SOURCE), table, look.bytes).await?;
                }
                let header = self.convert(&mut received, Format::Vhd).await?;
                (CONVERTED, BlobFormat::Qcow2, header.virtual_bytes)
            }
            Kind::Vhdx => {
                check_vhdx(received.scratch.path(SOURCE), look.bytes, virtual_max).await?;
                self.tool.check(received.scratch.directory(), "vhdx", SOURCE).await?;
                let header = self.convert(&mut received, Format::Vhdx).await?;
                (CONVERTED, BlobFormat::Qcow2, header.virtual_bytes)
            }
        };
        let content = content::content(kind, &look.head);
        Ok(Judged { received, name, kind, content, format, virtual_bytes })
    }

    /// Makes a qcow2 of a file whose header has passed; `received` then speaks of the new file.
    async fn convert(&self, received: &mut Received, from: Format) -> Result<qcow2::Header, ImportError> {
        let scratch = &mut received.scratch;
        let room = self.store.bytes_free();
        let bytes_max = self.limits.import_bytes_max.min(room);
        match self.tool.convert(scratch.directory(), from, SOURCE, CONVERTED, bytes_max).await {
            Err(ToolError::TooLarge(bytes)) if bytes == room => return Err(self.full()),
            other => other?,
        }
        let look = look(scratch.path(CONVERTED)).await?;
        let header = qcow2::parse(&look.head, look.bytes, self.limits.virtual_bytes_max)?;
        if !self.reserve(scratch, look.bytes).await? {
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
}

/// `qemu-img check` does not know VHD, and its converter reads zeros where a cut file has ended.
async fn check_table(path: PathBuf, table: vhd::Table, file_bytes: u64) -> Result<(), ImportError> {
    let checked = blocking(move || {
        let file = File::open(path)?;
        let mut entries = vec![0; TABLE_READ_BYTES];
        let (mut at, end) = (table.at, table.at + table.bytes());
        while at < end {
            let bytes = usize::try_from(end - at).unwrap_or(TABLE_READ_BYTES).min(TABLE_READ_BYTES);
            file.read_exact_at(&mut entries[..bytes], at)?;
            if let Err(refusal) = table.check(&entries[..bytes], file_bytes) {
                return Ok(Err(refusal));
            }
            at += bytes as u64;
        }
        Ok(Ok(()))
    });
    Ok(checked.await??)
}

async fn check_vhdx(path: PathBuf, file_bytes: u64, virtual_max: u64) -> Result<(), ImportError> {
    let read = blocking(move || {
        let file = File::open(path)?;
        let part = |at: u64, max: u64| {
            let mut part = vec![0; usize::try_from(file_bytes.saturating_sub(at).min(max)).unwrap_or(0)];
            file.read_exact_at(&mut part, at).map(|()| part)
        };
        let regions = part(vhdx::REGIONS_AT, vhdx::REGIONS_BYTES)?;
        let at = match vhdx::metadata_at(&regions, file_bytes) {
            Ok(at) => at,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(vhdx::parse(&part(at, vhdx::METADATA_BYTES)?, virtual_max))
    });
    Ok(read.await?.map(drop)?)
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
