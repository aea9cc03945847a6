//! A store goes on only with the keys that open what it holds.

use crate::harness::*;
use karri_walrus::store::keeper::seal::{MasterKeys, SealWith};
use karri_walrus::store::objects::*;
use std::path::Path;

fn keys(keys: &[(u32, u8)]) -> MasterKeys {
    MasterKeys::of(&keys.iter().map(|(number, byte)| (*number, [*byte; 32])).collect::<Vec<_>>())
}

async fn open_with(dir: &Path, master_keys: MasterKeys) -> Result<Objects, StoreError> {
    open(ObjectsConfig { master_keys, ..config(dir) }).await
}

async fn refused(dir: &Path, given: &[(u32, u8)], why: &str) {
    let error = open_with(dir, keys(given)).await.unwrap_err().to_string();
    assert!(error.contains(why), "{given:?}: {error}");
}

#[tokio::test]
async fn a_store_that_encrypts_opens_with_its_keys_only() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open_with(dir.path(), keys(&[(1, 1)])).await.unwrap();
    objects.close().await;
    // Nothing is encrypted yet.
    let objects = open_with(dir.path(), keys(&[(1, 7)])).await.unwrap();
    let store = Store { objects, dir };
    let bucket = store.bucket("b", Versioning::Off).await;
    let content = store.store_sealed(b"secret", SealWith::Master).await;
    store.objects.object_put(new_object(bucket, "k", content, b"secret")).await.unwrap();
    store.objects.close().await;
    let path = store.dir.path();
    refused(path, &[], "master key 1, which is not there").await;
    refused(path, &[(2, 7)], "master key 1, which is not there").await;
    refused(path, &[(1, 1)], "master key 1, which was another one").await;
    assert!(Objects::expect_no_master_keys(path).await.is_err());
    let objects = open_with(path, keys(&[(1, 7), (2, 2)])).await.unwrap();
    objects.close().await;
    refused(path, &[(1, 7)], "master key 2, which is not there").await;
    let objects = open_with(path, keys(&[(1, 7), (2, 2)])).await.unwrap();
    let store = Store { objects, dir: store.dir };
    assert_eq!(store.get(bucket, "k").await.unwrap(), b"secret");
}

#[tokio::test]
async fn without_a_key_of_the_clouds_nothing_is_said_of_the_customers() {
    let store = Store::new().await;
    for seal in [SealWith::Master, SealWith::Named("a".into())] {
        let mut writer = store.objects.begin_write(None, seal).unwrap();
        writer.write(b"x").await.unwrap();
        assert!(matches!(writer.finish().await, Err(StoreError::NoMasterKey)));
    }
}
