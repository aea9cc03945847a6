//! A simulated image store: tells what it knows of blobs, behind real mutual TLS.

use super::bundles::FakeBundles;
use super::exports::FakeExports;
use super::files;
use super::instance_bundles::FakeInstanceBundles;
use axum::extract::{Path as Segment, State};
use axum::routing::{delete, get};
use axum::{Json, Router};
use karri_clc::drive::blobs::{Blobs as _, BlobsInMemory};
use karri_proto::instance::{BlobFormat, BlobRef, Digest};
use karri_proto::internal::blobs::{BLOB_INFO_PATH, BLOB_PATH, BlobFacts, Content};
use karri_proto::internal::buckets::{ACCOUNT_BUCKETS_PATH, AccountBuckets};
use karri_proto::internal::bundles;
use karri_proto::internal::caller::guarded;
use karri_proto::internal::exports;
use karri_proto::internal::instance_bundles;
use karri_proto::internal::story::{self, StoryLine, StoryService};
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::runtime::server::{ShutdownTrigger, serve, shutdown_pair};
use karri_proto::runtime::tls::server_config;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

pub struct FakeWalrus {
    pub url: String,
    seen: Arc<Seen>,
    pub bundles: Arc<FakeBundles>,
    /// Names of buckets by account; None: it does not answer.
    pub buckets: Buckets,
    pub exports: Arc<FakeExports>,
    pub instance_bundles: Arc<FakeInstanceBundles>,
    server: ShutdownTrigger,
}

/// Blobs, and those of them that are let go as soon as somebody has seen them.
#[derive(Default)]
struct Seen {
    blobs: BlobsInMemory,
    fleeting: Mutex<HashSet<Digest>>,
}

async fn info(
    State(seen): State<Arc<Seen>>,
    caller: Caller,
    Segment(digest): Segment<Digest>,
) -> Result<Json<BlobFacts>, ApiError> {
    let missing = || ApiError::not_found(format!("no blob {digest}"));
    let facts = seen.blobs.blob_info(&caller, &digest).await?.ok_or_else(missing)?;
    if seen.fleeting.lock().unwrap().remove(&digest) {
        seen.blobs.remove(&digest);
    }
    Ok(Json(facts))
}

async fn remove(
    State(seen): State<Arc<Seen>>,
    caller: Caller,
    Segment(digest): Segment<Digest>,
) -> Result<(), ApiError> {
    seen.blobs.blob_delete(&caller, &digest).await
}

/// Has a part in every story.
struct Told;

#[async_trait::async_trait]
impl StoryService for Told {
    async fn story(&self, _: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError> {
        Ok(vec![StoryLine {
            timestamp: "2026-01-01T00:00:00Z".into(),
            who: "walrus walrus".into(),
            level: "INFO".into(),
            message: format!("told of {about}"),
            fields: serde_json::Map::new(),
        }])
    }
}

type Buckets = Arc<Mutex<Option<HashMap<String, Vec<String>>>>>;

async fn owned(
    State(buckets): State<Buckets>,
    Segment(account): Segment<String>,
) -> Result<Json<AccountBuckets>, ApiError> {
    let buckets = buckets.lock().unwrap();
    let buckets = buckets.as_ref().ok_or_else(|| ApiError::unreachable("walrus is away"))?;
    Ok(Json(AccountBuckets { names: buckets.get(&account).cloned().unwrap_or_default(), more: false }))
}

impl FakeWalrus {
    pub async fn start(directory: &Path) -> Self {
        let seen = Arc::<Seen>::default();
        let router = Router::new().route(BLOB_INFO_PATH, get(info)).route(BLOB_PATH, delete(remove));
        let router = router.with_state(seen.clone());
        let buckets = Arc::new(Mutex::new(Some(HashMap::new())));
        let owned = Router::new().route(ACCOUNT_BUCKETS_PATH, get(owned)).with_state(buckets.clone());
        let router = guarded(router.merge(owned), |identity| identity.role == Role::Clc);
        let known = Arc::<FakeBundles>::default();
        let router = router.merge(bundles::router(known.clone()));
        let exports = Arc::<FakeExports>::default();
        let router = router.merge(exports::router(exports.clone()));
        let instance_bundles = Arc::<FakeInstanceBundles>::default();
        let router = router.merge(instance_bundles::router(instance_bundles.clone()));
        let router = router.merge(story::router(Arc::new(Told)));
        let tls = server_config(&files(directory, &Identity::new(Role::Walrus, "", "walrus"))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (trigger, shutdown) = shutdown_pair();
        tokio::spawn(serve(listener, Some(tls), router, shutdown));
        Self { url, seen, bundles: known, buckets, exports, instance_bundles, server: trigger }
    }

    /// Nobody answers there any more.
    pub fn goes_away(&self) {
        self.server.fire();
    }

    pub async fn has(&self, digest: &str) -> bool {
        let caller = Caller { identity: Identity::new(Role::Clc, "", "clc"), request_id: "req-test".into() };
        self.seen.blobs.blob_info(&caller, &digest.parse().unwrap()).await.unwrap().is_some()
    }

    /// A disk of that size; `seed` makes its digest.
    pub fn put(&self, seed: u8, format: BlobFormat, virtual_bytes: u64) -> String {
        self.put_facts(seed, format, virtual_bytes, Content::Disk)
    }

    /// A mebibyte of that.
    pub fn put_content(&self, seed: u8, content: Content) -> String {
        self.put_facts(seed, BlobFormat::Raw, 1 << 20, content)
    }

    /// It is let go as soon as somebody has looked at it.
    pub fn lose(&self, digest: &str) {
        self.seen.fleeting.lock().unwrap().insert(digest.parse().unwrap());
    }

    fn put_facts(&self, seed: u8, format: BlobFormat, virtual_bytes: u64, content: Content) -> String {
        let digest = Digest::from_sha256([seed; 32]);
        let blob = BlobRef { digest: digest.clone(), format, bytes: virtual_bytes / 2, virtual_bytes };
        self.seen.blobs.put(BlobFacts { blob, content });
        digest.to_string()
    }
}
