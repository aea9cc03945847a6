//! How the engine fails, and what that means to the store.

use std::io;

#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    #[error("it has no such object")]
    NoSuchKey,
    #[error("it has no such upload")]
    NoSuchUpload,
    #[error("it answered {status} {code}: {message}")]
    Refused { status: u16, code: String, message: String },
    /// No answer, or one that broke off.
    #[error("{0}")]
    Broken(String),
    /// An answer that is none to what was asked.
    #[error("its answer is not what S3 says: {0}")]
    Nonsense(String),
}

/// What engines say when there is no room left.
const FULL_CODES: [&str; 4] =
    ["QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "XMinioStorageFull"];
const PASSING_CODES: [&str; 5] =
    ["InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "OperationAborted"];

impl EngineError {
    pub fn refused(status: u16, code: String, message: String) -> Self {
        match code.as_str() {
            "NoSuchKey" => Self::NoSuchKey,
            "NoSuchUpload" => Self::NoSuchUpload,
            _ => Self::Refused { status, code, message },
        }
    }

    /// Whether it is worth trying again.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Nonsense(_) => true,
            Self::Refused { .. } if self.is_full() => false,
            Self::Refused { status, code, .. } => {
                matches!(status, 408 | 429 | 500 | 502..=504) || PASSING_CODES.contains(&code.as_str())
            }
            Self::NoSuchKey | Self::NoSuchUpload => false,
        }
    }

    fn is_full(&self) -> bool {
        matches!(self, Self::Refused { status, code, .. } if *status == 507 || FULL_CODES.contains(&code.as_str()))
    }

    /// It answered, and that was an answer: nothing is wrong with it.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::NoSuchKey | Self::NoSuchUpload) || self.is_full()
    }
}

impl From<EngineError> for io::Error {
    fn from(error: EngineError) -> Self {
        let kind = match &error {
            EngineError::NoSuchKey => io::ErrorKind::NotFound,
            other if other.is_full() => io::ErrorKind::QuotaExceeded,
            _ => io::ErrorKind::NotConnected,
        };
        io::Error::new(kind, format!("the engine of larger objects: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, code: &str) -> io::ErrorKind {
        io::Error::from(EngineError::refused(status, code.into(), String::new())).kind()
    }

    #[test]
    fn only_a_missing_object_is_a_lost_blob() {
        assert_eq!(kind(404, "NoSuchKey"), io::ErrorKind::NotFound);
        for (status, code) in [
            (404, "NoSuchBucket"),
            (404, ""),
            (403, "AccessDenied"),
            (403, "SignatureDoesNotMatch"),
            (500, "InternalError"),
            (301, "PermanentRedirect"),
        ] {
            assert_eq!(kind(status, code), io::ErrorKind::NotConnected, "{code}");
        }
        assert_eq!(io::Error::from(EngineError::NoSuchUpload).kind(), io::ErrorKind::NotConnected);
        assert_eq!(io::Error::from(EngineError::Broken("x".into())).kind(), io::ErrorKind::NotConnected);
    }

    #[test]
    fn a_full_engine_is_full_and_not_tried_again() {
        for (status, code) in [(403, "QuotaExceeded"), (507, "")] {
            assert_eq!(kind(status, code), io::ErrorKind::QuotaExceeded);
            assert!(!EngineError::refused(status, code.into(), String::new()).is_passing());
        }
    }

    #[test]
    fn what_passes_is_tried_again() {
        for (status, code, passes) in [
            (503, "SlowDown", true),
            (500, "", true),
            (200, "InternalError", true),
            (400, "RequestTimeout", true),
            (403, "AccessDenied", false),
            (404, "NoSuchKey", false),
            (404, "NoSuchBucket", false),
        ] {
            assert_eq!(
                EngineError::refused(status, code.into(), String::new()).is_passing(),
                passes,
                "{code}"
            );
        }
    }
}
