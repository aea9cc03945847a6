//! Forgets the images of manifests that were overwritten or deleted, in whichever way that was done.
//!
//! Nobody is given such an image meanwhile: it is found by its manifest's ETag. What this loop does is make room.

use crate::app::bundle::cache::Bundles;
use crate::store::bundles::BundleName;
use crate::store::objects::{Objects, StoreError};
use karri_proto::runtime::server::Shutdown;
use std::time::Duration;

/// There are few, and what each costs is one row by its key.
const LOOK_EVERY: Duration = Duration::from_secs(10);

pub async fn run(bundles: Bundles, objects: Objects, mut shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        round(&bundles, &objects).await;
        tokio::select! {
            () = shutdown.wait() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn round(bundles: &Bundles, objects: &Objects) {
    for (name, etag) in bundles.index().bundle_list() {
        let forgotten = match stands(objects, &name, &etag).await {
            Ok(true) => continue,
            Ok(false) => bundles.forget(&name).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let BundleName { bucket, key } = &name;
        match forgotten {
            Ok(()) => tracing::info!(bucket, key, "the manifest of an image is no more"),
            Err(error) => tracing::warn!(bucket, key, error, "a manifest is not looked after this round"),
        }
    }
}

async fn stands(objects: &Objects, name: &BundleName, etag: &str) -> Result<bool, StoreError> {
    let current = async {
        let bucket = objects.bucket_fetch(&name.bucket).await?;
        objects.object_fetch(bucket.id, &name.key, None).await
    };
    match current.await {
        Ok(object) => Ok(!object.is_marker && object.etag.to_string() == etag),
        Err(StoreError::NoSuchBucket | StoreError::NoSuchKey { .. } | StoreError::NoSuchVersion) => Ok(false),
        Err(other) => Err(other),
    }
}
