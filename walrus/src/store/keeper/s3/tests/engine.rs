//! An engine for tests: a Walrus in this process with a disk of its own, and between it and the keeper a network
//! that fails as it is told (`api::faults`).

use super::super::{EngineKeys, EngineOptions, S3Keeper};
pub use crate::api::faults::Fault;
use crate::api::faults::{Faults, before};
use crate::api::s3::{S3, S3Options, router};
use crate::drive::signers::{Entry, Fixed};
use crate::drive::webhooks::Webhooks;
use crate::reconcile::access_logs::AccessLogs;
use crate::store::keeper::conformance::Place;
use crate::store::keeper::local::LocalKeeper;
use crate::store::keeper::{BlobId, Keeper, StoreFacts};
use crate::store::objects::*;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use karri_proto::runtime::server::{self, ShutdownTrigger, shutdown_pair};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;

pub const BUCKET: &str = "engine";
pub const PREFIX: &str = "a/b/";
const OWNER: &str = "111111111111";
/// Of a request; long, for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Of a request that is not answered.
pub const HASTE: Duration = Duration::from_millis(800);

pub struct Engine {
    pub faults: Arc<Faults>,
    pub objects: Objects,
    bucket: BucketId,
    url: String,
    spool: TempDir,
    keeper: S3Keeper,
    _trigger: ShutdownTrigger,
    _disk: TempDir,
}

fn user() -> Entry {
    Entry {
        account: OWNER.into(),
        account_name: "walrus".into(),
        email: None,
        user: "walrus".into(),
        access_key_id: "AKIAWALRUS0000000000".into(),
        secret_access_key: "secret".into(),
        administrator: false,
        policies: vec!["AdministratorAccess".into()],
        certificates: Vec::new(),
    }
}

/// One that serves a store which has just begun.
pub async fn engine() -> Engine {
    begun(unclaimed().await).await
}

/// For what is not answered: nobody waits long.
pub async fn hasty() -> Engine {
    let mut engine = unclaimed().await;
    engine.keeper = engine.keeper_with(|options| options.timeout = HASTE);
    begun(engine).await
}

async fn begun(engine: Engine) -> Engine {
    engine.keeper.begin(StoreFacts { mark: 7, has_blobs: false }).await.unwrap();
    engine
}

pub async fn unclaimed() -> Engine {
    let disk = tempfile::tempdir().unwrap();
    let config = ObjectsConfig { reserve_bytes: 0, ..ObjectsConfig::new(disk.path()) };
    let keeper = Arc::new(LocalKeeper::open(disk.path()).unwrap());
    let objects = Objects::open(config, keeper, Arc::default()).await.unwrap();
    let new = NewBucket {
        name: BUCKET.into(),
        owner: OWNER.into(),
        region: "us-east-1".into(),
        object_lock: false,
        settings: Vec::new(),
    };
    let bucket = objects.bucket_create(new).await.unwrap().id;
    let s3 = S3 {
        objects: objects.clone(),
        authenticator: Fixed::new(vec![user()]).unwrap(),
        metrics: Arc::default(),
        options: S3Options { region: "us-east-1".into(), ..S3Options::default() },
        cloud: None,
        logs: Arc::new(AccessLogs::new(Duration::from_secs(300), Arc::default())),
        webhooks: Arc::new(Webhooks::open(&BTreeMap::new()).unwrap()),
    };
    let faults = Arc::new(Faults::default());
    let routes = before(router(Arc::new(s3)), faults.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (trigger, shutdown) = shutdown_pair();
    tokio::spawn(server::serve(listener, None, routes, shutdown));
    let spool = tempfile::tempdir().unwrap();
    let keeper = S3Keeper::open(options(&url), &spool.path().join("0"), Arc::default()).unwrap();
    Engine { faults, objects, bucket, url, spool, keeper, _trigger: trigger, _disk: disk }
}

fn options(url: &str) -> EngineOptions {
    let user = user();
    EngineOptions {
        endpoint: url.to_owned(),
        region: "us-east-1".into(),
        bucket: BUCKET.into(),
        prefix: PREFIX.into(),
        path_style: true,
        keys: EngineKeys { access_key_id: user.access_key_id, secret_access_key: user.secret_access_key },
        ca: None,
        timeout: TIMEOUT,
    }
}

impl Engine {
    /// Another keeper of the same objects, as after a restart.
    pub fn again(&self) -> S3Keeper {
        self.keeper_with(|_| {})
    }

    pub fn keeper_with(&self, change: impl FnOnce(&mut EngineOptions)) -> S3Keeper {
        let mut options = options(&self.url);
        change(&mut options);
        S3Keeper::open(options, &self.spool.path().join("1"), Arc::default()).unwrap()
    }

    pub async fn keys(&self) -> Vec<String> {
        let query = ListQuery { limit: 1000, ..ListQuery::default() };
        let page = self.objects.object_list(self.bucket, &query).await.unwrap();
        page.entries.iter().map(|entry| entry.key.to_string()).collect()
    }

    pub async fn object(&self, key: &str) -> Option<Vec<u8>> {
        let object = self.objects.object_fetch(self.bucket, key, None).await.ok()?;
        match self.objects.read(&object, 0..object.size, None).await.unwrap() {
            Body::Whole(bytes) => Some(bytes.to_vec()),
            Body::Stream(mut stream) => {
                let mut all = Vec::new();
                while let Some(piece) = futures_util::StreamExt::next(&mut stream).await {
                    all.extend_from_slice(&piece.unwrap());
                }
                Some(all)
            }
        }
    }

    pub async fn put_object(&self, key: &str, bytes: &[u8]) {
        let mut writer = self.objects.begin_write(None, crate::store::keeper::seal::SealWith::Plain).unwrap();
        writer.write(bytes).await.unwrap();
        let put = ObjectPut {
            bucket: self.bucket,
            key: key.into(),
            owner: OWNER.into(),
            etag: ETag::simple([1; 16]),
            content: writer.finish().await.unwrap(),
            facts: Facts::default(),
            check: None,
            tell: None,
        };
        self.objects.object_put(put).await.unwrap();
    }

    pub async fn uploads(&self) -> usize {
        let query = UploadQuery { limit: 1000, ..UploadQuery::default() };
        self.objects.upload_list(self.bucket, &query).await.unwrap().entries.len()
    }

    pub fn key(id: u64) -> String {
        super::super::Names::new(PREFIX).key(BlobId(id))
    }
}

impl Place for Engine {
    fn keeper(&self) -> Arc<dyn Keeper> {
        Arc::new(self.keeper.clone())
    }

    fn raw(&self, id: BlobId) -> BoxFuture<'_, Option<Vec<u8>>> {
        async move { self.object(&Self::key(id.0)).await }.boxed()
    }

    fn replace(&self, id: BlobId, bytes: Vec<u8>) -> BoxFuture<'_, ()> {
        async move { self.put_object(&Self::key(id.0), &bytes).await }.boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, usize> {
        self.uploads().boxed()
    }
}
