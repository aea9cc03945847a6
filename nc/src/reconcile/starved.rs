//! Guests that stand still because the node's disk was full go on once there is room.
//!
//! QEMU stops a guest at the write that finds no room, and repeats that write when the guest goes on: it
//! loses time and nothing else. While there still is no room it stops again at once.

use crate::node::Node;
use karri_proto::ids::InstanceId;
use karri_proto::runtime::server::Shutdown;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const TRY_EVERY: Duration = Duration::from_secs(5);

/// Runs until shutdown.
pub async fn resume_starved(node: Arc<Node>, mut shutdown: Shutdown) {
    let mut before: HashSet<InstanceId> = HashSet::new();
    loop {
        tokio::select! {
            _ = shutdown.wait() => return,
            () = tokio::time::sleep(TRY_EVERY) => {}
        }
        // That the hypervisor does not answer is said by the watch.
        let Ok(starved) = node.drives.hypervisor.resume_starved().await else { continue };
        let starved: HashSet<InstanceId> = starved.into_iter().collect();
        for id in starved.difference(&before) {
            tracing::warn!(instance_id = %id, "the guest stands still: the node's disk is full");
        }
        for id in before.difference(&starved) {
            tracing::info!(instance_id = %id, "the guest goes on");
        }
        node.metrics.gauge("karri_nc_guests_without_room", &[], starved.len() as f64);
        before = starved;
    }
}
