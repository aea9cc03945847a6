//! The store's errors in S3's words, once for all handlers.

use crate::store::objects::{Refusal, StoreError};
use karri_proto::aws::s3::{S3Code, S3Fault};

/// What a request was about, for faults that name it.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    pub bucket: &'a str,
    pub key: &'a str,
    pub version: &'a str,
    pub upload: &'a str,
}

impl<'a> About<'a> {
    pub fn bucket(bucket: &'a str) -> Self {
        Self { bucket, ..Self::default() }
    }

    pub fn key(bucket: &'a str, key: &'a str) -> Self {
        Self { bucket, key, ..Self::default() }
    }

    pub fn version(self, version: Option<&'a str>) -> Self {
        Self { version: version.unwrap_or_default(), ..self }
    }

    pub fn upload(self, upload: &'a str) -> Self {
        Self { upload, ..self }
    }

    /// For `map_err`.
    pub fn fault(self, error: StoreError) -> S3Fault {
        match error {
            StoreError::NoSuchBucket => S3Fault::no_such_bucket(self.bucket),
            StoreError::BucketExists(_) => {
                S3Fault::new(S3Code::BucketAlreadyExists).with("BucketName", self.bucket)
            }
            StoreError::BucketNotEmpty => {
                S3Fault::new(S3Code::BucketNotEmpty).with("BucketName", self.bucket)
            }
            StoreError::NoSuchKey { marker } => no_such_key(self.key, marker.map(|id| id.to_string())),
            StoreError::NoSuchVersion => S3Fault::no_such_version(self.key, self.version),
            StoreError::NoSuchUpload => S3Fault::no_such_upload(self.upload),
            StoreError::Refused(refusal) => refused(refusal),
            StoreError::WrongKey => S3Fault::new(S3Code::AccessDenied),
            StoreError::Full => S3Fault::new(S3Code::InsufficientStorage),
            StoreError::Busy => S3Fault::new(S3Code::SlowDown),
            // Not every request tells the log why: whoever asks the engine does.
            StoreError::Closed | StoreError::Away(_) => S3Fault::new(S3Code::ServiceUnavailable),
            error => S3Fault::internal(chain(&error)),
        }
    }
}

/// The newest version is a delete marker, or there is none.
pub fn no_such_key(key: &str, marker: Option<String>) -> S3Fault {
    let is_marker = http::HeaderValue::from_static(if marker.is_some() { "true" } else { "false" });
    let fault = S3Fault::no_such_key(key)
        .with_header(http::HeaderName::from_static("x-amz-delete-marker"), is_marker);
    let Some(version) = marker else { return fault };
    match http::HeaderValue::try_from(version) {
        Ok(version) => fault.with_header(http::HeaderName::from_static("x-amz-version-id"), version),
        Err(_) => fault,
    }
}

fn refused(refusal: Refusal) -> S3Fault {
    refusal.take::<S3Fault>().unwrap_or_else(|other| S3Fault::internal(format!("a check refused: {other:?}")))
}

/// What a check answers to the store.
pub fn refusal(fault: S3Fault) -> Refusal {
    Refusal(Box::new(fault))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_stores_own_is_not_told_as_the_clients() {
        for (error, code) in [
            (StoreError::WrongKey, S3Code::AccessDenied),
            (StoreError::NoMasterKey, S3Code::InternalError),
            (StoreError::Busy, S3Code::SlowDown),
            (std::io::Error::from(std::io::ErrorKind::NotConnected).into(), S3Code::ServiceUnavailable),
        ] {
            assert_eq!(About::default().fault(error).code(), code);
        }
    }
}
