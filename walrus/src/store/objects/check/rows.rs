//! What rows say of themselves and of one another.

use super::owner::Thing;
use super::report::{CheckProgress, CheckReport};
use super::{Checking, Named};
use crate::store::objects::error::StoreError;
use crate::store::objects::object::Object;
use crate::store::objects::row::{Row, content_of, version_columns};
use futures_util::TryStreamExt;
use sqlx::{Row as _, SqliteConnection};

impl Checking<'_> {
    pub(super) async fn rows(&mut self) -> Result<(), StoreError> {
        (self.tell)(CheckProgress::at("objects, versions and uploads"));
        let Self { connection, report, named, .. } = self;
        versions(connection, LIVE, report, named).await?;
        versions(connection, HISTORY, report, named).await?;
        parts(connection, report, named).await?;
        rules(connection, report).await?;
        buckets(connection, report, named).await
    }
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
            Err(error) => report.tell(Thing::None, error.to_string()),
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

async fn parts(
    connection: &mut SqliteConnection,
    report: &mut CheckReport,
    named: &mut Named,
) -> Result<(), StoreError> {
    let sql = "SELECT p.seq, p.flags, p.blob, u.seq FROM parts p LEFT JOIN uploads u ON u.seq = p.upload";
    for row in sqlx::query(sql).fetch_all(&mut *connection).await? {
        let (seq, upload): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(3)?);
        if upload.is_none() {
            report.tell(Thing::None, format!("part {seq} belongs to no upload"));
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
            report.tell(Thing::None, format!("{key} {what}"));
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
            report.tell(
                Thing::None,
                format!(
                    "bucket {name} says {versions} versions of {bytes} bytes, and has {counted} of {sum}"
                ),
            );
        }
    }
    for id in named.usage.keys().filter(|id| !buckets.iter().any(|(known, ..)| known == *id)) {
        report.tell(Thing::None, format!("versions lie in bucket {id}, which is none"));
    }
    report.buckets = buckets.len() as u64;
    Ok(())
}
