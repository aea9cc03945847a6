//! What the integration tests stand on: a cloud CA, a Walrus and a cc of a few lines, and a node
//! controller in this process, all over real mutual TLS.
#![allow(dead_code)] // each test binary uses its own part

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use karri_nc::{Config, Nc};
use karri_proto::ids::{InstanceId, MachineImageId, NetworkInterfaceId, ReservationId, SecurityGroupId};
use karri_proto::instance::*;
use karri_proto::internal::facts::{FactService, FactsPage};
use karri_proto::internal::instances::{ConsoleOutput, Cursor, InstanceService};
use karri_proto::internal::nodes::{NodeHello, NodeService, NodeWelcome};
use karri_proto::internal::{ApiError, Caller, Identity, Role, nodes};
use karri_proto::network::{Direction, Fact, FactChange, GroupRule, Net4, Peer, PortFact, Traffic};
use karri_proto::resources::Need;
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::pki::Authority;
use karri_proto::runtime::process::{Base, Controller, Stopper};
use karri_proto::runtime::server::{ShutdownTrigger, serve, shutdown_pair};
use karri_proto::runtime::tls::{self, TlsFiles};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

pub const CLUSTER: &str = "zone-a";

/// One cloud for one test: its files are removed at the end.
pub struct Cloud {
    pub directory: tempfile::TempDir,
    authority: Authority,
    pub hellos: Arc<Mutex<HashMap<String, NodeHello>>>,
    pub walrus: FakeWalrus,
    pub cc_url: String,
    pub walrus_url: String,
    _servers: Vec<ShutdownTrigger>,
}

#[derive(Clone, Default)]
pub struct FakeWalrus {
    files: Arc<Mutex<HashMap<String, PathBuf>>>,
    pub requests: Arc<Mutex<Vec<String>>>,
}

struct FakeCc(Arc<Mutex<HashMap<String, NodeHello>>>);

#[async_trait]
impl NodeService for FakeCc {
    async fn node_hello(&self, caller: &Caller, hello: NodeHello) -> Result<NodeWelcome, ApiError> {
        assert!(nodes::may_be_called(&caller.identity, &hello.facts.name));
        self.0.lock().unwrap().insert(hello.facts.name.clone(), hello);
        Ok(NodeWelcome {
            zone: CLUSTER.into(),
            subnet_cidr: "172.31.0.0/20".into(),
            gateway: "172.31.0.1".parse().unwrap(),
            tunnels: Vec::new(),
        })
    }
}

async fn blob(
    State(walrus): State<FakeWalrus>,
    UrlPath(digest): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    let range = headers.get("range").and_then(|value| value.to_str().ok()).unwrap_or("bytes=0-");
    walrus.requests.lock().unwrap().push(format!("{digest} {range}"));
    let Some(path) = walrus.files.lock().unwrap().get(&digest).cloned() else {
        return ApiError::not_found(format!("no blob {digest}")).into_response();
    };
    let offset: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    let bytes = std::fs::read(path).unwrap();
    (StatusCode::PARTIAL_CONTENT, Body::from(bytes[offset..].to_vec())).into_response()
}

impl Cloud {
    pub async fn start() -> Self {
        // The log of a failed test is its explanation.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let directory = tempfile::tempdir().unwrap();
        // libvirt's QEMU may run as another user.
        set_mode(directory.path(), 0o755);
        let authority = Authority::load_or_create(&directory.path().join("ca")).unwrap();
        let mut cloud = Self {
            directory,
            authority,
            hellos: Arc::default(),
            walrus: FakeWalrus::default(),
            cc_url: String::new(),
            walrus_url: String::new(),
            _servers: Vec::new(),
        };
        let cc = nodes::router(Arc::new(FakeCc(cloud.hellos.clone())));
        cloud.cc_url = cloud.serve(Identity::new(Role::Cc, CLUSTER, "cc"), cc).await;
        let walrus = Router::new().route("/v1/blobs/{digest}", get(blob)).with_state(cloud.walrus.clone());
        cloud.walrus_url = cloud.serve(Identity::new(Role::Walrus, "", "walrus"), walrus).await;
        cloud
    }

    async fn serve(&mut self, identity: Identity, router: Router) -> String {
        let config = tls::server_config(&self.files(&identity)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (trigger, shutdown) = shutdown_pair();
        tokio::spawn(serve(listener, Some(config), router, shutdown));
        self._servers.push(trigger);
        url
    }

    pub fn files(&self, identity: &Identity) -> TlsFiles {
        let directory = self.directory.path().join(identity.to_string().replace(':', "_"));
        self.authority.issue_files(&directory, identity).unwrap()
    }

    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().join("nc")
    }

    /// `extra` is TOML after the two sections that every test needs.
    pub fn config(&self, node: &str, extra: &str) -> Config {
        let files = self.files(&Identity::new(Role::Nc, CLUSTER, node));
        let text = format!(
            "[controller]\nstate_dir = {:?}\nlisten = \"127.0.0.1:0\"\n[controller.tls]\nca = {:?}\ncertificate = {:?}\n\
             key = {:?}\n[node]\ncc_url = {:?}\nwalrus_url = {:?}\n{extra}",
            self.state_dir(),
            files.ca,
            files.certificate,
            files.key,
            self.cc_url,
            self.walrus_url
        );
        let config: Config = toml::from_str(&text).unwrap();
        Nc::check(&config).unwrap();
        config
    }

    pub async fn node(&self, config: &Config) -> RunningNode {
        let (base, stopper) = Base::new(&config.controller, "nc test").unwrap();
        let endpoint = Nc::start(config.clone(), base).await.unwrap();
        RunningNode { endpoint, stopper }
    }

    /// The cc's own client of a node.
    pub fn cc_client(&self, url: &str) -> Client {
        self.client_of(Identity::new(Role::Cc, CLUSTER, "cc"), url)
    }

    pub fn client_of(&self, identity: Identity, url: &str) -> Client {
        let client = InternalClient::new(url, Role::Nc, &self.files(&identity)).unwrap();
        Client { client, caller: Caller { identity, request_id: "req-test".into() } }
    }

    pub async fn hello_of(&self, node: &str) -> NodeHello {
        eventually("the node says hello", Duration::from_secs(30), || async {
            self.hellos.lock().unwrap().get(node).cloned()
        })
        .await
    }

    /// Offers a file as a blob.
    pub fn blob(&self, path: &Path, format: BlobFormat, virtual_bytes: u64) -> BlobRef {
        let bytes = std::fs::read(path).unwrap();
        let digest = Digest::from_sha256(Sha256::digest(&bytes).into());
        self.walrus.files.lock().unwrap().insert(digest.to_string(), path.to_owned());
        BlobRef { digest, format, bytes: bytes.len() as u64, virtual_bytes }
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub struct RunningNode {
    pub endpoint: Endpoint,
    pub stopper: Stopper,
}

pub struct Client {
    pub client: InternalClient,
    pub caller: Caller,
}

impl Client {
    pub async fn put(&self, intent: &InstanceIntent) -> InstanceReport {
        self.client.instance_put(&self.caller, intent.clone()).await.unwrap()
    }

    /// Tells the node that the instance's groups let out what it sends.
    pub async fn may_send(&self, intent: &InstanceIntent) {
        let port = &intent.spec.ports[0];
        let groups: Vec<SecurityGroupId> = port.groups.iter().map(|(id, _)| id.clone()).collect();
        let rule = GroupRule {
            group: groups[0].clone(),
            id: "sgr-00000001".parse().unwrap(),
            direction: Direction::Egress,
            traffic: Traffic::All,
            peer: Peer::V4(Net4::EVERYWHERE),
            part_of: None,
        };
        let (id, vpc) = (port.id.clone(), port.vpc_id.clone());
        let port = PortFact { id, vpc, addresses: vec![port.private_ip], groups };
        let changes = [Fact::Rule(rule), Fact::Port(port)].map(FactChange::Put).to_vec();
        let page = FactsPage { epoch: 1, from: None, to: 1, caught_up: true, changes };
        self.client.facts_put(&self.caller, page).await.unwrap();
    }

    pub async fn forget(&self, id: &InstanceId) -> Result<(), ApiError> {
        self.client.instance_forget(&self.caller, id).await
    }

    pub async fn console(&self, id: &InstanceId) -> String {
        use base64::Engine;
        let ConsoleOutput { base64, .. } = self.client.instance_console(&self.caller, id).await.unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub async fn reports(&self) -> HashMap<InstanceId, InstanceReport> {
        let (mut all, mut cursor) = (HashMap::new(), Cursor::default());
        loop {
            let page = self.client.instance_reports(&self.caller, cursor, Duration::ZERO).await.unwrap();
            all.extend(page.reports.into_iter().map(|report| (report.id.clone(), report)));
            cursor = page.next;
            if page.caught_up {
                return all;
            }
        }
    }

    pub async fn wait_for(&self, id: &InstanceId, phase: Phase, limit: Duration) -> InstanceReport {
        let what = format!("{id} is {phase:?}");
        eventually(&what, limit, || async {
            let report = self.reports().await.remove(id)?;
            assert!(
                report.phase != Phase::Failed || phase == Phase::Failed,
                "{id} failed: {:?}",
                report.reason
            );
            (report.phase == phase).then_some(report)
        })
        .await
    }
}

/// Asks again and again until there is an answer; panics at the limit.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn random_id() -> InstanceId {
    InstanceId::random(&mut rand::thread_rng())
}

pub fn blob_of_nothing() -> BlobRef {
    BlobRef { digest: Digest::from_sha256([0; 32]), format: BlobFormat::Raw, bytes: 1, virtual_bytes: 1 }
}

pub fn intent(root: BlobRef) -> InstanceIntent {
    let mut rng = rand::thread_rng();
    InstanceIntent {
        id: InstanceId::random(&mut rng),
        account: "000000000001".into(),
        generation: 1,
        attempt: 1,
        desired: Desired::Running,
        reboots: 0,
        force: false,
        capture: None,
        request_id: "req-1".into(),
        spec: InstanceSpec {
            instance_type: "t3.micro".into(),
            need: Need { vcpus: 1, memory_mib: 128, disk_gib: 1 },
            boot: BootSource { root, kernel: None, ramdisk: None, firmware: Firmware::Bios },
            ports: vec![PortSpec {
                id: NetworkInterfaceId::random(&mut rng),
                mac: "02:00:00:00:00:05".into(),
                private_ip: "172.31.0.5".parse().unwrap(),
                subnet_id: "subnet-0123456789abcdef0".parse().unwrap(),
                segment: 0,
                subnet_cidr: "172.31.0.0/20".into(),
                vpc_id: "vpc-0123456789abcdef0".parse().unwrap(),
                vpc_cidr: "172.31.0.0/16".into(),
                more_vpc_cidrs: Vec::new(),
                gateway: "172.31.0.1".parse().unwrap(),
                groups: vec![(SecurityGroupId::random(&mut rng), "default".into())],
                public: None,
                learns_address: false,
                forwarded: Vec::new(),
                device_index: 0,
                secondary: Vec::new(),
                source_dest_check: true,
            }],
            user_data_base64: None,
            key: None,
            hostname: "ip-172-31-0-5.karri.internal".into(),
            metadata: MetadataOptions::default(),
            image_id: MachineImageId::random(&mut rng),
            kernel_id: None,
            ramdisk_id: None,
            architecture: "x86_64".into(),
            paravirtual: false,
            reservation_id: ReservationId::random(&mut rng),
            launch_index: 0,
            launched_at_unix_ms: 1_700_000_000_000,
            region: "karri".into(),
            zone: CLUSTER.into(),
            root_device_name: "/dev/sda1".into(),
            tags: vec![("Name".into(), "one".into())],
        },
    }
}

/// The intent after one more wish of the user's.
pub fn wish(intent: &InstanceIntent, desired: Desired) -> InstanceIntent {
    InstanceIntent { generation: intent.generation + 1, desired, ..intent.clone() }
}
