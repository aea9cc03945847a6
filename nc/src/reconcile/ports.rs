//! Looks every few seconds whether ports are still guarded and joined as they were made.

use crate::drive::ports::Port;
use crate::node::Node;
use karri_proto::runtime::health::Pulse;
use karri_proto::runtime::server::Shutdown;
use std::sync::Arc;
use std::time::Duration;

/// What others change is put right within five seconds; a look takes its time too.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Runs until shutdown.
pub async fn mend_ports(node: Arc<Node>, pulse: Pulse, mut shutdown: Shutdown) {
    loop {
        let outcome = node.drives.ports.mend(&plugged(&node)).await;
        match &outcome {
            Ok(mended) if !mended.is_empty() => {
                tracing::warn!(?mended, "the network was changed by others: put right");
            }
            _ => {} // what is wrong is told by /healthz
        }
        pulse.told(outcome);
        tokio::select! {
            _ = shutdown.wait() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

pub(super) fn plugged(node: &Node) -> Vec<Port> {
    let records = node.store.records();
    let plugged = records.iter().filter(|record| node.is_plugged(&record.intent.id));
    plugged.flat_map(|record| record.intent.spec.ports.iter().map(|port| node.names.port(port))).collect()
}
