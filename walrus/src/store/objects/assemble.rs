//! Parts become an object. No byte moves: the object's manifest names the blobs of the parts.
//!
//! The parts are read and judged outside the writer, which then only looks whether any of them has changed
//! since; if so, all is done again.

use super::Objects;
use super::bytes::{Fresh, Stored};
use super::error::{Refusal, StoreError};
use super::events::Tell;
use super::facts::{Checksum, Facts};
use super::ids::{BucketId, ETag, UploadId};
use super::manifest::{Manifest, Piece, Place};
use super::object::{Content, Object};
use super::read::inline_of;
use super::row::{content_of, version_of};
use super::upload::{Part, PartRow, Upload};
use super::writer::Check;
use super::writer::complete::{Completing, Outcome};
use super::writer::put::NewVersion;
use sqlx::Row as _;
use std::collections::HashSet;
use std::sync::Arc;

/// Gets the upload and all its parts, in the order of their numbers. Pure; may run more than once.
pub type Assemble = Arc<dyn Fn(&Upload, &[Part]) -> Result<Assembly, Refusal> + Send + Sync>;

/// Which parts are the object, in ascending order, and what it is.
#[derive(Debug, Clone)]
pub struct Assembly {
    pub parts: Vec<AssembledPart>,
    pub etag: ETag,
    pub facts: Facts,
}

#[derive(Debug, Clone)]
pub struct AssembledPart {
    pub number: u16,
    /// What is said of it to whoever asks for the object's parts.
    pub checksum: Option<Checksum>,
}

pub struct UploadComplete {
    pub bucket: BucketId,
    pub key: Arc<str>,
    pub upload: UploadId,
    pub assemble: Assemble,
    pub check: Option<Check>,
    pub tell: Option<Tell>,
}

#[derive(Debug, Clone)]
pub struct Completed {
    /// Its bytes cannot be read from this value: fetch it for that.
    pub object: Arc<Object>,
    /// It had been completed before; this is what was answered then.
    pub again: bool,
}

/// Parts that are uploaded while the upload is completed make it begin anew; so often.
const TRIES_MAX: usize = 5;

impl Objects {
    pub async fn upload_complete(&self, complete: UploadComplete) -> Result<Completed, StoreError> {
        for _ in 0..TRIES_MAX {
            let found = self.upload_with_parts(complete.bucket, &complete.key, complete.upload).await;
            let (upload, rows) = match found {
                Err(StoreError::NoSuchUpload) => return self.completed(&complete).await,
                found => found?,
            };
            let completing = match self.assembled(&complete, &upload, &rows).await {
                Err(StoreError::Busy) => continue,
                completing => completing?,
            };
            match self.write(completing).await {
                Ok(Outcome::Done(object)) => return Ok(Completed { object, again: false }),
                Ok(Outcome::Changed) | Err(StoreError::NoSuchUpload) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Busy)
    }

    async fn assembled(
        &self,
        complete: &UploadComplete,
        upload: &Upload,
        rows: &[PartRow],
    ) -> Result<Completing, StoreError> {
        let parts: Vec<Part> = rows.iter().map(|row| row.part.clone()).collect();
        let assembly = (complete.assemble)(upload, &parts).map_err(StoreError::refused)?;
        let mut manifest = Manifest { pieces: Vec::with_capacity(assembly.parts.len()) };
        let mut used = HashSet::new();
        for chosen in &assembly.parts {
            let found = rows.binary_search_by_key(&chosen.number, |row| row.part.number);
            let row = found.map(|at| &rows[at]).map_err(|_| StoreError::NoSuchUpload)?;
            used.insert(row.part.number);
            manifest.pieces.push(self.piece(row, chosen).await?);
        }
        let size = manifest.pieces.iter().map(|piece| piece.size).sum();
        let encoded = assembly.facts.encode().into();
        let (unused, absorbed): (Vec<_>, Vec<_>) =
            rows.iter().cloned().partition(|row| !used.contains(&row.part.number));
        Ok(Completing {
            upload: upload.id,
            parts: rows.len(),
            newest: rows.iter().map(|row| row.seq).max().unwrap_or(0),
            absorbed,
            unused,
            new: NewVersion {
                key: (upload.bucket, upload.key.clone()),
                owner: upload.owner.clone(),
                etag: assembly.etag,
                facts: assembly.facts,
                encoded,
            },
            content: Stored::new(size, upload.seal, Fresh::Assembled(Arc::new(manifest))),
            check: complete.check.clone(),
            tell: complete.tell.clone(),
        })
    }

    async fn piece(&self, row: &PartRow, chosen: &AssembledPart) -> Result<Piece, StoreError> {
        let number = chosen.number;
        let corrupt = || StoreError::Corrupt(format!("part {number}"));
        let place = match content_of(row.flags, row.blob) {
            Content::Empty => Place::Here(bytes::Bytes::new()),
            Content::Blob(id, _) => Place::Blob(id),
            Content::Inline(_) => {
                let query = sqlx::query("SELECT crc, bytes FROM inline WHERE id = ?").bind(row.seq as i64);
                // One that is gone was replaced meanwhile.
                let found = query.fetch_optional(&self.0.reader).await?.ok_or(StoreError::Busy)?;
                Place::Here(inline_of(row.seq, found.try_get(0)?, found.try_get(1)?).ok_or_else(corrupt)?)
            }
            Content::Manifest(..) => return Err(corrupt()), // nothing writes a part that is in parts itself
        };
        Ok(Piece { number, size: row.part.size, place, checksum: chosen.checksum.clone() })
    }

    /// What was answered when it was completed.
    async fn completed(&self, complete: &UploadComplete) -> Result<Completed, StoreError> {
        let sql = "SELECT seq, etag, flags, size, modified, facts FROM completed \
             WHERE upload = ? AND bucket = ? AND key = ?";
        let query = sqlx::query(sql).bind(complete.upload.0 as i64).bind(complete.bucket.0);
        let row = query.bind(complete.key.as_bytes()).fetch_optional(&self.0.reader).await?;
        let row = row.ok_or(StoreError::NoSuchUpload)?;
        let corrupt = || StoreError::Corrupt("the row of a completed upload".to_owned());
        let (seq, flags): (i64, i64) = (row.try_get(0)?, row.try_get(2)?);
        let object = Object {
            bucket: complete.bucket,
            key: complete.key.clone(),
            version: version_of(flags, seq),
            seq: seq as u64,
            is_marker: false,
            modified: row.try_get(4)?,
            size: row.try_get::<i64, _>(3)? as u64,
            etag: ETag::from_row(row.try_get(1)?).ok_or_else(corrupt)?,
            owner: "".into(),
            seal: super::row::seal_of(flags),
            facts: Facts::decode(row.try_get(5)?).ok_or_else(corrupt)?,
            content: Content::Inline(None),
        };
        Ok(Completed { object: Arc::new(object), again: true })
    }
}
