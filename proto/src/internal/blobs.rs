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
/// Taken as it is, without looking for a disk format: for ramdisks, which are compressed archives.
pub const BLOB_IMPORT_RAMDISK_PATH: &str = "/v1/blobs?as=ramdisk";
pub const BLOB_INFO_PATH: &str = "/v1/blobs/{digest}/info";

/// What Walrus made of an imported image: its bytes are kept as raw or qcow2 without a backing file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportedBlob {
    pub blob: BlobRef,
    /// The format it came in, found by content: `raw`, `qcow2`, `vmdk`.
    pub source_format: String,
}

impl ImportedBlob {
    pub fn is_raw(&self) -> bool {
        self.blob.format == BlobFormat::Raw
    }
}

impl InternalClient {
    pub async fn blob_info(&self, caller: &Caller, digest: &Digest) -> Result<BlobRef, ApiError> {
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

    pub async fn blob_import_ramdisk(
        &self,
        caller: &Caller,
        body: reqwest::Body,
    ) -> Result<ImportedBlob, ApiError> {
        self.post_stream(BLOB_IMPORT_RAMDISK_PATH, &caller.request_id, body).await
    }

    /// Idempotent. Nobody may need the blob any more: Walrus does not know who does.
    pub async fn blob_delete(&self, caller: &Caller, digest: &Digest) -> Result<(), ApiError> {
        self.delete(&format!("/v1/blobs/{digest}"), &caller.request_id).await
    }

    pub async fn blob_list(&self, caller: &Caller) -> Result<Vec<BlobRef>, ApiError> {
        self.get(BLOB_IMPORT_PATH, &caller.request_id).await
    }
}
