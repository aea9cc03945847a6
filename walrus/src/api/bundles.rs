//! Images of objects over the internal API: what `karri_proto::internal::bundles` calls, over the objects of S3.

mod disk;

use super::s3::S3;
use super::s3::behalf::{Key, Reader};
use crate::app::bundle::cache::{Bundle, Bundles};
use crate::app::bundle::error::MANIFEST_READ_BYTES_MAX;
use crate::app::bundle::keys::{Certificate, signer, trusted};
use crate::app::bundle::manifest::Kind;
use crate::app::bundle::objects::{ObjectParts, part_key};
use crate::app::bundle::{BundleError, Manifest, Progress};
use crate::app::disk::is_manifest;
use crate::app::import::{For, ImportError};
use crate::app::jobs::{Jobs, Told};
use crate::app::sniff::HEAD_BYTES;
use crate::drive::signers::AuthFault;
use crate::store::bundles::BundleName;
use crate::store::holds::Hold;
use crate::store::objects::{Body, Bucket, Object, StoreError};
use async_trait::async_trait;
use axum::Router;
use futures_util::StreamExt;
use karri_proto::aws::s3::{S3Code, S3Fault};
use karri_proto::instance::Digest;
use karri_proto::internal::blobs::{BlobPurpose, ImportedBlob};
use karri_proto::internal::bundles::{
    self, BundleAsked, BundleFacts, BundleProgress, BundleService, BundleToMake, Inspected, MAKE_WAIT,
    SourceKind,
};
use karri_proto::internal::{ApiError, Caller};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// A manifest of many thousand parts is not looked through for longer.
const INSPECT_MAX: Duration = Duration::from_secs(8);
/// Certificates of one account that are tried.
const CERTIFICATES_MAX: usize = 256;

pub fn router(desk: BundleDesk) -> Router {
    bundles::router(Arc::new(desk))
}

#[derive(Clone)]
pub struct BundleDesk {
    s3: Arc<S3>,
    bundles: Bundles,
    jobs: Jobs<BundleToMake, ImportedBlob>,
}

impl BundleDesk {
    pub fn new(s3: Arc<S3>, bundles: Bundles) -> Self {
        Self { s3, bundles, jobs: Jobs::default() }
    }

    async fn inspect(&self, asked: &BundleAsked) -> Result<Inspected, ApiError> {
        let key = Key { id: &asked.access_key_id, session_token: asked.session_token.as_ref() };
        let reader = Reader::new(self.s3.clone(), key, asked.address).await.map_err(of_auth)?;
        let bucket = reader.bucket(&asked.bucket).await.map_err(of_fault)?;
        let object = reader.object(&bucket, &asked.key).await.map_err(of_fault)?;
        let head = self.part(&object, 0..HEAD_BYTES as u64).await?;
        if is_manifest(&asked.key, &head) {
            let facts = self.bundle(&reader, &bucket, &asked.key, &object).await?;
            return Ok(Inspected::Bundle(facts));
        }
        Ok(Inspected::Disk(self.disk(&object, head).await?))
    }

    async fn bundle(
        &self,
        reader: &Reader,
        bucket: &Arc<Bucket>,
        key: &str,
        object: &Arc<Object>,
    ) -> Result<BundleFacts, ApiError> {
        let text = self.manifest(object).await?;
        let manifest = Manifest::parse(&text).map_err(BundleError::from).map_err(refused)?;
        let certificates = self.certificates(&manifest, reader.account()).await?;
        signer(&manifest, &text, &certificates).map_err(refused)?;
        self.parts(reader, bucket, key, &manifest).await?;
        Ok(facts(object, &manifest))
    }

    /// Whether every part is there and may be read. What they hold is found out when the image is made.
    async fn parts(
        &self,
        reader: &Reader,
        bucket: &Arc<Bucket>,
        key: &str,
        manifest: &Manifest,
    ) -> Result<(), ApiError> {
        let mut found = 0;
        for part in &manifest.image.parts {
            let key = part_key(key, &part.filename);
            found += reader.object(bucket, &key).await.map_err(|fault| of_part(&key, fault))?.size;
        }
        let expected = manifest.image.bundled_bytes;
        match found {
            _ if found < expected => Err(refused(BundleError::PartsShort { expected, found })),
            _ if found > expected => Err(refused(BundleError::PartsLong(expected))),
            _ => Ok(()),
        }
    }

    async fn manifest(&self, object: &Arc<Object>) -> Result<Vec<u8>, ApiError> {
        // What is longer is refused by its parser.
        self.part(object, 0..MANIFEST_READ_BYTES_MAX as u64).await
    }

    /// What there is of that range, in memory.
    async fn part(&self, object: &Arc<Object>, range: Range<u64>) -> Result<Vec<u8>, ApiError> {
        let mut part = Vec::new();
        match self.s3.objects.read(object, range, None).await.map_err(of_store)? {
            Body::Whole(bytes) => part.extend_from_slice(&bytes),
            Body::Stream(mut pieces) => {
                while let Some(piece) = pieces.next().await {
                    part.extend_from_slice(&piece.map_err(of_store)?);
                }
            }
        }
        Ok(part)
    }

    async fn certificates(&self, manifest: &Manifest, account: &str) -> Result<Vec<Certificate>, ApiError> {
        let own = certificates(&self.s3, account).await?;
        Ok(trusted(manifest, account, own, self.bundles.key().certificate()))
    }

    /// The image, as a copy that may go: who asks holds it.
    async fn make(
        self,
        bundle: BundleToMake,
        request_id: String,
        progress: Progress,
    ) -> Result<ImportedBlob, ApiError> {
        let (bucket, object) = self.current(&bundle).await?;
        if bundle.kind == SourceKind::Disk {
            return self.disk_make(bundle, object, &request_id, progress).await;
        }
        let text = self.manifest(&object).await?;
        let manifest = Manifest::parse(&text).map_err(BundleError::from).map_err(refused)?;
        let certificates = self.certificates(&manifest, &bundle.account).await?;
        let name = BundleName { bucket: bundle.bucket, key: bundle.key.clone() };
        let parts = ObjectParts { objects: self.s3.objects.clone(), bucket: bucket.id, key: bundle.key };
        let asked = Bundle { name: &name, etag: &bundle.etag, manifest: &text, certificates: &certificates };
        let whom = For::job(&bundle.account, &request_id);
        let made = self.bundles.image(asked, Arc::new(parts), Hold::Cached, progress, whom).await?;
        Ok(made.image)
    }

    /// The object that was inspected, unless it is another one by now.
    async fn current(&self, bundle: &BundleToMake) -> Result<(Arc<Bucket>, Arc<Object>), ApiError> {
        let gone = || match bundle.kind {
            SourceKind::Bundle => refused(BundleError::ManifestGone),
            SourceKind::Disk => disk::gone().into(),
        };
        let failed = |error| match error {
            StoreError::NoSuchBucket | StoreError::NoSuchKey { .. } | StoreError::NoSuchVersion => gone(),
            other => of_store(other),
        };
        let bucket = self.s3.objects.bucket_fetch(&bundle.bucket).await.map_err(failed)?;
        let object = self.s3.objects.object_fetch(bucket.id, &bundle.key, None).await.map_err(failed)?;
        let same = !object.is_marker && object.etag.to_string() == bundle.etag;
        if same { Ok((bucket, object)) } else { Err(gone()) }
    }

    /// From now on the blob stays; false when it has made room in between.
    async fn hold(&self, digest: &Digest) -> Result<bool, ApiError> {
        let (store, digest) = (self.bundles.store().clone(), digest.clone());
        let held = spawn_blocking(move || store.blob_hold(&digest, Hold::Registered)).await;
        Ok(held.map_err(ApiError::internal)?.map_err(ApiError::internal)?.is_some())
    }
}

#[async_trait]
impl BundleService for BundleDesk {
    async fn bundle_inspect(&self, _: &Caller, asked: &BundleAsked) -> Result<Inspected, ApiError> {
        let inspected = tokio::time::timeout(INSPECT_MAX, self.inspect(asked)).await;
        inspected.map_err(|_| ApiError::unreachable("the manifest's parts take too long to look up"))?
    }

    async fn bundle_make(&self, caller: &Caller, bundle: &BundleToMake) -> Result<BundleProgress, ApiError> {
        let start = |progress| self.clone().make(bundle.clone(), caller.request_id.clone(), progress);
        let image = match self.jobs.ask(bundle, MAKE_WAIT, start).await? {
            Told::Working { done, all } => return Ok(BundleProgress::Making { done, all }),
            Told::Over(image) => image,
        };
        if self.hold(&image.blob.digest).await? {
            return Ok(BundleProgress::Made(image));
        }
        Ok(BundleProgress::Making { done: 0, all: 0 }) // asked again, it is made again
    }

    async fn bundle_abandon(&self, caller: &Caller, bundle: &BundleToMake) -> Result<(), ApiError> {
        let (request_id, bucket, key) = (&caller.request_id, &bundle.bucket, &bundle.key);
        tracing::info!(request_id, bucket, key, "the image is no longer wanted");
        self.jobs.abandon(bundle);
        Ok(())
    }

    async fn bundle_release(&self, caller: &Caller, digest: &Digest) -> Result<(), ApiError> {
        let (bundles, digest) = (self.bundles.clone(), digest.clone());
        tracing::info!(request_id = caller.request_id, %digest, "no image is on this blob any more");
        let released = spawn_blocking(move || bundles.release(&digest)).await;
        released.map_err(ApiError::internal)?.map_err(ApiError::internal)
    }
}

/// Of an account, those that can be read; a user's certificate was checked when it was given.
pub(super) async fn certificates(s3: &S3, account: &str) -> Result<Vec<Certificate>, ApiError> {
    let known = s3.authenticator.certificates(account).await.map_err(of_auth)?;
    let read = known.iter().take(CERTIFICATES_MAX).filter_map(|one| Certificate::list(&one.pem).ok());
    Ok(read.flatten().collect())
}

fn facts(object: &Object, manifest: &Manifest) -> BundleFacts {
    let machine = &manifest.machine;
    let root = machine.mappings.iter().find(|mapping| mapping.virtual_name == "root");
    BundleFacts {
        etag: object.etag.to_string(),
        purpose: match manifest.image.kind {
            Kind::Machine => BlobPurpose::Disk,
            Kind::Kernel => BlobPurpose::Kernel,
            Kind::Ramdisk => BlobPurpose::Ramdisk,
        },
        architecture: machine.architecture.clone(),
        bytes: manifest.image.bytes,
        kernel_id: machine.kernel_id.clone(),
        ramdisk_id: machine.ramdisk_id.clone(),
        root_device: root.map(|mapping| mapping.device.clone()),
    }
}

fn refused(error: BundleError) -> ApiError {
    ImportError::from(error).into()
}

pub(super) fn of_auth(fault: AuthFault) -> ApiError {
    match fault {
        AuthFault::UnknownKey | AuthFault::BadToken | AuthFault::ExpiredToken => {
            ApiError::forbidden(fault.to_string())
        }
        AuthFault::Unavailable(_) => ApiError::unreachable(fault),
    }
}

pub(super) fn of_store(error: StoreError) -> ApiError {
    of_fault(super::s3::fault::About::default().fault(error))
}

pub(super) fn of_fault(fault: S3Fault) -> ApiError {
    let message = fault.message();
    match fault.status() {
        404 => ApiError::not_found(message),
        401 | 403 => ApiError::forbidden(message),
        503 => ApiError::unreachable(message),
        500.. => ApiError::internal(fault.cause().unwrap_or(message)),
        _ => ApiError::invalid(message),
    }
}

/// The manifest is there: a part that is not makes it a wrong one.
fn of_part(key: &str, fault: S3Fault) -> ApiError {
    match fault.code() {
        S3Code::NoSuchKey => refused(BundleError::PartMissing(key.to_owned())),
        S3Code::AccessDenied => {
            let (filename, reason) = (key.to_owned(), fault.message().to_owned());
            refused(BundleError::PartFailed { filename, reason })
        }
        _ => of_fault(fault),
    }
}
