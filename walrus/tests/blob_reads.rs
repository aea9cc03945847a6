//! What it costs when fifty nodes ask for one image at the same time. Alone in its process, because what the process reads
//! and holds is what is measured.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[path = "suite/harness.rs"]
#[allow(dead_code)] // the suite uses all of it
mod harness;

use futures_util::StreamExt;
use futures_util::future::join_all;
use harness::{Server, caller};
use karri_proto::instance::Digest;
use karri_proto::internal::Role;
use karri_proto::runtime::client::InternalClient;
use karri_walrus::config::BlobsConfig;
use rustix::fs::Advice;
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Barrier;

const MIB: u64 = 1 << 20;
const IMAGE_BYTES: u64 = 16 * MIB;
const NODES: usize = 50;
/// Fifty images in memory would be 800 MiB.
const GROWTH_BYTES_MAX: u64 = 200 * MIB;
/// Beside the image: the program's own pages, and what the kernel reads ahead.
const MORE_READ_BYTES_MAX: u64 = 8 * MIB;

fn image() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..IMAGE_BYTES / 8).flat_map(|_| next().to_le_bytes()).collect()
}

/// A figure of /proc/self/status, in bytes.
fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// What this process has had read from disks so far.
fn read_from_disk() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap().parse().unwrap()
}

/// Drops the file's pages from memory.
fn forget(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
}

/// As a node does: piece by piece, and the digest of it all.
async fn fetch(client: InternalClient, digest: Digest, together: Arc<Barrier>) {
    together.wait().await;
    let mut pieces = client.blob_read(&caller(), &digest, 0).await.unwrap().bytes_stream();
    let mut sum = Sha256::new();
    while let Some(piece) = pieces.next().await {
        sum.update(piece.unwrap());
    }
    assert_eq!(Digest::from_sha256(sum.finalize().into()), digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_nodes_read_an_image_from_disk_once_and_hold_little_of_it() {
    // Beside what is built: where temporary files are memory, nothing would be read from a disk.
    let cloud = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let state_dir = cloud.path().join("walrus-state");
    let server = Server::start_in(cloud, state_dir, BlobsConfig::default()).await;
    let digest = server.import(image()).await.unwrap().blob.digest;
    let file = server.state_dir.join("blobs").join(&digest.hex()[..2]).join(digest.hex());
    let clients: Vec<InternalClient> = (0..NODES).map(|_| server.client(Role::Nc)).collect();

    forget(&file);
    std::fs::write("/proc/self/clear_refs", "5").unwrap(); // the peak counts from here
    let (read_before, held_before) = (read_from_disk(), resident("VmRSS"));
    let together = Arc::new(Barrier::new(NODES));
    let nodes = clients.into_iter().map(|client| {
        let (digest, together) = (digest.clone(), together.clone());
        tokio::spawn(fetch(client, digest, together))
    });
    for node in join_all(nodes.collect::<Vec<_>>()).await {
        node.unwrap();
    }
    let read = read_from_disk() - read_before;
    let growth = resident("VmHWM").saturating_sub(held_before);
    println!("{NODES} nodes: {} KiB read from disk, {} KiB more held at most", read >> 10, growth >> 10);
    assert!(read >= IMAGE_BYTES, "only {read} bytes were read: the image was in memory before");
    assert!(read <= IMAGE_BYTES + MORE_READ_BYTES_MAX, "{read} bytes were read from disk");
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more were held");
}
