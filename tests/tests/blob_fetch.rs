//! A node's image cache and the image store, over mutual TLS, on a line that breaks again and again.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test
use karri_nc::drive::blobs::WalrusBlobs;
use karri_nc::drive::storage::StorageError;
use karri_nc::drive::storage::images::ImageCache;
use karri_proto::instance::Digest;
use karri_proto::internal::{Caller, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::pki::Authority;
use karri_proto::runtime::process::{Base, Controller, ControllerConfig};
use karri_proto::runtime::tls::TlsFiles;
use karri_walrus::config::{BlobsConfig, StoreConfig};
use karri_walrus::{Config, Walrus};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const IMAGE_BYTES: usize = 4 << 20;
/// Each connection is cut after so many bytes to the node.
const CUT_AFTER: u64 = 1 << 20;
const READ_BYTES: usize = 16 << 10;
const TRIES_MAX: u64 = 20;

fn files(cloud: &Path, role: Role, cluster: &str) -> TlsFiles {
    let authority = Authority::load_or_create(&cloud.join("ca")).unwrap();
    authority.issue_files(&cloud.join(role.as_str()), &Identity::new(role, cluster, "x")).unwrap()
}

fn caller(role: Role) -> Caller {
    Caller { identity: Identity::new(role, "", "x"), request_id: "req-7".to_owned() }
}

/// Hands bytes both ways, and hangs up on whoever has got enough.
async fn broken_line(upstream: String, told: Arc<AtomicU64>, times: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((node, _)) = listener.accept().await {
            let server = TcpStream::connect(&upstream).await.unwrap();
            times.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(hand_on(node, server, told.clone()));
        }
    });
    url
}

async fn hand_on(node: TcpStream, server: TcpStream, told: Arc<AtomicU64>) {
    let (mut from_node, mut to_node) = node.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { drop(tokio::io::copy(&mut from_node, &mut to_server).await) };
    let down = async {
        let (mut buffer, mut sent) = (vec![0; READ_BYTES], 0);
        while sent < CUT_AFTER {
            let Ok(count @ 1..) = from_server.read(&mut buffer).await else { return };
            if to_node.write_all(&buffer[..count]).await.is_err() {
                return;
            }
            sent += count as u64;
            told.fetch_add(count as u64, Ordering::SeqCst);
        }
    };
    tokio::select! { () = up => {}, () = down => {} } // what is left of both is dropped: cut
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_arrives_over_a_line_that_is_cut_and_nothing_is_sent_twice() {
    let cloud = tempfile::tempdir().unwrap();
    let controller = ControllerConfig {
        state_dir: cloud.path().join("walrus-state"),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        observe: None,
        log: "info".to_owned(),
        tls: files(cloud.path(), Role::Walrus, ""),
    };
    let (base, _stopper) = Base::new(&controller, "walrus x").unwrap();
    let config =
        Config { controller, blobs: BlobsConfig::default(), s3: None, store: StoreConfig::default() };
    let endpoint = Walrus::start(config, base).await.unwrap();
    let image: Vec<u8> = (0..IMAGE_BYTES).map(|at| (at / 512 * 7 + at % 251 + 1) as u8).collect();
    let admin =
        InternalClient::new(&endpoint.url, Role::Walrus, &files(cloud.path(), Role::Admin, "")).unwrap();
    let blob = admin.blob_import(&caller(Role::Admin), image.clone().into()).await.unwrap().blob;

    let (told, times) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let upstream = endpoint.url.trim_start_matches("https://").to_owned();
    let line = broken_line(upstream, told.clone(), times.clone()).await;
    let node = InternalClient::new(&line, Role::Walrus, &files(cloud.path(), Role::Nc, "zone-a")).unwrap();
    let source = Arc::new(WalrusBlobs::new(node, caller(Role::Nc)));
    let cache = ImageCache::open(&cloud.path().join("images"), u64::MAX, source).unwrap();
    let nobody = || HashSet::<Digest>::new();
    let mut cuts = 0u64;
    let path = loop {
        match cache.get(&blob, &nobody).await {
            Ok(path) => break path,
            Err(StorageError::Later(_)) => cuts += 1,
            Err(other) => panic!("{other}"),
        }
        assert!(cuts < TRIES_MAX, "it begins anew each time");
    };
    assert!(std::fs::read(path).unwrap() == image);
    assert!(cuts >= IMAGE_BYTES as u64 / CUT_AFTER - 1, "the line broke {cuts} times");
    // What was on its way when the line was cut came twice, and a handshake is a few kilobytes.
    let (told, times) = (told.load(Ordering::SeqCst), times.load(Ordering::SeqCst));
    assert!(told < IMAGE_BYTES as u64 * 3 / 2, "{told} bytes were sent over {times} connections");
}
