//! Where image bytes come from: Walrus, by digest, from any offset.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use karri_proto::instance::Digest;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::{ApiError, Caller, Identity};
use karri_proto::runtime::client::InternalClient;

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

#[derive(Debug)]
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
