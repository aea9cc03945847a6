//! Objects that are disks themselves.

use super::{BundleDesk, of_store};
use crate::app::bundle::Progress;
use crate::app::disk::look;
use crate::app::import::{For, ImportError};
use crate::app::sniff::{Sample, TAIL_BYTES};
use crate::app::{Refusal, vhdx};
use crate::store::bundles::BundleName;
use crate::store::holds::Hold;
use crate::store::objects::{Body, Object, StoreError};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use karri_proto::internal::ApiError;
use karri_proto::internal::blobs::ImportedBlob;
use karri_proto::internal::bundles::{BundleToMake, DiskFacts};
use std::io;
use std::sync::Arc;

/// The object that was permitted is not the one that lies there now.
pub(super) fn gone() -> ImportError {
    Refusal::new("the object was overwritten or deleted before its image was made").into()
}

impl BundleDesk {
    /// `head` is the object's beginning.
    pub(super) async fn disk(&self, object: &Arc<Object>, head: Vec<u8>) -> Result<DiskFacts, ApiError> {
        let (bytes, limits) = (object.size, *self.bundles.limits());
        if bytes > limits.import_bytes_max {
            return Err(ImportError::TooLarge(limits.import_bytes_max).into());
        }
        let tail = self.part(object, bytes.saturating_sub(TAIL_BYTES as u64)..bytes).await?;
        let sample = Sample { head: &head, tail: &tail, bytes };
        let (kind, virtual_bytes) = look(sample, limits.virtual_bytes_max).map_err(ImportError::from)?;
        let virtual_bytes = match virtual_bytes {
            Some(bytes) => bytes,
            None => self.vhdx(object, limits.virtual_bytes_max).await?,
        };
        let (etag, format) = (object.etag.to_string(), kind.as_str().to_owned());
        Ok(DiskFacts { etag, format, bytes, virtual_bytes })
    }

    /// The size of the disk in a VHDX file.
    async fn vhdx(&self, object: &Arc<Object>, virtual_bytes_max: u64) -> Result<u64, ApiError> {
        let regions = self.part(object, vhdx::REGIONS_AT..vhdx::REGIONS_AT + vhdx::REGIONS_BYTES).await?;
        let at = vhdx::metadata_at(&regions, object.size).map_err(ImportError::from)?;
        let metadata = self.part(object, at..at + vhdx::METADATA_BYTES).await?;
        Ok(vhdx::parse(&metadata, virtual_bytes_max).map_err(ImportError::from)?)
    }

    /// The image that `object` is, as a copy that may go: who asks holds it.
    pub(super) async fn disk_make(
        &self,
        asked: BundleToMake,
        object: Arc<Object>,
        request_id: &str,
        progress: Progress,
    ) -> Result<ImportedBlob, ApiError> {
        let bytes = self.bytes(&object, progress).await?;
        let name = BundleName { bucket: asked.bucket, key: asked.key };
        let whom = For::job(&asked.account, request_id);
        Ok(self.bundles.disk(&name, &asked.etag, bytes, Hold::Cached, whom).await?)
    }

    async fn bytes(
        &self,
        object: &Arc<Object>,
        progress: Progress,
    ) -> Result<BoxStream<'static, Result<Bytes, ImportError>>, ApiError> {
        let all = object.size;
        let pieces = match self.s3.objects.read(object, 0..all, None).await.map_err(of_store)? {
            Body::Whole(bytes) => stream::iter([Ok(bytes)]).boxed(),
            Body::Stream(pieces) => pieces.map(|piece| piece.map_err(failed)).boxed(),
        };
        let mut done = 0;
        let told = pieces.inspect(move |piece| {
            done += piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
            progress(done, all);
        });
        Ok(told.boxed())
    }
}

fn failed(error: StoreError) -> ImportError {
    match error {
        StoreError::NoSuchVersion => gone(),
        StoreError::Corrupt(_) => Refusal::new("the object's bytes are damaged in the object store").into(),
        other => ImportError::Io(io::Error::other(other)),
    }
}
