//! The cloud controller: its own decisions over a map for a database.

use super::facts::Rows;
use super::wire::Body;
use karri_clc::app::Book;
use karri_clc::app::address::{Cidr, mac_of, network_name};
use karri_clc::app::admission::Wish;
use karri_clc::app::instance::absorb::{absorb, forgotten, refused, untold};
use karri_clc::app::instance::lifecycle::{self, Order};
use karri_clc::app::instance::plan::{Step, plan};
use karri_clc::app::instance::{Instance, ShutdownBehavior, State, View};
use karri_clc::config::Limits;
use karri_proto::fault::Fault;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{
    BlobFormat, BlobRef, BootSource, Desired, Digest, Firmware, InstanceReport, InstanceSpec, PortSpec,
    StateReason,
};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::facts::FactsAt;
use karri_proto::internal::instances::{Cursor, ReportPage};
use karri_proto::resources::{ClusterResources, Need};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

pub const CLUSTER: &str = "cluster";
pub const SUBNET: &str = "172.31.0.0/27";
const ZONE: &str = "zone";
const RETRY_MS: i64 = 1_000;

#[derive(Debug)]
pub struct Clc {
    pub rows: BTreeMap<InstanceId, Instance>,
    pub networks: Rows,
    /// The cluster's nodes as last reported: kept, so that a restarted controller can admit.
    resources: ClusterResources,
    change: i64,
    pub limits: Limits,
    pub life: u64,
    pub run: Option<Run>,
}

/// Lost in a crash.
#[derive(Debug)]
pub struct Run {
    pub view: View,
    pub book: Book,
    pub calls: BTreeMap<u64, Call>,
    under_way: BTreeSet<InstanceId>,
    retry_at: BTreeMap<InstanceId, i64>,
    cursor: Cursor,
    told: Option<HashSet<InstanceId>>,
    polling: bool,
    to_forget: BTreeSet<InstanceId>,
    telling_facts: bool,
    facts_retry_at_ms: i64,
    /// Where the cluster stood when it answered last. It may have lost that since.
    facts_at: Option<FactsAt>,
}

#[derive(Debug, Clone)]
pub struct Call {
    pub what: Asked,
    pub at_ms: i64,
}

#[derive(Debug, Clone)]
pub enum Asked {
    Put {
        id: InstanceId,
        generation: u64,
    },
    Forget {
        id: InstanceId,
    },
    /// Of an instance that is not known here.
    ForgetUnknown {
        id: InstanceId,
    },
    Poll,
    Facts,
}

/// What a user asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Start,
    Stop { force: bool },
    Reboot,
    Terminate { force: bool },
}

impl Clc {
    pub fn new(networks: bool) -> Self {
        Self {
            rows: BTreeMap::new(),
            networks: Rows::new(networks),
            resources: ClusterResources::default(),
            change: 0,
            limits: Limits::default(),
            life: 0,
            run: None,
        }
    }

    /// A new life: everything volatile is rebuilt from what is stored.
    pub fn start(&mut self) {
        self.life += 1;
        let mut book = Book::default();
        book.ledger.cluster_known(CLUSTER, ZONE);
        book.ledger.cluster_answers(CLUSTER, true);
        book.reported(CLUSTER, self.resources.clone());
        let view = View::default();
        for row in self.rows.values() {
            for news in view.apply(vec![row.clone()]) {
                book.observe(&news);
            }
        }
        self.run = Some(Run {
            view,
            book,
            calls: BTreeMap::new(),
            under_way: BTreeSet::new(),
            retry_at: BTreeMap::new(),
            cursor: Cursor::default(),
            told: Some(HashSet::new()),
            polling: false,
            to_forget: BTreeSet::new(),
            telling_facts: false,
            facts_retry_at_ms: 0,
            facts_at: None,
        });
    }

    /// One transaction, and what follows its commit in memory.
    fn settle(&mut self, ids: &[InstanceId], now_ms: i64, decide: impl Fn(&mut Instance, Order<'_>) -> bool) {
        for id in ids {
            let Some(row) = self.rows.get(id) else { continue };
            let mut row = row.clone();
            let request_id = row.request_id.clone();
            let order = Order { request_id: &request_id, now_ms, wall_ms: now_ms, limits: &self.limits };
            if decide(&mut row, order) {
                self.commit(row);
            }
        }
    }

    fn commit(&mut self, mut row: Instance) {
        self.change += 1;
        row.change = self.change;
        self.networks.follow(&row);
        self.rows.insert(row.id.clone(), row.clone());
        if let Some(run) = &mut self.run {
            for news in run.view.apply(vec![row]) {
                run.book.observe(&news);
            }
        }
    }

    /// `None`: there is no room.
    pub fn launch(
        &mut self,
        number: u32,
        need: Need,
        bad_image: bool,
        behavior: ShutdownBehavior,
        now_ms: i64,
    ) -> Option<InstanceId> {
        let id = instance_id(number);
        let run = self.run.as_mut()?;
        let ids = [id.clone()];
        let places =
            run.book.ledger.reserve(Wish { need, zone: None, min: 1, ids: &ids, most: None }).ok()?;
        let range = Cidr::parse(SUBNET).expect("well-formed");
        let Some(address) = run.book.addresses.take(&network_name(0, "", CLUSTER), range) else {
            places.iter().for_each(|place| run.book.ledger.release(&place.id));
            return None;
        };
        let deadline_ms = now_ms + i64::try_from(self.limits.pending_secs).unwrap_or(0) * 1000;
        let row = Instance {
            id: id.clone(),
            change: 0,
            account: "000000000001".to_owned(),
            reservation: "r-00000001".parse().expect("well-formed"),
            cluster: CLUSTER.to_owned(),
            zone: ZONE.to_owned(),
            client_token: None,
            spec: Arc::new(InstanceSpec {
                launched_at_unix_ms: now_ms,
                ..spec(number, need, address, bad_image)
            }),
            has_user_data: false,
            tags: Vec::new(),
            shutdown_behavior: behavior,
            disable_api_stop: false,
            disable_api_termination: false,
            said: Default::default(),
            launched_ms: now_ms,
            desired: Desired::Running,
            generation: 1,
            reboots: 0,
            capture: None,
            captured: None,
            force: false,
            request_id: format!("launch-{number}"),
            state: State::Pending,
            acknowledged: 0,
            forgotten: false,
            node: None,
            reason: None,
            transition: String::new(),
            deadline_ms: Some(deadline_ms),
            purge_ms: None,
        };
        self.commit(row);
        Some(id)
    }

    pub fn order(&mut self, id: &InstanceId, verb: Verb, now_ms: i64) -> Result<bool, Fault> {
        let (Some(row), Some(run)) = (self.rows.get(id), self.run.as_mut()) else { return Ok(false) };
        if verb == Verb::Start && row.state == State::Stopped && !run.book.ledger.grow(id, row.spec.need) {
            return Ok(false); // no room to start it again
        }
        let mut row = row.clone();
        let order = Order { request_id: "ordered", now_ms, wall_ms: now_ms, limits: &self.limits };
        let changed = match verb {
            Verb::Start => lifecycle::start(&mut row, order),
            Verb::Stop { force } => lifecycle::stop(&mut row, force, order),
            Verb::Reboot => lifecycle::reboot(&mut row, order),
            Verb::Terminate { force } => lifecycle::terminate(&mut row, force, order),
        }?;
        if changed {
            self.commit(row);
        }
        Ok(changed)
    }

    /// Deadlines and purging.
    pub fn tend(&mut self, now_ms: i64) {
        let due = |row: &&Instance| row.deadline_ms.is_some_and(|at| at <= now_ms);
        let due: Vec<InstanceId> = self.rows.values().filter(due).map(|row| row.id.clone()).collect();
        self.settle(&due, now_ms, lifecycle::expire);
        let over = |row: &&Instance| row.forgotten && row.purge_ms.is_some_and(|at| at <= now_ms);
        let over: Vec<InstanceId> = self.rows.values().filter(over).map(|row| row.id.clone()).collect();
        for id in &over {
            self.rows.remove(id);
        }
        if let Some(run) = &mut self.run {
            run.view.remove(&over);
        }
    }

    /// The next calls to make, each instance in one at most.
    pub fn calls(&mut self, next_call: &mut u64, now_ms: i64) -> Vec<(u64, Body)> {
        let Some(run) = &mut self.run else { return Vec::new() };
        let mut out = Vec::new();
        let mut call = |run: &mut Run, what: Asked, body: Body| {
            *next_call += 1;
            run.calls.insert(*next_call, Call { what, at_ms: now_ms });
            out.push((*next_call, body));
        };
        if !run.polling {
            run.polling = true;
            let cursor = run.cursor;
            call(run, Asked::Poll, Body::Poll(cursor));
        }
        let page = run.facts_at.map_or(self.networks.question(), |stands| self.networks.page(stands));
        if let Some(page) = page.filter(|_| run.facts_retry_at_ms <= now_ms && !run.telling_facts) {
            run.telling_facts = true;
            call(run, Asked::Facts, Body::Facts(Box::new(page)));
        }
        for id in run.to_forget.clone() {
            if run.under_way.insert(id.clone()) {
                call(run, Asked::ForgetUnknown { id: id.clone() }, Body::Forget(id));
            }
        }
        let mut unsettled = run.view.unsettled(CLUSTER);
        unsettled.sort_by(|a, b| a.id.cmp(&b.id));
        for instance in unsettled {
            let id = instance.id.clone();
            let early = run.retry_at.get(&id).is_some_and(|at| *at > now_ms);
            if early || !run.under_way.insert(id.clone()) {
                continue;
            }
            match plan(&instance) {
                Step::Put => {
                    let generation = instance.generation;
                    call(run, Asked::Put { id, generation }, Body::Put(Box::new(instance.intent(None))));
                }
                Step::Forget => call(run, Asked::Forget { id: id.clone() }, Body::Forget(id)),
                Step::Rest => drop(run.under_way.remove(&id)),
            }
        }
        out
    }

    pub fn answered(&mut self, call: u64, body: Body, now_ms: i64) {
        let Some(Call { what, .. }) = self.run.as_mut().and_then(|run| run.calls.remove(&call)) else {
            return;
        };
        match (what, body) {
            (Asked::Poll, Body::Page(page)) => self.page(page, now_ms),
            (Asked::Facts, Body::FactsDone(answer)) => {
                let Some(run) = &mut self.run else { return };
                run.telling_facts = false;
                run.facts_at = answer.ok();
            }
            (Asked::Put { id, .. }, Body::PutDone(Ok(report))) => {
                self.done(&id);
                self.absorb(&[report], now_ms);
            }
            (Asked::Put { id, generation }, Body::PutDone(Err(kind))) => {
                self.done(&id);
                if matches!(kind, ApiErrorKind::Invalid | ApiErrorKind::Full) {
                    let reason = StateReason::new("Server.InternalError", "refused");
                    self.settle(std::slice::from_ref(&id), now_ms, |row, order| {
                        refused(row, generation, &reason, order)
                    });
                }
                self.later(&id, now_ms);
            }
            (Asked::Forget { id }, Body::ForgetDone(Ok(()))) => {
                self.done(&id);
                self.settle(&[id], now_ms, |row, _| forgotten(row));
            }
            (Asked::Forget { id }, _) => {
                self.done(&id);
                self.later(&id, now_ms);
            }
            (Asked::ForgetUnknown { id }, _) => {
                // Refused: it is not over there any more, and will be told of when it is.
                self.done(&id);
                self.run.iter_mut().for_each(|run| drop(run.to_forget.take(&id)));
            }
            _ => {}
        }
    }

    /// No answer came.
    pub fn failed(&mut self, call: u64, now_ms: i64) {
        let Some(run) = &mut self.run else { return };
        match run.calls.remove(&call).map(|call| call.what) {
            Some(Asked::Poll) => run.polling = false,
            Some(Asked::Facts) => {
                run.telling_facts = false;
                run.facts_retry_at_ms = now_ms + RETRY_MS;
            }
            Some(Asked::Put { id, .. } | Asked::Forget { id }) => {
                self.done(&id);
                self.later(&id, now_ms);
            }
            Some(Asked::ForgetUnknown { id }) => self.done(&id),
            None => {}
        }
    }

    fn done(&mut self, id: &InstanceId) {
        if let Some(run) = &mut self.run {
            run.under_way.remove(id);
            run.retry_at.remove(id);
        }
    }

    fn later(&mut self, id: &InstanceId, now_ms: i64) {
        if let Some(run) = &mut self.run {
            run.retry_at.insert(id.clone(), now_ms + RETRY_MS);
        }
    }

    fn absorb(&mut self, reports: &[InstanceReport], now_ms: i64) {
        for report in reports {
            let known = self.rows.get(&report.id);
            let unknown = known.is_none_or(|row| row.forgotten) && report.phase.is_final();
            if unknown && let Some(run) = &mut self.run {
                run.to_forget.insert(report.id.clone());
            }
            self.settle(std::slice::from_ref(&report.id), now_ms, |row, order| absorb(row, report, order));
        }
    }

    fn page(&mut self, page: ReportPage, now_ms: i64) {
        let Some(run) = &mut self.run else { return };
        run.polling = false;
        if page.restarted {
            run.facts_at = None; // another life of its, perhaps with another database
            run.told = Some(HashSet::new());
        }
        if let Some(told) = &mut run.told {
            told.extend(page.reports.iter().map(|report| report.id.clone()));
        }
        if let Some(resources) = page.resources {
            self.resources = resources.clone();
            run.book.reported(CLUSTER, resources);
        }
        self.absorb(&page.reports, now_ms);
        let Some(run) = &mut self.run else { return };
        let told = if page.caught_up { run.told.take() } else { None };
        run.cursor = page.next;
        if let Some(told) = told {
            let lost = |row: &&Instance| row.acknowledged > 0 && !row.forgotten && !told.contains(&row.id);
            let lost: Vec<InstanceId> = self.rows.values().filter(lost).map(|row| row.id.clone()).collect();
            self.settle(&lost, now_ms, |row, _| untold(row));
        }
    }

    /// Those that the cluster may have something of.
    pub fn held_count(&self) -> usize {
        self.rows.values().filter(|row| !row.forgotten).count()
    }

    pub fn is_idle(&self) -> bool {
        self.run
            .as_ref()
            .is_some_and(|run| run.view.unsettled(CLUSTER).is_empty() && run.to_forget.is_empty())
    }
}

pub fn instance_id(number: u32) -> InstanceId {
    format!("i-{number:08x}").parse().expect("well-formed")
}

/// The digest of an image that no node can use.
pub static BAD_DIGEST: LazyLock<Digest> = LazyLock::new(|| Digest::from_sha256([0xbd; 32]));
static GOOD_DIGEST: LazyLock<Digest> = LazyLock::new(|| Digest::from_sha256([1; 32]));

fn spec(number: u32, need: Need, address: Ipv4Addr, bad_image: bool) -> InstanceSpec {
    let digest = if bad_image { BAD_DIGEST.clone() } else { GOOD_DIGEST.clone() };
    let root = BlobRef { digest, format: BlobFormat::Raw, bytes: 1, virtual_bytes: 1 };
    let port = PortSpec {
        id: format!("eni-{number:08x}").parse().expect("well-formed"),
        mac: mac_of(address),
        private_ip: address,
        subnet_id: "subnet-00000001".parse().expect("well-formed"),
        segment: 0,
        subnet_cidr: SUBNET.to_owned(),
        vpc_id: "vpc-00000001".parse().expect("well-formed"),
        vpc_cidr: String::new(),
        more_vpc_cidrs: Vec::new(),
        gateway: Ipv4Addr::new(172, 31, 0, 1),
        groups: Vec::new(),
        public: None,
        learns_address: false,
        forwarded: Vec::new(),
        device_index: 0,
        secondary: Vec::new(),
        source_dest_check: true,
    };
    InstanceSpec {
        instance_type: String::new(),
        need,
        boot: BootSource { root, kernel: None, ramdisk: None, firmware: Firmware::Bios },
        ports: vec![port],
        user_data_base64: None,
        key: None,
        hostname: String::new(),
        metadata: Default::default(),
        image_id: "ami-00000001".parse().expect("well-formed"),
        kernel_id: None,
        ramdisk_id: None,
        architecture: String::new(),
        paravirtual: false,
        reservation_id: "r-00000001".parse().expect("well-formed"),
        launch_index: 0,
        launched_at_unix_ms: 0,
        region: String::new(),
        zone: String::new(),
        root_device_name: String::new(),
        tags: Vec::new(),
    }
}
