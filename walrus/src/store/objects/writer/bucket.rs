//! Making, changing and deleting buckets.

use super::super::bucket::{Bucket, NewBucket, Owned, Versioning, bucket_rows, from_rows};
use super::super::error::StoreError;
use super::super::ids::BucketId;
use super::Work;
use super::batch::Batch;
use std::sync::Arc;

pub(in super::super) struct BucketCreate(pub NewBucket);

impl Work for BucketCreate {
    type Answer = Arc<Bucket>;

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<Arc<Bucket>, StoreError> {
        let new = &self.0;
        let query = sqlx::query(bucket_rows!("buckets", "WHERE b.name = ?")).bind(&*new.name);
        let present = from_rows(&query.fetch_all(&mut *batch.connection).await?)?.pop();
        if let Some(Bucket { owner, region, .. }) = present {
            return Err(StoreError::BucketExists(Owned { owner, region }));
        }
        let mut bucket = Bucket::new(BucketId(0), new, batch.now);
        let sql = "INSERT INTO buckets (name, owner, region, created, versioning, object_lock) \
             VALUES (?, ?, ?, ?, ?, ?) RETURNING id";
        let query = sqlx::query_scalar(sql).bind(&*bucket.name).bind(&*bucket.owner).bind(&*bucket.region);
        let query = query.bind(bucket.created).bind(bucket.versioning.number()).bind(bucket.object_lock);
        bucket.id = BucketId(query.fetch_one(&mut *batch.connection).await?);
        for (kind, document) in &bucket.settings {
            let sql = "INSERT INTO bucket_settings (bucket, kind, document) VALUES (?, ?, ?)";
            let query = sqlx::query(sql).bind(bucket.id.0).bind(kind).bind(&**document);
            query.execute(&mut *batch.connection).await?;
        }
        let bucket = Arc::new(bucket);
        batch.set_bucket(&bucket, Some(bucket.clone()));
        Ok(bucket)
    }
}

pub(in super::super) struct BucketDelete(pub BucketId);

impl Work for BucketDelete {
    type Answer = ();

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        let bucket = batch.bucket(self.0).await?;
        batch.flush().await?;
        let sql = "SELECT EXISTS (SELECT 1 FROM live WHERE bucket = ?1) \
             OR EXISTS (SELECT 1 FROM history WHERE bucket = ?1) \
             OR EXISTS (SELECT 1 FROM uploads WHERE bucket = ?1)";
        let used: bool = sqlx::query_scalar(sql).bind(bucket.id.0).fetch_one(&mut *batch.connection).await?;
        if used {
            return Err(StoreError::BucketNotEmpty);
        }
        for sql in ["DELETE FROM bucket_settings WHERE bucket = ?", "DELETE FROM buckets WHERE id = ?"] {
            sqlx::query(sql).bind(bucket.id.0).execute(&mut *batch.connection).await?;
        }
        batch.set_bucket(&bucket, None);
        Ok(())
    }
}

#[derive(Debug)]
pub(in super::super) enum Change {
    /// By name; None: as if it had never been set.
    Settings(Vec<(String, Option<String>)>),
    Versioning(Versioning),
    ObjectLock,
}

pub(in super::super) struct BucketChange {
    pub id: BucketId,
    pub change: Change,
}

impl Work for BucketChange {
    type Answer = Arc<Bucket>;

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<Arc<Bucket>, StoreError> {
        let was = batch.bucket(self.id).await?;
        let mut bucket = Bucket::clone(&was);
        match &self.change {
            Change::Settings(changes) => {
                for (kind, document) in changes {
                    self.set(batch, &mut bucket, kind, document.as_deref()).await?;
                }
            }
            Change::Versioning(versioning) => {
                bucket.versioning = *versioning;
                let sql = "UPDATE buckets SET versioning = ? WHERE id = ?";
                let query = sqlx::query(sql).bind(versioning.number()).bind(self.id.0);
                query.execute(&mut *batch.connection).await?;
            }
            Change::ObjectLock => {
                bucket.object_lock = true;
                let query = sqlx::query("UPDATE buckets SET object_lock = 1 WHERE id = ?").bind(self.id.0);
                query.execute(&mut *batch.connection).await?;
            }
        }
        let bucket = Arc::new(bucket);
        batch.set_bucket(&was, Some(bucket.clone()));
        Ok(bucket)
    }
}

impl BucketChange {
    async fn set(
        &self,
        batch: &mut Batch<'_>,
        bucket: &mut Bucket,
        kind: &str,
        document: Option<&str>,
    ) -> Result<(), StoreError> {
        let query = match document {
            Some(document) => {
                bucket.settings.insert(kind.to_owned(), document.into());
                let sql = "INSERT INTO bucket_settings (bucket, kind, document) VALUES (?, ?, ?) \
                     ON CONFLICT (bucket, kind) DO UPDATE SET document = excluded.document";
                sqlx::query(sql).bind(self.id.0).bind(kind).bind(document)
            }
            None => {
                bucket.settings.remove(kind);
                let sql = "DELETE FROM bucket_settings WHERE bucket = ? AND kind = ?";
                sqlx::query(sql).bind(self.id.0).bind(kind)
            }
        };
        query.execute(&mut *batch.connection).await?;
        Ok(())
    }
}
