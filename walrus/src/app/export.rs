//! A blob as a disk image of the format that somebody wants: a file of its own for as long as it is read.
//!
//! The file lies in a scratch directory, like an import's, and takes room as one does. What comes out is judged by
//! nobody: the blob was, when it came in.

use super::Refusal;
use super::import::{For, ImportError, Importer, blocking};
use crate::store::scratch::Scratch;
use karri_proto::instance::{BlobFormat, Digest};
use karri_proto::internal::exports::ExportFormat;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

const SOURCE: &str = "blob";
const TARGET: &str = "disk";
/// Tables beside a disk's data: a sixteenth, and some for the smallest of disks.
const OVERHEAD_SHARE: u64 = 16;
const OVERHEAD_BYTES: u64 = 16 << 20;
const BLOCK_BYTES: u64 = 512;
/// What the format can describe.
const VHD_BYTES_MAX: u64 = 2040 << 30;

/// Goes away with its last reader.
#[derive(Debug)]
pub struct Exported {
    scratch: Scratch,
    name: &'static str,
    pub bytes: u64,
}

impl Exported {
    /// Blocking.
    pub fn open(&self) -> io::Result<File> {
        File::open(self.scratch.path(self.name))
    }
}

impl Importer {
    /// The blob in that format.
    pub async fn export(
        &self,
        digest: &Digest,
        format: ExportFormat,
        whom: For<'_>,
    ) -> Result<Exported, ImportError> {
        let missing = || Refusal::new(format!("there is no blob {digest}"));
        let info = self.store().blob_info(digest).ok_or_else(missing)?;
        if format == ExportFormat::Vhd && info.virtual_bytes > VHD_BYTES_MAX {
            let sentence =
                format!("a VHD holds at most {VHD_BYTES_MAX} bytes, the disk has {}", info.virtual_bytes);
            return Err(Refusal::new(sentence).into());
        }
        let _slot = self.slot(whom).await?;
        let (store, name) = (self.store().clone(), digest.clone());
        let mut scratch = blocking(move || {
            let scratch = store.scratch()?;
            store.blob_link(&name, &scratch.path(SOURCE))?;
            Ok(scratch)
        })
        .await?;
        if (info.format, format) == (BlobFormat::Raw, ExportFormat::Raw) {
            return Ok(Exported { scratch, name: SOURCE, bytes: info.bytes });
        }
        let room = self.store().bytes_free();
        let bytes_max = info.virtual_bytes + info.virtual_bytes / OVERHEAD_SHARE + OVERHEAD_BYTES;
        let (from, to) = ((info.format, SOURCE), (format, TARGET));
        self.tool().export(scratch.directory(), from, to, bytes_max).await?;
        let path = scratch.path(TARGET);
        let (bytes, on_disk) = blocking(move || {
            let found = std::fs::metadata(path)?;
            Ok((found.len(), found.blocks() * BLOCK_BYTES))
        })
        .await?;
        if !self.reserve(&mut scratch, on_disk).await? {
            return Err(ImportError::Full(format!(
                "{room} bytes are free, the exported image has {on_disk}"
            )));
        }
        Ok(Exported { scratch, name: TARGET, bytes })
    }
}
