//! Beginning an upload, its parts, giving it up.

use super::super::error::StoreError;
use super::super::ids::UploadId;
use super::super::object::Content;
use super::super::row::{content_of, seal_flags};
use super::super::upload::{NewUpload, Part, PartPut, Upload};
use super::Work;
use super::batch::{Batch, Key};
use super::changes::BlobChange;
use sqlx::Row as _;

pub(in super::super) struct UploadCreate(pub NewUpload);

impl Work for UploadCreate {
    type Answer = Upload;

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<Upload, StoreError> {
        let new = &self.0;
        batch.bucket(new.bucket).await?;
        let upload = Upload {
            id: UploadId(batch.seq()),
            bucket: new.bucket,
            key: new.key.clone(),
            initiated: batch.now,
            owner: new.owner.clone(),
            initiator: new.initiator.clone(),
            seal: new.seal,
            facts: new.facts.clone(),
        };
        let sql = "INSERT INTO uploads (bucket, key, seq, initiated, owner, initiator, flags, class, facts) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let query = sqlx::query(sql).bind(upload.bucket.0).bind(upload.key.as_bytes());
        let query = query.bind(upload.id.0 as i64).bind(upload.initiated);
        let query = query.bind(&*upload.owner).bind(&*upload.initiator).bind(seal_flags(upload.seal));
        let query = query.bind(upload.facts.storage_class.as_deref()).bind(upload.facts.encode());
        query.execute(&mut *batch.connection).await?;
        Ok(upload)
    }
}

/// Refuses unless the upload is under way.
pub(super) async fn exists(batch: &mut Batch<'_>, key: &Key, id: UploadId) -> Result<(), StoreError> {
    let sql = "SELECT 1 FROM uploads WHERE bucket = ? AND key = ? AND seq = ?";
    let query = sqlx::query(sql).bind(key.0.0).bind(key.1.as_bytes()).bind(id.0 as i64);
    let found = query.fetch_optional(&mut *batch.connection).await?;
    found.map(drop).ok_or(StoreError::NoSuchUpload)
}

/// The bytes of a part that goes.
pub(super) fn drop_part(batch: &mut Batch<'_>, seq: u64, flags: i64, blob: i64) {
    match content_of(flags, blob) {
        Content::Empty => {}
        Content::Inline(_) => drop(batch.changes.inline.insert(seq, None)),
        Content::Blob(id, _) => drop(batch.changes.blobs.insert(id.0, BlobChange::Garbage)),
        Content::Manifest(..) => batch.changes.drop_manifest(seq),
    }
}

pub(in super::super) struct PartWrite {
    pub put: PartPut,
    /// The checksums, as they lie in the row.
    pub facts: Vec<u8>,
}

impl Work for PartWrite {
    type Answer = Part;

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<Part, StoreError> {
        let put = &self.put;
        exists(batch, &(put.bucket, put.key.clone()), put.upload).await?;
        let sql = "SELECT seq, flags, blob FROM parts WHERE upload = ? AND number = ?";
        let query = sqlx::query(sql).bind(put.upload.0 as i64).bind(put.number);
        if let Some(row) = query.fetch_optional(&mut *batch.connection).await? {
            let (seq, flags, blob): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            drop_part(batch, seq as u64, flags, blob);
        }
        let seq = batch.seq();
        let part = Part {
            number: put.number,
            modified: batch.now,
            size: put.content.len(),
            etag: put.etag,
            checksums: put.checksums.clone(),
        };
        let (content, blob) = super::super::row::content_flags(&put.content.keep_in(batch, seq));
        let sql = "INSERT OR REPLACE INTO parts (upload, number, seq, flags, modified, size, etag, blob, facts) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let query = sqlx::query(sql).bind(put.upload.0 as i64).bind(part.number).bind(seq as i64);
        let query = query.bind(content | seal_flags(put.content.seal())).bind(part.modified);
        let query = query.bind(part.size as i64).bind(part.etag.to_row()).bind(blob).bind(&self.facts);
        query.execute(&mut *batch.connection).await?;
        Ok(part)
    }

    fn kept(&mut self) {
        self.put.content.kept();
    }
}

pub(in super::super) struct UploadAbort {
    pub key: Key,
    pub id: UploadId,
}

impl Work for UploadAbort {
    type Answer = ();

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        exists(batch, &self.key, self.id).await?;
        let query = sqlx::query("SELECT seq, flags, blob FROM parts WHERE upload = ?").bind(self.id.0 as i64);
        for row in query.fetch_all(&mut *batch.connection).await? {
            let seq: i64 = row.try_get(0)?;
            drop_part(batch, seq as u64, row.try_get(1)?, row.try_get(2)?);
        }
        forget(batch, &self.key, self.id).await
    }
}

/// Removes the rows of an upload and its parts.
pub(super) async fn forget(batch: &mut Batch<'_>, key: &Key, id: UploadId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM parts WHERE upload = ?")
        .bind(id.0 as i64)
        .execute(&mut *batch.connection)
        .await?;
    let sql = "DELETE FROM uploads WHERE bucket = ? AND key = ? AND seq = ?";
    let query = sqlx::query(sql).bind(key.0.0).bind(key.1.as_bytes()).bind(id.0 as i64);
    query.execute(&mut *batch.connection).await?;
    Ok(())
}
