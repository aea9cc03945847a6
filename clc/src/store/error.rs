//! How the store fails. None of it is for clients: they hear "an internal error", or that they should try again.

use karri_proto::fault::{Fault, FaultCode};
use karri_proto::internal::ApiError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("database: too many wait to change instances")]
    Busy,
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

    /// It was the wrong moment: nothing is done, and the same may work later.
    fn is_passing(&self) -> bool {
        match self {
            StoreError::Busy | StoreError::Database(sqlx::Error::PoolTimedOut) => true,
            StoreError::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| PASSING_CODES.contains(&&*code))
            }
            _ => false,
        }
    }
}

/// Of PostgreSQL: a serialization failure, a deadlock, too many connections.
const PASSING_CODES: [&str; 3] = ["40001", "40P01", "53300"];

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        if error.is_passing() {
            tracing::warn!(%error, "a request is refused");
            let sentence = "The server is overloaded and can't handle the request. Please try again later.";
            return Fault::new(FaultCode::Unavailable, sentence);
        }
        Fault::internal(error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        ApiError::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_at_the_wrong_moment_may_try_again_and_hears_nothing_of_the_cause() {
        for error in [StoreError::Busy, sqlx::Error::PoolTimedOut.into()] {
            let fault = Fault::from(error);
            assert_eq!((fault.status(), fault.code()), (503, "Unavailable"));
            assert!(!fault.message().contains("database"), "{}", fault.message());
        }
        for error in [StoreError::corrupt("number", "x"), sqlx::Error::PoolClosed.into()] {
            assert_eq!(Fault::from(error).code(), "InternalError");
        }
    }
}
