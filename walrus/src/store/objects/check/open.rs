//! Opens the database of a store that nobody uses, without changing or making a file: a check must work on a
//! disk without a free byte, and leave what it finds as it is.
//!
//! SQLite's ordinary way to read a database in WAL mode makes a file of shared memory beside it. A database
//! that was closed cleanly has no log and can be read as one that never changes. One that was not has a log that
//! is part of its content; with its locks switched off, which the store's own lock stands for, SQLite keeps
//! the log's index in memory.

use super::StoreError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteLockingMode};
use sqlx::{ConnectOptions, Connection as _};
use std::io;
use std::path::{Path, PathBuf};

pub(super) async fn database(path: &Path) -> Result<SqliteConnection, StoreError> {
    std::fs::metadata(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        // Nothing may go to a file in order to be sorted.
        .pragma("temp_store", "memory");
    let options = if has_log(path)? {
        options.vfs("unix-none").locking_mode(SqliteLockingMode::Exclusive)
    } else {
        options.immutable(true)
    };
    let mut connection = options.connect().await?;
    connection.ping().await?;
    Ok(connection)
}

fn has_log(path: &Path) -> io::Result<bool> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    match std::fs::metadata(PathBuf::from(log)) {
        Ok(facts) => Ok(facts.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
