//! Proves a store that nobody uses consistent: every row verifies, every row's bytes are there and verify,
//! everything that is kept is named exactly once, and the counts agree.

use super::error::StoreError;
use super::manifest::Manifest;
use super::object::{Content, Object};
use super::read::inline_of;
use super::row::{Row, content_of, version_columns};
use super::{DATABASE, sqlite_options};
use crate::store::keeper::read::verify;
use crate::store::keeper::{BlobId, Keeper};
use futures_util::TryStreamExt;
use sqlx::{ConnectOptions, Connection, Row as _, SqliteConnection};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Problems that are told one by one.
const TOLD_MAX: usize = 1000;
const LISTED_AT_ONCE: usize = 4096;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub buckets: u64,
    pub versions: u64,
    pub markers: u64,
    pub uploads: u64,
    pub parts: u64,
    pub inline: u64,
    pub blobs: u64,
    pub bytes: u64,
    /// Waiting to be removed.
    pub garbage: u64,
    /// Blobs of interrupted writes; the store removes them by itself.
    pub leftovers: u64,
    pub problems: Vec<String>,
    pub problems_untold: u64,
}

impl CheckReport {
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    fn tell(&mut self, problem: impl Into<String>) {
        if self.problems.len() < TOLD_MAX {
            self.problems.push(problem.into());
        } else {
            self.problems_untold += 1;
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            buckets, versions, markers, uploads, parts, inline, blobs, bytes, garbage, leftovers, ..
        } = self;
        writeln!(f, "{buckets} buckets, {versions} versions of {bytes} bytes, {markers} delete markers")?;
        writeln!(f, "{uploads} uploads under way with {parts} parts")?;
        writeln!(
            f,
            "{inline} small contents, {blobs} blobs, {garbage} to be removed, {leftovers} left over"
        )?;
        for problem in &self.problems {
            writeln!(f, "PROBLEM: {problem}")?;
        }
        if self.problems_untold > 0 {
            writeln!(f, "and {} more problems", self.problems_untold)?;
        }
        f.write_str(if self.is_clean() {
            "the store is consistent\n"
        } else {
            "the store is NOT consistent\n"
        })
    }
}

/// What rows name. Ids only: eight bytes for each blob of a store.
#[derive(Default)]
struct Named {
    blobs: Vec<u64>,
    inline: Vec<u64>,
    manifests: Vec<u64>,
    /// Versions and bytes, by bucket.
    usage: BTreeMap<i64, (i64, i64)>,
}

/// Changes nothing but what opening a database that was left open changes.
pub async fn check(dir: &Path, keeper: &dyn Keeper) -> Result<CheckReport, StoreError> {
    let options = sqlite_options(&dir.join(DATABASE)).create_if_missing(false);
    let mut connection = options.connect().await?;
    let (mut report, mut named) = (CheckReport::default(), Named::default());
    let words: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut connection).await?;
    words.into_iter().filter(|word| word != "ok").for_each(|word| report.tell(format!("database: {word}")));
    versions(&mut connection, LIVE, &mut report, &mut named).await?;
    versions(&mut connection, HISTORY, &mut report, &mut named).await?;
    parts(&mut connection, &mut report, &mut named).await?;
    rules(&mut connection, &mut report).await?;
    buckets(&mut connection, &mut report, &named).await?;
    manifests(&mut connection, &mut report, &mut named).await?;
    inline(&mut connection, &mut report, &mut named).await?;
    blobs(&mut connection, keeper, &mut report, &mut named).await?;
    connection.close().await?;
    Ok(report)
}

const LIVE: &str = concat!("SELECT ", version_columns!("live"), " FROM live");
const HISTORY: &str = concat!("SELECT ", version_columns!("history"), " FROM history");

async fn versions(
    connection: &mut SqliteConnection,
    sql: &'static str,
    report: &mut CheckReport,
    named: &mut Named,
) -> Result<(), StoreError> {
    let mut rows = sqlx::query(sql).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        match Row::read(&row, 0) {
            Ok(Row { object, .. }) => version(&object, report, named),
            Err(error) => report.tell(error.to_string()),
        }
    }
    Ok(())
}

fn version(object: &Object, report: &mut CheckReport, named: &mut Named) {
    if object.is_marker {
        report.markers += 1;
        return;
    }
    report.versions += 1;
    report.bytes += object.size;
    let usage = named.usage.entry(object.bucket.0).or_default();
    *usage = (usage.0 + 1, usage.1 + object.size as i64);
    named.content(object.seq, &object.content);
}

impl Named {
    fn content(&mut self, seq: u64, content: &Content) {
        match content {
            Content::Empty => {}
            Content::Inline(_) => self.inline.push(seq),
            Content::Blob(id, _) => self.blobs.push(id.0),
            Content::Manifest(..) => self.manifests.push(seq),
        }
    }
}

async fn parts(
    connection: &mut SqliteConnection,
    report: &mut CheckReport,
    named: &mut Named,
) -> Result<(), StoreError> {
    let sql = "SELECT p.seq, p.flags, p.blob, u.seq FROM parts p LEFT JOIN uploads u ON u.seq = p.upload";
    for row in sqlx::query(sql).fetch_all(&mut *connection).await? {
        let (seq, upload): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(3)?);
        if upload.is_none() {
            report.tell(format!("part {seq} belongs to no upload"));
        }
        report.parts += 1;
        named.content(seq as u64, &content_of(row.try_get(1)?, row.try_get(2)?));
    }
    Ok(())
}

/// What must hold between rows.
async fn rules(connection: &mut SqliteConnection, report: &mut CheckReport) -> Result<(), StoreError> {
    let rules = [
        ("is current and a delete marker", "SELECT CAST(key AS TEXT) FROM live WHERE flags & 2"),
        (
            "has an older version that is newer than the current one",
            "SELECT CAST(l.key AS TEXT) FROM live l JOIN history h ON h.bucket = l.bucket AND h.key = l.key \
             WHERE h.seq >= l.seq",
        ),
        (
            "has no current version, and its newest is no delete marker",
            "SELECT CAST(h.key AS TEXT) FROM history h WHERE NOT flags & 2 \
             AND NOT EXISTS (SELECT 1 FROM live l WHERE l.bucket = h.bucket AND l.key = h.key) \
             AND NOT EXISTS (SELECT 1 FROM history n WHERE n.bucket = h.bucket AND n.key = h.key AND n.seq > h.seq)",
        ),
        (
            "is an upload into no bucket",
            "SELECT CAST(key AS TEXT) FROM uploads WHERE bucket NOT IN (SELECT id FROM buckets)",
        ),
    ];
    for (what, sql) in rules {
        for key in sqlx::query_scalar::<_, String>(sql).fetch_all(&mut *connection).await? {
            report.tell(format!("{key} {what}"));
        }
    }
    let uploads: i64 = sqlx::query_scalar("SELECT count(*) FROM uploads").fetch_one(connection).await?;
    report.uploads = uploads as u64;
    Ok(())
}

async fn buckets(
    connection: &mut SqliteConnection,
    report: &mut CheckReport,
    named: &Named,
) -> Result<(), StoreError> {
    let sql = "SELECT id, name, versions, bytes FROM buckets";
    let buckets: Vec<(i64, String, i64, i64)> = sqlx::query_as(sql).fetch_all(connection).await?;
    for (id, name, versions, bytes) in &buckets {
        let found = named.usage.get(id).copied().unwrap_or_default();
        if found != (*versions, *bytes) {
            let (counted, sum) = found;
            report.tell(format!(
                "bucket {name} says {versions} versions of {bytes} bytes, and has {counted} of {sum}"
            ));
        }
    }
    for id in named.usage.keys().filter(|id| !buckets.iter().any(|(known, ..)| known == *id)) {
        report.tell(format!("versions lie in bucket {id}, which is none"));
    }
    report.buckets = buckets.len() as u64;
    Ok(())
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
            None => report.tell(format!("manifest {id} does not verify")),
        }
        if state == 0 {
            kept.push(id as u64);
        } else {
            report.garbage += 1;
        }
    }
    compare("manifest", &kept, &mut named.manifests, report);
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
            report.tell(format!("small content {id} does not verify"));
        }
        kept.push(id);
    }
    report.inline = kept.len() as u64;
    compare("small content", &kept, &mut named.inline, report);
    Ok(())
}

async fn blobs(
    connection: &mut SqliteConnection,
    keeper: &dyn Keeper,
    report: &mut CheckReport,
    named: &mut Named,
) -> Result<(), StoreError> {
    let (mut kept, mut garbage) = (Vec::new(), Vec::new());
    let rows: Vec<(i64, i64, i64)> =
        sqlx::query_as("SELECT id, bytes, state FROM blobs ORDER BY id").fetch_all(connection).await?;
    for (id, bytes, state) in rows {
        let blob = BlobId(id as u64);
        if state == 1 {
            garbage.push(blob.0);
            continue;
        }
        kept.push(blob.0);
        match verify(keeper, blob).await {
            Ok(found) if found == bytes as u64 => {}
            Ok(found) => report.tell(format!("blob {blob} has {found} bytes instead of {bytes}")),
            Err(error) => report.tell(format!("blob {blob}: {error}")),
        }
    }
    report.blobs = kept.len() as u64;
    report.garbage += garbage.len() as u64;
    compare("blob", &kept, &mut named.blobs, report);
    let mut after = None;
    loop {
        let listed = keeper.list(after, LISTED_AT_ONCE).await?;
        let Some(last) = listed.last() else { return Ok(()) };
        after = Some(*last);
        let known = |id: &BlobId| kept.binary_search(&id.0).is_ok() || garbage.binary_search(&id.0).is_ok();
        report.leftovers += listed.iter().filter(|id| !known(id)).count() as u64;
    }
}

/// Each of `kept` (in order) must be named once, and nothing else.
fn compare(what: &str, kept: &[u64], named: &mut Vec<u64>, report: &mut CheckReport) {
    named.sort_unstable();
    for pair in named.windows(2).filter(|pair| pair[0] == pair[1]) {
        report.tell(format!("{what} {} belongs to several", pair[0]));
    }
    named.dedup();
    for id in named.iter().filter(|id| kept.binary_search(id).is_err()) {
        report.tell(format!("{what} {id} is missing"));
    }
    for id in kept.iter().filter(|id| named.binary_search(id).is_err()) {
        report.tell(format!("{what} {id} belongs to nothing"));
    }
}
