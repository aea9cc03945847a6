//! Images that are made of objects, from `pending` to what comes of it, and what follows when they are gone.
//!
//! ```text
//!   pending ──► available      the image store has made the blob, and keeps it
//!      │ ├────► failed         nothing can come of it, or nothing has in PENDING_MAX: the reason is told
//!      │ └────► deregistered   before it was made
//! ```
//!
//! A round asks the image store about every pending image; the image store makes it once, however often it is
//! asked. What was made stays there until this controller says that no image and no instance is on it.

use super::{Image, ImageState, fair};
use crate::app::{App, now_ms};
use crate::store::StoreError;
use futures_util::future::join_all;
use karri_proto::instance::Digest;
use karri_proto::internal::ApiError;
use karri_proto::internal::blobs::{BlobFacts, ImportedBlob};
use karri_proto::internal::bundles::BundleProgress;
use karri_proto::internal::error::ApiErrorKind;
use std::time::Duration;

/// Asked about at once, in turn between the accounts and the oldest first.
pub(in crate::app) const AT_ONCE_MAX: usize = 16;
pub(super) const PENDING_MAX: Duration = Duration::from_secs(24 * 3600);
/// A launch or registration that saw the image before it went is in the database by then.
const RELEASE_AFTER: Duration = Duration::from_secs(600);

pub(super) const LATE: &str = "The image was not made in a day";

/// Why a round did not do all that it should.
#[derive(Debug, thiserror::Error)]
pub enum MakingError {
    #[error("database: {0}")]
    Store(#[from] StoreError),
    #[error("image store: {0}")]
    Walrus(ApiError),
}

/// What is to be done about an image after the image store was asked.
#[derive(Debug, PartialEq)]
enum Next {
    Wait,
    Fail(String),
    Finish(ImportedBlob),
}

impl App {
    pub async fn images_make(&self) -> Result<(), MakingError> {
        let pending = self.store.image_list_pending().await?;
        let turn = fair::turn(pending, |image| image.account.clone(), AT_ONCE_MAX);
        let asked = join_all(turn.iter().map(|image| self.image_make(image))).await;
        asked.into_iter().collect()
    }

    async fn image_make(&self, image: &Image) -> Result<(), MakingError> {
        let Some(source) = &image.definition.bundle else { return Ok(()) };
        let bundle = source.to_make(&image.account);
        let asked = self.bundles.bundle_make(&self.caller(image.logged_as()), &bundle).await;
        let late = now_ms() - image.created_ms > PENDING_MAX.as_millis() as i64;
        match next(image, asked, late).map_err(MakingError::Walrus)? {
            Next::Wait => Ok(()),
            Next::Fail(reason) => self.image_fail(image, reason).await,
            Next::Finish(made) => self.image_finish(image, made).await,
        }
    }

    async fn image_fail(&self, image: &Image, reason: String) -> Result<(), MakingError> {
        let mut failed = image.clone();
        failed.state = ImageState::Failed;
        let request_id = image.logged_as();
        tracing::info!(request_id, image_id = image.id, reason, "the image could not be made");
        failed.definition.failure = Some(reason);
        Ok(self.store.image_settle(&failed).await.map(drop)?)
    }

    async fn image_finish(&self, image: &Image, made: ImportedBlob) -> Result<(), MakingError> {
        let mut available = image.clone();
        available.state = ImageState::Available;
        let digest = made.blob.digest.clone();
        available.definition.blob = Some(made.blob);
        if self.store.image_settle(&available).await? {
            let request_id = image.logged_as();
            tracing::info!(request_id, image_id = image.id, %digest, "the image is available");
            return Ok(());
        }
        self.blob_let_go(image.logged_as(), &digest).await.map(drop) // it was deregistered in between
    }

    /// Tells the image store of blobs that nothing is on any more.
    pub async fn images_release(&self) -> Result<(), MakingError> {
        let before_ms = now_ms() - RELEASE_AFTER.as_millis() as i64;
        for digest in self.store.blob_release_list().await? {
            self.blob_let_go("images", &digest).await?; // begun by a round that was cut short
        }
        for image in self.store.image_list_to_release(before_ms).await? {
            let Some(blob) = &image.definition.blob else { continue };
            if self.blob_let_go(image.logged_as(), &blob.digest).await? {
                self.store.image_released(&image.id).await?;
            }
        }
        for snapshot in self.store.snapshot_list_to_release(before_ms).await? {
            if self.blob_let_go(&snapshot.id, &snapshot.definition.blob.digest).await? {
                self.store.snapshot_released(&snapshot.id).await?;
            }
        }
        Ok(())
    }

    /// Has the image store delete the blobs of images that the operator deleted, where nothing is on them any more.
    pub async fn images_drop(&self, now_ms: i64) -> Result<(), MakingError> {
        let before_ms = now_ms - RELEASE_AFTER.as_millis() as i64;
        for image in self.store.image_list_to_drop(before_ms).await? {
            // One that was never made has none.
            if let Some(blob) = &image.definition.blob {
                if !self.store.blob_release_begin(&blob.digest).await? {
                    continue;
                }
                let caller = self.caller(image.logged_as());
                self.blobs.blob_delete(&caller, &blob.digest).await.map_err(MakingError::Walrus)?;
                self.store.blob_release_end(&blob.digest).await?;
                tracing::info!(image_id = image.id, digest = %blob.digest, "nothing needs the blob: deleted");
            }
            self.store.image_dropped(&image.id).await?;
        }
        Ok(())
    }

    /// Tells the image store that nothing is on the blob; false: something is.
    pub(in crate::app) async fn blob_let_go(
        &self,
        request_id: &str,
        digest: &Digest,
    ) -> Result<bool, MakingError> {
        if !self.store.blob_release_begin(digest).await? {
            return Ok(false);
        }
        let released = self.bundles.bundle_release(&self.caller(request_id), digest).await;
        released.map_err(MakingError::Walrus)?;
        self.store.blob_release_end(digest).await?;
        Ok(true)
    }
}

/// An error that another try may not have is the round's.
fn next(image: &Image, asked: Result<BundleProgress, ApiError>, late: bool) -> Result<Next, ApiError> {
    match asked {
        Ok(BundleProgress::Made(made)) => Ok(judged(image, made)),
        Ok(BundleProgress::Making { .. }) if late => Ok(Next::Fail(LATE.to_owned())),
        Ok(BundleProgress::Making { .. }) => Ok(Next::Wait),
        Err(error) => match error.kind {
            ApiErrorKind::Invalid | ApiErrorKind::Full => Ok(Next::Fail(error.message)),
            _ if late => Ok(Next::Fail(LATE.to_owned())),
            ApiErrorKind::Forbidden
            | ApiErrorKind::NotFound
            | ApiErrorKind::Conflict
            | ApiErrorKind::Unreachable
            | ApiErrorKind::Internal => Err(error),
        },
    }
}

fn judged(image: &Image, made: ImportedBlob) -> Next {
    let facts = BlobFacts { blob: made.blob.clone(), content: made.content };
    match super::register::check_content(image.kind, &facts) {
        Ok(()) => Next::Finish(made),
        Err(fault) => Next::Fail(fault.message().to_owned()),
    }
}
