//! Clients that go away, imports at the same time, kills, full disks.

use crate::harness::{DEADLINE, Server, blob_files, caller, config, disk, entries, eventually, files, image};
use futures_util::{StreamExt, stream};
use karri_proto::internal::Role;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::endpoint::Endpoint;
use karri_walrus::config::BlobsConfig;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A body of zeros that never ends by itself.
fn endless() -> reqwest::Body {
    let first = stream::iter((0..8).map(|_| std::io::Result::Ok(vec![1u8; 1 << 20])));
    reqwest::Body::wrap_stream(first.chain(stream::pending()))
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let server = Server::start().await;
    let client = server.client(Role::Admin);
    let upload = tokio::spawn(async move { client.blob_import(&caller(), endless()).await });
    eventually("the import has begun", || server.incoming() == 1).await;
    upload.abort();
    server.assert_nothing_left(0).await;
}

#[tokio::test]
async fn an_upload_that_stands_still_is_given_up() {
    let server = Server::start_with(BlobsConfig { idle_secs: 1, ..Default::default() }).await;
    let error = server.client(Role::Admin).blob_import(&caller(), endless()).await.unwrap_err();
    assert!(error.message.contains("stood still"), "{error}");
    server.assert_nothing_left(0).await;
}

#[tokio::test]
async fn a_stopping_walrus_ends_its_imports() {
    let server = Server::start().await;
    let client = server.client(Role::Admin);
    let upload = tokio::spawn(async move { client.blob_import(&caller(), endless()).await });
    eventually("the import has begun", || server.incoming() == 1).await;
    let server = server.restart().await;
    assert_eq!(upload.await.unwrap().unwrap_err().kind, ApiErrorKind::Unreachable);
    server.assert_nothing_left(0).await;
}

#[tokio::test]
async fn the_same_image_many_times_at_once_is_kept_once() {
    let server = Server::start_with(BlobsConfig { imports_at_once: 3, ..Default::default() }).await;
    for bytes in [disk(8), image(&disk(8), "qcow2", &[]), image(&disk(8), "vmdk", &[])] {
        let imports = (0..8).map(|_| server.import(bytes.clone()));
        let kept = futures_util::future::join_all(imports).await;
        let first = kept[0].clone().unwrap();
        assert!(kept.into_iter().all(|other| other.unwrap() == first));
    }
    server.assert_nothing_left(2).await; // the VMDK becomes the very qcow2 that qemu-img makes
}

#[tokio::test]
async fn blobs_are_there_after_a_restart() {
    let server = Server::start().await;
    let (raw, qcow2) = (disk(2), image(&disk(3), "qcow2", &[]));
    let kept = [server.import(raw.clone()).await.unwrap(), server.import(qcow2).await.unwrap()];
    let server = server.restart().await;
    for image in &kept {
        let known = server.client(Role::Cc).blob_info(&caller(), &image.blob.digest).await.unwrap();
        assert_eq!((known.blob, known.content), (image.blob.clone(), image.content));
    }
    assert_eq!(server.read(&kept[0].blob.digest).await, raw);
    assert_eq!(server.import(raw).await.unwrap(), kept[0]);
    server.assert_nothing_left(2).await;
}

#[tokio::test]
async fn a_store_at_its_limit_is_full_and_says_so() {
    let server =
        Server::start_with(BlobsConfig { max_gib: 1, import_max_gib: 1, ..Default::default() }).await;
    let gib = || {
        let block = bytes::Bytes::from(vec![0u8; 1 << 20]);
        reqwest::Body::wrap_stream(stream::iter((0..1023).map(move |_| std::io::Result::Ok(block.clone()))))
    };
    let client = server.client(Role::Admin);
    client.blob_import(&caller(), gib()).await.unwrap();
    let error = server.import(disk(2)).await.unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Full, "{error}");
    assert!(error.message.contains("max_gib"), "{error}");
    server.assert_nothing_left(1).await;
    let compressed = image(&disk(64), "vmdk", &["-o", "subformat=streamOptimized"]);
    assert!(compressed.len() < 1 << 20);
    assert_eq!(server.import(compressed).await.unwrap_err().kind, ApiErrorKind::Full);
    server.assert_nothing_left(1).await;
}

/// A small file system of its own; needs root, as the whole-system tests do.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "karri-test"])
            .arg(directory.path())
            .status();
        assert!(status.unwrap().success(), "mounting a tmpfs needs root");
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing() {
    let small = SmallDisk::mount("12m");
    let cloud = tempfile::tempdir().unwrap();
    let server = Server::start_in(cloud, small.0.path().join("walrus"), BlobsConfig::default()).await;
    let error = server.import(vec![7; 16 << 20]).await.unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Full, "{error}");
    server.assert_nothing_left(0).await;
    let dense: Vec<u8> = (0..16u32 << 20).map(|n| (n >> 9) as u8 | 1).collect();
    let error = server.import(image(&dense, "vmdk", &["-o", "subformat=streamOptimized"])).await;
    assert_eq!(error.unwrap_err().kind, ApiErrorKind::Full);
    server.assert_nothing_left(0).await;
    server.import(vec![7; 4 << 20]).await.unwrap();
    server.assert_nothing_left(1).await;
}

/// A walrus in its own process.
pub struct Process(Child);

impl Process {
    async fn start(cloud: &Path, state_dir: &Path) -> (Self, Endpoint) {
        Self::start_with(cloud, state_dir, "").await
    }

    /// With more of a configuration.
    pub async fn start_with(cloud: &Path, state_dir: &Path, sections: &str) -> (Self, Endpoint) {
        Endpoint::remove(state_dir);
        let config = config(cloud, state_dir, BlobsConfig::default());
        let tls = &config.controller.tls;
        let text = format!(
            "[controller]\nstate_dir = {state_dir:?}\nlisten = \"127.0.0.1:0\"\n\
             [controller.tls]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n{sections}",
            tls.ca, tls.certificate, tls.key
        );
        let file = cloud.join("walrus.toml");
        std::fs::write(&file, text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_karri-walrus")).arg("--config").arg(file).spawn();
        let child = Self(child.unwrap());
        eventually("walrus is ready", || Endpoint::read(state_dir).is_some()).await;
        (child, Endpoint::read(state_dir).unwrap())
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_killed_walrus_starts_again_with_what_it_had_acknowledged_and_nothing_else() {
    let cloud = tempfile::tempdir().unwrap();
    let state = cloud.path().join("state");
    let admin = files(cloud.path(), Role::Admin);
    let (walrus, endpoint) = Process::start(cloud.path(), &state).await;
    let client = InternalClient::new(&endpoint.url, Role::Walrus, &admin).unwrap();
    let kept = client.blob_import(&caller(), disk(2).into()).await.unwrap();
    let unfinished = client.clone();
    let upload = tokio::spawn(async move { unfinished.blob_import(&caller(), endless()).await });
    eventually("the import has begun", || entries(&state.join("incoming")) == 1).await;
    walrus.kill();
    assert!(upload.await.unwrap().is_err());
    assert_eq!(entries(&state.join("incoming")), 1);

    let (_walrus, endpoint) = Process::start(cloud.path(), &state).await;
    let client = InternalClient::new(&endpoint.url, Role::Walrus, &admin).unwrap();
    assert_eq!(client.blob_list(&caller()).await.unwrap(), vec![kept.blob]);
    assert_eq!((entries(&state.join("incoming")), blob_files(&state)), (0, 2));
}

/// Kills at many moments of an import: what is listed afterwards is whole, the rest is gone.
#[tokio::test]
async fn a_kill_at_any_moment_leaves_whole_blobs_only() {
    let cloud = tempfile::tempdir().unwrap();
    let state = cloud.path().join("state");
    let admin = files(cloud.path(), Role::Admin);
    let began = Instant::now();
    for round in 0..12u8 {
        let (walrus, endpoint) = Process::start(cloud.path(), &state).await;
        let client = InternalClient::new(&endpoint.url, Role::Walrus, &admin).unwrap();
        let mut bytes = disk(4);
        bytes[0] = round + 1;
        let bytes = if round % 2 == 0 { bytes } else { image(&bytes, "vmdk", &[]) };
        let (caller, moment) = (caller(), Duration::from_millis(u64::from(round) * 9));
        let _ = tokio::time::timeout(moment, client.blob_import(&caller, bytes.into())).await;
        walrus.kill();
    }
    let (_walrus, endpoint) = Process::start(cloud.path(), &state).await;
    let client = InternalClient::new(&endpoint.url, Role::Walrus, &admin).unwrap();
    let blobs = client.blob_list(&caller()).await.unwrap();
    for blob in &blobs {
        let bytes = client.blob_read(&caller(), &blob.digest, 0).await.unwrap().bytes().await.unwrap();
        assert_eq!(crate::harness::digest(&bytes), blob.digest);
    }
    assert_eq!((entries(&state.join("incoming")), blob_files(&state)), (0, 2 * blobs.len()));
    assert!(began.elapsed() < 3 * DEADLINE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_take_a_file_is_ill() {
    let server = Server::start().await;
    let client = server.client(Role::Admin);
    let health =
        async || client.get_stream("/healthz", "r", 0).await.map(drop).map_err(|error| error.message);
    health().await.unwrap();
    let (incoming, elsewhere) = (server.state_dir.join("incoming"), server.state_dir.join("elsewhere"));
    std::fs::rename(&incoming, &elsewhere).unwrap();
    let wrong = health().await.unwrap_err();
    assert!(wrong.contains("503") && wrong.contains("store: ") && wrong.contains("incoming"), "{wrong}");
    std::fs::rename(&elsewhere, &incoming).unwrap();
    health().await.unwrap();
    server.assert_nothing_left(0).await;
}
