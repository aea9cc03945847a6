//! What rows name: manifests, small contents and blobs are there, verify, and belong to one row each.

use super::owner::Thing;
use super::report::{CheckProgress, CheckReport};
use super::{Checking, Named};
use crate::store::keeper::pace::Pace;
use crate::store::keeper::read::{ReadError, verify};
use crate::store::keeper::{BlobId, Keeper, is_away};
use crate::store::objects::error::StoreError;
use crate::store::objects::manifest::Manifest;
use crate::store::objects::read::inline_of;
use futures_util::TryStreamExt;
use sqlx::{Row as _, SqliteConnection};

const LISTED_AT_ONCE: usize = 4096;

impl Checking<'_> {
    pub(super) async fn bytes(&mut self) -> Result<(), StoreError> {
        (self.tell)(CheckProgress::at("small contents"));
        let Self { connection, report, named, keeper, tell } = self;
        manifests(connection, report, named).await?;
        inline(connection, report, named).await?;
        let blobs = blobs(connection, *keeper, *tell, report).await?;
        compare(Thing::Blob, &blobs.kept, &mut named.blobs, report);
        leftovers(*keeper, &blobs, report).await
    }
}

async fn manifests(
    connection: &mut SqliteConnection,
    report: &mut CheckReport,
    named: &mut Named,
) -> Result<(), StoreError> {
    let mut kept = Vec::new();
    let mut rows = sqlx::query("SELECT id, state, body FROM manifests ORDER BY id").fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let (id, state): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        match Manifest::decode(row.try_get(2)?) {
            Some(manifest) => named.blobs.extend(manifest.blobs().map(|(id, _)| id.0)),
            None => report.tell(Thing::Manifest(id as u64), "does not verify"),
        }
        if state == 0 {
            kept.push(id as u64);
        } else {
            report.garbage += 1;
        }
    }
    compare(Thing::Manifest, &kept, &mut named.manifests, report);
    Ok(())
}

async fn inline(
    connection: &mut SqliteConnection,
    report: &mut CheckReport,
    named: &mut Named,
) -> Result<(), StoreError> {
    let mut kept = Vec::new();
    let mut rows = sqlx::query("SELECT id, crc, bytes FROM inline ORDER BY id").fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let id = row.try_get::<i64, _>(0)? as u64;
        if inline_of(id, row.try_get(1)?, row.try_get(2)?).is_none() {
            report.tell(Thing::Inline(id), "does not verify");
        }
        kept.push(id);
    }
    report.inline = kept.len() as u64;
    compare(Thing::Inline, &kept, &mut named.inline, report);
    Ok(())
}

/// In order.
#[derive(Default)]
struct Blobs {
    kept: Vec<u64>,
    garbage: Vec<u64>,
}

async fn blobs(
    connection: &mut SqliteConnection,
    keeper: &dyn Keeper,
    tell: &(dyn Fn(CheckProgress) + Sync),
    report: &mut CheckReport,
) -> Result<Blobs, StoreError> {
    let mut blobs = Blobs::default();
    let rows: Vec<(i64, i64, i64)> =
        sqlx::query_as("SELECT id, bytes, state FROM blobs ORDER BY id").fetch_all(connection).await?;
    let (garbage, kept): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(.., state)| *state == 1);
    blobs.garbage.extend(garbage.into_iter().map(|(id, ..)| id as u64));
    let mut progress = CheckProgress::at("bytes of larger objects");
    progress.bytes_total = kept.iter().map(|(_, bytes, _)| *bytes as u64).sum();
    for (id, bytes, _) in kept {
        tell(progress);
        let blob = BlobId(id as u64);
        blobs.kept.push(blob.0);
        match verify(keeper, blob, &mut Pace::unlimited()).await {
            Ok(found) if found == bytes as u64 => {}
            Ok(found) => report.tell(Thing::Blob(blob.0), format!("has {found} bytes instead of {bytes}")),
            // Of what cannot be asked nothing can be said.
            Err(ReadError::Io(error)) if is_away(&error) => return Err(error.into()),
            Err(error) => report.tell(Thing::Blob(blob.0), error.to_string()),
        }
        progress.bytes += bytes as u64;
    }
    tell(progress);
    report.blobs = blobs.kept.len() as u64;
    report.garbage += blobs.garbage.len() as u64;
    Ok(blobs)
}

/// What the keeper has and no row knows.
async fn leftovers(keeper: &dyn Keeper, blobs: &Blobs, report: &mut CheckReport) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let listed = keeper.list(after, LISTED_AT_ONCE).await?;
        let Some(last) = listed.last() else { return Ok(()) };
        after = Some(*last);
        let known = |id: &BlobId| {
            blobs.kept.binary_search(&id.0).is_ok() || blobs.garbage.binary_search(&id.0).is_ok()
        };
        report.leftovers += listed.iter().filter(|id| !known(id)).count() as u64;
    }
}

/// Each of `kept` (in order) must be named once, and nothing else.
fn compare(thing: fn(u64) -> Thing, kept: &[u64], named: &mut Vec<u64>, report: &mut CheckReport) {
    named.sort_unstable();
    for pair in named.windows(2).filter(|pair| pair[0] == pair[1]) {
        report.tell(thing(pair[0]), "belongs to several");
    }
    named.dedup();
    for id in named.iter().filter(|id| kept.binary_search(id).is_err()) {
        report.tell(thing(*id), "is missing");
    }
    for id in kept.iter().filter(|id| named.binary_search(id).is_err()) {
        report.tell(thing(*id), "belongs to nothing");
    }
}
