//! The last step of completing an upload: if its parts are still those that were judged, they are an object.

use super::super::bytes::Stored;
use super::super::error::StoreError;
use super::super::events::Tell;
use super::super::ids::UploadId;
use super::super::object::{Content, Object};
use super::super::row::{content_of, flags_and_blob};
use super::super::upload::PartRow;
use super::batch::{Batch, Key};
use super::put::{NewVersion, put};
use super::upload::{drop_part, exists, forget};
use super::{Check, Work};
use sqlx::Row as _;
use std::sync::Arc;

pub(in super::super) struct Completing {
    pub upload: UploadId,
    /// How many parts there were, and the newest of them.
    pub parts: usize,
    pub newest: u64,
    /// Those that the object consists of.
    pub absorbed: Vec<PartRow>,
    pub unused: Vec<PartRow>,
    pub new: NewVersion,
    pub content: Stored,
    pub check: Option<Check>,
    pub tell: Option<Tell>,
}

pub(in super::super) enum Outcome {
    Done(Arc<Object>),
    /// A part came meanwhile.
    Changed,
}

impl Work for Completing {
    type Answer = Outcome;

    fn keys(&self, wanted: &mut Vec<Key>) {
        wanted.push(self.new.key.clone());
    }

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<Outcome, StoreError> {
        let key = self.new.key.clone();
        exists(batch, &key, self.upload).await?;
        let sql = "SELECT count(*), COALESCE(max(seq), 0) FROM parts WHERE upload = ?";
        let row = sqlx::query(sql).bind(self.upload.0 as i64).fetch_one(&mut *batch.connection).await?;
        let (parts, newest): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if (parts as usize, newest as u64) != (self.parts, self.newest) {
            return Ok(Outcome::Changed);
        }
        let (check, tell) = (self.check.as_ref(), self.tell.as_ref());
        let object = put(batch, &self.new, &self.content, check, tell).await?;
        for part in &self.absorbed {
            if let Content::Inline(_) = content_of(part.flags, part.blob) {
                batch.changes.inline.insert(part.seq, None); // it lies in the object's manifest now
            }
        }
        for part in &self.unused {
            drop_part(batch, part.seq, part.flags, part.blob);
        }
        forget(batch, &key, self.upload).await?;
        self.remember(batch, &object).await?;
        Ok(Outcome::Done(object))
    }
}

impl Completing {
    async fn remember(&self, batch: &mut Batch<'_>, object: &Object) -> Result<(), StoreError> {
        let sql = "INSERT INTO completed (upload, bucket, key, seq, etag, flags, size, modified, facts, at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let query = sqlx::query(sql).bind(self.upload.0 as i64).bind(object.bucket.0);
        let query = query.bind(object.key.as_bytes()).bind(object.seq as i64).bind(object.etag.to_row());
        let query = query.bind(flags_and_blob(object).0).bind(object.size as i64).bind(object.modified);
        query.bind(&self.new.encoded[..]).bind(batch.now).execute(&mut *batch.connection).await?;
        Ok(())
    }
}
