//! Sends what buckets are to tell to the operator's webhooks: of each the oldest first, and the next one only when
//! that was heard. One that is heard and not struck out before a crash is sent again, as S3 may too.

use crate::drive::webhooks::Webhooks;
use crate::store::objects::{Objects, StoreError, UnixMs};
use futures_util::future::join_all;
use karri_proto::runtime::metrics::Metrics;
use karri_proto::runtime::server::Shutdown;
use std::sync::Arc;
use std::time::Duration;

const EVENTS_AT_ONCE: usize = 100;
/// A webhook that does not hear is tried again after that, then after twice as long, and so on.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// What nobody has heard for so long is given up.
pub const EVENT_AGE_MAX_MS: UnixMs = 24 * 3600 * 1000;

#[derive(Debug, Clone)]
pub struct Sender {
    pub objects: Objects,
    pub webhooks: Arc<Webhooks>,
    pub metrics: Arc<Metrics>,
    pub clock: fn() -> UnixMs,
    /// The first pause after a failure.
    pub pause_min: Duration,
}

impl Sender {
    pub fn new(
        objects: Objects,
        webhooks: Arc<Webhooks>,
        metrics: Arc<Metrics>,
        clock: fn() -> UnixMs,
    ) -> Self {
        Self { objects, webhooks, metrics, clock, pause_min: PAUSE_MIN }
    }
}

/// Until the controller stops.
pub async fn run(sender: Sender, mut shutdown: Shutdown) {
    let names: Vec<String> = sender.webhooks.names().map(str::to_owned).collect();
    // Of no webhook at all it would be ready at once.
    let all = join_all(names.iter().map(|name| to_one(&sender, name)));
    tokio::select! {
        _ = all, if !names.is_empty() => {}
        () = shutdown.wait() => {}
    }
}

/// Forever.
async fn to_one(sender: &Sender, name: &str) {
    let mut news = sender.objects.events_news();
    let mut pause = sender.pause_min;
    loop {
        news.mark_unchanged();
        match round(sender, name).await {
            Ok(Round::Done) => {
                pause = sender.pause_min;
                // The hour is for what grows old meanwhile.
                let _ = tokio::time::timeout(Duration::from_secs(3600), news.changed()).await;
            }
            Ok(Round::Unheard(why)) => {
                tracing::info!(
                    webhook = name,
                    why,
                    pause_secs = pause.as_secs(),
                    "an event is not heard; later"
                );
                sender.metrics.count("karri_walrus_events_unheard_total", &[("webhook", name)]);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX.max(sender.pause_min));
            }
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(webhook = name, %error, "events are sent later");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

enum Round {
    Done,
    Unheard(String),
}

/// Sends until there is nothing left, or one is not heard.
async fn round(sender: &Sender, name: &str) -> Result<Round, StoreError> {
    let given_up = sender.objects.events_expire((sender.clock)() - EVENT_AGE_MAX_MS).await?;
    if given_up > 0 {
        tracing::warn!(events = given_up, "events that nobody heard for a day are given up");
    }
    loop {
        let waiting = sender.objects.event_list(name, EVENTS_AT_ONCE).await?;
        if waiting.is_empty() {
            return Ok(Round::Done);
        }
        let mut heard = Vec::with_capacity(waiting.len());
        let mut unheard = None;
        for event in waiting {
            match sender.webhooks.send(name, event.body).await {
                Ok(()) => heard.push(event.id),
                Err(error) => {
                    unheard = Some(error.to_string());
                    break;
                }
            }
        }
        if !heard.is_empty() {
            sender.objects.events_done(heard).await?;
        }
        if let Some(why) = unheard {
            return Ok(Round::Unheard(why));
        }
    }
}
