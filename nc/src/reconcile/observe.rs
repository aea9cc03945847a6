//! Gathers what a plan is made from.

use crate::app::plan::{Guest, Observed, RebootSeen};
use crate::app::record::{Record, State};
use crate::drive::hypervisor::HypervisorError;
use crate::node::{Node, now_unix_ms};
use karri_proto::instance::Desired;
use std::sync::Arc;
use std::time::Instant;

fn ms_since(instant: Instant) -> u64 {
    u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX)
}

pub async fn observe(node: &Arc<Node>, record: &Record) -> Observed {
    let id = &record.intent.id;
    let guest = match node.drives.hypervisor.guest(id).await {
        Ok(guest) => guest,
        Err(HypervisorError::Unreachable(_)) => Guest::Unknown,
        // A domain of somebody else's has our name: starting will say so.
        Err(HypervisorError::Refused(_)) => Guest::Absent,
    };
    let lying = node.drives.storage.lying(id).await;
    let wants_images = record.intent.desired == Desired::Running && guest != Guest::Running;
    let images = wants_images && node.drives.storage.images_ready(&record.intent.spec).await;
    let accepted_ms = u64::try_from(now_unix_ms() - record.accepted_at_unix_ms).unwrap_or(0);
    let mut live = node.live();
    let entry = live.entry(id.clone()).or_default();
    let was_up = matches!(record.state, State::Up { .. }) && record.intent.desired == Desired::Running;
    let waited_ms = if was_up && guest != Guest::Running {
        ms_since(*entry.down_since.get_or_insert_with(Instant::now))
    } else {
        entry.down_since = None;
        accepted_ms
    };
    Observed {
        guest,
        images,
        disk: lying.disk,
        files: lying.files,
        ports: node.is_plugged(id),
        boot_id: node.boot_id.clone(),
        waited_ms,
        asked_ms: entry.asked_off.map(ms_since),
        reboot: entry.reboot.map(|(asked, done)| RebootSeen { asked_ms: ms_since(asked), done }),
    }
}
