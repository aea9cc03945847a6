//! Tells a cluster what its networks let through: page after page, from where it stands.
//!
//! Where it stands is asked of it and kept nowhere; one that stands elsewhere than it should (it was set back, or
//! knows another life of the numbers) is told from there, or everything anew.

use super::pause;
use crate::app::cluster::ClusterLink;
use crate::app::facts::Stand;
use crate::app::{App, request_id};
use crate::store::{Engine, StoreError};
use karri_proto::internal::ApiError;
use karri_proto::internal::facts::FactService;
use karri_proto::runtime::health::Pulse;
use karri_proto::runtime::outage::Outage;
use karri_proto::runtime::server::Shutdown;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What other controllers on the same PostgreSQL have changed is looked for this often. Alone, a controller is
/// woken by its own changes, and looks all the same.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A cluster that hears nothing new is asked where it stands this often.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// What comes within this time of the first news goes along with it.
const GATHER: Duration = Duration::from_millis(10);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Untold {
    #[error("its rows cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Cluster(#[from] ApiError),
    #[error("it does not stand where the last page led to")]
    Astray,
}

pub struct Teller {
    app: Arc<App>,
    cluster: String,
    stand: Stand,
    asked: Option<Instant>,
}

pub async fn run(app: Arc<App>, link: Arc<ClusterLink>, pulse: Pulse, mut shutdown: Shutdown) {
    let every = match app.store.engine() {
        Engine::Sqlite => LOOK_EVERY,
        Engine::Postgres => FOLLOW_EVERY,
    };
    let mut teller = Teller::new(app, &link.name);
    let mut outage = Outage::default();
    let mut retry = RETRY_FIRST;
    while !shutdown.is_stopping() {
        let service = link.client();
        let told = tokio::select! {
            _ = shutdown.wait() => break,
            told = teller.tell(&service) => told,
        };
        pulse.told(Ok::<_, Infallible>(()));
        match told {
            Ok(()) => {
                retry = RETRY_FIRST;
                if outage.ends() {
                    tracing::info!(cluster = link.name, "the cluster is told of its networks again");
                }
                tokio::select! {
                    () = link.news.notified() => pause(&mut shutdown, GATHER).await,
                    () = pause(&mut shutdown, every) => {}
                }
            }
            Err(error) => {
                if outage.goes_on(Instant::now()) {
                    tracing::warn!(cluster = link.name, %error, "the cluster cannot be told of its networks");
                }
                pause(&mut shutdown, retry).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
    pulse.end();
}

impl Teller {
    pub fn new(app: Arc<App>, cluster: &str) -> Self {
        Self { app, cluster: cluster.to_owned(), stand: Stand::default(), asked: None }
    }

    /// Until the cluster has all that there is.
    pub async fn tell(&mut self, service: &dyn FactService) -> Result<(), Untold> {
        self.app.rules_follow().await?;
        self.app.networks_follow().await?;
        let mut astray = false;
        loop {
            let page = self.app.facts.page(&self.cluster, self.stand.at);
            let silent = self.stand.at == Some(page.to);
            if silent && self.asked.is_some_and(|at| at.elapsed() < ASK_EVERY) {
                return Ok(());
            }
            let answer = service.facts_put(&self.app.caller(&request_id()), page.clone()).await?;
            self.asked = Some(Instant::now());
            let reaches = |at| self.app.facts.reaches(&self.cluster, at);
            match self.stand.answered(&page, answer, reaches) {
                true if page.caught_up => {
                    self.app.facts.heard(&self.cluster, page.to);
                    return Ok(());
                }
                true => {}
                // Told from there at once; again and again, a little later each time.
                false if std::mem::replace(&mut astray, true) => return Err(Untold::Astray),
                false => {}
            }
        }
    }
}
