//! A new version of a key.

use super::super::Objects;
use super::super::bucket::{Bucket, Versioning};
use super::super::bytes::Stored;
use super::super::error::StoreError;
use super::super::events::{Tell, What};
use super::super::facts::Facts;
use super::super::ids::{BucketId, ETag, VersionId};
use super::super::object::Object;
use super::super::row::{Row, version_columns};
use super::batch::{Batch, Key};
use super::{Check, Existing, Work, events};
use bytes::Bytes;
use std::sync::Arc;

/// A version to be written.
pub struct ObjectPut {
    pub bucket: BucketId,
    pub key: Arc<str>,
    pub owner: Arc<str>,
    pub etag: ETag,
    pub content: Stored,
    pub facts: Facts,
    pub check: Option<Check>,
    pub tell: Option<Tell>,
}

pub(in super::super) struct Put {
    pub new: NewVersion,
    pub content: Stored,
    pub check: Option<Check>,
    pub tell: Option<Tell>,
}

/// All of a version but where its bytes lie.
#[derive(Debug, Clone)]
pub(in super::super) struct NewVersion {
    pub key: Key,
    pub owner: Arc<str>,
    pub etag: ETag,
    pub facts: Facts,
    /// `facts` as they lie in the row.
    pub encoded: Bytes,
}

impl Work for Put {
    type Answer = Arc<Object>;

    fn keys(&self, wanted: &mut Vec<Key>) {
        wanted.push(self.new.key.clone());
    }

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<Arc<Object>, StoreError> {
        put(batch, &self.new, &self.content, self.check.as_ref(), self.tell.as_ref()).await
    }

    fn kept(&mut self) {
        self.content.kept();
    }
}

/// Several versions, of which there are all or none.
struct PutAll(Vec<Put>);

impl Work for PutAll {
    type Answer = Vec<Arc<Object>>;

    fn keys(&self, wanted: &mut Vec<Key>) {
        self.0.iter().for_each(|put| put.keys(wanted));
    }

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<Vec<Arc<Object>>, StoreError> {
        let mut objects = Vec::with_capacity(self.0.len());
        for put in &mut self.0 {
            match put.run(batch).await {
                Ok(object) => objects.push(object),
                Err(refused) if objects.is_empty() => return Err(refused),
                // Those before it are in the transaction, which must not be committed with them alone.
                Err(error) => {
                    return Err(error.breaks_all().unwrap_or(StoreError::Database(Arc::new(error))));
                }
            }
        }
        Ok(objects)
    }

    fn kept(&mut self) {
        self.0.iter_mut().for_each(Put::kept);
    }
}

/// The null version of a key when it is in `history`.
pub(super) const NULL_VERSION: &str = concat!(
    "SELECT ",
    version_columns!("history"),
    " FROM history WHERE bucket = ?1 AND key = ?2 AND flags & 1 AND ?3 = 0"
);

/// Makes a version of `content`, after `check`, and has it told.
pub(super) async fn put(
    batch: &mut Batch<'_>,
    new: &NewVersion,
    content: &Stored,
    check: Option<&Check>,
    tell: Option<&Tell>,
) -> Result<Arc<Object>, StoreError> {
    let bucket = batch.bucket(new.key.0).await?;
    displace(batch, &bucket, &new.key, check).await?;
    let object = insert(batch, new, content, bucket.versioning != Versioning::Enabled);
    events::tell(batch, &bucket, &new.key, What::Created(&object), tell);
    Ok(object)
}

/// Makes room for a newer version of the key, after `check`: the one that is current becomes an older one,
/// and where the newer one will be the null version, the present null version goes. Answers whether
/// there was a current one.
pub(super) async fn displace(
    batch: &mut Batch<'_>,
    bucket: &Bucket,
    key: &Key,
    check: Option<&Check>,
) -> Result<bool, StoreError> {
    let lost = batch.lost_live(key).await?;
    let current = if lost.is_some() { None } else { batch.live(key).await? };
    let current_is_null = current.as_ref().is_some_and(|row| row.object.is_null());
    let target = match bucket.versioning {
        Versioning::Enabled => None,
        Versioning::Off | Versioning::Suspended if current_is_null => current.clone(),
        Versioning::Off => None,
        Versioning::Suspended => match batch.history(NULL_VERSION, key, 0).await {
            Err(StoreError::Corrupt(_)) => {
                ask(check, bucket, current.as_ref(), None)?;
                batch.lose_version(key, VersionId::Null).await?;
                None
            }
            found => found?,
        },
    };
    ask(check, bucket, current.as_ref(), target.as_ref())?;
    if lost.is_some() {
        batch.lose_live(key).await?;
    }
    if let Some(target) = &target {
        batch.drop_content(&target.object);
        if !current_is_null {
            batch.set_history(key, target.object.seq, None);
        }
    }
    let existed = current.is_some() || lost.is_some();
    if let Some(current) = current {
        if !(current_is_null && target.is_some()) {
            batch.set_history(key, current.object.seq, Some(current));
        }
        batch.set_live(key, None);
    }
    Ok(existed)
}

pub(super) fn ask(
    check: Option<&Check>,
    bucket: &Bucket,
    current: Option<&Row>,
    target: Option<&Row>,
) -> Result<(), StoreError> {
    let Some(check) = check else { return Ok(()) };
    let (current, target) = (current.map(|row| &*row.object), target.map(|row| &*row.object));
    check(&Existing { bucket, current, target }).map_err(StoreError::refused)
}

/// Nothing may fail from here on.
fn insert(batch: &mut Batch<'_>, new: &NewVersion, content: &Stored, null: bool) -> Arc<Object> {
    let seq = batch.seq();
    let object = Object {
        bucket: new.key.0,
        key: new.key.1.clone(),
        version: if null { VersionId::Null } else { VersionId::Seq(seq) },
        seq,
        is_marker: false,
        modified: batch.now,
        size: content.len(),
        etag: new.etag,
        owner: new.owner.clone(),
        seal: content.seal(),
        facts: new.facts.clone(),
        content: content.keep_in(batch, seq),
    };
    let row = Row::new(object, new.encoded.clone());
    let object = row.object.clone();
    batch.changes.use_more(object.bucket, 1, object.size as i64);
    batch.set_live(&new.key, Some(row));
    object
}

impl From<ObjectPut> for Put {
    fn from(put: ObjectPut) -> Self {
        let ObjectPut { bucket, key, owner, etag, content, facts, check, tell } = put;
        let encoded = facts.encode().into();
        let new = NewVersion { key: (bucket, key), owner, etag, facts, encoded };
        Self { new, content, check, tell }
    }
}

impl Objects {
    /// The new version; durable.
    pub async fn object_put(&self, put: ObjectPut) -> Result<Arc<Object>, StoreError> {
        self.write(Put::from(put)).await
    }

    /// The new versions, in this order, all at one instant or none; durable. For what only makes sense together: it waits
    /// for nobody else's, but they wait for all of it.
    pub async fn objects_put(&self, puts: Vec<ObjectPut>) -> Result<Vec<Arc<Object>>, StoreError> {
        self.write(PutAll(puts.into_iter().map(Put::from).collect())).await
    }
}
