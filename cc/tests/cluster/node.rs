//! A node that only pretends: it keeps intents and says what the test wants it to say.

use async_trait::async_trait;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use karri_proto::ids::{InstanceId, NetworkInterfaceId};
use karri_proto::instance::{Desired, InstanceIntent, InstanceReport, Phase, StateReason};
use karri_proto::internal::caller::guarded;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::facts::{self, FactService, FactsAt, FactsPage};
use karri_proto::internal::instances::{ConsoleOutput, Cursor, InstanceService, ReportPage, router};
use karri_proto::internal::kernel::{self, KernelAbout, KernelLook, KernelPart, KernelService};
use karri_proto::internal::nodes::{NodeHello, NodeService};
use karri_proto::internal::story::{self, StoryLine, StoryService};
use karri_proto::internal::{ApiError, Caller, Role};
use karri_proto::network::{Epochs, FactTable, Receiver, Taken};
use karri_proto::resources::NodeFacts;
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::server::{ShutdownTrigger, serve, shutdown_pair};
use karri_proto::runtime::tls::{TlsFiles, server_config};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

const HELLO_EVERY: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(30);
/// As often as it may lose everything, and once more.
const LIVES_MAX: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Every intent is carried out at once.
    Obey,
    /// Accepts, and gets no further than Preparing.
    Dawdle,
    /// Starting fails.
    Fail,
    /// Answers that there is no room.
    Refuse,
}

#[derive(Debug, Clone)]
pub struct Guest {
    pub intent: InstanceIntent,
    pub report: InstanceReport,
    sequence: u64,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    epoch: u64,
    sequence: u64,
    guests: BTreeMap<InstanceId, Guest>,
    buried: Vec<InstanceId>,
    puts: usize,
    facts: Facts,
}

/// What the node was told about networks, and how.
#[derive(Debug, Clone)]
pub struct Facts {
    receiver: Receiver,
    pub table: FactTable,
    pub pages: usize,
    pub changes: usize,
    /// It was told once that nothing may pass any more.
    pub bared: bool,
    /// So many answers are lost from now on, after what was told is taken.
    pub answers_lost: usize,
    /// Instances whose port was known when they came.
    pub foretold: Vec<InstanceId>,
}

impl Facts {
    fn new() -> Self {
        Self {
            receiver: Receiver::new(Epochs::Growing, FactsAt::default()),
            table: FactTable::default(),
            pages: 0,
            changes: 0,
            bared: false,
            answers_lost: 0,
            foretold: Vec::new(),
        }
    }

    pub fn at(&self) -> FactsAt {
        self.receiver.at()
    }
}

#[derive(Debug, Clone)]
struct Service {
    name: String,
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
}

pub struct FakeNode {
    service: Service,
    facts: NodeFacts,
    files: TlsFiles,
    cc: InternalClient,
    alive: Option<ShutdownTrigger>,
}

impl FakeNode {
    pub async fn start(name: &str, vcpus: u32, files: TlsFiles, cc_url: &str) -> Self {
        let state = State {
            manner: Manner::Obey,
            epoch: 1,
            sequence: 0,
            guests: BTreeMap::new(),
            buried: Vec::new(),
            puts: 0,
            facts: Facts::new(),
        };
        let (changed, _) = watch::channel(0);
        let service =
            Service { name: name.to_owned(), state: Arc::new(Mutex::new(state)), changed: Arc::new(changed) };
        let cc = InternalClient::new(cc_url, Role::Cc, &files).unwrap();
        let mut node = Self { service, facts: crate::samples::facts(name, vcpus), files, cc, alive: None };
        node.come_back().await;
        node
    }

    /// It stops answering and greeting. What runs there runs on.
    pub fn die(&mut self) {
        self.alive = None;
    }

    /// On another port, with what it had.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (trigger, shutdown) = shutdown_pair();
        let service = Arc::new(self.service.clone());
        let routes = router(service.clone())
            .merge(facts::router(service.clone()))
            .merge(story::router(service.clone()))
            .merge(kernel::router(service));
        let routes = guarded(routes, |id| id.role == Role::Cc && id.cluster == crate::cloud::ZONE);
        let routes =
            (1..=LIVES_MAX).fold(routes.clone(), |all, life| {
                let state = self.service.state.clone();
                let here = move |request: Request, next: Next| {
                    let here = state.lock().unwrap().epoch == life;
                    async move {
                        if here { next.run(request).await } else { StatusCode::NOT_FOUND.into_response() }
                    }
                };
                all.nest(&format!("/lives/{life}"), routes.clone().layer(from_fn(here)))
            });
        tokio::spawn(serve(listener, Some(server_config(&self.files).unwrap()), routes, shutdown.clone()));
        let (cc, hello) = (
            self.cc.clone(),
            NodeHello {
                url,
                tunnel: None,
                user_network: false,
                driver: Default::default(),
                facts: self.facts.clone(),
            },
        );
        let caller = crate::cloud::caller("hello");
        let _ = cc.node_hello(&caller, hello.clone()).await;
        let mut shutdown = shutdown;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(HELLO_EVERY) => { let _ = cc.node_hello(&caller, hello.clone()).await; }
                    () = shutdown.wait() => return,
                }
            }
        });
        self.alive = Some(trigger);
    }

    /// Its disk was replaced: it knows nothing any more.
    pub fn lose_everything(&self) {
        let mut state = self.service.state.lock().unwrap();
        state.guests.clear();
        state.buried.clear();
        state.facts = Facts::new();
        state.epoch += 1;
        state.sequence = 0;
    }

    pub fn behave(&self, manner: Manner) {
        self.service.state.lock().unwrap().manner = manner;
    }

    pub fn guests(&self) -> BTreeMap<InstanceId, Guest> {
        self.service.state.lock().unwrap().guests.clone()
    }

    pub fn facts(&self) -> Facts {
        self.service.state.lock().unwrap().facts.clone()
    }

    pub fn lose_answers(&self, count: usize) {
        self.service.state.lock().unwrap().facts.answers_lost = count;
    }

    pub async fn until_facts(&self, what: &str, wanted: impl Fn(&Facts) -> bool) {
        let mut changed = self.service.changed.subscribe();
        let reached = async {
            while !wanted(&self.facts()) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(DEADLINE, reached).await.is_err() {
            panic!("{}: {what}: not in time; facts: {:#?}", self.service.name, self.facts());
        }
    }

    pub fn puts(&self) -> usize {
        self.service.state.lock().unwrap().puts
    }

    /// Has a guest of its own, as if an intent had reached it that nobody else remembers.
    pub fn plant(&self, intent: InstanceIntent) {
        self.service.accept(intent, Phase::Running);
    }

    /// The guest changed by itself.
    pub fn change(&self, id: &InstanceId, phase: Phase, reason: Option<StateReason>) {
        let intent = self.service.state.lock().unwrap().guests[id].intent.clone();
        self.service.tell(intent, phase, reason);
    }

    pub async fn until(&self, what: &str, wanted: impl Fn(&BTreeMap<InstanceId, Guest>) -> bool) {
        let mut changed = self.service.changed.subscribe();
        let reached = async {
            while !wanted(&self.guests()) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(DEADLINE, reached).await.is_err() {
            panic!("{}: {what}: not in time; guests: {:#?}", self.service.name, self.guests());
        }
    }
}

impl Service {
    fn accept(&self, intent: InstanceIntent, phase: Phase) {
        let reason =
            (phase == Phase::Failed).then(|| StateReason::new("Server.InternalError", "no such image"));
        self.tell(intent, phase, reason);
    }

    fn tell(&self, intent: InstanceIntent, phase: Phase, reason: Option<StateReason>) {
        let mut state = self.state.lock().unwrap();
        state.sequence += 1;
        let report = InstanceReport {
            id: intent.id.clone(),
            generation: intent.generation,
            attempt: intent.attempt,
            phase,
            node: Some(self.name.clone()),
            reason,
            reboots: intent.reboots,
            capture: None,
            addresses: Vec::new(),
        };
        let sequence = state.sequence;
        state.guests.insert(intent.id.clone(), Guest { intent, report, sequence });
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    fn page(&self, after: Cursor) -> ReportPage {
        let state = self.state.lock().unwrap();
        let restarted = after.epoch != state.epoch;
        let from = if restarted { 0 } else { after.sequence };
        let newer = state.guests.values().filter(|guest| guest.sequence > from);
        ReportPage {
            next: Cursor { epoch: state.epoch, sequence: state.sequence },
            restarted,
            caught_up: true,
            reports: newer.map(|guest| guest.report.clone()).collect(),
            resources: None,
        }
    }
}

#[async_trait]
impl InstanceService for Service {
    async fn instance_put(&self, _: &Caller, intent: InstanceIntent) -> Result<InstanceReport, ApiError> {
        let (manner, known) = {
            let mut state = self.state.lock().unwrap();
            state.puts += 1;
            if intent.spec.ports.iter().all(|port| state.facts.table.port(&port.id).is_some()) {
                state.facts.foretold.push(intent.id.clone());
            }
            if state.buried.contains(&intent.id) {
                return Err(ApiError::conflict("buried"));
            }
            (state.manner, state.guests.get(&intent.id).cloned())
        };
        let number = (intent.generation, intent.attempt);
        if let Some(known) = known.filter(|known| known.report.covers(number.0, number.1)) {
            return Ok(known.report);
        }
        let phase = match (manner, intent.desired) {
            (_, Desired::Terminated) => Phase::Gone,
            (Manner::Refuse, _) => return Err(ApiError::new(ApiErrorKind::Full, "no room")),
            (Manner::Obey, Desired::Running) => Phase::Running,
            (Manner::Obey, Desired::Stopped) => Phase::Stopped,
            (Manner::Dawdle, _) => Phase::Preparing,
            (Manner::Fail, _) => Phase::Failed,
        };
        let id = intent.id.clone();
        self.accept(intent, phase);
        Ok(self.state.lock().unwrap().guests[&id].report.clone())
    }

    async fn instance_forget(&self, _: &Caller, id: &InstanceId) -> Result<(), ApiError> {
        let mut state = self.state.lock().unwrap();
        if state.guests.get(id).is_some_and(|guest| !guest.report.phase.is_final()) {
            return Err(ApiError::conflict("not final"));
        }
        state.guests.remove(id);
        state.buried.push(id.clone());
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn instance_reports(
        &self,
        _: &Caller,
        after: Cursor,
        wait: Duration,
    ) -> Result<ReportPage, ApiError> {
        let mut changed = self.changed.subscribe();
        let page = self.page(after);
        if !page.reports.is_empty() || page.restarted {
            return Ok(page);
        }
        let _ = tokio::time::timeout(wait, changed.changed()).await;
        Ok(self.page(after))
    }

    async fn instance_console(&self, _: &Caller, id: &InstanceId) -> Result<ConsoleOutput, ApiError> {
        Ok(ConsoleOutput { base64: format!("{}-{id}", self.name), at_unix_ms: 1 })
    }
}

#[async_trait]
impl FactService for Service {
    async fn facts_put(&self, _: &Caller, page: FactsPage) -> Result<FactsAt, ApiError> {
        let mut state = self.state.lock().unwrap();
        let facts = &mut state.facts;
        facts.pages += 1;
        facts.changes += page.changes.len();
        let bare = facts.table.is_empty();
        let taken = facts.receiver.take(page)?;
        if let Taken::Everything(..) = taken {
            facts.table = FactTable::default();
        }
        if let Taken::Everything(at, changes) | Taken::Changes(at, changes) = taken {
            changes.into_iter().for_each(|change| drop(facts.table.apply(change)));
            facts.receiver.settled(at);
            facts.bared |= !bare && facts.table.is_empty();
        }
        let (stands, lost) = (facts.receiver.stands(), facts.answers_lost > 0);
        facts.answers_lost = facts.answers_lost.saturating_sub(1);
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        if lost { Err(ApiError::internal("the answer is lost")) } else { Ok(stands) }
    }
}

#[async_trait]
impl StoryService for Service {
    async fn story(&self, _: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError> {
        Ok(vec![StoryLine {
            timestamp: "2026-01-01T00:00:00Z".to_owned(),
            who: format!("nc {}", self.name),
            level: "INFO".to_owned(),
            message: format!("about {about}"),
            fields: Default::default(),
        }])
    }
}

/// It has the ports of its guests.
#[async_trait]
impl KernelService for Service {
    async fn kernel(&self, _: &Caller, about: &KernelAbout) -> Result<Vec<KernelPart>, ApiError> {
        let state = self.state.lock().unwrap();
        let ports = || state.guests.values().flat_map(|guest| &guest.intent.spec.ports);
        let is_here = |id: &NetworkInterfaceId| ports().any(|port| port.id == *id);
        let KernelAbout::Port(id) = about else { return Ok(Vec::new()) };
        let mut look = KernelLook::default();
        look.line("iptables mangle KARRI-k0-to", "-j DROP", Some(7));
        let part = KernelPart { who: format!("nc {}", self.name), look };
        Ok(is_here(id).then_some(part).into_iter().collect())
    }
}
