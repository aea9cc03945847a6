//! A transaction being filled: the current versions that were read, what has changed since, the numbers and
//! times that it gives out.

use super::super::Shared;
use super::super::bucket::{self, Bucket, bucket_rows};
use super::super::error::StoreError;
use super::super::facts::UnixMs;
use super::super::ids::BucketId;
use super::super::object::{Content, Object};
use super::super::row::{Row, version_columns};
use super::changes::{BlobChange, Changes};
use super::lose::Lost;
use super::statements::{ROWS_MAX, rows_of};
use super::{SEQ_AHEAD, State};
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(in super::super) type Key = (BucketId, Arc<str>);

pub(in super::super) struct Batch<'w> {
    pub connection: &'w mut SqliteConnection,
    pub shared: &'w Arc<Shared>,
    pub changes: Changes,
    /// When everything in it happens.
    pub now: UnixMs,
    state: &'w mut State,
    /// Numbers below it may be given out once this is on disk.
    seq_end: Option<u64>,
    /// The row of `live` as it is now, of every key that was looked at.
    live: HashMap<Key, Option<Row>>,
    /// Of every key that was looked at, the row that does not verify.
    lost: HashMap<Key, Lost>,
    changed_keys: HashSet<Key>,
    changed_buckets: HashMap<Arc<str>, Option<Arc<Bucket>>>,
    brings_events: bool,
}

impl<'w> Batch<'w> {
    pub fn new(connection: &'w mut SqliteConnection, shared: &'w Arc<Shared>, state: &'w mut State) -> Self {
        let now = (shared.config.clock)();
        Self {
            connection,
            shared,
            changes: Changes::default(),
            now,
            state,
            seq_end: None,
            live: HashMap::new(),
            lost: HashMap::new(),
            changed_keys: HashSet::new(),
            changed_buckets: HashMap::new(),
            brings_events: false,
        }
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), StoreError> {
        sqlx::query(sql).execute(&mut *self.connection).await?;
        Ok(())
    }

    pub async fn begin(&mut self) -> Result<(), StoreError> {
        self.execute("BEGIN IMMEDIATE").await?;
        let clock = (self.now.max(0) as u64).saturating_mul(1000);
        self.state.seq = self.state.seq.max(clock);
        if self.state.seq + SEQ_AHEAD / 2 > self.state.seq_end {
            let end = self.state.seq + SEQ_AHEAD;
            let sql = "INSERT INTO meta VALUES ('seq_end', ?) \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            sqlx::query(sql).bind(end as i64).execute(&mut *self.connection).await?;
            self.seq_end = Some(end);
        }
        Ok(())
    }

    /// A number that is greater than all before it.
    pub fn seq(&mut self) -> u64 {
        self.state.seq += 1;
        self.state.seq
    }

    /// Reads the current versions of keys that were not read yet.
    pub async fn load(&mut self, mut keys: Vec<Key>) -> Result<(), StoreError> {
        keys.retain(|key| !self.live.contains_key(key) && !self.lost.contains_key(key));
        keys.sort_unstable();
        keys.dedup();
        for keys in keys.chunks(ROWS_MAX) {
            let sql = ") v CROSS JOIN live ON live.bucket = v.column2 AND live.key = v.column3";
            let head = concat!("SELECT v.column1, ", version_columns!("live"), " FROM (VALUES");
            let sql = rows_of(head, 3, keys.len(), sql);
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for (at, (bucket, key)) in keys.iter().enumerate() {
                query = query.bind(at as i64).bind(bucket.0).bind(key.as_bytes());
            }
            let rows = query.fetch_all(&mut *self.connection).await?;
            self.live.extend(keys.iter().map(|key| (key.clone(), None)));
            for row in rows {
                let key = keys[row.try_get::<i64, _>(0)? as usize].clone();
                // One that does not verify must not stop the others; who wants it is told.
                match Row::read(&row, 1) {
                    Ok(found) => drop(self.live.insert(key, Some(found))),
                    Err(_) => {
                        let (seq, flags) = (row.try_get(3)?, row.try_get(4)?);
                        self.live.remove(&key);
                        self.lost.insert(key, Lost { seq, flags });
                    }
                }
            }
        }
        Ok(())
    }

    /// The newest version of a key, unless it is a delete marker.
    pub async fn live(&mut self, key: &Key) -> Result<Option<Row>, StoreError> {
        if !self.live.contains_key(key) {
            self.load(vec![key.clone()]).await?;
        }
        let found = self.live.get(key).cloned();
        found.ok_or_else(|| StoreError::Corrupt(format!("the row of {}", key.1)))
    }

    /// What there is in place of a current version that could be read.
    pub(super) async fn lost_live(&mut self, key: &Key) -> Result<Option<Lost>, StoreError> {
        if !self.live.contains_key(key) && !self.lost.contains_key(key) {
            self.load(vec![key.clone()]).await?;
        }
        Ok(self.lost.get(key).copied())
    }

    /// It is gone.
    pub(super) fn found_lost(&mut self, key: &Key) {
        self.lost.remove(key);
        self.live.insert(key.clone(), None);
        self.changed_keys.insert(key.clone());
    }

    pub fn set_live(&mut self, key: &Key, row: Option<Row>) {
        self.live.insert(key.clone(), row.clone());
        self.changes.live.insert(key.clone(), row);
        self.changed_keys.insert(key.clone());
    }

    pub fn set_history(&mut self, key: &Key, seq: u64, row: Option<Row>) {
        self.changes.history.insert((key.clone(), seq), row);
    }

    /// One version of `history`; what has changed is written before.
    pub async fn history(
        &mut self,
        sql: &'static str,
        key: &Key,
        seq: u64,
    ) -> Result<Option<Row>, StoreError> {
        self.flush().await?;
        let query = sqlx::query(sql).bind(key.0.0).bind(key.1.as_bytes()).bind(seq as i64);
        let row = query.fetch_optional(&mut *self.connection).await?;
        row.map(|row| Row::read(&row, 0)).transpose()
    }

    pub async fn bucket(&mut self, id: BucketId) -> Result<Arc<Bucket>, StoreError> {
        if let Some(bucket) = self.state.buckets.get(&id) {
            return Ok(bucket.clone());
        }
        let query = sqlx::query(bucket_rows!("buckets", "WHERE b.id = ?")).bind(id.0);
        let rows = query.fetch_all(&mut *self.connection).await?;
        let found = Arc::new(bucket::from_rows(&rows)?.pop().ok_or(StoreError::NoSuchBucket)?);
        if self.state.buckets.len() >= BUCKETS_MAX {
            self.state.buckets.clear();
        }
        self.state.buckets.insert(id, found.clone());
        Ok(found)
    }

    /// The bucket is this now; None: it is gone.
    pub fn set_bucket(&mut self, was: &Bucket, bucket: Option<Arc<Bucket>>) {
        match &bucket {
            Some(bucket) => drop(self.state.buckets.insert(was.id, bucket.clone())),
            None => drop(self.state.buckets.remove(&was.id)),
        }
        self.changed_buckets.insert(was.name.clone(), bucket);
    }

    /// The bytes of a version that goes.
    pub fn drop_content(&mut self, object: &Object) {
        match &object.content {
            Content::Empty => {}
            Content::Inline(_) => drop(self.changes.inline.insert(object.seq, None)),
            Content::Blob(id, _) => drop(self.changes.blobs.insert(id.0, BlobChange::Garbage)),
            Content::Manifest(..) => self.changes.drop_manifest(object.seq),
        }
        if !object.is_marker {
            self.changes.use_more(object.bucket, -1, -(object.size as i64));
        }
    }

    /// Writes what has changed so far.
    pub async fn flush(&mut self) -> Result<(), StoreError> {
        self.brings_events |= !self.changes.events.is_empty();
        self.changes.write(self.connection, self.now).await
    }

    pub async fn undo(mut self) {
        if let Err(error) = self.execute("ROLLBACK").await {
            // SQLite has undone it by itself, as it does when the medium is full.
            tracing::debug!(%error, "nothing to undo");
        }
    }

    /// From here until the end readers of what has changed ask the database.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        for (bucket, key) in &self.changed_keys {
            self.shared.hot.hold((bucket, &**key));
        }
        for name in self.changed_buckets.keys() {
            self.shared.buckets.hold(&**name);
        }
        let done = self.execute("COMMIT").await;
        if let (Some(end), Ok(())) = (self.seq_end, &done) {
            self.state.seq_end = end;
        }
        for key in &self.changed_keys {
            let row = self.live.get(key).filter(|_| done.is_ok());
            let object = row.and_then(|row| row.as_ref()).map(|row| row.object.clone());
            let object = object.filter(|object| object.is_readable());
            let weighed = object.map(|object| (object.clone(), object.weight()));
            self.shared.hot.release((key.0, &*key.1), weighed);
        }
        for (name, bucket) in &self.changed_buckets {
            let bucket = bucket.as_ref().filter(|_| done.is_ok());
            self.shared.buckets.release(&**name, bucket.map(Bucket::weighed));
        }
        if done.is_ok() && self.brings_events {
            self.shared.events.send_modify(|groups| *groups += 1);
        }
        if done.is_err() {
            self.undo().await;
        }
        done
    }
}

/// That the writer remembers; a full memory is emptied.
const BUCKETS_MAX: usize = 10_000;
