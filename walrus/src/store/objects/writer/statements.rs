//! Writes a group's changes with few statements: one for up to 32 rows of a table.

use super::super::error::StoreError;
use super::super::facts::UnixMs;
use super::super::ids::BucketId;
use super::super::row::{COLUMNS, Row, flags_and_blob, row_crc};
use super::batch::Key;
use super::changes::{BlobChange, Changes, ManifestChange};
use bytes::Bytes;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection};
use std::collections::HashMap;

/// Rows of one statement. Each number of rows is a statement of its own to prepare and remember.
pub(in super::super) const ROWS_MAX: usize = 32;

/// `head (?,?),(?,?) tail`
pub(in super::super) fn rows_of(head: &str, columns: usize, rows: usize, tail: &str) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    format!("{head} {} {tail}", vec![row; rows].join(","))
}

fn add<'q, T: sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>>(
    arguments: &mut SqliteArguments,
    value: T,
) -> Result<(), StoreError> {
    arguments.add(value).map_err(|error| sqlx::Error::Encode(error).into())
}

async fn run(
    connection: &mut SqliteConnection,
    sql: String,
    arguments: SqliteArguments,
) -> Result<(), StoreError> {
    sqlx::query_with(AssertSqlSafe(sql), arguments).execute(connection).await?;
    Ok(())
}

impl Changes {
    /// Writes everything, and is empty afterwards.
    pub async fn write(&mut self, connection: &mut SqliteConnection, now: UnixMs) -> Result<(), StoreError> {
        let changes = std::mem::take(self);
        write_inline(connection, changes.inline).await?;
        write_history(connection, changes.history).await?;
        write_live(connection, changes.live).await?;
        write_blobs(connection, changes.blobs).await?;
        write_manifests(connection, changes.manifests).await?;
        for (bucket, (versions, bytes)) in changes.usage {
            let sql = "UPDATE buckets SET versions = versions + ?, bytes = bytes + ? WHERE id = ?";
            sqlx::query(sql).bind(versions).bind(bytes).bind(bucket.0).execute(&mut *connection).await?;
        }
        for event in changes.events {
            let sql = "INSERT INTO events (target, at, body) VALUES (?, ?, ?)";
            let query = sqlx::query(sql).bind(event.target).bind(now).bind(event.body);
            query.execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// Of inline bytes, with their place.
pub(in super::super) fn inline_crc(id: u64, bytes: &[u8]) -> i64 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&id.to_le_bytes());
    crc.update(bytes);
    i64::from(crc.finalize())
}

async fn write_inline(
    connection: &mut SqliteConnection,
    changes: impl IntoIterator<Item = (u64, Option<Bytes>)>,
) -> Result<(), StoreError> {
    let (mut new, mut gone) = (Vec::new(), Vec::new());
    for (id, bytes) in changes {
        match bytes {
            Some(bytes) => new.push((id, bytes)),
            None => gone.push(id),
        }
    }
    for rows in new.chunks(ROWS_MAX) {
        let mut arguments = SqliteArguments::default();
        for (id, bytes) in rows {
            add(&mut arguments, *id as i64)?;
            add(&mut arguments, inline_crc(*id, bytes))?;
            add(&mut arguments, &bytes[..])?;
        }
        let sql = rows_of("INSERT INTO inline (id, crc, bytes) VALUES", 3, rows.len(), "");
        run(connection, sql, arguments).await?;
    }
    ids_of(connection, "DELETE FROM inline WHERE id IN", &gone).await
}

/// Runs `sql (?,?,…)` over the ids.
pub(in super::super) async fn ids_of(
    connection: &mut SqliteConnection,
    sql: &str,
    ids: &[u64],
) -> Result<(), StoreError> {
    for ids in ids.chunks(ROWS_MAX) {
        let mut arguments = SqliteArguments::default();
        for id in ids {
            add(&mut arguments, *id as i64)?;
        }
        run(connection, rows_of(sql, ids.len(), 1, ""), arguments).await?;
    }
    Ok(())
}

async fn write_live(
    connection: &mut SqliteConnection,
    changes: HashMap<Key, Option<Row>>,
) -> Result<(), StoreError> {
    let mut new = Vec::new();
    let mut gone: HashMap<BucketId, Vec<Key>> = HashMap::new();
    for (key, row) in changes {
        match row {
            Some(row) => new.push(row),
            None => gone.entry(key.0).or_default().push(key),
        }
    }
    new.sort_unstable_by(|a, b| (a.object.bucket, &a.object.key).cmp(&(b.object.bucket, &b.object.key)));
    write_versions(connection, "INSERT OR REPLACE INTO live VALUES", &new).await?;
    for (bucket, keys) in gone {
        for keys in keys.chunks(ROWS_MAX) {
            let mut arguments = SqliteArguments::default();
            add(&mut arguments, bucket.0)?;
            for (_, key) in keys {
                add(&mut arguments, key.as_bytes())?;
            }
            let sql = rows_of("DELETE FROM live WHERE bucket = ? AND key IN", keys.len(), 1, "");
            run(connection, sql, arguments).await?;
        }
    }
    Ok(())
}

async fn write_history(
    connection: &mut SqliteConnection,
    changes: HashMap<(Key, u64), Option<Row>>,
) -> Result<(), StoreError> {
    let mut new = Vec::new();
    // What goes must go first: a key has one null version at most.
    for (((bucket, key), seq), row) in changes {
        match row {
            Some(row) => new.push(row),
            None => {
                let sql = "DELETE FROM history WHERE bucket = ? AND key = ? AND seq = ?";
                let query = sqlx::query(sql).bind(bucket.0).bind(key.as_bytes()).bind(seq as i64);
                query.execute(&mut *connection).await?;
            }
        }
    }
    write_versions(connection, "INSERT OR REPLACE INTO history VALUES", &new).await
}

async fn write_versions(
    connection: &mut SqliteConnection,
    sql: &str,
    rows: &[Row],
) -> Result<(), StoreError> {
    for rows in rows.chunks(ROWS_MAX) {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows.len() * COLUMNS, 0);
        for row in rows {
            let object = &row.object;
            let (flags, blob) = flags_and_blob(object);
            add(&mut arguments, object.bucket.0)?;
            add(&mut arguments, object.key.as_bytes())?;
            add(&mut arguments, object.seq as i64)?;
            add(&mut arguments, flags)?;
            add(&mut arguments, object.modified)?;
            add(&mut arguments, object.size as i64)?;
            add(&mut arguments, object.etag.to_row())?;
            add(&mut arguments, &*object.owner)?;
            add(&mut arguments, object.facts.storage_class.as_deref())?;
            add(&mut arguments, blob)?;
            add(&mut arguments, row_crc(object, flags, blob, &row.facts))?;
            add(&mut arguments, &row.facts[..])?;
        }
        run(connection, rows_of(sql, COLUMNS, rows.len(), ""), arguments).await?;
    }
    Ok(())
}

async fn write_blobs(
    connection: &mut SqliteConnection,
    changes: impl IntoIterator<Item = (u64, BlobChange)>,
) -> Result<(), StoreError> {
    let (mut new, mut garbage) = (Vec::new(), Vec::new());
    for (id, change) in changes {
        match change {
            BlobChange::New(bytes) => new.push((id, bytes)),
            BlobChange::Garbage => garbage.push(id),
        }
    }
    for rows in new.chunks(ROWS_MAX) {
        let mut arguments = SqliteArguments::default();
        for (id, bytes) in rows {
            add(&mut arguments, *id as i64)?;
            add(&mut arguments, *bytes as i64)?;
        }
        let row = vec!["(?,?,0)"; rows.len()].join(",");
        run(connection, format!("INSERT INTO blobs (id, bytes, state) VALUES {row}"), arguments).await?;
    }
    for ids in garbage.chunks(ROWS_MAX) {
        let mut arguments = SqliteArguments::default();
        for id in ids {
            add(&mut arguments, *id as i64)?;
        }
        // Made and dropped in one group, it has no row yet.
        let row = vec!["(?,0,1)"; ids.len()].join(",");
        let sql = format!(
            "INSERT INTO blobs (id, bytes, state) VALUES {row} ON CONFLICT (id) DO UPDATE SET state = 1"
        );
        run(connection, sql, arguments).await?;
    }
    Ok(())
}

async fn write_manifests(
    connection: &mut SqliteConnection,
    changes: impl IntoIterator<Item = (u64, ManifestChange)>,
) -> Result<(), StoreError> {
    for (id, change) in changes {
        let query = match change {
            ManifestChange::New { body, garbage } => {
                let sql = "INSERT INTO manifests (id, state, body) VALUES (?, ?, ?)";
                sqlx::query(sql).bind(id as i64).bind(garbage).bind(body)
            }
            ManifestChange::Garbage => {
                sqlx::query("UPDATE manifests SET state = 1 WHERE id = ?").bind(id as i64)
            }
        };
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
