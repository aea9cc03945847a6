//! Every format that is taken, and what becomes of it.

use crate::harness::{Server, as_guest_sees, caller, digest, disk, image};
use flate2::Compression;
use flate2::write::GzEncoder;
use karri_proto::instance::BlobFormat;
use karri_proto::internal::Role;
use karri_proto::internal::blobs::{BlobPurpose, Content};
use karri_proto::internal::error::ApiErrorKind;
use std::io::Write;

#[tokio::test]
async fn images_that_can_be_kept_as_they_are_keep_their_bytes() {
    let server = Server::start().await;
    let disk = disk(4);
    let table: [(&str, Vec<u8>); 7] = [
        ("raw", disk.clone()),
        ("qcow2", image(&disk, "qcow2", &["-o", "compat=0.10"])),
        ("qcow2", image(&disk, "qcow2", &["-o", "compat=1.1"])),
        ("qcow2", image(&disk, "qcow2", &["-o", "cluster_size=512"])),
        ("qcow2", image(&disk, "qcow2", &["-o", "cluster_size=2M,extended_l2=on"])),
        ("qcow2", image(&disk, "qcow2", &["-c"])),
        ("qcow2", image(&disk, "qcow2", &["-c", "-o", "compression_type=zstd"])),
    ];
    for (number, (format, bytes)) in table.into_iter().enumerate() {
        let kept = server.import(bytes.clone()).await.unwrap();
        assert_eq!(kept.source_format, format, "row {number}");
        assert_eq!(kept.blob.digest, digest(&bytes));
        assert_eq!((kept.blob.bytes, kept.blob.virtual_bytes), (bytes.len() as u64, 4 << 20));
        assert_eq!(kept.is_raw(), format == "raw");
        assert_eq!(server.read(&kept.blob.digest).await, bytes);
        server.assert_nothing_left(number + 1).await;
    }
}

#[tokio::test]
async fn a_vmdk_becomes_a_qcow2_with_the_same_disk() {
    let server = Server::start().await;
    let disk = disk(4);
    for (number, subformat) in ["monolithicSparse", "streamOptimized"].into_iter().enumerate() {
        let bytes = image(&disk, "vmdk", &["-o", &format!("subformat={subformat}")]);
        let kept = server.import(bytes.clone()).await.unwrap();
        assert_eq!((kept.source_format.as_str(), kept.blob.format), ("vmdk", BlobFormat::Qcow2));
        assert_eq!(kept.blob.virtual_bytes, 4 << 20);
        let stored = server.read(&kept.blob.digest).await;
        assert_eq!((digest(&stored), stored.len() as u64), (kept.blob.digest.clone(), kept.blob.bytes));
        assert!(as_guest_sees(&stored, "qcow2") == disk, "{subformat}");
        let again = server.import(bytes).await.unwrap();
        assert_eq!(again, kept);
        server.assert_nothing_left(1).await; // both kinds convert to the same bytes
        assert!(number < 2);
    }
}

#[tokio::test]
async fn a_vhdx_becomes_a_qcow2_with_the_same_disk() {
    let server = Server::start().await;
    let disk = disk(4);
    for options in ["subformat=dynamic", "subformat=fixed"] {
        let kept = server.import(image(&disk, "vhdx", &["-o", options])).await.unwrap();
        assert_eq!((kept.source_format.as_str(), kept.blob.format), ("vhdx", BlobFormat::Qcow2));
        assert_eq!(kept.blob.virtual_bytes, 4 << 20, "{options}");
        assert!(as_guest_sees(&server.read(&kept.blob.digest).await, "qcow2") == disk, "{options}");
    }
    server.assert_nothing_left(1).await;
}

#[tokio::test]
async fn a_vhd_becomes_a_qcow2_with_the_same_disk() {
    let server = Server::start().await;
    let disk = disk(4);
    for options in ["subformat=fixed,force_size=on", "subformat=dynamic,force_size=on"] {
        let bytes = image(&disk, "vpc", &["-o", options]);
        // VirtualBox' name: a reader that believes its cylinders and heads would cut the disk.
        let mut other = bytes.clone();
        for at in [bytes.len() - 512, 0] {
            if other[at..].starts_with(b"conectix") {
                other[at + 28..at + 32].copy_from_slice(b"vbox");
                other[at + 64..at + 68].fill(0);
                let sum: u32 = other[at..at + 512].iter().map(|byte| u32::from(*byte)).sum();
                other[at + 64..at + 68].copy_from_slice(&(!sum).to_be_bytes());
            }
        }
        for bytes in [bytes, other] {
            let kept = server.import(bytes).await.unwrap();
            assert_eq!((kept.source_format.as_str(), kept.blob.format), ("vhd", BlobFormat::Qcow2));
            assert_eq!(kept.blob.virtual_bytes, 4 << 20, "{options}");
            let stored = server.read(&kept.blob.digest).await;
            assert!(as_guest_sees(&stored, "qcow2") == disk, "{options}");
        }
    }
    let kernel = image(&disk, "vpc", &["-o", "subformat=fixed"]);
    let client = server.client(Role::Clc);
    assert!(client.blob_import_as(&caller(), BlobPurpose::Kernel, kernel.into()).await.is_err());
    server.assert_nothing_left(1).await; // all kinds convert to the same bytes
}

#[tokio::test]
async fn an_empty_disk_and_one_that_ends_in_a_hole_keep_their_length() {
    let server = Server::start().await;
    let mut bytes = vec![0; (3 << 20) + 512];
    let empty = server.import(bytes.clone()).await.unwrap();
    assert_eq!(server.read(&empty.blob.digest).await, bytes);
    bytes[0] = 1;
    let kept = server.import(bytes.clone()).await.unwrap();
    assert_eq!(server.read(&kept.blob.digest).await, bytes);
    let path = server.state_dir.join("blobs").join(&kept.blob.digest.hex()[..2]).join(kept.blob.digest.hex());
    let metadata = std::fs::metadata(path).unwrap();
    assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 < 1 << 20, "holes stay holes");
}

#[tokio::test]
async fn ramdisks_are_kept_as_they_are() {
    let server = Server::start().await;
    let mut archive = b"070701".to_vec();
    archive.resize(100_000, b'x');
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    gzip.write_all(&archive).unwrap();
    let gzip = gzip.finish().unwrap();
    let kept = server.import(gzip.clone()).await.unwrap();
    assert_eq!((kept.blob.digest, kept.source_format.as_str()), (digest(&gzip), "raw"));

    let mut zstd = b"\x28\xb5\x2f\xfd".to_vec();
    zstd.resize(4096, 7);
    assert!(server.import(zstd.clone()).await.unwrap_err().message.contains("zstd"));
    let client = server.client(Role::Clc);
    let kept = client.blob_import_as(&caller(), BlobPurpose::Ramdisk, zstd.clone().into()).await.unwrap();
    assert_eq!(kept.blob.digest, digest(&zstd));
    let hostile = image(&disk(1), "qcow2", &[]);
    assert!(client.blob_import_as(&caller(), BlobPurpose::Ramdisk, hostile.into()).await.is_err());
    server.assert_nothing_left(2).await;
}

#[tokio::test]
async fn what_is_plainly_something_else_than_its_sender_says_is_refused() {
    let server = Server::start().await;
    let client = server.client(Role::Admin);
    let mut kernel = disk(1);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut ramdisk = b"070701".to_vec();
    ramdisk.resize(100_000, 1);
    let text = b"root:x:0:0:root:/root:/bin/bash\n".repeat(50);
    let noise = disk(9);
    let refused = async |purpose, bytes: &[u8], sentence: &str| {
        let error = client.blob_import_as(&caller(), purpose, bytes.to_vec().into()).await.unwrap_err();
        assert_eq!(error.kind, ApiErrorKind::Invalid);
        assert!(error.message.contains(sentence), "{error}");
    };
    refused(BlobPurpose::Disk, &kernel, "this is a kernel, not a disk").await;
    refused(BlobPurpose::Disk, &ramdisk, "this is a ramdisk, not a disk").await;
    refused(BlobPurpose::Disk, &text, "plain text").await;
    refused(BlobPurpose::Kernel, &noise, "does not look like a kernel").await;
    refused(BlobPurpose::Kernel, &image(&disk(1), "qcow2", &[]), "does not look like a kernel").await;
    refused(BlobPurpose::Ramdisk, &kernel, "does not look like a ramdisk").await;
    assert!(server.import(text).await.unwrap_err().message.contains("plain text"));
    server.assert_nothing_left(0).await;

    let kept = client.blob_import_as(&caller(), BlobPurpose::Kernel, kernel.clone().into()).await.unwrap();
    assert_eq!(kept.content, Content::Kernel);
    let known = client.blob_info(&caller(), &kept.blob.digest).await.unwrap();
    assert_eq!((known.content, known.blob), (Content::Kernel, kept.blob));
    refused(BlobPurpose::Disk, &kernel, "this is a kernel, not a disk").await;
    let kept = client.blob_import_as(&caller(), BlobPurpose::Ramdisk, ramdisk.into()).await.unwrap();
    assert_eq!(kept.content, Content::Ramdisk);
    let kept = client.blob_import_as(&caller(), BlobPurpose::Disk, noise.into()).await.unwrap();
    assert_eq!(kept.content, Content::Unknown);
}
