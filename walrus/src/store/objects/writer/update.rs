//! Changing the facts of a version that may change: tags, ACL, retention, legal hold, restoring.

use super::super::Objects;
use super::super::error::{Refusal, StoreError};
use super::super::facts::Facts;
use super::super::ids::{BucketId, VersionId};
use super::super::object::Object;
use super::super::row::Row;
use super::Work;
use super::batch::{Batch, Key};
use super::delete::old_version;
use std::sync::Arc;

/// Changes the facts of a version, or refuses; it runs inside the transaction and may run more than once.
pub type ObjectChange = Arc<dyn Fn(&Object, &mut Facts) -> Result<(), Refusal> + Send + Sync>;

struct Update {
    key: Key,
    version: Option<VersionId>,
    change: ObjectChange,
}

impl Work for Update {
    type Answer = Arc<Object>;

    fn keys(&self, wanted: &mut Vec<Key>) {
        wanted.push(self.key.clone());
    }

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<Arc<Object>, StoreError> {
        batch.bucket(self.key.0).await?;
        let current = batch.live(&self.key).await?;
        let is_current = match (&current, self.version) {
            (None, None) => return Err(StoreError::NoSuchKey { marker: None }),
            (current, Some(version)) => current.as_ref().is_some_and(|row| row.object.version == version),
            (Some(_), None) => true,
        };
        let row = match self.version {
            Some(version) if !is_current => old_version(batch, &self.key, version).await?,
            _ => current,
        };
        let row = row.ok_or(StoreError::NoSuchVersion)?;
        let mut facts = row.object.facts.clone();
        (self.change)(&row.object, &mut facts).map_err(StoreError::refused)?;
        let encoded = facts.encode().into();
        let changed = Row::new(row.object.with_facts(facts), encoded);
        let object = changed.object.clone();
        if is_current {
            batch.set_live(&self.key, Some(changed));
        } else {
            batch.set_history(&self.key, object.seq, Some(changed));
        }
        Ok(object)
    }
}

impl Objects {
    /// The version with its new facts. Its bytes cannot be read from this value: fetch it for that.
    pub async fn object_update(
        &self,
        bucket: BucketId,
        key: &str,
        version: Option<VersionId>,
        change: ObjectChange,
    ) -> Result<Arc<Object>, StoreError> {
        self.write(Update { key: (bucket, key.into()), version, change }).await
    }
}
