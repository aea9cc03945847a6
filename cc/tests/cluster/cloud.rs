//! The cloud around the cluster controller under test: its authority, its database, the pretended clc.

use crate::node::FakeNode;
use async_trait::async_trait;
use karri_cc::config::{ClusterConfig, Config, DatabaseConfig, NetworkConfig, NetworkMode, PlacementConfig};
use karri_cc::drive::simulated::Simulated;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{InstanceIntent, InstanceReport, Phase};
use karri_proto::internal::clusters::{self, ClusterHello, ClusterService, ClusterWelcome};
use karri_proto::internal::instances::{Cursor, InstanceService};
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::network::RegionNames;
use karri_proto::resources::ClusterResources;
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::pki::Authority;
use karri_proto::runtime::process::{Base, ControllerConfig, Stopper};
use karri_proto::runtime::server::{ShutdownTrigger, serve, shutdown_pair};
use karri_proto::runtime::tls::{TlsFiles, server_config};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub const ZONE: &str = "zone-a";
const DEADLINE: Duration = Duration::from_secs(30);

pub struct Cloud {
    pub directory: tempfile::TempDir,
    authority: Authority,
    clc_url: String,
    _clc: ShutdownTrigger,
    hellos: watch::Receiver<Option<ClusterHello>>,
    /// Certificates that the clc says are to be refused.
    pub revoked: Arc<Mutex<Option<Vec<String>>>>,
    /// What it says that addresses are called.
    pub names: Arc<Mutex<Option<RegionNames>>>,
    pub network: Simulated,
    placement: PlacementConfig,
    pub cc_url: String,
    running: Option<Stopper>,
}

struct FakeClc {
    hellos: watch::Sender<Option<ClusterHello>>,
    revoked: Arc<Mutex<Option<Vec<String>>>>,
    names: Arc<Mutex<Option<RegionNames>>>,
}

#[async_trait]
impl ClusterService for FakeClc {
    async fn cluster_hello(&self, _: &Caller, hello: ClusterHello) -> Result<ClusterWelcome, ApiError> {
        self.hellos.send_replace(Some(hello));
        let (revoked, names) = (self.revoked.lock().unwrap().clone(), self.names.lock().unwrap().clone());
        Ok(ClusterWelcome { region: "karri".to_owned(), revoked, names })
    }
}

impl Cloud {
    /// With a running cluster controller.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// `placement`: keys of that section, as they stand in a file.
    pub async fn start_with(placement: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&directory.path().join("ca")).unwrap();
        let (sender, hellos) = watch::channel(None);
        let revoked = Arc::<Mutex<Option<Vec<String>>>>::default();
        let names = Arc::<Mutex<Option<RegionNames>>>::default();
        let clc_files = authority
            .issue_files(&directory.path().join("clc"), &Identity::new(Role::Clc, "", "clc"))
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clc_url = format!("https://{}", listener.local_addr().unwrap());
        let (trigger, shutdown) = shutdown_pair();
        let clc = FakeClc { hellos: sender, revoked: revoked.clone(), names: names.clone() };
        let router = clusters::router(Arc::new(clc));
        tokio::spawn(serve(listener, Some(server_config(&clc_files).unwrap()), router, shutdown));
        let mut cloud = Self {
            directory,
            authority,
            clc_url,
            _clc: trigger,
            hellos,
            revoked,
            names,
            network: Simulated::default(),
            placement: PlacementConfig { node_lost_secs: 3, ..toml::from_str(placement).unwrap() },
            cc_url: String::new(),
            running: None,
        };
        cloud.start_cc("127.0.0.1:0").await;
        cloud
    }

    pub fn files(&self, role: Role, cluster: &str, name: &str) -> TlsFiles {
        let directory = self.directory.path().join(format!("{}-{cluster}-{name}", role.as_str()));
        self.authority.issue_files(&directory, &Identity::new(role, cluster, name)).unwrap()
    }

    fn config(&self, listen: &str) -> Config {
        Config {
            controller: ControllerConfig {
                state_dir: self.state_dir(),
                listen: listen.parse().unwrap(),
                advertise: None,
                observe: None,
                log: "info".to_owned(),
                tls: self.files(Role::Cc, ZONE, ZONE),
            },
            cluster: ClusterConfig { zone: ZONE.to_owned(), extends: false, clc_url: self.clc_url.clone() },
            network: NetworkConfig {
                driver: Default::default(),
                trunk: None,
                vlan_first: None,
                vlan_last: None,
                tunnel_address: Some([192, 0, 2, 1].into()),
                tunnel_mtu: 1500,
                vxlan_port: 4789,
                public_interface: None,
                masquerade_public: None,
                mode: NetworkMode::None,
                bridge: "unused".to_owned(),
                subnet: "172.31.0.0/20".parse().unwrap(),
                gateway: [172, 31, 0, 1].into(),
                pairs: Vec::new(),
                forwarded: vec![22],
                dns: Vec::new(),
                run_dir: self.state_dir(),
            },
            placement: self.placement.clone(),
            database: DatabaseConfig::default(),
        }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().join("cc")
    }

    async fn start_cc(&mut self, listen: &str) {
        let mut started = None;
        until("the cluster controller listens", async || {
            let config = self.config(listen);
            let (base, stopper) = Base::new(&config.controller, "cc zone-a").unwrap();
            match karri_cc::start_with(config, base, Box::new(self.network.clone())).await {
                Ok(endpoint) => started = Some((endpoint.url, stopper)),
                Err(error) => {
                    // Its port is a connection's of somebody else for now.
                    assert!(format!("{error:#}").contains("Address already in use"), "{error:#}");
                    stopper.stop().await;
                }
            }
            started.is_some()
        })
        .await;
        let (url, stopper) = started.unwrap();
        self.cc_url = url;
        self.running = Some(stopper);
    }

    pub async fn stop_cc(&mut self) {
        self.running.take().unwrap().stop().await;
    }

    /// The same database, the same address.
    pub async fn restart_cc(&mut self) {
        if self.running.is_some() {
            self.stop_cc().await;
        }
        let address = self.cc_url.strip_prefix("https://").unwrap().to_owned();
        self.start_cc(&address).await;
    }

    pub fn client(&self, role: Role, cluster: &str, name: &str) -> InternalClient {
        InternalClient::new(&self.cc_url, Role::Cc, &self.files(role, cluster, name)).unwrap()
    }

    pub fn clc(&self) -> Clc {
        Clc {
            client: self.client(Role::Clc, "", "clc"),
            cursor: Cursor::default(),
            known: BTreeMap::new(),
            resources: None,
        }
    }

    /// A node that is known to the cluster and has been heard.
    pub async fn node(&self, name: &str, vcpus: u32) -> FakeNode {
        let files = self.files(Role::Nc, ZONE, name);
        FakeNode::start(name, vcpus, files, &self.cc_url).await
    }

    pub async fn cluster_hello(&mut self) -> ClusterHello {
        let wait = self.hellos.wait_for(Option::is_some);
        tokio::time::timeout(DEADLINE, wait).await.unwrap().unwrap().clone().unwrap()
    }
}

pub fn caller(request_id: &str) -> Caller {
    // The identity is the certificate's; this one is not sent.
    Caller { identity: Identity::new(Role::Clc, "", "clc"), request_id: request_id.to_owned() }
}

/// The cloud controller's view: everything it was told.
pub struct Clc {
    pub client: InternalClient,
    cursor: Cursor,
    known: BTreeMap<InstanceId, InstanceReport>,
    pub resources: Option<ClusterResources>,
}

impl Clc {
    pub async fn put(&self, intent: &InstanceIntent) -> InstanceReport {
        self.client.instance_put(&caller(&intent.request_id), intent.clone()).await.unwrap()
    }

    pub async fn forget(&self, id: &InstanceId) -> Result<(), ApiError> {
        self.client.instance_forget(&caller("forget"), id).await
    }

    async fn listen(&mut self) {
        let page = self
            .client
            .instance_reports(&caller("reports"), self.cursor, Duration::from_secs(2))
            .await
            .unwrap();
        if page.restarted {
            self.known.clear();
        }
        self.cursor = page.next;
        self.known.extend(page.reports.into_iter().map(|report| (report.id.clone(), report)));
        self.resources = page.resources.or(self.resources.take());
    }

    /// Listens until what was reported is as wanted.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Clc) -> bool) {
        let heard = async {
            while !wanted(self) {
                self.listen().await;
            }
        };
        if tokio::time::timeout(DEADLINE, heard).await.is_err() {
            panic!("{what}: not reported in time; known: {:#?} {:#?}", self.known, self.resources);
        }
    }

    pub fn report(&self, id: &InstanceId) -> Option<&InstanceReport> {
        self.known.get(id)
    }

    pub fn reports(&self) -> impl Iterator<Item = &InstanceReport> {
        self.known.values()
    }

    pub async fn until_phase(&mut self, intent: &InstanceIntent, phase: Phase) -> InstanceReport {
        let (id, generation) = (&intent.id, intent.generation);
        let reached = |report: &InstanceReport| report.phase == phase && report.covers(generation, 0);
        self.until(&format!("{id} {phase:?}"), |clc| clc.report(id).is_some_and(reached)).await;
        self.known[id].clone()
    }

    pub async fn until_nodes(&mut self, alive: usize) {
        let count = |resources: &ClusterResources| resources.nodes.iter().filter(|node| node.alive).count();
        self.until("nodes alive", |clc| clc.resources.as_ref().map(count) == Some(alive)).await;
    }
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await; // a poll with a deadline
    }
}
