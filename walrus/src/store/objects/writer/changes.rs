//! What a group has changed and not yet written. Later changes of the same row replace earlier ones, so that
//! the order in which they are written does not matter.

use super::super::events::NewEvent;
use super::super::ids::BucketId;
use super::super::row::Row;
use super::batch::Key;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Default)]
pub(in super::super) struct Changes {
    /// None: the row is to go.
    pub live: HashMap<Key, Option<Row>>,
    pub history: HashMap<(Key, u64), Option<Row>>,
    pub inline: BTreeMap<u64, Option<Bytes>>,
    pub blobs: BTreeMap<u64, BlobChange>,
    pub manifests: BTreeMap<u64, ManifestChange>,
    /// What a bucket gained, in versions and bytes.
    pub usage: BTreeMap<BucketId, (i64, i64)>,
    /// In the order in which they happened.
    pub events: Vec<NewEvent>,
}

#[derive(Debug, Clone, Copy)]
pub(in super::super) enum BlobChange {
    /// Of so many bytes.
    New(u64),
    Garbage,
}

#[derive(Debug)]
pub(in super::super) enum ManifestChange {
    New { body: Vec<u8>, garbage: bool },
    Garbage,
}

impl Changes {
    pub fn use_more(&mut self, bucket: BucketId, versions: i64, bytes: i64) {
        let usage = self.usage.entry(bucket).or_default();
        usage.0 += versions;
        usage.1 += bytes;
    }

    /// One that is new in this group is written nevertheless: the sweeper finds its blobs by it.
    pub fn drop_manifest(&mut self, id: u64) {
        match self.manifests.entry(id).or_insert(ManifestChange::Garbage) {
            ManifestChange::New { garbage, .. } => *garbage = true,
            ManifestChange::Garbage => {}
        }
    }
}
