//! Where an image's bytes come from: a file, or an http(s) URL.

use crate::args::Usage;
use crate::http;
use anyhow::Context;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::io::ReaderStream;

const CHUNK_BYTES: usize = 256 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A server may be slow, but not stand still.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Url(reqwest::Url),
}

/// Bytes under way, and how many there will be where that is known.
pub struct Opened {
    pub total: Option<u64>,
    pub bytes: BoxStream<'static, std::io::Result<Bytes>>,
}

impl Source {
    pub fn parse(given: &str) -> anyhow::Result<Self> {
        let Some((scheme, _)) = given.split_once("://") else {
            return Ok(Source::File(PathBuf::from(given)));
        };
        match (scheme, given.parse()) {
            ("http" | "https", Ok(url)) => Ok(Source::Url(url)),
            ("http" | "https", Err(error)) => Err(Usage(format!("{given}: {error}")).into()),
            _ => Err(Usage(format!("{given}: a file, or an http or https URL is expected")).into()),
        }
    }

    /// The last part of the path without its extension: `debian-12` of `…/debian-12.qcow2`.
    pub fn stem(&self) -> String {
        let path = match self {
            Source::File(path) => path.as_path(),
            Source::Url(url) => Path::new(url.path()),
        };
        path.file_stem().map_or_else(|| "image".to_owned(), |stem| stem.to_string_lossy().into_owned())
    }

    /// For people: never the password of a URL.
    pub fn label(&self) -> String {
        match self {
            Source::File(path) => path.display().to_string(),
            Source::Url(url) => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path())
            }
        }
    }

    pub async fn open(&self) -> anyhow::Result<Opened> {
        match self {
            Source::File(path) => open_file(path).await.with_context(|| path.display().to_string()),
            Source::Url(url) => open_url(url).await.with_context(|| self.label()),
        }
    }
}

async fn open_file(path: &Path) -> anyhow::Result<Opened> {
    let file = tokio::fs::File::open(path).await?;
    let metadata = file.metadata().await?;
    anyhow::ensure!(!metadata.is_dir(), "a directory is no image");
    // A pipe or a device has no length to promise.
    let total = metadata.is_file().then_some(metadata.len());
    Ok(Opened { total, bytes: ReaderStream::with_capacity(file, CHUNK_BYTES).boxed() })
}

async fn open_url(url: &reqwest::Url) -> anyhow::Result<Opened> {
    let client =
        http::trusting_the_system()?.connect_timeout(CONNECT_TIMEOUT).read_timeout(IDLE_TIMEOUT).build()?;
    let response = client.get(url.clone()).send().await.map_err(innermost)?;
    let status = response.status();
    anyhow::ensure!(status.is_success(), "the server answers {status}");
    let total = response.content_length();
    let bytes = response.bytes_stream().map_err(|error| std::io::Error::other(innermost(error)));
    Ok(Opened { total, bytes: bytes.boxed() })
}

/// "connection refused" says more than "error sending request"; and the URL may hold a password.
fn innermost(error: reqwest::Error) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    anyhow::anyhow!("{cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_url_is_a_file_and_other_schemes_are_refused() {
        assert_eq!(Source::parse("a b.img").unwrap(), Source::File("a b.img".into()));
        assert!(matches!(Source::parse("https://example.org/x.qcow2").unwrap(), Source::Url(_)));
        for bad in ["ftp://example.org/x", "file:///etc/passwd", "http://"] {
            assert!(Source::parse(bad).unwrap_err().is::<Usage>(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_the_file_without_its_extension_and_a_label_hides_passwords() {
        assert_eq!(Source::parse("/x/debian-12.4.qcow2").unwrap().stem(), "debian-12.4");
        let url = Source::parse("https://ada:secret@example.org/d/x.vmdk?t=1").unwrap();
        assert_eq!((url.stem(), url.label()), ("x".to_owned(), "example.org/d/x.vmdk".to_owned()));
        let url = Source::parse("http://127.0.0.1:8080/x.img").unwrap();
        assert_eq!(url.label(), "127.0.0.1:8080/x.img");
        assert_eq!(Source::parse("https://example.org/").unwrap().stem(), "image");
    }

    #[tokio::test]
    async fn a_file_is_streamed_whole_and_a_missing_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.img");
        std::fs::write(&path, vec![7; 600_000]).unwrap();
        let opened = Source::File(path).open().await.unwrap();
        assert_eq!(opened.total, Some(600_000));
        let chunks: Vec<Bytes> = opened.bytes.try_collect().await.unwrap();
        assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), 600_000);
        let missing = Source::File(directory.path().join("none")).open().await.err().unwrap();
        assert!(format!("{missing:#}").contains("none"), "{missing:#}");
        assert!(Source::File(directory.path().to_owned()).open().await.is_err());
    }
}
