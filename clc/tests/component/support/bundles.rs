//! Objects that a simulated image store makes images of: what it says of each, and what comes of it.

use async_trait::async_trait;
use karri_proto::instance::{BlobFormat, BlobRef, Digest};
use karri_proto::internal::blobs::{BlobPurpose, Content, ImportedBlob};
use karri_proto::internal::bundles::{
    BundleAsked, BundleFacts, BundleProgress, BundleService, BundleToMake, DiskFacts, Inspected,
};
use karri_proto::internal::{ApiError, Caller};
use std::collections::HashMap;
use std::sync::Mutex;

#[derive(Default)]
pub struct FakeBundles {
    /// By `BUCKET/KEY`.
    pub inspected: Mutex<HashMap<String, Result<Inspected, ApiError>>>,
    pub made: Mutex<HashMap<String, Result<BundleProgress, ApiError>>>,
    pub asked: Mutex<Vec<BundleAsked>>,
    pub to_make: Mutex<Vec<BundleToMake>>,
    /// The requests that something was to be made for.
    pub requests: Mutex<Vec<String>>,
    pub abandoned: Mutex<Vec<BundleToMake>>,
    pub released: Mutex<Vec<Digest>>,
}

pub fn facts(purpose: BlobPurpose) -> BundleFacts {
    BundleFacts {
        etag: "etag".into(),
        purpose,
        architecture: "x86_64".into(),
        bytes: 5 << 30,
        kernel_id: None,
        ramdisk_id: None,
        root_device: None,
    }
}

pub fn made(seed: u8, content: Content) -> BundleProgress {
    let blob = BlobRef {
        digest: Digest::from_sha256([seed; 32]),
        format: BlobFormat::Raw,
        bytes: 1 << 20,
        virtual_bytes: 5 << 30,
    };
    BundleProgress::Made(ImportedBlob { blob, source_format: "raw".into(), content })
}

impl FakeBundles {
    pub fn inspects(&self, location: &str, facts: Result<BundleFacts, ApiError>) {
        self.inspected.lock().unwrap().insert(location.to_owned(), facts.map(Inspected::Bundle));
    }

    /// A disk of five gibibytes.
    pub fn inspects_disk(&self, location: &str, format: &str) {
        let (etag, format) = ("etag".to_owned(), format.to_owned());
        let facts = DiskFacts { etag, format, bytes: 1 << 20, virtual_bytes: 5 << 30 };
        self.inspected.lock().unwrap().insert(location.to_owned(), Ok(Inspected::Disk(facts)));
    }

    pub fn makes(&self, location: &str, outcome: Result<BundleProgress, ApiError>) {
        self.made.lock().unwrap().insert(location.to_owned(), outcome);
    }
}

#[async_trait]
impl BundleService for FakeBundles {
    async fn bundle_inspect(&self, _: &Caller, asked: &BundleAsked) -> Result<Inspected, ApiError> {
        self.asked.lock().unwrap().push(asked.clone());
        let known = self.inspected.lock().unwrap().get(&format!("{}/{}", asked.bucket, asked.key)).cloned();
        known.unwrap_or_else(|| Err(ApiError::not_found("no such key")))
    }

    async fn bundle_make(&self, caller: &Caller, bundle: &BundleToMake) -> Result<BundleProgress, ApiError> {
        self.requests.lock().unwrap().push(caller.request_id.clone());
        self.to_make.lock().unwrap().push(bundle.clone());
        let known = self.made.lock().unwrap().get(&format!("{}/{}", bundle.bucket, bundle.key)).cloned();
        known.unwrap_or(Ok(BundleProgress::Making { done: 1, all: 9 }))
    }

    async fn bundle_abandon(&self, _: &Caller, bundle: &BundleToMake) -> Result<(), ApiError> {
        self.abandoned.lock().unwrap().push(bundle.clone());
        Ok(())
    }

    async fn bundle_release(&self, _: &Caller, digest: &Digest) -> Result<(), ApiError> {
        self.released.lock().unwrap().push(digest.clone());
        Ok(())
    }
}
