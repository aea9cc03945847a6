//! A simulated image store that writes images to buckets: what it says, and what it was asked for.

use async_trait::async_trait;
use karri_proto::internal::exports::{ExportProgress, ExportService, ExportTarget, ImageToExport};
use karri_proto::internal::{ApiError, Caller};
use std::sync::Mutex;

#[derive(Default)]
pub struct FakeExports {
    /// Why nobody may write.
    pub refused: Mutex<Option<ApiError>>,
    /// What comes of every export; without one, it is under way.
    pub outcome: Mutex<Option<Result<ExportProgress, ApiError>>>,
    pub asked: Mutex<Vec<ImageToExport>>,
    pub abandoned: Mutex<Vec<ImageToExport>>,
}

#[async_trait]
impl ExportService for FakeExports {
    async fn export_inspect(&self, _: &Caller, _: &ExportTarget) -> Result<(), ApiError> {
        self.refused.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    async fn export_make(&self, _: &Caller, image: &ImageToExport) -> Result<ExportProgress, ApiError> {
        self.asked.lock().unwrap().push(image.clone());
        let known = self.outcome.lock().unwrap().clone();
        known.unwrap_or(Ok(ExportProgress::Exporting { done: 1, all: 4 }))
    }

    async fn export_abandon(&self, _: &Caller, image: &ImageToExport) -> Result<(), ApiError> {
        self.abandoned.lock().unwrap().push(image.clone());
        Ok(())
    }
}
