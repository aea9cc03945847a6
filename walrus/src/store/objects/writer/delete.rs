//! Deleting: a delete marker where versions are kept, else the version itself; and one version by its id.

use super::super::Objects;
use super::super::bucket::{Bucket, Versioning};
use super::super::error::StoreError;
use super::super::events::{Tell, What};
use super::super::facts::Facts;
use super::super::ids::{BucketId, ETag, VersionId};
use super::super::object::{Content, Object};
use super::super::row::{Row, version_columns};
use super::batch::{Batch, Key};
use super::put::{NULL_VERSION, ask, displace};
use super::{Check, Work, events};
use crate::store::keeper::seal::Seal;
use std::sync::Arc;

/// What a request may name at most.
const DELETES_MAX: usize = 1000;

pub struct ObjectDelete {
    pub key: Arc<str>,
    /// None: the key.
    pub version: Option<VersionId>,
    /// Whose a new delete marker is.
    pub owner: Arc<str>,
    pub check: Option<Check>,
    pub tell: Option<Tell>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// Of the delete marker that was made, or of the version that was to go.
    pub version: Option<VersionId>,
    /// Whether that is a delete marker.
    pub marker: bool,
    /// Whether there was anything to delete.
    pub existed: bool,
}

pub(in super::super) struct Delete {
    pub bucket: BucketId,
    pub deletes: Vec<ObjectDelete>,
}

impl Work for Delete {
    type Answer = Vec<Result<Deleted, StoreError>>;

    fn keys(&self, wanted: &mut Vec<Key>) {
        wanted.extend(self.deletes.iter().map(|delete| (self.bucket, delete.key.clone())));
    }

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<Self::Answer, StoreError> {
        let mut answers = Vec::with_capacity(self.deletes.len());
        for one in &self.deletes {
            let answer = delete(batch, self.bucket, one).await;
            if let Err(Some(broken)) = answer.as_ref().map_err(StoreError::breaks_all) {
                return Err(broken);
            }
            answers.push(answer);
        }
        Ok(answers)
    }
}

const ONE_VERSION: &str = concat!(
    "SELECT ",
    version_columns!("history"),
    " FROM history WHERE bucket = ? AND key = ? AND seq = ? AND NOT flags & 1"
);
pub(super) const NEWEST_OTHER_VERSION: &str = concat!(
    "SELECT ",
    version_columns!("history"),
    " FROM history WHERE bucket = ? AND key = ? AND seq <> ? ORDER BY seq DESC LIMIT 1"
);

async fn delete(
    batch: &mut Batch<'_>,
    bucket: BucketId,
    delete: &ObjectDelete,
) -> Result<Deleted, StoreError> {
    let bucket = batch.bucket(bucket).await?;
    let key = (bucket.id, delete.key.clone());
    let deleted = match delete.version {
        Some(version) => delete_version(batch, &bucket, &key, version, delete).await?,
        None => delete_key(batch, &bucket, &key, delete).await?,
    };
    let what = match (delete.version, deleted.version) {
        (None, Some(marker)) => Some(What::MarkerMade(marker)),
        _ => deleted.existed.then_some(What::Removed(deleted.version)),
    };
    if let Some(what) = what {
        events::tell(batch, &bucket, &key, what, delete.tell.as_ref());
    }
    Ok(deleted)
}

async fn delete_key(
    batch: &mut Batch<'_>,
    bucket: &Bucket,
    key: &Key,
    delete: &ObjectDelete,
) -> Result<Deleted, StoreError> {
    let existed = displace(batch, bucket, key, delete.check.as_ref()).await?;
    if bucket.versioning == Versioning::Off {
        return Ok(Deleted { version: None, marker: false, existed });
    }
    let marker = marker(batch, key, &delete.owner, bucket.versioning == Versioning::Suspended);
    let version = Some(marker.object.version);
    batch.set_history(key, marker.object.seq, Some(marker));
    Ok(Deleted { version, marker: true, existed })
}

fn marker(batch: &mut Batch<'_>, key: &Key, owner: &Arc<str>, null: bool) -> Row {
    let seq = batch.seq();
    let facts = Facts::default();
    let encoded = facts.encode().into();
    let object = Object {
        bucket: key.0,
        key: key.1.clone(),
        version: if null { VersionId::Null } else { VersionId::Seq(seq) },
        seq,
        is_marker: true,
        modified: batch.now,
        size: 0,
        etag: ETag::simple([0; 16]),
        owner: owner.clone(),
        seal: Seal::Plain,
        facts,
        content: Content::Empty,
    };
    Row::new(object, encoded)
}

/// A version in `history`.
pub(super) async fn old_version(
    batch: &mut Batch<'_>,
    key: &Key,
    version: VersionId,
) -> Result<Option<Row>, StoreError> {
    match version {
        VersionId::Null => batch.history(NULL_VERSION, key, 0).await,
        VersionId::Seq(seq) => batch.history(ONE_VERSION, key, seq).await,
    }
}

async fn delete_version(
    batch: &mut Batch<'_>,
    bucket: &Bucket,
    key: &Key,
    version: VersionId,
    delete: &ObjectDelete,
) -> Result<Deleted, StoreError> {
    if batch.lost_live(key).await?.is_some_and(|lost| lost.is(version)) {
        ask(delete.check.as_ref(), bucket, None, None)?;
        batch.lose_live(key).await?;
        return promoted(batch, key, version).await;
    }
    let current = batch.live(key).await?;
    let is_current = current.as_ref().is_some_and(|row| row.object.version == version);
    let target = match is_current {
        true => current.clone(),
        false => match old_version(batch, key, version).await {
            Err(StoreError::Corrupt(_)) => {
                ask(delete.check.as_ref(), bucket, current.as_ref(), None)?;
                batch.lose_version(key, version).await?;
                return match current {
                    Some(_) => Ok(Deleted { version: Some(version), marker: false, existed: true }),
                    None => promoted(batch, key, version).await,
                };
            }
            found => found?,
        },
    };
    ask(delete.check.as_ref(), bucket, current.as_ref(), target.as_ref())?;
    let Some(target) = target else {
        return Ok(Deleted { version: Some(version), marker: false, existed: false });
    };
    // The newest of the older versions becomes the current one, if it is no delete marker.
    let next = if is_current || current.is_none() {
        let newest = batch.newest_other(key, target.object.seq).await?;
        newest.filter(|row| !row.object.is_marker)
    } else {
        None
    };
    batch.drop_content(&target.object);
    if !is_current {
        batch.set_history(key, target.object.seq, None);
    }
    if let Some(next) = &next {
        batch.set_history(key, next.object.seq, None);
    }
    if is_current || next.is_some() {
        batch.set_live(key, next);
    }
    Ok(Deleted { version: Some(version), marker: target.object.is_marker, existed: true })
}

/// A version that could not be read is gone; what is the newest now becomes the current one, if it is no
/// delete marker.
async fn promoted(batch: &mut Batch<'_>, key: &Key, version: VersionId) -> Result<Deleted, StoreError> {
    if let Some(next) = batch.newest_other(key, 0).await?.filter(|row| !row.object.is_marker) {
        batch.set_history(key, next.object.seq, None);
        batch.set_live(key, Some(next));
    }
    Ok(Deleted { version: Some(version), marker: false, existed: true })
}

impl Objects {
    pub async fn object_delete(&self, bucket: BucketId, delete: ObjectDelete) -> Result<Deleted, StoreError> {
        let mut answers = self.objects_delete(bucket, vec![delete]).await?;
        answers.pop().unwrap_or(Err(StoreError::Closed))
    }

    /// In one transaction; each is answered for itself.
    pub async fn objects_delete(
        &self,
        bucket: BucketId,
        deletes: Vec<ObjectDelete>,
    ) -> Result<Vec<Result<Deleted, StoreError>>, StoreError> {
        debug_assert!(deletes.len() <= DELETES_MAX);
        self.write(Delete { bucket, deletes }).await
    }
}
