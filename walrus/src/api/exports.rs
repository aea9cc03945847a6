//! Blobs into buckets over the internal API: what `karri_proto::internal::exports` calls.

use super::bundles::{of_auth, of_fault};
use super::s3::S3;
use super::s3::behalf::{Key, Writer};
use crate::app::bundle::Progress;
use crate::app::import::{For, Importer};
use crate::app::jobs::{Jobs, Told};
use async_trait::async_trait;
use axum::Router;
use karri_proto::internal::exports::{self, ExportProgress, ExportService, ExportTarget, ImageToExport};
use karri_proto::internal::{ApiError, Caller};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;

/// A server answers by then, written or not.
const MAKE_WAIT: Duration = Duration::from_secs(2);
const READ_BUFFER_BYTES: usize = 256 * 1024;

pub fn router(desk: ExportDesk) -> Router {
    exports::router(Arc::new(desk))
}

#[derive(Clone)]
pub struct ExportDesk {
    s3: Arc<S3>,
    importer: Importer,
    jobs: Jobs<ImageToExport, Written>,
}

#[derive(Debug, Clone)]
struct Written {
    bytes: u64,
    etag: String,
}

impl ExportDesk {
    pub fn new(s3: Arc<S3>, importer: Importer) -> Self {
        Self { s3, importer, jobs: Jobs::default() }
    }

    async fn writer(&self, target: &ExportTarget) -> Result<Writer, ApiError> {
        let ExportTarget { bucket, key, access_key_id, session_token, address } = target;
        let whose = Key { id: access_key_id, session_token: session_token.as_ref() };
        let writer = Writer::new(self.s3.clone(), whose, *address).await.map_err(of_auth)?;
        writer.at(bucket, key).await.map_err(of_fault)
    }

    async fn make(
        self,
        image: ImageToExport,
        request_id: String,
        progress: Progress,
    ) -> Result<Written, ApiError> {
        let account = self.writer(&image.target).await?.account().to_owned(); // before any work
        let whom = For::job(&account, &request_id);
        let exported = self.importer.export(&image.digest, image.format, whom).await?;
        let all = exported.bytes;
        let (exported, file) = spawn_blocking(move || exported.open().map(|file| (exported, file)))
            .await
            .map_err(ApiError::internal)?
            .map_err(ApiError::internal)?;
        let reader = tokio::fs::File::from_std(file);
        let bytes = ReaderStream::with_capacity(reader, READ_BUFFER_BYTES);
        let writer = self.writer(&image.target).await?;
        let written = writer.write(all, bytes, |done| progress(done, all)).await.map_err(of_fault)?;
        drop(exported);
        Ok(Written { bytes: all, etag: written.etag.to_string() })
    }
}

#[async_trait]
impl ExportService for ExportDesk {
    async fn export_inspect(&self, _: &Caller, target: &ExportTarget) -> Result<(), ApiError> {
        self.writer(target).await.map(drop)
    }

    async fn export_make(&self, caller: &Caller, image: &ImageToExport) -> Result<ExportProgress, ApiError> {
        let start = |progress| self.clone().make(image.clone(), caller.request_id.clone(), progress);
        match self.jobs.ask(image, MAKE_WAIT, start).await? {
            Told::Working { done, all } => Ok(ExportProgress::Exporting { done, all }),
            Told::Over(Written { bytes, etag }) => {
                let (request_id, digest) = (&caller.request_id, &image.digest);
                let ExportTarget { bucket, key, .. } = &image.target;
                tracing::info!(request_id, %digest, bucket, key, bytes, "image exported");
                Ok(ExportProgress::Exported { bytes, etag })
            }
        }
    }

    async fn export_abandon(&self, caller: &Caller, image: &ImageToExport) -> Result<(), ApiError> {
        tracing::info!(request_id = caller.request_id, digest = %image.digest, "the export is no longer wanted");
        self.jobs.abandon(image);
        Ok(())
    }
}
