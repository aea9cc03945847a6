//! Deadlines of transitional states, purging of what is long over, and which clusters are silent.

use super::pause;
use crate::app::App;
use karri_proto::runtime::server::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TEND_EVERY: Duration = Duration::from_millis(500);

/// What only the database knows of is looked for less often.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Rounds are short; one that takes longer than this does not end.
const ROUND_MAX: Duration = Duration::from_secs(60);

pub async fn run(app: Arc<App>, mut shutdown: Shutdown) {
    let pulse = app.base.health.pulse("deadlines", ROUND_MAX);
    let mut swept = None;
    while !shutdown.is_stopping() {
        silence(&app);
        let expired = app.instances_expire().await;
        if let Err(error) = &expired {
            tracing::warn!(%error, "deadlines not kept this round");
        }
        let thoroughly = swept.is_none_or(|at: Instant| at.elapsed() >= SWEEP_EVERY);
        if thoroughly {
            swept = Some(Instant::now());
        }
        let purged = app.instances_purge(thoroughly).await;
        if let Err(error) = &purged {
            tracing::warn!(%error, "terminated instances not purged this round");
        }
        pulse.told(expired.map(drop).and(purged.map(drop)));
        gauges(&app);
        pause(&mut shutdown, TEND_EVERY).await;
    }
    pulse.end();
}

/// A cluster that is away gets nothing new until it is back.
fn silence(app: &App) {
    for link in app.clusters.list() {
        let answers = !app.cluster_is_away(&link);
        if app.book().ledger.cluster_answers(&link.name, answers) {
            match answers {
                true => tracing::info!(cluster = link.name, "cluster answers"),
                false => {
                    tracing::warn!(cluster = link.name, "cluster is silent, nothing new is placed there")
                }
            }
        }
    }
}

fn gauges(app: &App) {
    for (state, count) in app.instances.states() {
        #[allow(clippy::cast_precision_loss)] // a count of instances is far below 2^52
        app.metrics.gauge("karri_clc_instances", &[("state", state.as_str())], count as f64);
    }
}
