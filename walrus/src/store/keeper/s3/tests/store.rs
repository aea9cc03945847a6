//! A whole store of objects over the `s3` engine.

use super::engine::{Engine, Fault, PREFIX, unclaimed};
use crate::store::keeper::Keeper;
use crate::store::keeper::conformance::{eventually, payload};
use crate::store::keeper::local::LocalKeeper;
use crate::store::keeper::pace::Pace;
use crate::store::keeper::seal::{MasterKeys, SealWith};
use crate::store::objects::*;
use std::path::Path;
use std::sync::Arc;

const OWNER: &str = "222222222222";
const LARGE: u64 = 9 << 20;

fn config(dir: &Path) -> ObjectsConfig {
    let master_keys = MasterKeys::of(&[(1, [9; 32])]);
    ObjectsConfig { reserve_bytes: 0, master_keys, ..ObjectsConfig::new(dir) }
}

async fn open(dir: &Path, keeper: impl Keeper) -> Result<Objects, StoreError> {
    Objects::open(config(dir), Arc::new(keeper), Arc::default()).await
}

async fn bucket(objects: &Objects) -> BucketId {
    let new = NewBucket {
        name: "b".into(),
        owner: OWNER.into(),
        region: "zone-a".into(),
        object_lock: false,
        settings: Vec::new(),
    };
    objects.bucket_create(new).await.unwrap().id
}

async fn put(objects: &Objects, bucket: BucketId, key: &str, bytes: u64) -> Result<(), StoreError> {
    let mut writer = objects.begin_write(Some(bytes), SealWith::Plain)?;
    for chunk in payload(bytes).chunks(100_000) {
        writer.write(chunk).await?;
    }
    let put = ObjectPut {
        bucket,
        key: key.into(),
        owner: OWNER.into(),
        etag: ETag::simple([1; 16]),
        content: writer.finish().await?,
        facts: Facts::default(),
        check: None,
        tell: None,
    };
    objects.object_put(put).await.map(drop)
}

async fn get(objects: &Objects, bucket: BucketId, key: &str) -> Result<Vec<u8>, StoreError> {
    let object = objects.object_fetch(bucket, key, None).await?;
    match objects.read(&object, 0..object.size, None).await? {
        Body::Whole(bytes) => Ok(bytes.to_vec()),
        Body::Stream(mut stream) => {
            let mut all = Vec::new();
            while let Some(piece) = futures_util::StreamExt::next(&mut stream).await {
                all.extend_from_slice(&piece?);
            }
            Ok(all)
        }
    }
}

async fn delete(objects: &Objects, bucket: BucketId, key: &str) {
    let delete =
        ObjectDelete { key: key.into(), version: None, owner: OWNER.into(), check: None, tell: None };
    objects.object_delete(bucket, delete).await.unwrap();
}

async fn blobs(engine: &Engine) -> usize {
    engine.keys().await.len() - 1
}

#[tokio::test]
async fn objects_survive_a_restart_and_leave_nothing_when_they_are_gone() {
    let (engine, dir) = (unclaimed().await, tempfile::tempdir().unwrap());
    let objects = open(dir.path(), engine.again()).await.unwrap();
    let b = bucket(&objects).await;
    for (key, bytes) in [("small", 1000), ("middle", 100_000), ("large", LARGE)] {
        put(&objects, b, key, bytes).await.unwrap();
    }
    assert_eq!(blobs(&engine).await, 2, "small ones lie in the database");
    for key in engine.keys().await {
        let there = engine.object(&key).await.unwrap();
        let plain = payload(200_000);
        assert!(
            !there.windows(64).any(|window| window == &plain[..64]),
            "what leaves the machine is encrypted"
        );
    }
    objects.close().await;

    let objects = open(dir.path(), engine.again()).await.unwrap();
    for (key, bytes) in [("small", 1000), ("middle", 100_000), ("large", LARGE)] {
        assert!(get(&objects, b, key).await.unwrap() == payload(bytes), "{key}");
        put(&objects, b, key, bytes + 1).await.unwrap();
        assert!(get(&objects, b, key).await.unwrap() == payload(bytes + 1), "{key}");
        delete(&objects, b, key).await;
    }
    eventually("the engine is empty", async || {
        objects.sweep().await.unwrap();
        blobs(&engine).await == 0
    })
    .await;
    objects.close().await;
}

#[tokio::test]
async fn an_engine_that_is_away_costs_its_objects_and_no_others() {
    let (engine, dir) = (unclaimed().await, tempfile::tempdir().unwrap());
    let objects = open(dir.path(), engine.again()).await.unwrap();
    let b = bucket(&objects).await;
    put(&objects, b, "small", 1000).await.unwrap();
    put(&objects, b, "large", LARGE).await.unwrap();
    objects.probe_engine().await.unwrap();
    for method in ["GET", "PUT", "POST", "DELETE"] {
        engine.faults.add(method, "", 10_000, Fault::Refused(503, "ServiceUnavailable"));
    }
    assert!(matches!(objects.probe_engine().await, Err(StoreError::Away(_))));
    assert!(matches!(get(&objects, b, "large").await, Err(StoreError::Away(_))));
    assert!(matches!(put(&objects, b, "large", 50_000).await, Err(StoreError::Away(_))));
    assert!(matches!(objects.scrub(1 << 30, &mut Pace::unlimited()).await, Err(StoreError::Away(_))));
    put(&objects, b, "small", 2000).await.unwrap();
    delete(&objects, b, "large").await;
    assert!(matches!(objects.sweep().await, Err(StoreError::Away(_))), "what is gone is kept for later");
    put(&objects, b, "other", 3000).await.unwrap();
    objects.close().await;

    // A start does not need it either.
    let objects = open(dir.path(), engine.again()).await.unwrap();
    assert!(get(&objects, b, "small").await.unwrap() == payload(2000));
    assert!(matches!(put(&objects, b, "large", LARGE).await, Err(StoreError::Away(_))));
    engine.faults.clear();
    put(&objects, b, "large", LARGE).await.unwrap();
    assert!(get(&objects, b, "large").await.unwrap() == payload(LARGE));
    eventually("only the new one is left", async || {
        objects.sweep().await.unwrap();
        blobs(&engine).await == 1
    })
    .await;
    objects.close().await;
}

#[tokio::test]
async fn a_store_is_checked_scrubbed_and_copied_to_a_disk() {
    let (engine, dir) = (unclaimed().await, tempfile::tempdir().unwrap());
    let objects = open(dir.path(), engine.again()).await.unwrap();
    let b = bucket(&objects).await;
    for (key, bytes) in [("small", 1000), ("middle", 100_000), ("large", LARGE)] {
        put(&objects, b, key, bytes).await.unwrap();
    }
    let scrubbed = objects.scrub(1 << 30, &mut Pace::unlimited()).await.unwrap();
    assert!(scrubbed.ended && scrubbed.blobs == 2 && scrubbed.damaged == 0, "{scrubbed:?}");
    let copy = tempfile::tempdir().unwrap();
    let to = copy.path().join("backup");
    let copied = objects.backup(&to, &|_| {}).await.unwrap();
    assert_eq!((copied.blobs, copied.blobs_missing), (2, 0));
    objects.close().await;
    assert!(check(dir.path(), &engine.again(), &|_| {}).await.unwrap().is_clean());
    assert!(check(&to, &LocalKeeper::open_as_is(&to), &|_| {}).await.unwrap().is_clean());

    // The copy is a store of its own, on a disk.
    let local = open(&to, LocalKeeper::open(&to).unwrap()).await.unwrap();
    assert!(get(&local, b, "large").await.unwrap() == payload(LARGE));
    local.close().await;
    let without =
        Objects::open(ObjectsConfig::new(&to), Arc::new(LocalKeeper::open(&to).unwrap()), Arc::default());
    assert!(matches!(without.await, Err(StoreError::MasterKey { .. })), "all of it is encrypted");

    let large = engine.keys().await.into_iter().nth(1).unwrap();
    let mut there = engine.object(&large).await.unwrap();
    there[70_000] ^= 1;
    engine.put_object(&large, &there).await;
    let report = check(dir.path(), &engine.again(), &|_| {}).await.unwrap();
    assert!(report.problems.len() == 1 && report.problems[0].what.contains("block 1"), "{report}");
    engine.faults.add("GET", "", 10_000, Fault::Refused(503, "SlowDown"));
    let unknown = check(dir.path(), &engine.again(), &|_| {}).await;
    assert!(matches!(unknown, Err(StoreError::Away(_))), "nothing is said of what cannot be asked");
}

/// As `rclone copy` or `aws s3 sync` of `blobs/` would.
async fn copy_to_engine(dir: &Path, engine: &Engine) {
    for directory in std::fs::read_dir(dir.join("blobs")).unwrap() {
        let directory = directory.unwrap();
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let file = file.unwrap();
            let name = format!("{}/{}", directory.file_name().display(), file.file_name().display());
            engine.put_object(&format!("{PREFIX}{name}"), &std::fs::read(file.path()).unwrap()).await;
        }
    }
}

#[tokio::test]
async fn a_store_moves_to_an_engine_by_copying_its_files_and_back() {
    let (engine, dir) = (unclaimed().await, tempfile::tempdir().unwrap());
    let objects = open(dir.path(), LocalKeeper::open(dir.path()).unwrap()).await.unwrap();
    let b = bucket(&objects).await;
    put(&objects, b, "old", LARGE).await.unwrap();
    objects.close().await;
    let early = open(dir.path(), engine.again()).await.unwrap_err();
    assert!(early.to_string().contains("copy them first"), "{early}");

    copy_to_engine(dir.path(), &engine).await;
    let objects = open(dir.path(), engine.again()).await.unwrap();
    std::fs::remove_dir_all(dir.path().join("blobs")).unwrap();
    assert!(get(&objects, b, "old").await.unwrap() == payload(LARGE));
    put(&objects, b, "new", LARGE + 1).await.unwrap();
    objects.sweep().await.unwrap();
    objects.remove_leftovers().await.unwrap();
    assert_eq!(blobs(&engine).await, 2);
    objects.close().await;

    let back = open(dir.path(), LocalKeeper::open(dir.path()).unwrap()).await.unwrap_err();
    assert!(back.to_string().contains("with another engine"), "{back}");
    for key in engine.keys().await.iter().filter(|key| !key.ends_with("store")) {
        let path = dir.path().join("blobs").join(key.strip_prefix(PREFIX).unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, engine.object(key).await.unwrap()).unwrap();
    }
    let objects = open(dir.path(), LocalKeeper::open(dir.path()).unwrap()).await.unwrap();
    for (key, bytes) in [("old", LARGE), ("new", LARGE + 1)] {
        assert!(get(&objects, b, key).await.unwrap() == payload(bytes), "{key}");
    }
    objects.close().await;
}

#[tokio::test]
async fn what_a_killed_process_had_sent_is_removed_and_takes_no_name_that_is_given_again() {
    let (engine, dir) = (unclaimed().await, tempfile::tempdir().unwrap());
    let objects = open(dir.path(), engine.again()).await.unwrap();
    let b = bucket(&objects).await;
    let mut writer = objects.begin_write(None, SealWith::Plain).unwrap();
    writer.write(&payload(100_000)).await.unwrap();
    std::mem::forget(writer.finish().await.unwrap()); // its blob is there, and no row will name it
    let left = engine.keys().await;
    objects.close().await;

    let objects = open(dir.path(), engine.again()).await.unwrap();
    put(&objects, b, "k", 100_000).await.unwrap();
    assert_eq!(blobs(&engine).await, 2);
    assert_eq!(objects.remove_leftovers().await.unwrap(), 1);
    let now = engine.keys().await;
    assert!(blobs(&engine).await == 1 && now != left);
    // The dead one's PUT comes in at last.
    engine.put_object(&left[0], b"late").await;
    assert!(get(&objects, b, "k").await.unwrap() == payload(100_000));
    objects.scrub(1 << 30, &mut Pace::unlimited()).await.unwrap();
    assert_eq!(engine.keys().await, now);
    objects.close().await;
}
