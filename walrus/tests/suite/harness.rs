//! A walrus in this process (or in its own, to be killed), its cloud's certificates, and image makers.

use karri_proto::instance::Digest;
use karri_proto::internal::blobs::ImportedBlob;
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::pki::Authority;
use karri_proto::runtime::process::{Base, Controller, ControllerConfig, Stopper};
use karri_proto::runtime::tls::{self, TlsFiles};
use karri_walrus::config::{BlobsConfig, StoreConfig};
use karri_walrus::{Config, Walrus};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct Server {
    pub cloud: TempDir,
    pub state_dir: PathBuf,
    pub endpoint: Endpoint,
    stopper: Stopper,
}

pub fn files(cloud: &Path, role: Role) -> TlsFiles {
    let authority = Authority::load_or_create(&cloud.join("ca")).unwrap();
    let identity = Identity::new(role, if matches!(role, Role::Cc | Role::Nc) { "zone-a" } else { "" }, "x");
    authority.issue_files(&cloud.join(role.as_str()), &identity).unwrap()
}

pub fn config(cloud: &Path, state_dir: &Path, blobs: BlobsConfig) -> Config {
    let controller = ControllerConfig {
        state_dir: state_dir.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        observe: Some("127.0.0.1:0".parse().unwrap()),
        log: "info".to_owned(),
        tls: files(cloud, Role::Walrus),
    };
    Config { controller, blobs, s3: None, store: StoreConfig::default() }
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(BlobsConfig::default()).await
    }

    pub async fn start_with(blobs: BlobsConfig) -> Self {
        let cloud = tempfile::tempdir().unwrap();
        let state_dir = cloud.path().join("walrus-state");
        Self::start_in(cloud, state_dir, blobs).await
    }

    pub async fn start_in(cloud: TempDir, state_dir: PathBuf, blobs: BlobsConfig) -> Self {
        let config = config(cloud.path(), &state_dir, blobs);
        let (base, stopper) = Base::new(&config.controller, "walrus x").unwrap();
        let endpoint = Walrus::start(config, base).await.unwrap();
        Self { cloud, state_dir, endpoint, stopper }
    }

    /// Stops it and starts another on the same state.
    pub async fn restart(self) -> Self {
        self.stopper.stop().await;
        Self::start_in(self.cloud, self.state_dir, BlobsConfig::default()).await
    }

    pub fn client(&self, role: Role) -> InternalClient {
        InternalClient::new(&self.endpoint.url, Role::Walrus, &files(self.cloud.path(), role)).unwrap()
    }

    /// For what the typed client does not do.
    pub fn http(&self, role: Role) -> reqwest::Client {
        let tls = tls::client_config(&files(self.cloud.path(), role), Role::Walrus).unwrap();
        reqwest::Client::builder().use_preconfigured_tls(tls).no_proxy().build().unwrap()
    }

    pub async fn import(&self, bytes: Vec<u8>) -> Result<ImportedBlob, ApiError> {
        self.client(Role::Admin).blob_import(&caller(), bytes.into()).await
    }

    pub async fn read(&self, digest: &Digest) -> Vec<u8> {
        let answer = self.client(Role::Nc).blob_read(&caller(), digest, 0).await.unwrap();
        answer.bytes().await.unwrap().to_vec()
    }

    /// From the plain listener, as Prometheus would.
    pub async fn metrics(&self) -> String {
        let address = self.endpoint.observe_url.as_deref().unwrap().trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub fn incoming(&self) -> usize {
        entries(&self.state_dir.join("incoming"))
    }

    /// Nothing of any import is left: no file, no reserved space.
    pub async fn assert_nothing_left(&self, blobs: usize) {
        eventually("incoming/ is empty", || self.incoming() == 0).await;
        assert_eq!(self.client(Role::Admin).blob_list(&caller()).await.unwrap().len(), blobs);
        assert_eq!(blob_files(&self.state_dir), 2 * blobs, "each blob has two files");
        let metrics = self.metrics().await;
        assert!(metrics.contains("karri_walrus_incoming_bytes 0\n"), "{metrics}");
    }
}

pub fn entries(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

pub fn blob_files(state_dir: &Path) -> usize {
    let directories = std::fs::read_dir(state_dir.join("blobs")).unwrap();
    directories.map(|directory| entries(&directory.unwrap().path())).sum()
}

pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn caller() -> Caller {
    Caller { identity: Identity::new(Role::Admin, "", "x"), request_id: "req-7".to_owned() }
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

pub fn qemu_img(directory: &Path, arguments: &[&str]) {
    let output = Command::new("qemu-img").args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A disk of `mib` MiB with recognisable bytes here and there and holes between.
pub fn disk(mib: usize) -> Vec<u8> {
    let mut disk = vec![0; mib << 20];
    for (number, sector) in disk.chunks_mut(512).enumerate().filter(|(number, _)| number % 977 == 0) {
        sector.fill((number % 251) as u8 + 1);
    }
    disk
}

/// `disk` as `format` with qemu-img's options.
pub fn image(disk: &[u8], format: &str, options: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("disk.raw"), disk).unwrap();
    let mut arguments = vec!["convert", "-f", "raw", "-O", format];
    arguments.extend_from_slice(options);
    arguments.extend_from_slice(&["disk.raw", "disk.image"]);
    qemu_img(directory.path(), &arguments);
    std::fs::read(directory.path().join("disk.image")).unwrap()
}

/// The guest's bytes of an image that Walrus has kept.
pub fn as_guest_sees(bytes: &[u8], format: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("in"), bytes).unwrap();
    qemu_img(directory.path(), &["convert", "-f", format, "-O", "raw", "in", "out"]);
    std::fs::read(directory.path().join("out")).unwrap()
}
