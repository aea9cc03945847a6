//! What other controllers on the same PostgreSQL change: instances, identities, clusters.

use super::pause;
use crate::app::{App, steady_ms};
use crate::store::StoreError;
use karri_proto::runtime::server::Shutdown;
use std::sync::Arc;
use std::time::Duration;

/// How far behind this controller may be.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);

#[derive(Default)]
struct Seen {
    identities: i64,
    clusters: i64,
}

pub async fn run(app: Arc<App>, mut shutdown: Shutdown) {
    let mut seen = Seen::default();
    while !shutdown.is_stopping() {
        if let Err(error) = follow(&app, &mut seen).await {
            tracing::warn!(%error, "cannot follow the database");
        }
        pause(&mut shutdown, FOLLOW_EVERY).await;
    }
}

async fn follow(app: &App, seen: &mut Seen) -> Result<(), StoreError> {
    if app.store.counter_fetch("instances").await? > app.instances.followed() {
        app.follow().await?;
    }
    let identities = app.store.counter_fetch("identities").await?;
    if identities != seen.identities {
        app.identities.clear();
        seen.identities = identities;
    }
    if !app.leads() {
        // Which clusters are silent is known to the one who reconciles.
        app.clusters.list().iter().for_each(|link| link.saw(steady_ms()));
        app.instances_drop_over();
    }
    let clusters = app.store.counter_fetch("clusters").await?;
    if clusters != seen.clusters {
        app.clusters_follow().await?;
        seen.clusters = clusters;
    }
    Ok(())
}
