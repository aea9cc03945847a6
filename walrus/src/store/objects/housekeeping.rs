//! The loops that keep house: giving back space every few seconds, looking for rot all the time but slowly.

use super::Objects;
use super::error::StoreError;
use super::meta::SCRUB_ENDED;
use crate::store::keeper::pace::Pace;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const SWEEP_EVERY: Duration = Duration::from_secs(3);
const SCRUB_EVERY: Duration = Duration::from_secs(1);
/// After about so long the place is remembered.
const STRETCH_SECS: u64 = 60;
/// How soon a blob is served again whose disk was away.
const RECHECK_EVERY: Duration = Duration::from_secs(600);
const AWAY_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub struct HousekeepingConfig {
    /// 0: no scrubbing.
    pub scrub_bytes_per_sec: u64,
    /// From the end of one round to the beginning of the next.
    pub scrub_pause: Duration,
}

impl Default for HousekeepingConfig {
    fn default() -> Self {
        Self { scrub_bytes_per_sec: 8 << 20, scrub_pause: Duration::from_secs(7 * 24 * 3600) }
    }
}

/// The loops; they end when it is dropped.
#[derive(Debug)]
pub struct Housekeeping(Vec<JoinHandle<()>>);

impl Drop for Housekeeping {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Objects {
    pub fn keep_house(&self, config: HousekeepingConfig) -> Housekeeping {
        let mut loops = vec![tokio::spawn(sweeping(self.clone()))];
        if config.scrub_bytes_per_sec > 0 {
            loops.push(tokio::spawn(scrubbing(self.clone(), config)));
        }
        Housekeeping(loops)
    }
}

async fn sweeping(objects: Objects) {
    let mut looked = false;
    loop {
        match round(&objects, &mut looked).await {
            Ok(true) => {}
            Ok(false) => tokio::time::sleep(SWEEP_EVERY).await,
            Err(error) => {
                // That the engine is away is told where it is asked, once.
                if !matches!(error, StoreError::Away(_)) {
                    tracing::warn!(%error, "space cannot be given back; tried again");
                }
                tokio::time::sleep(SWEEP_EVERY).await;
            }
        }
    }
}

/// Whether there may be more to do at once. What an earlier run has left is looked for until that could be
/// done (`looked`), and holds up nothing.
async fn round(objects: &Objects, looked: &mut bool) -> Result<bool, StoreError> {
    let leftovers = match *looked {
        true => Ok(0),
        false => objects.remove_leftovers().await,
    };
    *looked |= leftovers.is_ok();
    let swept = objects.sweep().await?;
    let blobs = leftovers?;
    if blobs > 0 {
        tracing::info!(blobs, "blobs of interrupted writes are removed");
    }
    objects.0.keeper.collect().await?;
    Ok(swept.blobs + swept.manifests > 0)
}

async fn scrubbing(objects: Objects, config: HousekeepingConfig) {
    let pause = config.scrub_pause.as_millis() as i64;
    let mut rechecked: Option<Instant> = None;
    loop {
        tokio::time::sleep(SCRUB_EVERY).await;
        let mut pace = Pace::of(config.scrub_bytes_per_sec);
        if rechecked.is_none_or(|at| at.elapsed() > RECHECK_EVERY) {
            if let Err(error) = objects.recheck_damaged(&mut pace).await
                && !matches!(error, StoreError::Away(_))
            {
                tracing::warn!(%error, "damaged blobs are looked at again later");
            }
            rechecked = Some(Instant::now());
        }
        let ended = objects.meta_fetch(SCRUB_ENDED).await.unwrap_or(0);
        let now = (objects.0.config.clock)();
        if (ended..ended.saturating_add(pause)).contains(&now) {
            continue;
        }
        match objects.scrub(STRETCH_SECS * config.scrub_bytes_per_sec, &mut pace).await {
            Ok(scrubbed) => {
                objects.0.metrics.gauge("karri_walrus_scrub_bytes", &[], scrubbed.bytes as f64);
                if scrubbed.ended {
                    tracing::info!("a round of scrubbing has ended");
                }
            }
            Err(StoreError::Away(_)) => tokio::time::sleep(AWAY_PAUSE).await,
            Err(error) => tracing::warn!(%error, "scrubbing goes on later"),
        }
    }
}
