//! Disk images as they lie in buckets: each format found by its content, and nobody else's disk.

use crate::bundles::{Walrus, caller};
use crate::harness::User;
use karri_proto::internal::ApiError;
use karri_proto::internal::bundles::{
    BundleProgress, BundleService as _, BundleToMake, DiskFacts, Inspected, SourceKind,
};
use karri_proto::internal::error::ApiErrorKind;
use karri_walrus::store::holds::Hold;
use std::process::Command;

const DISK_BYTES: usize = 3 << 20;

/// A disk with something to tell: a boot sector's mark, and bytes that are nowhere the same.
pub fn disk() -> Vec<u8> {
    let mut disk: Vec<u8> = (0..DISK_BYTES).map(|at| (at / 512 * 7 + at % 251) as u8).collect();
    disk[0..4].fill(0);
    disk[510..512].copy_from_slice(b"\x55\xaa");
    disk
}

fn qemu_img(arguments: &[&str], directory: &std::path::Path) {
    let ran = Command::new("qemu-img").args(arguments).current_dir(directory).output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// The disk in another format, as qemu-img calls it.
pub fn converted(disk: &[u8], format: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("disk"), disk).unwrap();
    qemu_img(&["convert", "-f", "raw", "-O", format, "disk", "image"], directory.path());
    std::fs::read(directory.path().join("image")).unwrap()
}

/// What a guest would see of a blob.
pub fn seen(blob: &[u8], format: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("blob"), blob).unwrap();
    qemu_img(&["convert", "-f", format, "-O", "raw", "blob", "disk"], directory.path());
    std::fs::read(directory.path().join("disk")).unwrap()
}

impl Walrus {
    pub async fn disk(&self, user: User, key: &str) -> Result<DiskFacts, ApiError> {
        match self.look(user.key(), key).await? {
            Inspected::Disk(facts) => Ok(facts),
            Inspected::Bundle(facts) => panic!("{key} is taken for a bundle: {facts:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_format_becomes_a_blob_with_the_same_disk() {
    let walrus = Walrus::start().await;
    walrus.server.bucket("images").await;
    let disk = disk();
    for (format, tool) in
        [("raw", "raw"), ("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vhd", "vpc"), ("vhdx", "vhdx")]
    {
        let key = format!("disks/{format}"); // no name tells
        let object = converted(&disk, tool);
        walrus.server.put(&format!("/images/{key}"), &object).await;
        let facts = walrus.disk(User::Ann, &key).await.unwrap();
        assert_eq!((facts.format.as_str(), facts.bytes), (format, object.len() as u64));
        assert!(facts.virtual_bytes >= DISK_BYTES as u64, "{format}: {facts:?}");
        let made = walrus.make_of(SourceKind::Disk, &key, &facts.etag).await.unwrap();
        assert_eq!(made.source_format, format);
        assert_eq!(made.blob.virtual_bytes, facts.virtual_bytes, "what was told is what came");
        assert_eq!(walrus.hold(&made.blob.digest), Some(Hold::Registered));
        let mut blob = Vec::new();
        std::io::Read::read_to_end(&mut walrus.blobs.blob_open(&made.blob.digest).unwrap(), &mut blob)
            .unwrap();
        let guest = seen(&blob, if made.is_raw() { "raw" } else { "qcow2" });
        assert!(guest.starts_with(&disk) && guest[DISK_BYTES..].iter().all(|byte| *byte == 0), "{format}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_is_read_by_who_may_and_refused_before_it_is_read_whole() {
    let walrus = Walrus::start().await;
    walrus.server.bucket("images").await;
    walrus.server.put("/images/disk", &disk()).await;
    let refused = async |user: User, key: &str, kind: ApiErrorKind, words: &str| {
        let error = walrus.disk(user, key).await.unwrap_err();
        assert!(error.kind == kind && error.message.contains(words), "{key}: {error:?} should say: {words}");
    };
    refused(User::Bob, "disk", ApiErrorKind::Forbidden, "").await;
    walrus.permit_bob("disk").await;
    walrus.disk(User::Bob, "disk").await.unwrap();
    refused(User::Ann, "absent", ApiErrorKind::NotFound, "").await;
    let directory = tempfile::tempdir().unwrap();
    let hostile = ["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", "image", "1M"];
    qemu_img(&hostile, directory.path());
    let backed = std::fs::read(directory.path().join("image")).unwrap();
    for (key, object, words) in [
        ("backed", &backed[..], "backing file"),
        ("text", &b"no disk\n".repeat(512)[..], "plain text"),
        ("page", &[&b"<!doctype html>"[..], &[b' '; 2048]].concat()[..], "web page"),
        ("empty", b"", "empty"),
        ("short", &disk()[..100], "only 100 bytes"),
        ("cut.vmdk", &converted(&disk(), "vmdk")[..700], "VMDK"),
    ] {
        walrus.server.put(&format!("/images/{key}"), object).await;
        refused(User::Ann, key, ApiErrorKind::Invalid, words).await;
    }
    assert_eq!(walrus.blobs.blob_list(), vec![]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_was_overwritten_since_makes_no_image() {
    let walrus = Walrus::start().await;
    walrus.server.bucket("images").await;
    walrus.server.put("/images/disk", &disk()).await;
    let etag = walrus.disk(User::Ann, "disk").await.unwrap().etag;
    walrus.server.put("/images/disk", &disk()[..1 << 20]).await;
    let [bucket, key, account] = ["images", "disk", "111111111111"].map(str::to_owned);
    let asked = BundleToMake { kind: SourceKind::Disk, bucket, key, etag, account };
    let error = walrus.desk.bundle_make(&caller(), &asked).await;
    let error = error.map(|progress: BundleProgress| format!("{progress:?}")).unwrap_err();
    assert!(error.kind == ApiErrorKind::Invalid && error.message.contains("overwritten"), "{error:?}");
    assert_eq!(walrus.blobs.blob_list(), vec![]);
}
