//! Images that are registered on objects: what a bundle's manifest says, or a disk image about itself.

use super::ImageKind;
use super::register::{Draft, Owner};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::internal::blobs::BlobPurpose;
use karri_proto::internal::bundles::{
    BundleAsked, BundleFacts, BundleService, BundleToMake, Inspected, SourceKind,
};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::{ApiError, Caller};
use serde::{Deserialize, Serialize};

const BUCKET_CHARS: std::ops::RangeInclusive<usize> = 3..=63;
const KEY_BYTES_MAX: usize = 1024;

/// An object as RegisterImage and ImportImage name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPath {
    pub bucket: String,
    pub key: String,
}

/// What an image is made of: the object as it was when it was permitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleSource {
    #[serde(default)]
    pub kind: SourceKind,
    pub bucket: String,
    pub key: String,
    pub etag: String,
    /// Of the image's disk, as the manifest or the disk image says.
    pub bytes: u64,
}

impl BundleSource {
    pub fn to_make(&self, account: &str) -> BundleToMake {
        BundleToMake {
            kind: self.kind,
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            etag: self.etag.clone(),
            account: account.to_owned(),
        }
    }
}

/// Reads a bucket's name, as every S3 has them.
pub fn is_bucket(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    BUCKET_CHARS.contains(&name.len()) && name.bytes().all(plain)
}

pub fn is_key(key: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.chars().any(char::is_control)
}

impl ObjectPath {
    /// `BUCKET/KEY`, as old tools also write it: with a slash before.
    pub fn parse(text: &str) -> Option<Self> {
        let (bucket, key) = text.strip_prefix('/').unwrap_or(text).split_once('/')?;
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        (is_bucket(&bucket) && is_key(&key)).then_some(Self { bucket, key })
    }

    /// For sentences.
    pub fn url(&self) -> String {
        let url = format!("s3://{}/{}", self.bucket, self.key);
        shown(&url).into_owned()
    }

    pub fn source(self, kind: SourceKind, etag: String, bytes: u64) -> BundleSource {
        BundleSource { kind, bucket: self.bucket, key: self.key, etag, bytes }
    }
}

/// What the object is and says, if its owner may read it and all that it names.
pub async fn inspect(
    bundles: &dyn BundleService,
    caller: &Caller,
    owner: Owner<'_>,
    path: &ObjectPath,
) -> Result<Inspected, Fault> {
    let inspected = ask(bundles, caller, owner, path).await;
    inspected.map_err(|error| refused(path, error, &caller.request_id))
}

/// The same, before an error has got EC2's words.
pub async fn ask(
    bundles: &dyn BundleService,
    caller: &Caller,
    owner: Owner<'_>,
    path: &ObjectPath,
) -> Result<Inspected, ApiError> {
    let asked = BundleAsked {
        bucket: path.bucket.clone(),
        key: path.key.clone(),
        access_key_id: owner.access_key_id.to_owned(),
        session_token: owner.session_token.cloned(),
        address: owner.address,
    };
    bundles.bundle_inspect(caller, &asked).await
}

/// In AWS's words.
fn refused(path: &ObjectPath, error: ApiError, request_id: &str) -> Fault {
    let url = path.url();
    let sentence = match error.kind {
        ApiErrorKind::NotFound => format!(
            "HTTP 404 (Not Found) response for URL {url}: check your manifest path is correct and in the correct \
             region."
        ),
        ApiErrorKind::Forbidden => {
            format!("HTTP 403 (Forbidden) response for URL {url}: check your S3 ACLs are correct.")
        }
        ApiErrorKind::Invalid => format!("The object {url} cannot be used: {}", error.message),
        ApiErrorKind::Conflict | ApiErrorKind::Full | ApiErrorKind::Unreachable | ApiErrorKind::Internal => {
            return unanswered(&error, request_id);
        }
    };
    Fault::new(FaultCode::InvalidManifest, sentence)
}

pub fn unanswered(error: &ApiError, request_id: &str) -> Fault {
    tracing::warn!(request_id, %error, "the image store does not answer");
    Fault::new(FaultCode::Unavailable, "The image store does not answer. Try again later.")
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
    fn an_object_is_named_by_bucket_and_key() {
        for text in ["bucket/a.manifest.xml", "/bucket/a.manifest.xml"] {
            let path = ObjectPath::parse(text).unwrap();
            assert_eq!((path.bucket.as_str(), path.key.as_str()), ("bucket", "a.manifest.xml"));
        }
        assert_eq!(ObjectPath::parse("bucket/a/b c").unwrap().key, "a/b c");
        for wrong in
            ["", "bucket", "bucket/", "b/k", "//k", "buc ket/k", "bucket/a\nb", "http://host/bucket/k"]
        {
            assert_eq!(ObjectPath::parse(wrong), None, "{wrong}");
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
