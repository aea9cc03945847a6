//! A simulated cluster controller: one more `impl` of InstanceService, behind real mutual TLS.

use super::facts::FakeFacts;
use super::{Cloud, until};
use async_trait::async_trait;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{
    CaptureReport, CaptureState, Desired, InstanceIntent, InstanceReport, LearntAddress, Phase, StateReason,
};
use karri_proto::internal::caller::guarded;
use karri_proto::internal::clusters::{ClusterHello, ClusterService, Tunnels};
use karri_proto::internal::facts;
use karri_proto::internal::fleet::{self, FleetService};
use karri_proto::internal::instances::{ConsoleOutput, Cursor, InstanceService, ReportPage, router};
use karri_proto::internal::kernel::{self, KernelAbout, KernelPart, KernelService};
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::network::{NetworkMode, VlanRange};
use karri_proto::resources::{ClusterResources, Need, NodeFacts, NodeResources};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::server::{ShutdownTrigger, serve, shutdown_pair};
use karri_proto::runtime::tls::server_config;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub struct FakeCluster {
    /// Its own name, too.
    pub zone: String,
    pub url: String,
    pub subnet_cidr: String,
    mode: Mutex<NetworkMode>,
    /// The zone of another cluster that it extends.
    pub extends: Option<String>,
    pub tunnels: Option<Tunnels>,
    vlans: Mutex<Option<VlanRange>>,
    pub inner: Arc<Inner>,
    pub facts: Arc<FakeFacts>,
    heart: Mutex<Option<tokio::task::JoinHandle<()>>>,
    _server: ShutdownTrigger,
}

const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);

impl Drop for FakeCluster {
    fn drop(&mut self) {
        if let Some(heart) = self.heart.lock().unwrap().take() {
            heart.abort();
        }
    }
}

#[derive(Default)]
pub struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    epoch: u64,
    sequence: u64,
    /// Carries intents out at once; else they stay `Preparing` until a test says more.
    manual: bool,
    refuse: Option<ApiError>,
    unreachable: bool,
    known: BTreeMap<InstanceId, (InstanceIntent, InstanceReport, u64)>,
    forgotten: Vec<InstanceId>,
    polls: usize,
    nodes: Vec<NodeResources>,
    /// What is seen of interfaces and subnets.
    kernels: BTreeMap<String, Vec<KernelPart>>,
    /// Requests for which kernels were looked at.
    asked_by: Vec<String>,
}

fn node(zone: &str, number: usize) -> NodeResources {
    NodeResources {
        facts: NodeFacts {
            name: format!("{zone}-node-{number}"),
            total: Need { vcpus: 4, memory_mib: 8192, disk_gib: 100 },
            accelerator: "sim".into(),
            hypervisor: "sim".into(),
            version: "0".into(),
            foreign_guests: Vec::new(),
        },
        used: Need::default(),
        alive: true,
        tunnel: None,
    }
}

impl State {
    /// First fit; where it is already, it stays.
    fn place(&self, id: &InstanceId) -> Option<String> {
        let (intent, report, _) = self.known.get(id)?;
        if report.node.is_some() {
            return report.node.clone();
        }
        let used = |name: &str| {
            let here = self.known.values().filter(|(intent, report, _)| {
                report.node.as_deref() == Some(name) && intent.desired == Desired::Running
            });
            here.fold(Need::default(), |sum, (intent, _, _)| sum + intent.spec.need)
        };
        let fits = |node: &&NodeResources| intent.spec.need.fits(node.facts.total - used(&node.facts.name));
        self.nodes.iter().find(fits).map(|node| node.facts.name.clone())
    }

    fn carry_out(&mut self, id: &InstanceId) {
        let node = self.place(id);
        let manual = self.manual;
        self.sequence += 1;
        let sequence = self.sequence;
        let Some((intent, report, at)) = self.known.get_mut(id) else { return };
        report.generation = intent.generation;
        if !manual {
            (report.phase, report.node) = match intent.desired {
                Desired::Running => (Phase::Running, node),
                Desired::Stopped => (Phase::Stopped, node),
                Desired::Terminated => (Phase::Gone, None),
            };
            report.reboots = intent.reboots;
        } else if intent.desired == Desired::Running && report.phase == Phase::Stopped {
            report.phase = Phase::Preparing; // what it said was of the generation before
        }
        *at = sequence;
    }

    fn page(&self, after: Cursor) -> ReportPage {
        let restarted = after.epoch != self.epoch;
        let from = if restarted { 0 } else { after.sequence };
        let mut news: Vec<_> = self.known.values().filter(|(_, _, at)| *at > from).collect();
        news.sort_by_key(|(_, _, at)| *at);
        ReportPage {
            next: Cursor { epoch: self.epoch, sequence: self.sequence },
            restarted,
            caught_up: true,
            reports: news.into_iter().map(|(_, report, _)| report.clone()).collect(),
            resources: Some(ClusterResources { nodes: self.nodes.clone() }),
        }
    }
}

impl Inner {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
        result
    }

    fn check(&self) -> Result<(), ApiError> {
        let state = self.state.lock().unwrap();
        match state.unreachable {
            true => Err(ApiError::unreachable("the cable is cut")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl InstanceService for Inner {
    async fn instance_put(&self, _: &Caller, intent: InstanceIntent) -> Result<InstanceReport, ApiError> {
        self.check()?;
        self.with(|state| {
            if let Some(refusal) = &state.refuse {
                return Err(refusal.clone());
            }
            let id = intent.id.clone();
            let report = InstanceReport {
                id: id.clone(),
                generation: intent.generation,
                attempt: 0,
                phase: Phase::Preparing,
                node: None,
                reason: None,
                reboots: 0,
                capture: None,
                addresses: Vec::new(),
            };
            let newer = state.known.get(&id).is_none_or(|(known, _, _)| known.generation < intent.generation);
            if newer {
                let report = state.known.remove(&id).map_or(report, |(_, report, _)| report);
                state.known.insert(id.clone(), (intent, report, 0));
                state.carry_out(&id);
            }
            Ok(state.known[&id].1.clone())
        })
    }

    async fn instance_forget(&self, _: &Caller, id: &InstanceId) -> Result<(), ApiError> {
        self.check()?;
        self.with(|state| {
            if state.known.get(id).is_some_and(|(_, report, _)| !report.phase.is_final()) {
                return Err(ApiError::conflict("it is not over"));
            }
            state.known.remove(id);
            state.forgotten.push(id.clone());
            Ok(())
        })
    }

    async fn instance_reports(
        &self,
        _: &Caller,
        after: Cursor,
        wait: Duration,
    ) -> Result<ReportPage, ApiError> {
        self.check()?;
        let changed = self.changed.notified();
        let page = {
            let mut state = self.state.lock().unwrap();
            state.polls += 1;
            state.page(after)
        };
        if page.next != after {
            return Ok(page);
        }
        let _ = tokio::time::timeout(wait, changed).await;
        self.check()?;
        Ok(self.state.lock().unwrap().page(after))
    }

    async fn instance_console(&self, _: &Caller, id: &InstanceId) -> Result<ConsoleOutput, ApiError> {
        self.check()?;
        match self.state.lock().unwrap().known.contains_key(id) {
            true => Ok(ConsoleOutput { base64: "aGVsbG8=".into(), at_unix_ms: 1_700_000_000_000 }),
            false => Err(ApiError::not_found("no such instance")),
        }
    }
}

/// It has the ports of its instances, and rules that a test has put.
#[async_trait]
impl KernelService for Inner {
    async fn kernel(&self, caller: &Caller, about: &KernelAbout) -> Result<Vec<KernelPart>, ApiError> {
        self.check()?;
        self.with(|state| {
            state.asked_by.push(caller.request_id.clone());
            Ok(state.kernels.get(&about.to_string()).cloned().unwrap_or_default())
        })
    }
}

#[async_trait]
impl FleetService for Inner {
    async fn node_forget(&self, _: &Caller, node: &str, _: bool) -> Result<(), ApiError> {
        self.check()?;
        self.with(|state| {
            let before = state.nodes.len();
            state.nodes.retain(|known| known.facts.name != node);
            if state.nodes.len() < before { Ok(()) } else { Err(ApiError::not_found("no such node")) }
        })
    }
}

impl FakeCluster {
    pub async fn start(cloud: &Cloud, zone: &str, nodes: usize, subnet_cidr: &str) -> Self {
        let nodes = (1..=nodes).map(|number| node(zone, number)).collect();
        let state = State { epoch: 1, sequence: 1, nodes, ..State::default() };
        let inner = Arc::new(Inner { state: Mutex::new(state), changed: Notify::new() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let files = cloud.files(Role::Cc, zone, zone);
        let (server, shutdown) = shutdown_pair();
        let told = Arc::new(FakeFacts::default());
        let router = router(inner.clone()).merge(fleet::router(inner.clone()));
        let router = router.merge(kernel::router(inner.clone()));
        let router = router.merge(facts::router(told.clone()));
        let router = guarded(router, |caller| caller.role == Role::Clc);
        tokio::spawn(serve(listener, Some(server_config(&files).unwrap()), router, shutdown));
        let subnet_cidr = subnet_cidr.into();
        Self {
            zone: zone.into(),
            url,
            subnet_cidr,
            mode: Mutex::default(),
            extends: None,
            tunnels: None,
            vlans: Mutex::default(),
            inner,
            facts: told,
            heart: Mutex::default(),
            _server: server,
        }
    }

    /// Says hello to the cloud now, and again and again as a cluster does.
    pub async fn hello(&self, cloud: &Cloud) {
        self.try_hello(cloud).await.unwrap();
    }

    /// Its network mode is this one from now on, if it may be.
    pub async fn change_mode(&self, cloud: &Cloud, mode: NetworkMode) -> Result<(), ApiError> {
        *self.mode.lock().unwrap() = mode;
        self.try_hello(cloud).await
    }

    /// The same of the VLANs that its segments can have.
    pub async fn change_vlans(&self, cloud: &Cloud, vlans: Option<(u16, u16)>) -> Result<(), ApiError> {
        *self.vlans.lock().unwrap() = vlans.map(|(first, last)| VlanRange { first, last });
        self.try_hello(cloud).await
    }

    pub async fn try_hello(&self, cloud: &Cloud) -> Result<(), ApiError> {
        let files = cloud.files(Role::Cc, &self.zone, &self.zone);
        let client = InternalClient::new(&cloud.endpoint.url, Role::Clc, &files).unwrap();
        let identity = Identity::new(Role::Cc, &self.zone, &self.zone);
        let caller = Caller { identity, request_id: "req-hello".into() };
        let hello = ClusterHello {
            zone: self.extends.clone().unwrap_or_else(|| self.zone.clone()),
            extends: self.extends.is_some(),
            url: self.url.clone(),
            subnet_cidr: self.subnet_cidr.clone(),
            gateway: "172.31.0.1".parse().unwrap(),
            mode: self.mode.lock().unwrap().clone(),
            tunnels: self.tunnels.clone(),
            vlans: *self.vlans.lock().unwrap(),
            version: "0".into(),
        };
        client.cluster_hello(&caller, hello.clone()).await?;
        let inner = self.inner.clone();
        let mut heart = tokio::time::interval(HEARTBEAT_EVERY);
        let beating = tokio::spawn(async move {
            loop {
                heart.tick().await;
                if inner.check().is_ok() {
                    let _ = client.cluster_hello(&caller, hello.clone()).await;
                }
            }
        });
        if let Some(before) = self.heart.lock().unwrap().replace(beating) {
            before.abort();
        }
        Ok(())
    }

    /// Until the cloud has asked for reports since `polls`, and has come back for more: then it has
    /// absorbed the first page.
    pub async fn wait_until_heard(&self, polls: usize) {
        until("the cloud asks for reports", || async { (self.polls() >= polls + 2).then_some(()) }).await;
    }

    pub fn polls(&self) -> usize {
        self.inner.state.lock().unwrap().polls
    }

    /// What is in the kernel for an interface or a subnet.
    pub fn sees(&self, about: &str, part: KernelPart) {
        self.inner.with(|state| state.kernels.insert(about.to_owned(), vec![part]));
    }

    pub fn looked_for(&self) -> Vec<String> {
        self.inner.state.lock().unwrap().asked_by.clone()
    }

    /// Where one of its nodes takes packets of segments.
    pub fn tunnel(&self, number: usize, tunnel: Option<[u8; 4]>) {
        self.inner.with(|state| {
            state.sequence += 1; // or who asks now waits for the next news
            state.nodes[number - 1].tunnel = tunnel.map(Ipv4Addr::from);
        });
    }

    /// Intents stay where they are until [`Self::report`].
    pub fn be_manual(&self) {
        self.inner.with(|state| state.manual = true);
    }

    pub fn refuse(&self, error: Option<ApiError>) {
        self.inner.with(|state| state.refuse = error);
    }

    pub fn cut(&self, cut: bool) {
        self.inner.with(|state| state.unreachable = cut);
    }

    /// Says something about an instance, as of its newest intent.
    pub fn report(&self, id: &str, phase: Phase, reason: Option<StateReason>) {
        self.inner.with(|state| {
            state.sequence += 1;
            let sequence = state.sequence;
            let (intent, report, at) = state.known.get_mut(&id.parse().unwrap()).unwrap();
            report.generation = intent.generation;
            (report.phase, report.reason) = (phase, reason);
            *at = sequence;
        });
    }

    /// Says how far the copy of its disk is that the newest intent asks for.
    /// The site has given its only port this address.
    pub fn learns(&self, id: &str, address: Ipv4Addr) {
        self.inner.with(|state| {
            state.sequence += 1;
            let (intent, report, at) = state.known.get_mut(&id.parse().unwrap()).unwrap();
            report.addresses = vec![LearntAddress { port: intent.spec.ports[0].id.clone(), address }];
            *at = state.sequence;
        });
    }

    pub fn captures(&self, id: &str, capture: CaptureState) {
        self.inner.with(|state| {
            state.sequence += 1;
            let sequence = state.sequence;
            let (intent, report, at) = state.known.get_mut(&id.parse().unwrap()).unwrap();
            let task = intent.capture.clone().expect("a copy is asked for");
            report.capture = Some(CaptureReport { task, state: capture });
            *at = sequence;
        });
    }

    /// Loses everything, as if its disk had been replaced.
    pub fn lose_all(&self) {
        self.inner.with(|state| {
            state.known.clear();
            state.epoch += 1;
            state.sequence = 1;
        });
    }

    pub fn intent(&self, id: &str) -> Option<InstanceIntent> {
        let state = self.inner.state.lock().unwrap();
        state.known.get(&id.parse().unwrap()).map(|(intent, _, _)| intent.clone())
    }

    pub async fn wait_for_intent(
        &self,
        id: &str,
        wanted: impl Fn(&InstanceIntent) -> bool,
    ) -> InstanceIntent {
        until(&format!("the intent of {id}"), || async { self.intent(id).filter(&wanted) }).await
    }

    pub fn has_forgotten(&self, id: &str) -> bool {
        self.inner.state.lock().unwrap().forgotten.contains(&id.parse().unwrap())
    }

    pub fn known_count(&self) -> usize {
        self.inner.state.lock().unwrap().known.len()
    }
}
