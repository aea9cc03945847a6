//! `karri walrus check` as it is typed: what it says of a store, and its exit code.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test
use karri_proto::runtime::state_lock::StateLock;
use karri_walrus::store::keeper::local::LocalKeeper;
use karri_walrus::store::keeper::seal::SealWith;
use karri_walrus::store::objects::{ETag, Facts, NewBucket, ObjectPut, Objects, ObjectsConfig};
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

const OWNER: &str = "111122223333";

/// A store with one object that has a file.
async fn fill(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let keeper = Arc::new(LocalKeeper::open(dir).unwrap());
    let objects = Objects::open(ObjectsConfig::new(dir), keeper, Arc::default()).await.unwrap();
    let new = NewBucket {
        name: "photos".into(),
        owner: OWNER.into(),
        region: "karri-1".into(),
        object_lock: false,
        settings: Vec::new(),
    };
    let bucket = objects.bucket_create(new).await.unwrap().id;
    let mut writer = objects.begin_write(None, SealWith::Plain).unwrap();
    writer.write(&[7; 100_000]).await.unwrap();
    let put = ObjectPut {
        bucket,
        key: "cat.jpg".into(),
        owner: OWNER.into(),
        etag: ETag::simple([1; 16]),
        content: writer.finish().await.unwrap(),
        facts: Facts::default(),
        check: None,
        tell: None,
    };
    objects.object_put(put).await.unwrap();
    objects.close().await;
}

fn check(cloud: &Path, more: &[&str]) -> Output {
    let mut karri = Command::new(env!("CARGO_BIN_EXE_karri"));
    karri.env("KARRI_STATE_DIR", cloud).args(["walrus", "check"]).args(more).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The only file of its kind.
fn blob_file(store: &Path) -> PathBuf {
    let only = |dir: PathBuf| std::fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    only(only(store.join("blobs")))
}

#[tokio::test]
async fn a_store_is_judged_by_the_exit_code_and_what_is_wrong_is_told() {
    let cloud = tempfile::tempdir().unwrap();
    let state = cloud.path().join("walrus");
    let store = state.join("s3");
    fill(&store).await;

    let clean = check(cloud.path(), &[]);
    assert_eq!(clean.status.code(), Some(0), "{}", text(&clean.stderr));
    assert!(text(&clean.stdout).ends_with("the store is consistent\n"), "{}", text(&clean.stdout));
    assert!(
        text(&clean.stderr).contains("bytes of larger objects: 97 of 97 KiB verified (100 %)"),
        "progress"
    );

    for held in [&state, &store] {
        let lock = StateLock::take(held).unwrap();
        let refused = check(cloud.path(), &[]);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
        assert!(text(&refused.stderr).contains("a walrus uses it"), "{}", text(&refused.stderr));
        drop(lock);
    }

    let blob = File::options().write(true).open(blob_file(&store)).unwrap();
    blob.write_all_at(b"rot", 70_000).unwrap();
    let rotten = check(cloud.path(), &[store.to_str().unwrap(), "--output", "json"]);
    assert_eq!(rotten.status.code(), Some(1));
    assert!(text(&rotten.stderr).contains("is not consistent"), "{}", text(&rotten.stderr));
    let told: Value = serde_json::from_slice(&rotten.stdout).unwrap();
    assert_eq!((&told["consistent"], &told["versions"]), (&Value::Bool(false), &Value::from(1)));
    let problem = &told["problems"][0];
    assert!(problem["what"].as_str().unwrap().ends_with("block 1 does not match its check"), "{problem}");
    let object = problem["objects"][0].as_str().unwrap();
    assert!(object.starts_with("key cat.jpg of bucket photos, version "), "{object}");
}
