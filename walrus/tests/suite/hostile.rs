//! Files that lie, that reach for the host, that were cut or are something else: each refused with a
//! sentence that says what is wrong, nothing kept.

use crate::harness::{Server, disk, image, qemu_img};
use karri_proto::internal::error::ApiErrorKind;
use karri_walrus::config::BlobsConfig;
use std::path::Path;

async fn refused(server: &Server, what: &str, bytes: Vec<u8>, expected: &str) {
    let error = server.import(bytes).await.unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Invalid, "{what}: {error}");
    assert!(error.message.contains(expected), "{what}: {error} should say: {expected}");
    server.assert_nothing_left(0).await;
}

fn made(arguments: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    qemu_img(directory.path(), arguments);
    std::fs::read(directory.path().join("image")).unwrap()
}

/// A sound qcow2 with `bytes` written over it.
fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = image(&disk(4), "qcow2", &[]);
    image[at..at + bytes.len()].copy_from_slice(bytes);
    image
}

#[tokio::test]
async fn a_qcow2_that_names_other_files_is_refused_and_reads_none() {
    let server = Server::start().await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), vec![b'S'; 1 << 20]).unwrap();
    let name = secret.path().to_str().unwrap();
    let backing = made(&["create", "-q", "-f", "qcow2", "-F", "raw", "-b", name, "image"]);
    refused(&server, "backing file", backing, name).await;
    let hostname =
        made(&["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/hostname", "image", "1M"]);
    refused(&server, "backing file", hostname, "\"/etc/hostname\"").await;
    let json = "json:{\"driver\":\"file\",\"filename\":\"/etc/hostname\"}";
    let json = made(&["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", json, "image", "1M"]);
    refused(&server, "backing json", json, "backing file").await;
    let data =
        made(&["create", "-q", "-f", "qcow2", "-o", "data_file=other,data_file_raw=on", "image", "1M"]);
    refused(&server, "data file", data, "another file").await;
}

#[tokio::test]
async fn a_vmdk_that_names_other_files_is_refused() {
    let server = Server::start().await;
    let sound = image(&disk(1), "vmdk", &[]);
    let text = String::from_utf8_lossy(&sound[512..2048]).into_owned();
    assert!(text.contains("parentCID=ffffffff") && text.contains("SPARSE \"disk.image\""), "{text}");
    let with = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = 512 + text.find(from).unwrap();
        let mut bytes = sound.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    refused(&server, "extent", with("\"disk.image\"", "\"/etc/group\""), "not itself").await;
    refused(&server, "flat extent", with("SPARSE \"disk.image\"", "FLAT \"/etc/issue\" 0"), "not itself")
        .await;
    refused(&server, "parent", with("parentCID=ffffffff", "parentCID=12345678"), "parent").await;
    let mut no_capacity = sound.clone();
    no_capacity[12..20].fill(0);
    refused(&server, "no capacity", no_capacity, "other files").await;
    let flat =
        "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"/etc/passwd\" 0\n";
    let mut flat = flat.as_bytes().to_vec();
    flat.resize(1024, 0);
    refused(&server, "descriptor alone", flat, "description without its data").await;
    refused(&server, "ESX", image(&disk(1), "vmdk", &["-o", "subformat=monolithicFlat"]), "description")
        .await;
}

#[tokio::test]
async fn a_qcow2_that_lies_about_itself_is_refused() {
    let server = Server::start().await;
    let sound = image(&disk(4), "qcow2", &[]);
    for (what, bytes, expected) in [
        ("2^63 bytes", patched(24, &(1u64 << 63).to_be_bytes()), "limit"),
        ("2^64 - 1 bytes", patched(24, &u64::MAX.to_be_bytes()), "limit"),
        ("larger than its L1", patched(24, &(1u64 << 40).to_be_bytes()), "L1 table"),
        ("L1 beyond the file", patched(40, &(1u64 << 40).to_be_bytes()), "not inside the file"),
        ("L1 of 2^32 entries", patched(36, &u32::MAX.to_be_bytes()), "L1 table"),
        ("unknown feature", patched(72, &(1u64 << 62).to_be_bytes()), "unknown features"),
        ("cut in its header", sound[..80].to_vec(), "80 bytes long"),
        ("cut in its tables", sound[..1 << 16].to_vec(), "not inside the file"),
        ("cut in its data", sound[..sound.len() - (1 << 17)].to_vec(), "damaged"),
        (
            "L1 entry beyond the file",
            patched(l1_offset(&sound), &(0x8000_1000_0000_0000u64).to_be_bytes()),
            "damaged",
        ),
    ] {
        refused(&server, what, bytes, expected).await;
    }
    refused(&server, "encrypted with LUKS", patched(32, &2u32.to_be_bytes()), "encrypted").await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("image"), &sound).unwrap();
    qemu_img(directory.path(), &["snapshot", "-c", "one", "image"]);
    refused(&server, "snapshot", read(directory.path()), "snapshots").await;
}

fn l1_offset(image: &[u8]) -> usize {
    u64::from_be_bytes(image[40..48].try_into().unwrap()) as usize
}

fn read(directory: &Path) -> Vec<u8> {
    std::fs::read(directory.join("image")).unwrap()
}

#[tokio::test]
async fn a_cut_vmdk_is_refused() {
    let server = Server::start().await;
    for subformat in ["monolithicSparse", "streamOptimized"] {
        let bytes = image(&disk(4), "vmdk", &["-o", &format!("subformat={subformat}")]);
        for part in [4, 2] {
            let cut = bytes[..bytes.len() / part].to_vec();
            let error = server.import(cut).await.unwrap_err();
            assert_eq!(error.kind, ApiErrorKind::Invalid, "{subformat} 1/{part}: {error}");
            server.assert_nothing_left(0).await;
        }
    }
}

/// A VHD of 4 MiB with one footer field and its checksum written anew, at the end and at the beginning.
fn vhd(options: &str, at: usize, field: &[u8]) -> Vec<u8> {
    let mut bytes = image(&disk(4), "vpc", &["-o", options]);
    let end = bytes.len() - 512;
    let mut footer = bytes[end..].to_vec();
    footer[at..at + field.len()].copy_from_slice(field);
    footer[64..68].fill(0);
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    bytes[end..].copy_from_slice(&footer);
    if bytes.starts_with(b"conectix") {
        bytes[..512].copy_from_slice(&footer);
    }
    bytes
}

#[tokio::test]
async fn a_vhd_that_is_cut_lies_or_needs_another_is_refused() {
    let server = Server::start().await;
    let (fixed, dynamic) = ("subformat=fixed,force_size=on", "subformat=dynamic,force_size=on");
    for options in [fixed, dynamic] {
        refused(&server, "a child", vhd(options, 60, &4u32.to_be_bytes()), "parent").await;
        refused(&server, "a giant", vhd(options, 48, &(1u64 << 60).to_be_bytes()), "limit").await;
        refused(&server, "of the future", vhd(options, 12, &[0, 2]), "version 2").await;
    }
    refused(&server, "longer", vhd(fixed, 48, &(8u64 << 20).to_be_bytes()), "truncated").await;
    refused(&server, "nowhere", vhd(dynamic, 16, &[0x7f; 8]), "impossible place").await;
    let whole = vhd(dynamic, 0, b"c");
    let footer = whole[whole.len() - 512..].to_vec();
    for part in [2, 4] {
        let cut = whole[..whole.len() / part].to_vec();
        refused(&server, "cut", cut.clone(), "no footer").await;
        refused(&server, "cut and closed", [cut, footer.clone()].concat(), "not inside the file").await;
    }
}

#[tokio::test]
async fn a_vhdx_that_lies_or_was_cut_is_refused() {
    let server = Server::start().await;
    let sound = image(&disk(4), "vhdx", &[]);
    let find = |mark: &[u8]| sound.windows(mark.len()).position(|window| window == mark).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut image = sound.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    };
    // The first two items of the metadata: where they are stands 16 bytes into their entries.
    let metadata = find(b"metadata");
    let item = |number: usize| {
        let at = metadata + 32 + 32 * number + 16;
        metadata + u32::from_le_bytes(sound[at..at + 4].try_into().unwrap()) as usize
    };
    refused(&server, "a parent", with(item(0) + 4, &[2]), "parent").await;
    refused(&server, "a giant", with(item(1), &(1u64 << 60).to_le_bytes()), "limit").await;
    refused(&server, "no metadata", with(metadata, b"x"), "damaged metadata").await;
    refused(&server, "no regions", with(192 << 10, b"x"), "no region table").await;
    refused(&server, "cut", sound[..sound.len() - (6 << 20)].to_vec(), "damaged").await; // it is padded
    refused(&server, "cut early", sound[..100 << 10].to_vec(), "truncated").await;
}

#[tokio::test]
async fn other_formats_are_told_by_their_name() {
    let server = Server::start().await;
    let disk = disk(1);
    for (format, options, expected) in
        [("vdi", &[][..], "VDI"), ("qed", &[], "QED"), ("qcow", &[], "qcow (version 1)")]
    {
        refused(&server, format, image(&disk, format, options), expected).await;
    }
    refused(&server, "nothing", Vec::new(), "empty").await;
    refused(&server, "a word", b"hello".to_vec(), "5 bytes").await;
    let page = format!("<!DOCTYPE html><html>{}</html>", "not found ".repeat(100));
    refused(&server, "a web page", page.into_bytes(), "web page").await;
}

#[tokio::test]
async fn a_large_upload_that_is_refused_early_still_gets_its_answer() {
    let server = Server::start().await;
    let mut bytes = vec![7; 64 << 20];
    bytes[..4].copy_from_slice(b"PK\x03\x04");
    refused(&server, "a large zip", bytes, "zip archive").await;
}

#[tokio::test]
async fn what_is_larger_than_allowed_is_refused_while_it_arrives() {
    let server =
        Server::start_with(BlobsConfig { import_max_gib: 1, virtual_max_gib: 1, ..Default::default() }).await;
    let large = made(&["create", "-q", "-f", "qcow2", "image", "2G"]);
    refused(&server, "2 GiB for the guest", large, "limit").await;
    let block = bytes::Bytes::from(vec![0u8; 1 << 20]);
    let blocks = futures_util::stream::iter((0..1025).map(move |_| std::io::Result::Ok(block.clone())));
    let body = reqwest::Body::wrap_stream(blocks);
    let client = server.client(karri_proto::internal::Role::Admin);
    let error = client.blob_import(&crate::harness::caller(), body).await.unwrap_err();
    assert!(error.message.contains("import_max_gib"), "{error}");
    server.assert_nothing_left(0).await;
}

#[tokio::test]
async fn a_converter_without_enough_memory_fails_alone() {
    let bytes = image(&disk(64), "vmdk", &[]);
    let server = Server::start_with(BlobsConfig { tool_memory_mib: 16, ..Default::default() }).await;
    server.import(bytes).await.unwrap_err();
    server.assert_nothing_left(0).await;
    server.import(disk(1)).await.unwrap();
}
