//! How a version lies in a row of `live` or `history`.
//!
//! ```text
//!   flags   1 null version   2 delete marker   12 content: 0 none, 4 inline, 8 blob, 12 manifest
//!           48 seal: 0 plain, 16 master, 32 customer   448 checksum algorithm << 6, 0 none
//!           512 the checksum is composite
//! ```
//!
//! `crc` covers all other columns, so that a page that rotted is told from what was written.

use super::error::StoreError;
use super::facts::{Checksum, ChecksumAlgorithm, ChecksumType, Facts};
use super::ids::{BucketId, ETag, VersionId};
use super::object::{Content, Object};
use crate::store::keeper::BlobId;
use crate::store::keeper::seal::Seal;
use bytes::Bytes;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use std::sync::Arc;
use tokio::sync::OnceCell;

pub(super) const FLAG_NULL: i64 = 1;
pub(super) const FLAG_MARKER: i64 = 2;
const CONTENT: i64 = 12;
pub(super) const CONTENT_INLINE: i64 = 4;
pub(super) const CONTENT_BLOB: i64 = 8;
pub(super) const CONTENT_MANIFEST: i64 = 12;
const SEAL: i64 = 48;
pub(super) const SEAL_MASTER: i64 = 16;
const SEAL_CUSTOMER: i64 = 32;
const CHECKSUM_SHIFT: u32 = 6;
const FLAG_COMPOSITE: i64 = 512;

/// The columns of a version, as [`Row::read`] wants them.
macro_rules! version_columns {
    ($table:literal) => {
        concat!(
            $table,
            ".bucket, ",
            $table,
            ".key, ",
            $table,
            ".seq, ",
            $table,
            ".flags, ",
            $table,
            ".modified, ",
            $table,
            ".size, ",
            $table,
            ".etag, ",
            $table,
            ".owner, ",
            $table,
            ".class, ",
            $table,
            ".blob, ",
            $table,
            ".crc, ",
            $table,
            ".facts"
        )
    };
}
pub(super) use version_columns;

pub(super) const COLUMNS: usize = 12;

/// A version, and its facts as they lie in the row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub object: Arc<Object>,
    pub facts: Bytes,
}

pub(super) fn seal_flags(seal: Seal) -> i64 {
    match seal {
        Seal::Plain => 0,
        Seal::Master => SEAL_MASTER,
        Seal::Customer => SEAL_CUSTOMER,
    }
}

pub(super) fn seal_of(flags: i64) -> Seal {
    match flags & SEAL {
        SEAL_MASTER => Seal::Master,
        SEAL_CUSTOMER => Seal::Customer,
        _ => Seal::Plain,
    }
}

fn checksum_flags(checksum: Option<&Checksum>) -> i64 {
    checksum.map_or(0, |checksum| {
        let composite = if checksum.kind == ChecksumType::Composite { FLAG_COMPOSITE } else { 0 };
        i64::from(checksum.algorithm.number()) << CHECKSUM_SHIFT | composite
    })
}

pub(super) fn checksum_of(flags: i64) -> Option<(ChecksumAlgorithm, ChecksumType)> {
    let algorithm = ChecksumAlgorithm::of_number((flags >> CHECKSUM_SHIFT & 7) as u8)?;
    let composite = flags & FLAG_COMPOSITE != 0;
    Some((algorithm, if composite { ChecksumType::Composite } else { ChecksumType::FullObject }))
}

pub(super) fn version_of(flags: i64, seq: i64) -> VersionId {
    if flags & FLAG_NULL != 0 { VersionId::Null } else { VersionId::Seq(seq as u64) }
}

/// The flags that say where bytes lie, and the number of their blob.
pub(super) fn content_flags(content: &Content) -> (i64, i64) {
    match content {
        Content::Empty => (0, 0),
        Content::Inline(_) => (CONTENT_INLINE, 0),
        Content::Blob(id, _) => (CONTENT_BLOB, id.0 as i64),
        Content::Manifest(..) => (CONTENT_MANIFEST, 0),
    }
}

/// A version's flags and the number of its blob.
pub(super) fn flags_and_blob(object: &Object) -> (i64, i64) {
    let (content, blob) = content_flags(&object.content);
    let null = if object.is_null() { FLAG_NULL } else { 0 };
    let marker = if object.is_marker { FLAG_MARKER } else { 0 };
    let checksum = checksum_flags(object.facts.checksums.first());
    (content | null | marker | seal_flags(object.seal) | checksum, blob)
}

/// Content whose bytes were not read.
pub(super) fn content_of(flags: i64, blob: i64) -> Content {
    match flags & CONTENT {
        CONTENT_INLINE => Content::Inline(None),
        CONTENT_BLOB => Content::Blob(BlobId(blob as u64), None),
        CONTENT_MANIFEST => Content::Manifest(None, OnceCell::new()),
        _ => Content::Empty,
    }
}

/// Of all columns of a row but itself.
pub(super) fn row_crc(object: &Object, flags: i64, blob: i64, facts: &[u8]) -> i64 {
    let mut crc = crc32fast::Hasher::new();
    let numbers = [
        object.bucket.0,
        object.seq as i64,
        flags,
        object.modified,
        object.size as i64,
        blob,
        facts.len() as i64,
    ];
    let mut head = [0; 7 * 8];
    for (place, number) in head.chunks_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    crc.update(&head);
    crc.update(facts);
    for text in [
        object.key.as_bytes(),
        object.owner.as_bytes(),
        object.facts.storage_class.as_deref().unwrap_or_default().as_bytes(),
    ] {
        crc.update(&(text.len() as u64).to_le_bytes());
        crc.update(text);
    }
    crc.update(&object.etag.md5);
    crc.update(&object.etag.parts.to_le_bytes());
    i64::from(crc.finalize())
}

/// A key as it was written.
pub(super) fn key_of(bytes: &[u8]) -> Result<Arc<str>, StoreError> {
    let text = std::str::from_utf8(bytes);
    text.map(Arc::from).map_err(|_| StoreError::Corrupt("a key in the database".to_owned()))
}

impl Row {
    pub fn new(object: Object, facts: Bytes) -> Self {
        Self { object: Arc::new(object), facts }
    }

    /// From the columns that begin at `first`; without the bytes of its content.
    pub fn read(row: &SqliteRow, first: usize) -> Result<Self, StoreError> {
        let key = key_of(row.try_get(first + 1)?)?;
        let corrupt = || StoreError::Corrupt(format!("the row of {key}"));
        let number = |at: usize| row.try_get::<i64, _>(first + at);
        let (seq, flags, blob, crc) = (number(2)?, number(3)?, number(9)?, number(10)?);
        let encoded: &[u8] = row.try_get(first + 11)?;
        let mut facts = Facts::decode(encoded).ok_or_else(corrupt)?;
        facts.storage_class = row.try_get(first + 8)?;
        let object = Object {
            bucket: BucketId(number(0)?),
            version: version_of(flags, seq),
            seq: seq as u64,
            is_marker: flags & FLAG_MARKER != 0,
            modified: number(4)?,
            size: number(5)? as u64,
            etag: ETag::from_row(row.try_get(first + 6)?).ok_or_else(corrupt)?,
            owner: Arc::from(row.try_get::<&str, _>(first + 7)?),
            seal: seal_of(flags),
            facts,
            content: content_of(flags, blob),
            key: key.clone(),
        };
        if row_crc(&object, flags, blob, encoded) != crc {
            return Err(corrupt());
        }
        Ok(Self::new(object, Bytes::copy_from_slice(encoded)))
    }
}
