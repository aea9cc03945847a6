//! Image blobs at Walrus, by digest. Bytes are streamed both ways; ranges let a reader resume.
//!
//! The server side lives in walrus, which owns the files; what both sides must agree on is here.

use super::{ApiError, Caller};
use crate::instance::{BlobFormat, BlobRef, Digest};
use crate::runtime::client::InternalClient;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET`/`HEAD`: the bytes, `Range: bytes=N-` honoured.
pub const BLOB_PATH: &str = "/v1/blobs/{digest}";
/// `POST`, body: the bytes of an image in any known format; the answer is an [`ImportedBlob`].
pub const BLOB_IMPORT_PATH: &str = "/v1/blobs";
/// The answer is [`BlobFacts`].
pub const BLOB_INFO_PATH: &str = "/v1/blobs/{digest}/info";

/// What the bytes of a blob are, by marks that they carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Linux for x86, or what else a hypervisor starts by itself.
    Kernel,
    /// A cpio archive, compressed or not.
    Ramdisk,
    /// It has partitions or a boot sector, or is of a format for disks.
    Disk,
    FileSystem,
    Text,
    /// No mark that is known: an empty disk has none.
    #[default]
    Unknown,
}

impl Content {
    /// For a sentence that says what something is.
    pub fn phrase(self) -> &'static str {
        match self {
            Content::Kernel => "a kernel",
            Content::Ramdisk => "a ramdisk",
            Content::Disk => "a disk",
            Content::FileSystem => "a file system",
            Content::Text => "plain text",
            Content::Unknown => "nothing known",
        }
    }
}

/// What a sender says that an image is: Walrus refuses what is plainly something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BlobPurpose {
    /// A whole disk, or a root file system.
    Disk,
    Kernel,
    /// In any compression, kept as it is.
    Ramdisk,
}

impl BlobPurpose {
    pub fn as_str(self) -> &'static str {
        match self {
            BlobPurpose::Disk => "disk",
            BlobPurpose::Kernel => "kernel",
            BlobPurpose::Ramdisk => "ramdisk",
        }
    }
}

/// A blob and what Walrus knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobFacts {
    #[serde(flatten)]
    pub blob: BlobRef,
    #[serde(default)]
    pub content: Content,
}

/// What Walrus made of an imported image: its bytes are kept as raw or qcow2 without a backing file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportedBlob {
    pub blob: BlobRef,
    /// The format it came in, found by content: `raw`, `qcow2`, `vmdk`, `vhd`, `vhdx`.
    pub source_format: String,
    #[serde(default)]
    pub content: Content,
}

impl ImportedBlob {
    pub fn is_raw(&self) -> bool {
        self.blob.format == BlobFormat::Raw
    }
}

impl InternalClient {
    pub async fn blob_info(&self, caller: &Caller, digest: &Digest) -> Result<BlobFacts, ApiError> {
        self.get(&format!("/v1/blobs/{digest}/info"), &caller.request_id).await
    }

    /// The bytes from `offset` on. The caller verifies the digest when it has them all.
    pub async fn blob_read(
        &self,
        caller: &Caller,
        digest: &Digest,
        offset: u64,
    ) -> Result<reqwest::Response, ApiError> {
        self.get_stream(&format!("/v1/blobs/{digest}"), &caller.request_id, offset).await
    }

    pub async fn blob_import(&self, caller: &Caller, body: reqwest::Body) -> Result<ImportedBlob, ApiError> {
        self.post_stream(BLOB_IMPORT_PATH, &caller.request_id, body).await
    }

    pub async fn blob_import_as(
        &self,
        caller: &Caller,
        purpose: BlobPurpose,
        body: reqwest::Body,
    ) -> Result<ImportedBlob, ApiError> {
        let path = format!("{BLOB_IMPORT_PATH}?as={}", purpose.as_str());
        self.post_stream(&path, &caller.request_id, body).await
    }

    /// Idempotent. Nobody may need the blob any more: Walrus does not know who does.
    pub async fn blob_delete(&self, caller: &Caller, digest: &Digest) -> Result<(), ApiError> {
        self.delete(&format!("/v1/blobs/{digest}"), &caller.request_id).await
    }

    pub async fn blob_list(&self, caller: &Caller) -> Result<Vec<BlobRef>, ApiError> {
        self.get(BLOB_IMPORT_PATH, &caller.request_id).await
    }
}
