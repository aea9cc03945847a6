//! Tells a cluster what it does not know: intents that it has not accepted, and what it may forget.
//!
//! Several calls are under way at once, each instance in one at most. What they answer is absorbed
//! together, one transaction for all that came back in the meantime.

use super::calls::{Broken, Calls};
use crate::app::cluster::ClusterLink;
use crate::app::instance::Instance;
use crate::app::instance::plan::{Step, plan};
use crate::app::{App, request_id};
use crate::store::StoreError;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{InstanceReport, StateReason};
use karri_proto::internal::ApiError;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::instances::InstanceService;
use karri_proto::runtime::health::Pulse;
use karri_proto::runtime::server::Shutdown;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CALLS_MAX: usize = 32;
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// What comes back is written at most this often, all of it together: a write holds up the launches that
/// come meanwhile.
const SETTLE_EVERY: Duration = Duration::from_millis(50);
/// Even without a signal the rows are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

enum Outcome {
    Accepted(InstanceReport),
    Forgotten,
    Refused(ApiError),
    Failed(ApiError),
    /// Nothing left to say: it was changed or purged meanwhile.
    Moot,
}

struct Done {
    id: InstanceId,
    generation: u64,
    /// How often the cluster had told everything when it was asked.
    tellings: u64,
    outcome: Outcome,
}

struct Retry {
    at: Instant,
    pause: Duration,
}

struct Pusher {
    app: Arc<App>,
    link: Arc<ClusterLink>,
    under_way: HashSet<InstanceId>,
    retries: HashMap<InstanceId, Retry>,
    calls: Calls<Done>,
    complained: bool,
}

pub async fn run(app: Arc<App>, link: Arc<ClusterLink>, pulse: Pulse, mut shutdown: Shutdown) {
    let mut pusher = Pusher {
        app,
        link: link.clone(),
        under_way: HashSet::new(),
        retries: HashMap::new(),
        calls: Calls::new(),
        complained: false,
    };
    let mut settled: Option<Instant> = None;
    let mut finished: Vec<Done> = Vec::new();
    loop {
        pusher.begin();
        let early = settled.map_or(Duration::ZERO, |at| SETTLE_EVERY.saturating_sub(at.elapsed()));
        let idle = if finished.is_empty() { pusher.idle() } else { early };
        tokio::select! {
            _ = shutdown.wait() => return pulse.end(),
            _ = link.wake.notified() => {}
            ended = pusher.calls.next() => finished.extend(pusher.ended(ended)),
            _ = tokio::time::sleep(idle) => {}
        }
        while let Some(ended) = pusher.calls.try_next() {
            finished.extend(pusher.ended(ended));
        }
        if !finished.is_empty() && settled.is_none_or(|at| at.elapsed() >= SETTLE_EVERY) {
            pusher.settle(std::mem::take(&mut finished)).await;
            settled = Some(Instant::now());
        }
        pulse.told(Ok::<_, Infallible>(()));
    }
}

impl Pusher {
    fn idle(&self) -> Duration {
        let now = Instant::now();
        let next = self.retries.values().map(|retry| retry.at.saturating_duration_since(now)).min();
        next.map_or(LOOK_EVERY, |next| next.min(LOOK_EVERY))
    }

    /// Starts calls for what is unsettled, as many as may be.
    fn begin(&mut self) {
        if self.calls.len() >= CALLS_MAX {
            return;
        }
        let now = Instant::now();
        for instance in self.app.instances.unsettled(&self.link.name) {
            if self.calls.len() >= CALLS_MAX {
                return;
            }
            let early = self.retries.get(&instance.id).is_some_and(|retry| retry.at > now);
            if !early && self.under_way.insert(instance.id.clone()) {
                let id = instance.id.clone();
                self.calls.begin(id, call(self.app.clone(), self.link.clone(), instance));
            }
        }
    }

    /// A call that broke has said nothing: the instance is told of again, later.
    fn ended(&mut self, call: Result<Done, Broken>) -> Option<Done> {
        let Broken { id, error } = match call {
            Ok(done) => return Some(done),
            Err(broken) => broken,
        };
        tracing::error!(instance_id = %id, cluster = self.link.name, %error, "telling the cluster broke off");
        self.under_way.remove(&id);
        self.later(id);
        None
    }

    async fn settle(&mut self, finished: Vec<Done>) {
        let mut reports = Vec::new();
        let mut forgotten = Vec::new();
        let tellings = self.link.tellings();
        for done in finished {
            self.under_way.remove(&done.id);
            match done.outcome {
                Outcome::Accepted(report) => {
                    self.retries.remove(&done.id);
                    self.complained = false;
                    // Accepted by a cluster that may have lost it since: it is told once more.
                    if done.tellings == tellings {
                        reports.push(report);
                    }
                }
                Outcome::Forgotten => {
                    self.retries.remove(&done.id);
                    forgotten.push(done.id);
                }
                Outcome::Moot => drop(self.retries.remove(&done.id)),
                Outcome::Refused(error) => self.refused(done.id, done.generation, &error).await,
                Outcome::Failed(error) => self.failed(done.id, &error),
            }
        }
        if let Err(error) = self.absorb(&reports, &forgotten, tellings).await {
            // The rows are as they were, so all of it will be said again.
            tracing::warn!(cluster = self.link.name, %error, "answers not absorbed");
            let ids = reports.iter().map(|report| report.id.clone()).chain(forgotten);
            ids.for_each(|id| self.later(id));
        }
    }

    async fn absorb(
        &self,
        reports: &[InstanceReport],
        forgotten: &[InstanceId],
        tellings: u64,
    ) -> Result<(), StoreError> {
        self.app.reports_absorb(&self.link.name, reports, || self.link.tellings() == tellings).await?;
        self.app.instance_forgotten(forgotten).await
    }

    async fn refused(&mut self, id: InstanceId, generation: u64, error: &ApiError) {
        tracing::warn!(instance_id = %id, cluster = self.link.name, %error, "the cluster refuses");
        let reason = match error.kind {
            ApiErrorKind::Full => StateReason::new(
                "Server.InsufficientInstanceCapacity",
                "Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request",
            ),
            _ => StateReason::new("Server.InternalError", "Server.InternalError: Internal error on launch"),
        };
        if let Err(error) = self.app.instance_refused(&id, generation, reason).await {
            tracing::warn!(instance_id = %id, %error, "refusal not written");
        }
        self.later(id);
    }

    fn failed(&mut self, id: InstanceId, error: &ApiError) {
        if !self.complained {
            tracing::warn!(instance_id = %id, cluster = self.link.name, %error, "the cluster cannot be told");
        }
        self.complained = true;
        self.later(id);
    }

    fn later(&mut self, id: InstanceId) {
        let pause = self.retries.get(&id).map_or(RETRY_FIRST, |retry| (retry.pause * 2).min(RETRY_MAX));
        self.retries.insert(id, Retry { at: Instant::now() + pause, pause });
    }
}

async fn call(app: Arc<App>, link: Arc<ClusterLink>, instance: Arc<Instance>) -> Done {
    // It may have waited for its turn: what counts is the row as it is now.
    let instance = app.instances.get(&instance.id).unwrap_or(instance);
    let tellings = link.tellings();
    let outcome = match plan(&instance) {
        Step::Put => put(&app, &link, &instance).await,
        Step::Forget => forget(&app, &link, &instance).await,
        Step::Rest => Outcome::Moot,
    };
    Done { id: instance.id.clone(), generation: instance.generation, tellings, outcome }
}

async fn put(app: &App, link: &ClusterLink, instance: &Instance) -> Outcome {
    let user_data = match instance.has_user_data {
        true => app.store.instance_user_data(&instance.id).await,
        false => Ok(None),
    };
    let intent = match user_data {
        Ok(user_data) => instance.intent(user_data),
        Err(error) => return Outcome::Failed(error.into()),
    };
    match link.client().instance_put(&app.caller(&instance.request_id), intent).await {
        Ok(report) => Outcome::Accepted(report),
        Err(error) => match error.kind {
            ApiErrorKind::Invalid | ApiErrorKind::Full => Outcome::Refused(error),
            ApiErrorKind::Forbidden
            | ApiErrorKind::NotFound
            | ApiErrorKind::Conflict
            | ApiErrorKind::Unreachable
            | ApiErrorKind::Internal => Outcome::Failed(error),
        },
    }
}

async fn forget(app: &App, link: &ClusterLink, instance: &Instance) -> Outcome {
    match link.client().instance_forget(&app.caller(&request_id()), &instance.id).await {
        Ok(()) => Outcome::Forgotten,
        Err(error) if error.kind == ApiErrorKind::NotFound => Outcome::Forgotten,
        Err(error) => Outcome::Failed(error),
    }
}
