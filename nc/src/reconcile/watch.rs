//! Sees what guests do: by events at once, by a poll in case an event was lost.

use super::instance::{wake, wake_due};
use crate::app::plan::Guest;
use crate::app::record::State;
use crate::drive::hypervisor::{Found, FoundGuest, HypervisorError};
use crate::node::{Node, now_unix_ms};
use karri_proto::ids::InstanceId;
use karri_proto::runtime::health::Pulse;
use karri_proto::runtime::server::Shutdown;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast::error::RecvError;

const TICK: Duration = Duration::from_millis(250);
/// Where every change is an event; many simulated nodes share one process.
const TICK_SIMULATED: Duration = Duration::from_millis(1_000);
const POLL_EVERY: Duration = Duration::from_millis(1_000);
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// Runs until shutdown.
pub async fn watch(node: Arc<Node>, pulse: Pulse, mut shutdown: Shutdown) {
    let mut changes = node.drives.hypervisor.changes();
    let polled_at_all = node.drives.hypervisor.polled();
    let mut tick = tokio::time::interval(if polled_at_all { TICK } else { TICK_SIMULATED });
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut purged = Instant::now();
    let mut polled: Option<Instant> = None;
    let mut silent = false;
    loop {
        tokio::select! {
            _ = shutdown.wait() => return,
            change = changes.recv() => match change {
                Ok(change) => guest_changed(&node, &change.id, change.rebooted),
                Err(RecvError::Lagged(_)) => polled = None,
                Err(RecvError::Closed) => return,
            },
            _ = tick.tick() => wake_due(&node),
        }
        if polled_at_all && polled.is_none_or(|at| at.elapsed() >= POLL_EVERY) {
            pulse.told(poll(&node, &mut silent).await);
            polled = Some(Instant::now());
        } else if !polled_at_all {
            pulse.told(Ok::<(), HypervisorError>(()));
        }
        if purged.elapsed() >= PURGE_EVERY {
            purge(&node).await;
            purged = Instant::now();
        }
    }
}

fn guest_changed(node: &Arc<Node>, id: &InstanceId, rebooted: bool) {
    if node.store.record(id).is_none() {
        return; // another cloud's, or a stray that the poll looks after
    }
    if rebooted
        && let Some(entry) = node.live().get_mut(id)
        && let Some((_, done)) = &mut entry.reboot
    {
        *done = true;
    }
    wake(node, id);
}

async fn poll(node: &Arc<Node>, silent: &mut bool) -> Result<(), HypervisorError> {
    match node.drives.hypervisor.found().await {
        Ok(found) => {
            *silent = false;
            compare(node, found).await;
            Ok(())
        }
        Err(error) => {
            if !std::mem::replace(silent, true) {
                tracing::warn!(%error, "guests cannot be seen");
            }
            Err(error)
        }
    }
}

/// Wakes the workers of instances whose guest is not as the record has it.
pub async fn compare(node: &Arc<Node>, found: Found) {
    node.set_foreign_guests(found.foreign);
    let mut guests: HashMap<InstanceId, FoundGuest> =
        found.own.into_iter().map(|guest| (guest.tag.id.clone(), guest)).collect();
    for record in node.store.records() {
        let id = &record.intent.id;
        let guest = guests.remove(id).map_or(Guest::Absent, |found| found.guest);
        let expected = match record.state {
            State::Up { .. } => guest == Guest::Running,
            State::Fresh => true, // its worker is at it
            State::Ended { .. } | State::Failing { .. } | State::Failed { .. } | State::Gone => {
                guest == Guest::Absent
            }
        };
        if !expected {
            wake(node, id);
        }
    }
    node.note_strays_gone(&guests.keys().cloned().collect());
    for found in guests.into_values() {
        stray(node, &found).await;
    }
}

/// A domain of ours without a record. A terminated one is taken away; of any other the cc decides.
async fn stray(node: &Arc<Node>, found: &FoundGuest) {
    let (id, tag) = (&found.tag.id, &found.tag);
    let buried =
        node.store.tombstone(id).is_some_and(|stone| stone.report.covers(tag.generation, tag.attempt));
    if !buried {
        if node.note_stray(found) {
            tracing::warn!(instance_id = %id, "a guest of ours without a record: reported as it is");
        }
        return;
    }
    let hypervisor = &node.drives.hypervisor;
    // The listing may be older than the burial.
    if matches!(hypervisor.guest(id).await, Ok(Guest::Absent)) {
        return;
    }
    tracing::warn!(instance_id = %id, "removing the guest of a forgotten instance");
    for result in [hypervisor.force_off(id).await, hypervisor.undefine(id).await] {
        if let Err(error) = result {
            tracing::warn!(instance_id = %id, %error, "it cannot be removed now");
        }
    }
}

async fn purge(node: &Arc<Node>) {
    let owner = node.clone();
    let purged = tokio::task::spawn_blocking(move || owner.store.tombstones_purge(now_unix_ms())).await;
    if let Ok(Err(error)) = purged {
        tracing::warn!(%error, "old tombstones cannot be removed");
    }
}
