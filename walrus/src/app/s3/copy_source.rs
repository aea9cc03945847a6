//! `x-amz-copy-source`: a bucket, a key, perhaps a version.

use super::address::checked_key;
use karri_proto::aws::s3::{S3Code, S3Fault};
use percent_encoding::percent_decode_str;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    pub bucket: String,
    pub key: String,
    pub version: Option<String>,
}

/// # Errors
/// `InvalidArgument`
pub fn parse(header: &str) -> Result<CopySource, S3Fault> {
    let wrong = |text: &'static str| S3Fault::invalid_argument("x-amz-copy-source", header, text);
    // What follows a question mark is no part of the key: that would be `%3F`.
    let (path, query) = header.split_once('?').unwrap_or((header, ""));
    let version = match query.split_once('=') {
        Some(("versionId", version)) => Some(version.to_owned()),
        _ if query.is_empty() => None,
        _ => return Err(wrong("Invalid copy source object key")),
    };
    if version.as_deref() == Some("") {
        return Err(S3Fault::invalid_argument(
            "x-amz-copy-source",
            "",
            "Version id cannot be the empty string",
        ));
    }
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = percent_decode_str(path).decode_utf8().map_err(|_| S3Fault::new(S3Code::InvalidUri))?;
    let (bucket, key) = path.split_once('/').ok_or_else(|| wrong("Invalid copy source object key"))?;
    if bucket.is_empty() {
        return Err(wrong("Invalid copy source bucket name"));
    }
    if key.is_empty() {
        return Err(wrong("Invalid copy source object key"));
    }
    checked_key(Some(key.to_owned()))?;
    Ok(CopySource { bucket: bucket.to_owned(), key: key.to_owned(), version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_bucket_a_key_and_perhaps_a_version() {
        let check = |text: &str, bucket: &str, key: &str, version: Option<&str>| {
            let source = parse(text).unwrap();
            assert_eq!((&*source.bucket, &*source.key, source.version.as_deref()), (bucket, key, version));
        };
        check("b/k", "b", "k", None);
        check("/b/k/l", "b", "k/l", None);
        check("b/k%20%2B+%3f?versionId=null", "b", "k ++?", Some("null"));
        check("b%2Fk", "b", "k", None);
        for bad in ["", "b", "b/", "/", "//k", "b/k?x=y", "b/k?versionId="] {
            assert_eq!(parse(bad).unwrap_err().code(), S3Code::InvalidArgument, "{bad}");
        }
    }
}
