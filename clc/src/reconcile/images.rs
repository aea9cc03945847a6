//! Images that are made of objects, and objects that are made of images and of instances' disks: asks the image store until each is made, or
//! cannot be.

use super::pause;
use crate::app::{App, now_ms};
use karri_proto::runtime::outage::Outage;
use karri_proto::runtime::server::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The image store itself waits a little before it answers.
const ASK_EVERY: Duration = Duration::from_secs(1);
const RELEASE_EVERY: Duration = Duration::from_secs(60);
/// A round waits for calls to the image store.
const ROUND_MAX: Duration = Duration::from_secs(120);

pub async fn run(app: Arc<App>, mut shutdown: Shutdown) {
    let pulse = app.base.health.pulse("images", ROUND_MAX);
    let mut outage = Outage::default();
    let mut released: Option<Instant> = None;
    while !shutdown.is_stopping() {
        // One does not wait for the other to succeed.
        let mut round =
            app.images_make().await.and(app.image_tasks_work().await).and(app.bundle_tasks_work().await);
        if round.is_ok() && released.is_none_or(|at| at.elapsed() >= RELEASE_EVERY) {
            released = Some(Instant::now());
            round = app
                .images_release()
                .await
                .and(app.image_tasks_purge().await)
                .and(app.bundle_tasks_purge().await)
                .and(app.images_drop(now_ms()).await);
        }
        match &round {
            Ok(()) => drop(outage.ends()),
            Err(error) if outage.goes_on(Instant::now()) => {
                tracing::warn!(%error, "images are not made this round");
            }
            Err(_) => {}
        }
        pulse.told(round);
        tokio::select! {
            () = app.images_pending.notified() => {}
            () = pause(&mut shutdown, ASK_EVERY) => {}
        }
    }
    pulse.end();
}
