//! Which objects a damaged thing belongs to, for a person to read. Looked for once, at the end, and only when
//! something is damaged: there is no index from bytes to their rows.

use super::Checking;
use crate::store::objects::error::StoreError;
use crate::store::objects::manifest::Manifest;
use crate::store::objects::object::Content;
use crate::store::objects::row::{FLAG_NULL, content_of};
use crate::store::objects::{BucketId, VersionId};
use futures_util::TryStreamExt;
use sqlx::{Row as _, SqliteConnection};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a problem is about, besides rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    None,
    Blob(u64),
    Inline(u64),
    Manifest(u64),
}

impl fmt::Display for Thing {
    /// As a sentence about it begins.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thing::None => Ok(()),
            Thing::Blob(id) => write!(f, "blob {} ", crate::store::keeper::BlobId(*id)),
            Thing::Inline(id) => write!(f, "small content {id} "),
            Thing::Manifest(id) => write!(f, "manifest {id} "),
        }
    }
}

/// Things, and the damaged ones that they stand for.
type Wanted = BTreeMap<Thing, BTreeSet<Thing>>;

impl Checking<'_> {
    pub(super) async fn name_owners(&mut self) -> Result<(), StoreError> {
        let about = self.report.problems.iter().map(|problem| problem.thing);
        let mut wanted: Wanted =
            about.filter(|thing| *thing != Thing::None).map(|thing| (thing, [thing].into())).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        through_manifests(&mut self.connection, &mut wanted).await?;
        let owners = owners(&mut self.connection, &wanted).await?;
        for problem in &mut self.report.problems {
            problem.objects = owners.get(&problem.thing).cloned().unwrap_or_default();
        }
        Ok(())
    }
}

/// A manifest stands for the blobs that it names.
async fn through_manifests(connection: &mut SqliteConnection, wanted: &mut Wanted) -> Result<(), StoreError> {
    let mut rows = sqlx::query("SELECT id, body FROM manifests").fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let id: i64 = row.try_get(0)?;
        let Some(manifest) = Manifest::decode(row.try_get(1)?) else { continue };
        let blobs = manifest.blobs().map(|(blob, _)| Thing::Blob(blob.0));
        let damaged: Vec<Thing> = blobs.filter(|blob| wanted.contains_key(blob)).collect();
        if !damaged.is_empty() {
            wanted.entry(Thing::Manifest(id as u64)).or_default().extend(damaged);
        }
    }
    Ok(())
}

async fn owners(
    connection: &mut SqliteConnection,
    wanted: &Wanted,
) -> Result<BTreeMap<Thing, Vec<String>>, StoreError> {
    let sql = "SELECT o.bucket, b.name, o.key, o.seq, o.flags, o.blob, o.part FROM ( \
         SELECT bucket, key, seq, flags, blob, 0 AS part FROM live \
         UNION ALL SELECT bucket, key, seq, flags, blob, 0 FROM history \
         UNION ALL SELECT u.bucket, u.key, p.seq, p.flags, p.blob, 1 FROM parts p JOIN uploads u ON u.seq = p.upload \
         ) o LEFT JOIN buckets b ON b.id = o.bucket";
    let mut owners: BTreeMap<Thing, Vec<String>> = BTreeMap::new();
    let mut rows = sqlx::query(sql).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let seq = row.try_get::<i64, _>(3)? as u64;
        let flags: i64 = row.try_get(4)?;
        let thing = match content_of(flags, row.try_get(5)?) {
            Content::Empty => continue,
            Content::Inline(_) => Thing::Inline(seq),
            Content::Blob(id, _) => Thing::Blob(id.0),
            Content::Manifest(..) => Thing::Manifest(seq),
        };
        let Some(damaged) = wanted.get(&thing) else { continue };
        let (bucket, name): (i64, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        let key = String::from_utf8_lossy(row.try_get(2)?).into_owned();
        let is_part = row.try_get::<i64, _>(6)? != 0;
        let version = if flags & FLAG_NULL != 0 { VersionId::Null } else { VersionId::Seq(seq) };
        let object = named(BucketId(bucket), name, &key, version, is_part);
        for one in damaged {
            owners.entry(*one).or_default().push(object.clone());
        }
    }
    Ok(owners)
}

fn named(bucket: BucketId, name: Option<String>, key: &str, version: VersionId, is_part: bool) -> String {
    let bucket = name.unwrap_or_else(|| format!("number {}", bucket.0));
    if is_part {
        format!("a part of an upload to key {key} of bucket {bucket}")
    } else {
        format!("key {key} of bucket {bucket}, version {version}")
    }
}
