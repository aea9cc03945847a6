//! How the store fails. None of it is for clients: they hear "an internal error".

use karri_proto::fault::Fault;
use karri_proto::internal::ApiError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error(
        "the database has schema version {found}, this program knows up to {known}: it was used by a newer \
         release; run that one"
    )]
    NewerSchema { found: i64, known: i64 },
    #[error("migration {name}")]
    Migration { name: &'static str, source: sqlx::Error },
    #[error("the database holds a {what} that cannot be read: {cause}")]
    Corrupt { what: &'static str, cause: String },
    #[error("{path}: {cause}")]
    KeyFile { path: String, cause: String },
}

impl StoreError {
    pub(crate) fn corrupt(what: &'static str, cause: impl std::fmt::Display) -> Self {
        Self::Corrupt { what, cause: cause.to_string() }
    }

    /// A name or an address is taken.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, StoreError::Database(sqlx::Error::Database(e)) if e.is_unique_violation())
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Fault::internal(error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        ApiError::internal(error)
    }
}
