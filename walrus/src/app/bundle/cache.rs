//! The image of a bundle, or of a disk that lies in a bucket: verified, made once, found again.
//!
//! A bundle is decrypted when an image is asked of it for the first time; a disk in a bucket goes the same way, but
//! for the decrypting. What comes out is a blob like any
//! other, which nodes fetch by its digest; `store::bundles` remembers which manifest it came from, so that
//! asking again costs a signature check. "Cache" is said of such blobs as long as no image is registered
//! on them (`store::holds`): up to a limit they stay, the least recently used go first. A blob with an image on
//! it is no cache: the image must boot although its bundle has been overwritten or deleted since.

use super::keys::{Certificate, CloudKey, signer};
use super::manifest::{Kind, Manifest};
use super::parts::{PartSource, Progress};
use super::pipeline::image_stream;
use crate::app::import::{For, ImportError, Importer, Limits, blocking};
use crate::app::sniff::Purpose;
use crate::store::blobs::BlobStore;
use crate::store::bundles::{BundleIndex, BundleName};
use crate::store::holds::Hold;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use karri_proto::instance::Digest;
use karri_proto::internal::blobs::ImportedBlob;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone)]
pub struct Bundles {
    importer: Importer,
    index: Arc<BundleIndex>,
    key: Arc<CloudKey>,
    /// One lock per bundle that is being made: who comes second waits and finds it.
    making: Arc<Making>,
}

/// What an image is asked of.
#[derive(Debug, Clone, Copy)]
pub struct Bundle<'a> {
    pub name: &'a BundleName,
    /// Of the manifest as it was read.
    pub etag: &'a str,
    pub manifest: &'a [u8],
    /// Those of the account that asks.
    pub certificates: &'a [Certificate],
}

#[derive(Debug, Clone)]
pub struct BundledImage {
    pub manifest: Manifest,
    /// Which of the certificates signed it; None when nobody did.
    pub signer: Option<usize>,
    pub image: ImportedBlob,
    /// It had been made before.
    pub cached: bool,
}

impl Bundles {
    /// Blocking.
    pub fn open(importer: Importer, state_dir: &Path, key: CloudKey) -> io::Result<Self> {
        let index = BundleIndex::open(state_dir, importer.store().clone())?;
        importer.store().cache_trim(importer.limits().bundle_cache_bytes_max);
        Ok(Self { importer, index: Arc::new(index), key: Arc::new(key), making: Arc::default() })
    }

    pub fn store(&self) -> &Arc<BlobStore> {
        self.importer.store()
    }

    /// What the cloud encrypts for and signs with.
    pub fn key(&self) -> &Arc<CloudKey> {
        &self.key
    }

    pub fn limits(&self) -> &Limits {
        self.importer.limits()
    }

    /// The image of `bundle`, held by `hold`: `Registered` for an image that is about to be registered.
    pub async fn image(
        &self,
        bundle: Bundle<'_>,
        source: Arc<dyn PartSource>,
        hold: Hold,
        progress: Progress,
        whom: For<'_>,
    ) -> Result<BundledImage, ImportError> {
        let manifest = Manifest::parse(bundle.manifest).map_err(super::BundleError::from)?;
        let signer = signer(&manifest, bundle.manifest, bundle.certificates)?;
        let image_bytes_max = self.importer.limits().import_bytes_max;
        if manifest.image.bytes > image_bytes_max {
            return Err(ImportError::TooLarge(image_bytes_max));
        }
        let turn = Turn::new(&self.making, bundle.name);
        let _alone = turn.lock.lock().await;
        let (image, cached) = match self.find(bundle.name, bundle.etag, hold).await? {
            Some(image) => (image, true),
            None => (self.make(&bundle, &manifest, source, hold, progress, whom).await?, false),
        };
        Ok(BundledImage { manifest, signer, image, cached })
    }

    /// The image that the object of that ETag is itself; `disk` are its bytes.
    pub async fn disk(
        &self,
        name: &BundleName,
        etag: &str,
        mut disk: BoxStream<'static, Result<Bytes, ImportError>>,
        hold: Hold,
        whom: For<'_>,
    ) -> Result<ImportedBlob, ImportError> {
        let turn = Turn::new(&self.making, name);
        let _alone = turn.lock.lock().await;
        if let Some(image) = self.find(name, etag, hold).await? {
            return Ok(image);
        }
        let image = self.importer.import(&mut disk, Purpose::Disk, hold, whom).await?;
        self.remember(name, etag, image).await
    }

    async fn find(
        &self,
        name: &BundleName,
        etag: &str,
        hold: Hold,
    ) -> Result<Option<ImportedBlob>, ImportError> {
        let Some(digest) = self.index.bundle_fetch(name, etag) else { return Ok(None) };
        let store = self.importer.store().clone();
        blocking(move || {
            let info = store.blob_hold(&digest, hold)?;
            store.blob_used(&digest);
            Ok(info.map(|info| ImportedBlob {
                blob: info.as_ref(&digest),
                source_format: info.source_format.clone(),
                content: info.content(),
            }))
        })
        .await
    }

    async fn make(
        &self,
        bundle: &Bundle<'_>,
        manifest: &Manifest,
        source: Arc<dyn PartSource>,
        hold: Hold,
        progress: Progress,
        whom: For<'_>,
    ) -> Result<ImportedBlob, ImportError> {
        let key = self.key.clone();
        let wrapped = manifest.image.cloud_key.clone();
        let secrets = blocking(move || Ok(key.unwrap(&wrapped))).await?;
        let stream = image_stream(Arc::new(manifest.image.clone()), secrets, source, progress);
        let mut stream = stream.map(|bytes| bytes.map_err(ImportError::from));
        let purpose = match manifest.image.kind {
            Kind::Machine => Purpose::Disk,
            Kind::Kernel => Purpose::Kernel,
            Kind::Ramdisk => Purpose::Ramdisk,
        };
        let image = self.importer.import(&mut stream, purpose, hold, whom).await?;
        self.remember(bundle.name, bundle.etag, image).await
    }

    /// The next who asks finds it.
    async fn remember(
        &self,
        name: &BundleName,
        etag: &str,
        image: ImportedBlob,
    ) -> Result<ImportedBlob, ImportError> {
        let (index, name, etag) = (self.index.clone(), name.clone(), etag.to_owned());
        let (store, digest) = (self.importer.store().clone(), image.blob.digest.clone());
        // Who asked for this one holds it next: however large it is, it must not be the one that goes.
        let cache_bytes_max = self.importer.limits().bundle_cache_bytes_max.max(image.blob.bytes);
        blocking(move || {
            index.bundle_insert(&name, &etag, &digest)?;
            store.cache_trim(cache_bytes_max);
            Ok(())
        })
        .await?;
        Ok(image)
    }

    /// No image is registered on the blob any more: it is a copy again, as long as there is room. Blocking.
    pub fn release(&self, digest: &Digest) -> io::Result<()> {
        self.store().blob_release(digest)?;
        if !self.index.leads_to(digest) {
            self.store().blob_drop_cached(digest)?; // its manifest is gone: nobody could ask for it
        }
        self.store().cache_trim(self.importer.limits().bundle_cache_bytes_max);
        Ok(())
    }

    pub fn index(&self) -> &Arc<BundleIndex> {
        &self.index
    }

    /// The manifest was overwritten or deleted.
    pub async fn forget(&self, name: &BundleName) -> Result<(), ImportError> {
        let (index, name) = (self.index.clone(), name.clone());
        blocking(move || index.bundle_forget(&name)).await
    }
}

type Making = Mutex<HashMap<BundleName, Arc<tokio::sync::Mutex<()>>>>;

/// A place in the row of those who want one bundle. The row goes away with the last of them, however they
/// leave.
struct Turn<'a> {
    making: &'a Making,
    name: &'a BundleName,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl<'a> Turn<'a> {
    fn new(making: &'a Making, name: &'a BundleName) -> Self {
        let mut rows = making.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = rows.entry(name.clone()).or_default().clone();
        Self { making, name, lock }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut rows = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&self.lock) == 2 {
            rows.remove(self.name); // the row's own, and this one
        }
    }
}
