//! A store in a temporary directory, and shorthands for what tests do all the time.

use futures_util::StreamExt;
use karri_walrus::store::keeper::local::LocalKeeper;
use karri_walrus::store::keeper::seal::{CustomerKey, SealWith};
use karri_walrus::store::objects::*;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

pub const OWNER: &str = "000000000001";

pub struct Store {
    pub objects: Objects,
    pub dir: TempDir,
}

pub fn config(dir: &Path) -> ObjectsConfig {
    ObjectsConfig { reserve_bytes: 0, ..ObjectsConfig::new(dir) }
}

pub async fn open(config: ObjectsConfig) -> Result<Objects, StoreError> {
    let keeper = Arc::new(LocalKeeper::open(&config.dir).unwrap());
    Objects::open(config, keeper, Arc::default()).await
}

impl Store {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { objects: open(config(dir.path())).await.unwrap(), dir }
    }

    pub async fn reopen(self) -> Self {
        self.objects.close().await;
        Self { objects: open(config(self.dir.path())).await.unwrap(), dir: self.dir }
    }

    pub async fn bucket(&self, name: &str, versioning: Versioning) -> BucketId {
        let new = NewBucket {
            name: name.into(),
            owner: OWNER.into(),
            region: "zone-a".into(),
            object_lock: false,
            settings: Vec::new(),
        };
        let bucket = self.objects.bucket_create(new).await.unwrap();
        if versioning != Versioning::Off {
            self.objects.bucket_versioning_put(bucket.id, versioning).await.unwrap();
        }
        bucket.id
    }

    pub async fn store(&self, bytes: &[u8]) -> Stored {
        self.store_sealed(bytes, SealWith::Plain).await
    }

    pub async fn store_sealed(&self, bytes: &[u8], seal: SealWith) -> Stored {
        let mut writer = self.objects.begin_write(Some(bytes.len() as u64), seal).unwrap();
        for chunk in bytes.chunks(50_000) {
            writer.write(chunk).await.unwrap();
        }
        writer.finish().await.unwrap()
    }

    pub async fn put(&self, bucket: BucketId, key: &str, bytes: &[u8]) -> Arc<Object> {
        let content = self.store(bytes).await;
        self.objects.object_put(new_object(bucket, key, content, bytes)).await.unwrap()
    }

    pub async fn get(&self, bucket: BucketId, key: &str) -> Result<Vec<u8>, StoreError> {
        self.get_version(bucket, key, None).await
    }

    pub async fn get_version(
        &self,
        bucket: BucketId,
        key: &str,
        version: Option<VersionId>,
    ) -> Result<Vec<u8>, StoreError> {
        let object = self.objects.object_fetch(bucket, key, version).await?;
        read(&self.objects, &object, 0..object.size, None).await
    }

    pub async fn delete(&self, bucket: BucketId, key: &str, version: Option<VersionId>) -> Deleted {
        self.objects.object_delete(bucket, delete(key, version)).await.unwrap()
    }

    pub async fn list(
        &self,
        bucket: BucketId,
        query: ListQuery,
    ) -> (Vec<String>, Vec<String>, Option<String>) {
        let page = self.objects.object_list(bucket, &query).await.unwrap();
        let keys = page.entries.iter().map(|entry| entry.key.to_string()).collect();
        (keys, page.prefixes, page.next.map(|next| next.key))
    }
}

pub fn delete(key: &str, version: Option<VersionId>) -> ObjectDelete {
    ObjectDelete { key: key.into(), version, owner: OWNER.into(), check: None, tell: None }
}

pub fn etag_of(bytes: &[u8]) -> ETag {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    ETag::simple(std::array::from_fn(|at| digest[at]))
}

pub fn new_object(bucket: BucketId, key: &str, content: Stored, bytes: &[u8]) -> ObjectPut {
    ObjectPut {
        bucket,
        key: key.into(),
        owner: OWNER.into(),
        etag: etag_of(bytes),
        content,
        facts: Facts::default(),
        check: None,
        tell: None,
    }
}

pub async fn read(
    objects: &Objects,
    object: &Arc<Object>,
    range: Range<u64>,
    key: Option<&CustomerKey>,
) -> Result<Vec<u8>, StoreError> {
    match objects.read(object, range, key).await? {
        Body::Whole(bytes) => Ok(bytes.to_vec()),
        Body::Stream(mut stream) => {
            let mut all = Vec::new();
            while let Some(piece) = stream.next().await {
                all.extend_from_slice(&piece?);
            }
            Ok(all)
        }
    }
}

pub fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|n| ((n + seed) * 31 + n / 251) as u8).collect()
}
