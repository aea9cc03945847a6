//! Buckets: what one is, and reading them. Changes are in `writer/bucket.rs`.

use super::Objects;
use super::error::StoreError;
use super::facts::UnixMs;
use super::ids::BucketId;
use super::writer::bucket::{BucketChange, BucketCreate, BucketDelete, Change};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use std::any::Any;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    Off,
    Enabled,
    Suspended,
}

impl Versioning {
    pub(super) fn number(self) -> i64 {
        match self {
            Versioning::Off => 0,
            Versioning::Enabled => 1,
            Versioning::Suspended => 2,
        }
    }

    fn of_number(number: i64) -> Option<Self> {
        [Versioning::Off, Versioning::Enabled, Versioning::Suspended]
            .into_iter()
            .find(|v| v.number() == number)
    }
}

/// Whose a bucket is, for who wanted to make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    pub owner: Arc<str>,
    pub region: Arc<str>,
}

/// One state of a bucket; a change makes another value.
#[derive(Debug)]
pub struct Bucket {
    pub id: BucketId,
    pub name: Arc<str>,
    pub owner: Arc<str>,
    pub region: Arc<str>,
    pub created: UnixMs,
    pub versioning: Versioning,
    pub object_lock: bool,
    pub(super) settings: BTreeMap<String, Arc<str>>,
    parsed: Mutex<HashMap<&'static str, Arc<dyn Any + Send + Sync>>>,
}

impl Clone for Bucket {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            owner: self.owner.clone(),
            region: self.region.clone(),
            settings: self.settings.clone(),
            parsed: Mutex::default(),
            ..*self
        }
    }
}

impl Bucket {
    pub fn setting(&self, kind: &str) -> Option<&Arc<str>> {
        self.settings.get(kind)
    }

    /// The setting as `parse` understands it; parsed once for this state of the bucket.
    pub fn parsed<T: Any + Send + Sync, E>(
        &self,
        kind: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<Arc<T>>, E> {
        let Some(document) = self.settings.get(kind) else { return Ok(None) };
        let known = self.parsed.lock().unwrap_or_else(PoisonError::into_inner).get(kind).cloned();
        if let Some(known) = known.and_then(|known| known.downcast::<T>().ok()) {
            return Ok(Some(known));
        }
        let value = Arc::new(parse(document)?);
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, value.clone());
        Ok(Some(value))
    }

    fn weight(&self) -> usize {
        const BUCKET_BYTES: usize = 512;
        const PARSED_FACTOR: usize = 4;
        let settings = self.settings.iter().map(|(kind, text)| kind.len() + PARSED_FACTOR * text.len());
        BUCKET_BYTES + settings.sum::<usize>()
    }

    pub(super) fn weighed(self: &Arc<Self>) -> (Arc<Self>, usize) {
        (self.clone(), self.weight())
    }
}

#[derive(Debug, Clone)]
pub struct NewBucket {
    pub name: Arc<str>,
    pub owner: Arc<str>,
    pub region: Arc<str>,
    /// Comes with versioning enabled.
    pub object_lock: bool,
    pub settings: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default)]
pub struct BucketQuery {
    pub owner: Option<Arc<str>>,
    pub prefix: String,
    pub region: Option<String>,
    pub after: Option<String>,
    pub limit: usize,
}

#[derive(Debug)]
pub struct BucketPage {
    pub buckets: Vec<Arc<Bucket>>,
    /// The last name, when there are more.
    pub next: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Delete markers are not counted.
    pub versions: u64,
    pub bytes: u64,
}

/// A query that answers one row for each setting of a bucket, those of a bucket together.
macro_rules! bucket_rows {
    ($buckets:literal, $tail:literal) => {
        concat!(
            "SELECT b.id, b.name, b.owner, b.region, b.created, b.versioning, b.object_lock, s.kind, s.document \
             FROM ",
            $buckets,
            " b LEFT JOIN bucket_settings s ON s.bucket = b.id ",
            $tail
        )
    };
}
pub(super) use bucket_rows;

/// Buckets from the rows of such a query.
pub(super) fn from_rows(rows: &[SqliteRow]) -> Result<Vec<Bucket>, StoreError> {
    let mut buckets: Vec<Bucket> = Vec::new();
    for row in rows {
        let id = BucketId(row.try_get(0)?);
        if buckets.last().is_none_or(|last| last.id != id) {
            let text = |at: usize| row.try_get::<&str, _>(at).map(Arc::from);
            let versioning = Versioning::of_number(row.try_get(5)?);
            buckets.push(Bucket {
                id,
                name: text(1)?,
                owner: text(2)?,
                region: text(3)?,
                created: row.try_get(4)?,
                versioning: versioning.ok_or_else(|| StoreError::Corrupt("a bucket's row".into()))?,
                object_lock: row.try_get::<i64, _>(6)? != 0,
                settings: BTreeMap::new(),
                parsed: Mutex::default(),
            });
        }
        let setting: (Option<String>, Option<&str>) = (row.try_get(7)?, row.try_get(8)?);
        if let (Some(bucket), (Some(kind), Some(document))) = (buckets.last_mut(), setting) {
            bucket.settings.insert(kind, document.into());
        }
    }
    Ok(buckets)
}

impl Bucket {
    pub(super) fn new(id: BucketId, new: &NewBucket, created: UnixMs) -> Self {
        let settings = new.settings.iter().map(|(kind, text)| (kind.clone(), text.as_str().into()));
        Self {
            id,
            name: new.name.clone(),
            owner: new.owner.clone(),
            region: new.region.clone(),
            created,
            versioning: if new.object_lock { Versioning::Enabled } else { Versioning::Off },
            object_lock: new.object_lock,
            settings: settings.collect(),
            parsed: Mutex::default(),
        }
    }
}

impl Objects {
    pub async fn bucket_create(&self, new: NewBucket) -> Result<Arc<Bucket>, StoreError> {
        self.write(BucketCreate(new)).await
    }

    pub async fn bucket_fetch(&self, name: &str) -> Result<Arc<Bucket>, StoreError> {
        if let Some(bucket) = self.0.buckets.get(name, |bucket| *bucket.name == *name) {
            return Ok(bucket);
        }
        let ticket = self.0.buckets.ticket(name);
        let rows = sqlx::query(bucket_rows!("buckets", "WHERE b.name = ?")).bind(name);
        let rows = rows.fetch_all(&self.0.reader).await?;
        let bucket = Arc::new(from_rows(&rows)?.pop().ok_or(StoreError::NoSuchBucket)?);
        let (value, bytes) = bucket.weighed();
        self.0.buckets.put(ticket, value, bytes);
        Ok(bucket)
    }

    /// In the order of names.
    pub async fn bucket_list(&self, query: &BucketQuery) -> Result<BucketPage, StoreError> {
        let from = match &query.after {
            Some(after) if *after >= query.prefix => format!("{after}\0"),
            _ => query.prefix.clone(),
        };
        let until = format!("{}{}", query.prefix, char::MAX);
        let rows = match &query.owner {
            Some(owner) => sqlx::query(bucket_rows!(
                "(SELECT * FROM buckets WHERE owner = ?5 AND name >= ?1 AND name < ?2 \
                  AND (?3 IS NULL OR region = ?3) ORDER BY name LIMIT ?4)",
                "ORDER BY b.name"
            ))
            .bind(from)
            .bind(until)
            .bind(query.region.as_deref())
            .bind(query.limit as i64 + 1)
            .bind(&**owner),
            None => sqlx::query(bucket_rows!(
                "(SELECT * FROM buckets WHERE name >= ?1 AND name < ?2 AND (?3 IS NULL OR region = ?3) \
                  ORDER BY name LIMIT ?4)",
                "ORDER BY b.name"
            ))
            .bind(from)
            .bind(until)
            .bind(query.region.as_deref())
            .bind(query.limit as i64 + 1),
        };
        let mut buckets = from_rows(&rows.fetch_all(&self.0.reader).await?)?;
        let more = buckets.len() > query.limit;
        buckets.truncate(query.limit);
        let next = buckets.last().filter(|_| more).map(|last| last.name.to_string());
        Ok(BucketPage { buckets: buckets.into_iter().map(Arc::new).collect(), next })
    }

    /// Refused while it holds a version, a delete marker or an upload.
    pub async fn bucket_delete(&self, id: BucketId) -> Result<(), StoreError> {
        self.write(BucketDelete(id)).await
    }

    pub async fn bucket_setting_put(
        &self,
        id: BucketId,
        kind: &str,
        document: String,
    ) -> Result<Arc<Bucket>, StoreError> {
        self.bucket_settings_change(id, vec![(kind.to_owned(), Some(document))]).await
    }

    /// Harmless when it is not set.
    pub async fn bucket_setting_delete(&self, id: BucketId, kind: &str) -> Result<Arc<Bucket>, StoreError> {
        self.bucket_settings_change(id, vec![(kind.to_owned(), None)]).await
    }

    /// All of them at one instant. None: as if it had never been set.
    pub async fn bucket_settings_change(
        &self,
        id: BucketId,
        changes: Vec<(String, Option<String>)>,
    ) -> Result<Arc<Bucket>, StoreError> {
        self.write(BucketChange { id, change: Change::Settings(changes) }).await
    }

    pub async fn bucket_versioning_put(
        &self,
        id: BucketId,
        versioning: Versioning,
    ) -> Result<Arc<Bucket>, StoreError> {
        self.write(BucketChange { id, change: Change::Versioning(versioning) }).await
    }

    pub async fn bucket_object_lock_enable(&self, id: BucketId) -> Result<Arc<Bucket>, StoreError> {
        self.write(BucketChange { id, change: Change::ObjectLock }).await
    }

    pub async fn bucket_usage(&self, id: BucketId) -> Result<Usage, StoreError> {
        let row = sqlx::query("SELECT versions, bytes FROM buckets WHERE id = ?").bind(id.0);
        let row = row.fetch_optional(&self.0.reader).await?.ok_or(StoreError::NoSuchBucket)?;
        let number = |at: usize| row.try_get::<i64, _>(at).map(|n| n.max(0) as u64);
        Ok(Usage { versions: number(0)?, bytes: number(1)? })
    }
}
