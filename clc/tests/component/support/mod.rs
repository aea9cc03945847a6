//! A whole cloud controller in the test process, with what surrounds it.

pub mod answer;
pub mod bundles;
pub mod client;
pub mod cluster;
pub mod exports;
pub mod facts;
pub mod groups;
pub mod instance_bundles;
pub mod memory;
mod migrated;
pub mod networks;
pub mod postgres;
pub mod vpc;
pub mod walrus;

pub use answer::Answer;
pub use client::Client;
pub use cluster::FakeCluster;
use postgres::NewDatabase;
use walrus::FakeWalrus;

use karri_clc::Clc;
use karri_clc::app::image::{Image, ImageKind, ImageState};
use karri_clc::app::key_pair::KeyPair;
use karri_clc::config::{
    ApiConfig, CatalogueConfig, Config, DatabaseConfig, Limits, NetworkConfig, PkiConfig, SecretsConfig,
};
use karri_clc::store::Store;
use karri_proto::instance::{BlobFormat, BlobRef, Digest, Firmware};
use karri_proto::internal::admin::{AdminService, NewAccount, NewKey, NewPolicy, NewUser};
use karri_proto::internal::{Caller, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::pki::Authority;
use karri_proto::runtime::process::{Base, Controller, ControllerConfig, Stopper};
use karri_proto::runtime::tls::TlsFiles;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const REGION: &str = "karri-1";
/// The public addresses that there are to be given out, and how many.
const PUBLIC_RANGE: &str = "198.18.0.0/28";
pub const PUBLIC_ADDRESSES: usize = 14;
pub const IMAGE: &str = "ami-00000000000000001";
const PATIENCE: Duration = Duration::from_secs(20);
/// A machine that is busy with something else gets to fewer looks in that time: it has not waited in vain yet.
const LOOKS_LEAST: u32 = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// Runs a test on each engine.
macro_rules! on_both {
    ($($name:ident)*) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name($crate::support::Cloud::start($crate::support::Database::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name($crate::support::Cloud::start($crate::support::Database::Postgres).await).await;
            }
        }
    )*};
}

pub struct Cloud {
    directory: TempDir,
    pub config: Config,
    pub endpoint: Endpoint,
    pub walrus: FakeWalrus,
    stopper: Option<Stopper>,
    _database: Option<NewDatabase>,
}

fn instance_types(directory: &Path) -> PathBuf {
    let path = directory.join("instance-types.toml");
    std::fs::write(&path, include_str!("../../../../deploy/config/instance-types.toml")).unwrap();
    path
}

const SQLITE_FILE: &str = "clc.sqlite";

/// An empty one, with what keeps it.
pub async fn database(directory: &Path, engine: Database) -> (DatabaseConfig, Option<NewDatabase>) {
    match engine {
        Database::Sqlite => {
            let url = format!("sqlite://{}/{SQLITE_FILE}", directory.display());
            (DatabaseConfig { url, connections: 2 }, None)
        }
        Database::Postgres => {
            let new = postgres::new_database().await;
            (config_of(&new), Some(new))
        }
    }
}

fn config_of(new: &NewDatabase) -> DatabaseConfig {
    DatabaseConfig { url: new.url.clone(), connections: 4 }
}

fn files(directory: &Path, identity: &Identity) -> TlsFiles {
    let authority = Authority::load_or_create(&directory.join("ca")).unwrap();
    let name = format!("{}-{}", identity.role.as_str(), identity.name);
    authority.issue_files(&directory.join(name), identity).unwrap()
}

impl Cloud {
    pub async fn start(engine: Database) -> Self {
        Self::start_with(engine, Limits::default()).await
    }

    pub async fn start_with(engine: Database, limits: Limits) -> Self {
        let public_addresses = vec![PUBLIC_RANGE.into()];
        Self::start_as(engine, limits, NetworkConfig { public_addresses, ..NetworkConfig::default() }).await
    }

    pub async fn start_as(engine: Database, limits: Limits, network: NetworkConfig) -> Self {
        let directory = memory::directory("karri-clc-");
        let path = directory.path();
        let walrus = FakeWalrus::start(path).await;
        if let Ok(filter) = std::env::var("KARRI_TEST_LOG") {
            karri_proto::runtime::telemetry::init(&filter, "clc", &path.join("log")).unwrap();
        }
        let (database, kept) = migrated::migrated(path, engine).await;
        let any = "127.0.0.1:0".parse().unwrap();
        let config = Config {
            controller: ControllerConfig {
                state_dir: path.join("state"),
                listen: any,
                advertise: None,
                observe: None,
                log: "info".into(),
                tls: files(path, &Identity::new(Role::Clc, "", "clc")),
            },
            api: ApiConfig {
                listen: any,
                region: REGION.into(),
                also_accept_regions: Vec::new(),
                body_bytes_max: 1 << 20,
                answer_cache_mib: 8,
            },
            database,
            secrets: SecretsConfig { key_file: path.join("secrets.key") },
            limits,
            network,
            catalogue: CatalogueConfig { instance_types: instance_types(path) },
            pki: PkiConfig { ca_dir: path.join("ca"), walrus_url: walrus.url.clone() },
        };
        let (endpoint, stopper) = launch(&config).await;
        Self { directory, config, endpoint, walrus, stopper: Some(stopper), _database: kept }
    }

    pub async fn stop(&mut self) {
        if let Some(stopper) = self.stopper.take() {
            stopper.stop().await;
        }
    }

    /// Starts it anew over the same database and files.
    pub async fn start_again(&mut self) {
        let (endpoint, stopper) = launch(&self.config).await;
        (self.endpoint, self.stopper) = (endpoint, Some(stopper));
    }

    /// Another controller over the same database.
    pub async fn second(&self) -> (Endpoint, Stopper) {
        let mut config = self.config.clone();
        config.controller.state_dir = self.path().join("second");
        launch(&config).await
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn files(&self, role: Role, cluster: &str, name: &str) -> TlsFiles {
        files(self.path(), &Identity::new(role, cluster, name))
    }

    /// The operator's way in.
    pub fn admin(&self) -> (InternalClient, Caller) {
        let client =
            InternalClient::new(&self.endpoint.url, Role::Clc, &self.files(Role::Admin, "", "operator"))
                .unwrap();
        let identity = Identity::new(Role::Admin, "", "operator");
        (client, Caller { identity, request_id: "req-admin".into() })
    }

    pub async fn store(&self) -> Store {
        Store::open(&self.config.database).await.unwrap()
    }

    /// An account with a user of these policies, and a client with the user's key.
    pub async fn user(&self, account: &str, user: &str, policies: &[&str]) -> Client {
        let (admin, caller) = self.admin();
        if !admin.account_list(&caller).await.unwrap().iter().any(|known| known.name == account) {
            let new = NewAccount { name: account.into(), administrator: account == "admin", email: None };
            admin.account_create(&caller, new).await.unwrap();
        }
        let policies = policies.iter().map(|policy| NewPolicy::from(*policy)).collect();
        let new = NewUser { account: account.into(), name: user.into(), policies };
        admin.user_create(&caller, new).await.unwrap();
        let new = NewKey {
            account: account.into(),
            user: user.into(),
            access_key_id: None,
            secret_access_key: None,
        };
        let key = admin.key_create(&caller, new).await.unwrap();
        Client::new(&self.endpoint, &key)
    }

    /// An ordinary account's user who may do everything.
    pub async fn owner(&self) -> Client {
        self.user("acme", "alice", &["AdministratorAccess"]).await
    }

    /// A cluster with nodes of 4 vCPUs, 8 GiB and 100 GiB, known to the cloud, and an image to start.
    pub async fn cluster(&self, zone: &str, nodes: usize) -> FakeCluster {
        self.cluster_at(zone, nodes, "172.31.0.0/20").await
    }

    pub async fn cluster_at(&self, zone: &str, nodes: usize, subnet_cidr: &str) -> FakeCluster {
        let cluster = FakeCluster::start(self, zone, nodes, subnet_cidr).await;
        cluster.hello(self).await;
        cluster.wait_until_heard(0).await;
        let store = self.store().await;
        if store.image_fetch(IMAGE).await.unwrap().is_none() {
            assert!(store.image_insert(&image(), &Vec::new()).await.unwrap());
        }
        store.close().await;
        cluster
    }

    pub async fn key_pair(&self, account: &str, name: &str) {
        let pair = KeyPair {
            id: format!("key-{:017x}", name.len()),
            account: account.into(),
            name: name.into(),
            kind: "ed25519".into(),
            fingerprint: "f".into(),
            openssh: "ssh-ed25519 AAAA test".into(),
            created_ms: 0,
        };
        self.store().await.key_pair_insert(&pair, &Vec::new()).await.unwrap();
    }
}

async fn launch(config: &Config) -> (Endpoint, Stopper) {
    let (base, stopper) = Base::new(&config.controller, "clc").unwrap();
    (Clc::start(config.clone(), base).await.unwrap(), stopper)
}

pub fn image() -> Image {
    Image {
        id: IMAGE.into(),
        account: "000000000000".into(),
        name: "tiny".into(),
        state: ImageState::Available,
        public: true,
        kind: ImageKind::Machine,
        definition: serde_json::from_value(serde_json::json!({
            "blob": BlobRef {
                digest: Digest::from_sha256([7; 32]),
                format: BlobFormat::Raw,
                bytes: 1 << 20,
                virtual_bytes: 1 << 30,
            },
            "architecture": "x86_64",
            "firmware": Firmware::Bios,
            "root_device_name": "/dev/xvda",
            "location": "",
        }))
        .unwrap(),
        created_ms: 0,
        request_id: String::new(),
    }
}

/// Waits until `condition` gives something; panics with `what` when it takes too long and too many looks.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let (start, mut looks) = (Instant::now(), 0);
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        looks += 1;
        assert!(start.elapsed() < PATIENCE || looks < LOOKS_LEAST, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await; // the pause between two looks
    }
}
