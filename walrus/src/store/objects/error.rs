//! How the store of objects fails. What a client may hear of it is the edge's to say.

use super::bucket::Owned;
use super::ids::VersionId;
use crate::store::keeper::is_away;
use crate::store::keeper::read::ReadError;
use rusqlite::types::FromSqlError;
use std::error::Error;
use std::io;
use std::sync::Arc;

/// What a check has answered: the caller's own error, carried through the writer.
#[derive(Debug)]
pub struct Refusal(pub Box<dyn Error + Send + Sync>);

impl Refusal {
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }

    /// The error as what it was made from.
    pub fn take<E: Error + 'static>(self) -> Result<E, Self> {
        self.0.downcast::<E>().map(|error| *error).map_err(Self)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no such bucket")]
    NoSuchBucket,
    #[error("the bucket exists")]
    BucketExists(Owned),
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// With the delete marker that is the key's newest version, if there is one.
    #[error("there is no such key")]
    NoSuchKey { marker: Option<VersionId> },
    #[error("there is no such version")]
    NoSuchVersion,
    #[error("there is no such upload")]
    NoSuchUpload,
    #[error("refused: {}", .0.0)]
    Refused(Refusal),
    #[error("the key is not the one that the bytes were encrypted with")]
    WrongKey,
    #[error(
        "the master key that the bytes were encrypted with is not there, or there is none to encrypt with"
    )]
    NoMasterKey,
    #[error("the store is full")]
    Full,
    /// The bytes are with another engine, which does not answer.
    #[error("{0}")]
    Away(Arc<io::Error>),
    #[error("{0} does not verify")]
    Corrupt(String),
    #[error("the store has too much to do")]
    Busy,
    #[error("the store is being closed")]
    Closed,
    #[error("{0}")]
    Io(Arc<io::Error>),
    #[error("database: {0}")]
    Database(Arc<dyn Error + Send + Sync>),
    #[error(
        "the database has schema version {found}, this program knows up to {known}: it was used by a newer \
         release; run that one"
    )]
    NewerSchema { found: i64, known: i64 },
    #[error(
        "objects are encrypted with master key {number}, which {}: without it they cannot be read; put the key \
         file back",
        if *missing { "is not there" } else { "was another one" }
    )]
    MasterKey { number: u32, missing: bool },
    #[error("migration {name}: {source}")]
    Migration { name: &'static str, source: sqlx::Error },
}

impl StoreError {
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }

    /// The same once more, if it is of the kind that breaks a transaction and with it everyone in it.
    pub(super) fn breaks_all(&self) -> Option<Self> {
        match self {
            StoreError::Full => Some(StoreError::Full),
            StoreError::Closed => Some(StoreError::Closed),
            StoreError::Io(error) => Some(StoreError::Io(error.clone())),
            StoreError::Database(error) => Some(StoreError::Database(error.clone())),
            _ => None,
        }
    }
}

/// SQLite's codes for a medium that is full: FULL, and the shared memory file that cannot grow.
const FULL_CODES: [&str; 2] = ["13", "4874"];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return StoreError::Busy;
        }
        let code = match &error {
            sqlx::Error::Database(inner) => inner.code(),
            _ => None,
        };
        match code {
            Some(code) if FULL_CODES.contains(&code.as_ref()) => StoreError::Full,
            _ => StoreError::Database(Arc::new(error)),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::Database(Arc::new(error))
    }
}

/// A column that is of another kind than it was written as.
impl From<FromSqlError> for StoreError {
    fn from(error: FromSqlError) -> Self {
        StoreError::Database(Arc::new(error))
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
            _ if is_away(&error) => StoreError::Away(Arc::new(error)),
            _ => StoreError::Io(Arc::new(error)),
        }
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Format(error) => StoreError::Corrupt(error.to_string()),
            ReadError::Key(_) => StoreError::WrongKey,
            ReadError::Io(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_gives_the_callers_error_back() {
        let refusal = Refusal::new(io::Error::other("mine"));
        let refusal = refusal.take::<std::fmt::Error>().unwrap_err();
        assert_eq!(refusal.take::<io::Error>().unwrap().to_string(), "mine");
    }

    #[test]
    fn who_finds_no_connection_comes_later() {
        assert!(matches!(StoreError::from(sqlx::Error::PoolTimedOut), StoreError::Busy));
        assert!(matches!(StoreError::from(sqlx::Error::PoolClosed), StoreError::Database(_)));
    }

    #[test]
    fn a_full_disk_is_known() {
        let full = io::Error::from_raw_os_error(28);
        assert!(matches!(StoreError::from(full), StoreError::Full));
        assert!(matches!(StoreError::from(io::Error::other("x")), StoreError::Io(_)));
        assert!(matches!(
            StoreError::from(io::Error::from(io::ErrorKind::NotConnected)),
            StoreError::Away(_)
        ));
    }
}
