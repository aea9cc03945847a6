//! A running store is copied through the internal API, checked, and put in place of the one that was.

use crate::harness::{caller, files};
use crate::s3_start::with_s3;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::objects::{BackupOrder, BackupState, BackupStatus};
use karri_proto::internal::{ApiError, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::process::{Base, Controller, Stopper};
use karri_walrus::offline::{self, OfflineError};
use karri_walrus::store::keeper::local::LocalKeeper;
use karri_walrus::store::keeper::seal::SealWith;
use karri_walrus::store::objects::*;
use karri_walrus::{Config, Walrus};
use std::path::Path;
use std::sync::{Arc, Mutex};

const OWNER: &str = "111122223333";

fn body(n: usize) -> Vec<u8> {
    (0..n * 9_000).map(|at| (at * 7 + n) as u8).collect()
}

async fn open(dir: &Path) -> Objects {
    std::fs::create_dir_all(dir).unwrap();
    let keeper = Arc::new(LocalKeeper::open(dir).unwrap());
    Objects::open(ObjectsConfig::new(dir), keeper, Arc::default()).await.unwrap()
}

async fn fill(dir: &Path) {
    let objects = open(dir).await;
    let bucket = NewBucket {
        name: "b".into(),
        owner: OWNER.into(),
        region: "karri-1".into(),
        object_lock: false,
        settings: Vec::new(),
    };
    let bucket = objects.bucket_create(bucket).await.unwrap().id;
    for n in 0..10 {
        let mut writer = objects.begin_write(None, SealWith::Plain).unwrap();
        writer.write(&body(n)).await.unwrap();
        let put = ObjectPut {
            bucket,
            key: format!("k{n}").into(),
            owner: OWNER.into(),
            etag: ETag::simple([n as u8; 16]),
            content: writer.finish().await.unwrap(),
            facts: Facts::default(),
            check: None,
            tell: None,
        };
        objects.object_put(put).await.unwrap();
    }
    objects.close().await;
}

async fn start(config: &Config) -> (InternalClient, Stopper) {
    let (base, stopper) = Base::new(&config.controller, "walrus x").unwrap();
    let endpoint = Walrus::start(config.clone(), base).await.unwrap();
    let cloud = config.controller.state_dir.parent().unwrap();
    let admin = files(cloud, Role::Admin);
    (InternalClient::new(&endpoint.url, Role::Walrus, &admin).unwrap(), stopper)
}

async fn backup(walrus: &InternalClient, to: &Path) -> Result<BackupStatus, ApiError> {
    let order = BackupOrder { directory: to.display().to_string() };
    let mut status = walrus.backup_begin(&caller(), &order).await?;
    while status.state == BackupState::Running {
        status = walrus.backup_news(&caller()).await?;
    }
    Ok(status)
}

#[tokio::test]
async fn a_running_store_is_copied_checked_and_restored() {
    let cloud = tempfile::tempdir().unwrap();
    let config = with_s3(cloud.path());
    let state = config.controller.state_dir.clone();
    let store = state.join("s3");
    fill(&store).await;
    let (walrus, stopper) = start(&config).await;
    assert_eq!(walrus.backup_news(&caller()).await.unwrap_err().kind, ApiErrorKind::NotFound);

    let copy = cloud.path().join("backup");
    let status = backup(&walrus, &copy).await.unwrap();
    assert_eq!((status.state, status.error.as_deref(), status.copied.blobs), (BackupState::Done, None, 6));
    let copied = status.copied;
    assert_eq!(
        (copied.blobs_total, copied.blobs_missing, copied.blob_bytes),
        (6, 0, copied.blob_bytes_total)
    );
    for dir in [&state, &store] {
        let refused = offline::check(dir, None, &|_| {}).await.unwrap_err();
        assert!(matches!(refused, OfflineError::InUse(_)), "{refused}");
    }
    assert_eq!(backup(&walrus, &copy).await.unwrap().state, BackupState::Failed, "not over a copy");
    for wrong in [Path::new("backup"), &state.join("copy")] {
        assert_eq!(backup(&walrus, wrong).await.unwrap_err().kind, ApiErrorKind::Invalid);
    }
    stopper.stop().await;

    let told = Mutex::new(Vec::new());
    let (_, report) =
        offline::check(&copy, None, &|progress| told.lock().unwrap().push(progress)).await.unwrap();
    assert!(report.is_clean() && report.versions == 10 && report.blobs == 6, "{report}");
    let last = told.lock().unwrap().pop().unwrap();
    assert_eq!((last.bytes, last.bytes_total), (copied.blob_bytes, copied.blob_bytes));

    std::fs::remove_dir_all(&store).unwrap();
    let gone = offline::check(&state, None, &|_| {}).await.unwrap_err();
    assert!(matches!(gone, OfflineError::NoStore(_)), "{gone}");
    std::fs::rename(&copy, &store).unwrap();
    let (_, stopper) = start(&config).await;
    stopper.stop().await;
    let restored = open(&store).await;
    let bucket = restored.bucket_fetch("b").await.unwrap().id;
    for n in 0..10 {
        let object = restored.object_fetch(bucket, &format!("k{n}"), None).await.unwrap();
        assert_eq!(object.size, body(n).len() as u64);
    }
    restored.close().await;
    assert!(offline::check(&state, None, &|_| {}).await.unwrap().1.is_clean());
}

#[tokio::test]
async fn only_the_operator_copies_the_store() {
    let cloud = tempfile::tempdir().unwrap();
    let config = with_s3(cloud.path());
    let (base, stopper) = Base::new(&config.controller, "walrus x").unwrap();
    let endpoint = Walrus::start(config.clone(), base).await.unwrap();
    for role in [Role::Nc, Role::Cc, Role::Clc] {
        let other = InternalClient::new(&endpoint.url, Role::Walrus, &files(cloud.path(), role)).unwrap();
        let refused = backup(&other, &cloud.path().join("copy")).await.unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::Forbidden, "{role:?}");
    }
    stopper.stop().await;
}
