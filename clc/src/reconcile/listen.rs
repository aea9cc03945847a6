//! Hears a cluster: a long poll with a cursor, from the beginning after every start.
//!
//! The cursor is not kept: hearing everything once more is cheap, says what the cluster has lost, and
//! cannot be wrong.

use super::pause;
use crate::app::cluster::ClusterLink;
use crate::app::{App, request_id, steady_ms};
use crate::store::StoreError;
use karri_proto::ids::InstanceId;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::instances::{Cursor, InstanceService, REPORT_WAIT_MAX, ReportPage};
use karri_proto::runtime::health::Pulse;
use karri_proto::runtime::outage::Outage;
use karri_proto::runtime::server::Shutdown;
use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pages are asked for at most this often: what a busy cluster reports meanwhile is one write, not many.
const HEAR_EVERY: Duration = Duration::from_millis(50);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(3);

struct Listener {
    app: Arc<App>,
    link: Arc<ClusterLink>,
    cursor: Cursor,
    telling: Option<Telling>,
    /// What the cluster is to forget and nobody here knows any more. It tells of it only once, so it stays
    /// here until the cluster has answered.
    unknown: BTreeSet<InstanceId>,
    retry: Duration,
    silence: Outage,
}

/// A cluster tells everything that it has, over several pages.
struct Telling {
    /// The newest change here before the first page was asked for.
    since: i64,
    mentioned: HashSet<InstanceId>,
}

impl Telling {
    fn begun(since: i64) -> Option<Self> {
        Some(Self { since, mentioned: HashSet::new() })
    }
}

pub async fn run(app: Arc<App>, link: Arc<ClusterLink>, pulse: Pulse, mut shutdown: Shutdown) {
    let telling = Telling::begun(app.instances.newest());
    let cursor = Cursor::default();
    let unknown = BTreeSet::new();
    let mut listener =
        Listener { app, link, cursor, telling, unknown, retry: RETRY_FIRST, silence: Outage::default() };
    while !shutdown.is_stopping() {
        let waited = tokio::select! {
            _ = shutdown.wait() => break,
            waited = listener.round() => waited,
        };
        pulse.told(Ok::<_, Infallible>(()));
        if waited {
            pause(&mut shutdown, HEAR_EVERY).await;
        } else {
            pause(&mut shutdown, listener.retry).await;
            listener.retry = (listener.retry * 2).min(RETRY_MAX);
        }
    }
    pulse.end();
}

impl Listener {
    /// False: try again a little later.
    async fn round(&mut self) -> bool {
        let caller = self.app.caller(&request_id());
        let client = self.link.client();
        let asked = self.app.instances.newest();
        match client.instance_reports(&caller, self.cursor, REPORT_WAIT_MAX).await {
            Ok(page) => {
                self.heard();
                match self.take(page, asked).await {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::warn!(cluster = self.link.name, %error, "reports not absorbed, asking again");
                        false
                    }
                }
            }
            Err(error) => {
                if self.silence.goes_on(Instant::now()) {
                    tracing::warn!(cluster = self.link.name, %error, "no reports from the cluster");
                }
                false
            }
        }
    }

    fn heard(&mut self) {
        if self.silence.ends() {
            tracing::info!(cluster = self.link.name, "reports from the cluster again");
        }
        self.retry = RETRY_FIRST;
        self.link.saw(steady_ms());
    }

    /// `asked`: the newest change here before the page was asked for.
    async fn take(&mut self, page: ReportPage, asked: i64) -> Result<(), StoreError> {
        let cluster = &self.link.name;
        if page.restarted {
            self.telling = Telling::begun(asked);
        }
        if let Some(telling) = &mut self.telling {
            telling.mentioned.extend(page.reports.iter().map(|report| report.id.clone()));
        }
        if let Some(resources) = page.resources {
            self.app.resources_reported(cluster, resources).await?;
        }
        self.unknown.extend(self.app.reports_absorb(cluster, &page.reports, || true).await?);
        if page.caught_up
            && let Some(telling) = &self.telling
        {
            self.link.told_everything();
            self.app.instances_untold(cluster, &telling.mentioned, telling.since).await?;
            self.telling = None; // not before it is written: the page is asked for again otherwise
        }
        self.cursor = page.next;
        self.clear_unknown().await;
        Ok(())
    }

    async fn clear_unknown(&mut self) {
        for id in self.unknown.clone() {
            let caller = self.app.caller(&request_id());
            let outcome = self.link.client().instance_forget(&caller, &id).await;
            if let Err(error) = &outcome {
                tracing::debug!(instance_id = %id, %error, "not forgotten");
            }
            match outcome.map_err(|error| error.kind) {
                // It does not answer now: all of them later.
                Err(ApiErrorKind::Unreachable | ApiErrorKind::Internal) => return,
                // What it refuses to forget has changed, and is told of again.
                Ok(()) | Err(_) => drop(self.unknown.remove(&id)),
            }
        }
    }
}
