//! A simulated image store: tells what it knows of blobs, behind real mutual TLS.

use super::bundles::FakeBundles;
use super::files;
use axum::extract::{Path as Segment, State};
use axum::routing::{delete, get};
use axum::{Json, Router};
use karri_clc::drive::blobs::{Blobs as _, BlobsInMemory};
use karri_proto::instance::{BlobFormat, BlobRef, Digest};
use karri_proto::internal::blobs::{BLOB_INFO_PATH, BLOB_PATH, BlobFacts, Content};
use karri_proto::internal::bundles;
use karri_proto::internal::caller::guarded;
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::runtime::server::{ShutdownTrigger, serve, shutdown_pair};
use karri_proto::runtime::tls::server_config;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

pub struct FakeWalrus {
    pub url: String,
    blobs: Arc<BlobsInMemory>,
    pub bundles: Arc<FakeBundles>,
    _server: ShutdownTrigger,
}

async fn info(
    State(blobs): State<Arc<BlobsInMemory>>,
    caller: Caller,
    Segment(digest): Segment<Digest>,
) -> Result<Json<BlobFacts>, ApiError> {
    let missing = || ApiError::not_found(format!("no blob {digest}"));
    Ok(Json(blobs.blob_info(&caller, &digest).await?.ok_or_else(missing)?))
}

async fn remove(
    State(blobs): State<Arc<BlobsInMemory>>,
    caller: Caller,
    Segment(digest): Segment<Digest>,
) -> Result<(), ApiError> {
    blobs.blob_delete(&caller, &digest).await
}

impl FakeWalrus {
    pub async fn start(directory: &Path) -> Self {
        let blobs = Arc::<BlobsInMemory>::default();
        let router = Router::new().route(BLOB_INFO_PATH, get(info)).route(BLOB_PATH, delete(remove));
        let router = router.with_state(blobs.clone());
        let router = guarded(router, |identity| identity.role == Role::Clc);
        let known = Arc::<FakeBundles>::default();
        let router = router.merge(bundles::router(known.clone()));
        let tls = server_config(&files(directory, &Identity::new(Role::Walrus, "", "walrus"))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (trigger, shutdown) = shutdown_pair();
        tokio::spawn(serve(listener, Some(tls), router, shutdown));
        Self { url, blobs, bundles: known, _server: trigger }
    }

    pub async fn has(&self, digest: &str) -> bool {
        let caller = Caller { identity: Identity::new(Role::Clc, "", "clc"), request_id: "req-test".into() };
        self.blobs.blob_info(&caller, &digest.parse().unwrap()).await.unwrap().is_some()
    }

    /// A disk of that size; `seed` makes its digest.
    pub fn put(&self, seed: u8, format: BlobFormat, virtual_bytes: u64) -> String {
        self.put_facts(seed, format, virtual_bytes, Content::Disk)
    }

    /// A mebibyte of that.
    pub fn put_content(&self, seed: u8, content: Content) -> String {
        self.put_facts(seed, BlobFormat::Raw, 1 << 20, content)
    }

    fn put_facts(&self, seed: u8, format: BlobFormat, virtual_bytes: u64, content: Content) -> String {
        let digest = Digest::from_sha256([seed; 32]);
        let blob = BlobRef { digest: digest.clone(), format, bytes: virtual_bytes / 2, virtual_bytes };
        self.blobs.put(BlobFacts { blob, content });
        digest.to_string()
    }
}
