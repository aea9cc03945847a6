//! What is asked of the engine, as S3 spells it.

use super::documents::{self, Initiated, Listing, Uploads};
use super::engine::{Call, Engine};
use super::fault::EngineError;
use reqwest::header::HeaderMap;
use std::ops::Range;

/// An object that was uploaded in parts is known again by it.
const MARK: &str = "x-amz-meta-karri-upload";

impl Engine {
    /// Keys in order, and whether there are more behind them.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), EngineError> {
        let mut call = Call::new("GET", String::new())
            .query("list-type", "2")
            .query("max-keys", limit.to_string())
            .query("prefix", prefix)
            .answered_by("ListBucketResult");
        if let Some(after) = after {
            call = call.query("start-after", after);
        }
        let answer = self.call(&call).await?;
        let listing: Listing = documents::read(&answer.body, "ListBucketResult")?;
        Ok((listing.keys, listing.truncated))
    }

    pub async fn uploads(&self, prefix: &str, after: Option<(&str, &str)>) -> Result<Uploads, EngineError> {
        let root = "ListMultipartUploadsResult";
        let mut call =
            Call::new("GET", String::new()).query("uploads", "").query("prefix", prefix).answered_by(root);
        if let Some((key, id)) = after {
            call = call.query("key-marker", key).query("upload-id-marker", id);
        }
        documents::read(&self.call(&call).await?.body, root)
    }

    /// Begins an upload in parts, with a mark that its object will have.
    pub async fn begin_upload(&self, key: &str, mark: &str) -> Result<String, EngineError> {
        let root = "InitiateMultipartUploadResult";
        let call = Call::new("POST", key.to_owned()).query("uploads", "").answered_by(root);
        let answer = self.call(&call.header(MARK, mark)).await?;
        let begun: Initiated = documents::read(&answer.body, root)?;
        if begun.upload.is_empty() {
            Err(EngineError::Nonsense(format!("{root} without UploadId")))
        } else {
            Ok(begun.upload)
        }
    }

    /// The upload becomes the object. Whatever was answered, it is there when this returns without an error.
    pub async fn complete_upload(
        &self,
        key: &str,
        upload: &str,
        etags: &[String],
        mark: &str,
        bytes: u64,
    ) -> Result<(), EngineError> {
        let call = Call::new("POST", key.to_owned())
            .query("uploadId", upload)
            .header("content-type", "application/xml")
            .text(documents::parts(etags))
            .answered_by("CompleteMultipartUploadResult");
        match self.call(&call).await {
            Ok(_) => Ok(()),
            // The first answer may have been lost, and all after it say that there is no such upload.
            Err(error) => match self.call(&Call::new("HEAD", key.to_owned())).await {
                Ok(found)
                    if found.text(MARK) == mark && found.text("content-length") == bytes.to_string() =>
                {
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    pub async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), EngineError> {
        match self.call(&Call::new("DELETE", key.to_owned()).query("uploadId", upload)).await {
            Ok(_) | Err(EngineError::NoSuchUpload | EngineError::NoSuchKey) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The bytes of a range, which the object has.
    pub fn range(key: String, range: &Range<u64>) -> Call {
        Call::new("GET", key).header("range", format!("bytes={}-{}", range.start, range.end - 1))
    }
}

/// What part of which length an answer of 206 is: the first byte, the one behind the last, all.
pub fn content_range(headers: &HeaderMap) -> Option<(u64, u64, u64)> {
    let text = headers.get("content-range")?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = text.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse::<u64>().ok()?.checked_add(1)?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read_or_is_none() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-range", text.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(of("bytes 5-9/20"), Some((5, 10, 20)));
        for none in ["", "bytes */20", "bytes 5-9/*", "5-9/20", "bytes 5-18446744073709551615/20"] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(content_range(&HeaderMap::new()), None);
    }
}
