//! What a bundle's manifest says about an image that is registered on it.

use super::ImageKind;
use super::register::{Draft, Owner};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::internal::blobs::BlobPurpose;
use karri_proto::internal::bundles::{BundleAsked, BundleFacts, BundleService};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::{ApiError, Caller};
use serde::{Deserialize, Serialize};

const BUCKET_CHARS: std::ops::RangeInclusive<usize> = 3..=63;
const KEY_BYTES_MAX: usize = 1024;

/// A manifest as RegisterImage names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestPath {
    pub bucket: String,
    pub key: String,
}

/// What an image is made of: the manifest as it was when the image was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleSource {
    pub bucket: String,
    pub key: String,
    pub etag: String,
    /// Of the image, as the manifest says.
    pub bytes: u64,
}

impl ManifestPath {
    /// `BUCKET/KEY`, as old tools also write it: with a slash before.
    pub fn parse(text: &str) -> Option<Self> {
        let (bucket, key) = text.strip_prefix('/').unwrap_or(text).split_once('/')?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let is_bucket = BUCKET_CHARS.contains(&bucket.len()) && bucket.bytes().all(plain);
        let is_key = (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.chars().any(char::is_control);
        (is_bucket && is_key).then(|| Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

/// What the manifest says, if its owner may read it and all that it names.
pub async fn inspect(
    bundles: &dyn BundleService,
    caller: &Caller,
    owner: Owner<'_>,
    path: &ManifestPath,
) -> Result<BundleFacts, Fault> {
    let asked = BundleAsked {
        bucket: path.bucket.clone(),
        key: path.key.clone(),
        access_key_id: owner.access_key_id.to_owned(),
        address: owner.address,
    };
    let inspected = bundles.bundle_inspect(caller, &asked).await;
    inspected.map_err(|error| refused(path, error, &caller.request_id))
}

/// In AWS's words.
fn refused(path: &ManifestPath, error: ApiError, request_id: &str) -> Fault {
    let url = format!("s3://{}/{}", path.bucket, path.key);
    let url = shown(&url);
    let sentence = match error.kind {
        ApiErrorKind::NotFound => format!(
            "HTTP 404 (Not Found) response for URL {url}: check your manifest path is correct and in the correct \
             region."
        ),
        ApiErrorKind::Forbidden => {
            format!("HTTP 403 (Forbidden) response for URL {url}: check your S3 ACLs are correct.")
        }
        ApiErrorKind::Invalid => format!("The manifest {url} cannot be used: {}", error.message),
        ApiErrorKind::Conflict | ApiErrorKind::Full | ApiErrorKind::Unreachable | ApiErrorKind::Internal => {
            tracing::warn!(request_id, %error, "the image store does not answer");
            let sentence = "The image store does not answer. Try again later.";
            return Fault::new(FaultCode::Unavailable, sentence);
        }
    };
    Fault::new(FaultCode::InvalidManifest, sentence)
}

pub fn kind_of(facts: &BundleFacts) -> ImageKind {
    match facts.purpose {
        BlobPurpose::Disk => ImageKind::Machine,
        BlobPurpose::Kernel => ImageKind::Kernel,
        BlobPurpose::Ramdisk => ImageKind::Ramdisk,
    }
}

/// The draft with what the manifest says where the request says nothing.
pub fn completed(draft: &Draft, facts: &BundleFacts) -> Draft {
    let mut draft = draft.clone();
    draft.architecture.get_or_insert_with(|| facts.architecture.clone());
    if draft.kernel_id.is_none() {
        draft.kernel_id = facts.kernel_id.as_deref().map(|id| own_name(id, "eki-", "aki-"));
        draft.ramdisk_id =
            draft.ramdisk_id.or(facts.ramdisk_id.as_deref().map(|id| own_name(id, "eri-", "ari-")));
    }
    if draft.root_device_name.is_none() {
        draft.root_device_name = facts.root_device.as_deref().map(device_path);
    }
    draft
}

/// Eucalyptus' tools write `eki-…` and `eri-…` for what EC2's call `aki-…` and `ari-…`.
fn own_name(id: &str, theirs: &str, ours: &str) -> String {
    id.strip_prefix(theirs).map_or_else(|| id.to_owned(), |digits| format!("{ours}{digits}"))
}

/// Manifests have both `sda1` and `/dev/sda1`.
fn device_path(name: &str) -> String {
    if name.starts_with("/dev/") { name.to_owned() } else { format!("/dev/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(kernel: Option<&str>, ramdisk: Option<&str>) -> BundleFacts {
        BundleFacts {
            etag: "e".into(),
            purpose: BlobPurpose::Disk,
            architecture: "i386".into(),
            bytes: 1,
            kernel_id: kernel.map(str::to_owned),
            ramdisk_id: ramdisk.map(str::to_owned),
            root_device: Some("sda2".into()),
        }
    }

    #[test]
    fn a_manifest_is_named_by_bucket_and_key() {
        for text in ["bucket/a.manifest.xml", "/bucket/a.manifest.xml"] {
            let path = ManifestPath::parse(text).unwrap();
            assert_eq!((path.bucket.as_str(), path.key.as_str()), ("bucket", "a.manifest.xml"));
        }
        assert_eq!(ManifestPath::parse("bucket/a/b c").unwrap().key, "a/b c");
        for wrong in
            ["", "bucket", "bucket/", "b/k", "//k", "buc ket/k", "bucket/a\nb", "http://host/bucket/k"]
        {
            assert_eq!(ManifestPath::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_request_says_more_than_the_manifest() {
        let own = completed(&Draft::default(), &facts(Some("eki-12345678"), Some("eri-1234abcd")));
        assert_eq!(
            (own.kernel_id.as_deref(), own.ramdisk_id.as_deref()),
            (Some("aki-12345678"), Some("ari-1234abcd"))
        );
        assert_eq!(
            (own.architecture.as_deref(), own.root_device_name.as_deref()),
            (Some("i386"), Some("/dev/sda2"))
        );
        let asked = Draft {
            kernel_id: Some("aki-0".into()),
            architecture: Some("x86_64".into()),
            root_device_name: Some("/dev/vda".into()),
            ..Draft::default()
        };
        let own = completed(&asked, &facts(Some("eki-12345678"), Some("eri-1234abcd")));
        assert_eq!(
            (own.kernel_id.as_deref(), own.ramdisk_id),
            (Some("aki-0"), None),
            "a kernel brings its own ramdisk"
        );
        assert_eq!(
            (own.architecture.as_deref(), own.root_device_name.as_deref()),
            (Some("x86_64"), Some("/dev/vda"))
        );
    }
}
