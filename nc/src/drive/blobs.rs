//! Where image bytes come from: Walrus, by digest, from any offset.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use karri_proto::ids::BundleTaskId;
use karri_proto::instance::Digest;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::{ApiError, Caller, Identity};
use karri_proto::runtime::client::InternalClient;
use std::path::Path;
use tokio_util::io::ReaderStream;

const SEND_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Asking again cannot help.
    #[error("{0}")]
    Refused(String),
    /// Nobody answered, or the stream broke: what came is kept, the rest is asked for later.
    #[error("{0}")]
    Broken(String),
}

pub type BlobStream = BoxStream<'static, Result<Bytes, BlobError>>;

#[async_trait]
pub trait BlobSource: Send + Sync + 'static {
    /// The bytes from `offset` on, for that request.
    async fn open(&self, request_id: &str, digest: &Digest, offset: u64) -> Result<BlobStream, BlobError>;
}

/// Where copies of disks go: Walrus, for a task that it knows of.
#[async_trait]
pub trait CaptureSink: Send + Sync + 'static {
    /// The name that Walrus has it under.
    async fn send(&self, request_id: &str, task: &BundleTaskId, file: &Path) -> Result<Digest, BlobError>;
}

#[derive(Debug, Clone)]
pub struct WalrusBlobs {
    client: InternalClient,
    identity: Identity,
}

impl WalrusBlobs {
    pub fn new(client: InternalClient, identity: Identity) -> Self {
        Self { client, identity }
    }
}

#[async_trait]
impl BlobSource for WalrusBlobs {
    async fn open(&self, request_id: &str, digest: &Digest, offset: u64) -> Result<BlobStream, BlobError> {
        let caller = Caller { identity: self.identity.clone(), request_id: request_id.to_owned() };
        let response = self.client.blob_read(&caller, digest, offset).await.map_err(refusal)?;
        let status = response.status().as_u16();
        // 206 answers the range. A 200 is the whole blob: right only if the whole was wanted.
        if status != 206 && offset != 0 {
            return Err(BlobError::Refused(format!("Walrus answered {status} to a range request")));
        }
        let stream = response.bytes_stream().map(|chunk| chunk.map_err(|e| BlobError::Broken(e.to_string())));
        Ok(stream.boxed())
    }
}

#[async_trait]
impl CaptureSink for WalrusBlobs {
    async fn send(&self, request_id: &str, task: &BundleTaskId, file: &Path) -> Result<Digest, BlobError> {
        let caller = Caller { identity: self.identity.clone(), request_id: request_id.to_owned() };
        let file = tokio::fs::File::open(file).await.map_err(|error| BlobError::Broken(error.to_string()))?;
        let bytes = ReaderStream::with_capacity(file, SEND_BYTES);
        let sent = self.client.capture_send(&caller, task, bytes).await;
        sent.map(|kept| kept.blob.digest).map_err(|error| match error.kind {
            // Not expected yet, or not any more: whoever wants the copy says so anew.
            ApiErrorKind::Forbidden => BlobError::Broken(error.message),
            // Waiting does not make room, and the guest is off.
            ApiErrorKind::Full => BlobError::Refused(error.message),
            _ => refusal(error),
        })
    }
}

fn refusal(error: ApiError) -> BlobError {
    match error.kind {
        ApiErrorKind::NotFound | ApiErrorKind::Invalid | ApiErrorKind::Forbidden => {
            BlobError::Refused(error.message)
        }
        ApiErrorKind::Conflict | ApiErrorKind::Full | ApiErrorKind::Unreachable | ApiErrorKind::Internal => {
            BlobError::Broken(error.message)
        }
    }
}
