//! The parts of a bundle as objects beside their manifest.

use super::parts::{PartError, PartSource, PartStream};
use crate::store::objects::{Body, BucketId, Objects, StoreError};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;

/// Reads what was permitted earlier: who may read is not asked again.
pub struct ObjectParts {
    pub objects: Objects,
    pub bucket: BucketId,
    /// The manifest's.
    pub key: String,
}

/// The key of a part: parts have the prefix of their manifest.
pub fn part_key(manifest_key: &str, filename: &str) -> String {
    let folder = manifest_key.rfind('/').map_or("", |at| &manifest_key[..=at]);
    format!("{folder}{filename}")
}

fn failed(error: StoreError) -> PartError {
    match error {
        StoreError::NoSuchBucket | StoreError::NoSuchKey { .. } | StoreError::NoSuchVersion => {
            PartError::Missing
        }
        StoreError::WrongKey => PartError::Failed("it is encrypted with a customer's key".to_owned()),
        StoreError::Full | StoreError::Busy | StoreError::Closed => PartError::Failed(error.to_string()),
        other => {
            tracing::warn!(error = %other, "a bundle's part cannot be read");
            PartError::Failed("the object store failed".to_owned())
        }
    }
}

#[async_trait]
impl PartSource for ObjectParts {
    async fn part(&self, filename: &str) -> Result<PartStream, PartError> {
        let key = part_key(&self.key, filename);
        let object = self.objects.object_fetch(self.bucket, &key, None).await.map_err(failed)?;
        if object.is_marker {
            return Err(PartError::Missing);
        }
        match self.objects.read(&object, 0..object.size, None).await.map_err(failed)? {
            Body::Whole(bytes) => Ok(stream::iter([Ok(bytes)]).boxed()),
            Body::Stream(bytes) => Ok(bytes.map(|piece| piece.map_err(failed)).boxed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::part_key;

    #[test]
    fn parts_lie_beside_their_manifest() {
        assert_eq!(part_key("x.manifest.xml", "x.part.00"), "x.part.00");
        assert_eq!(part_key("a/b/x.manifest.xml", "x.part.00"), "a/b/x.part.00");
        assert_eq!(part_key("/x", "y"), "/y");
    }
}
