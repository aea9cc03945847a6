//! Brings what changes in the facts into the kernel at once. What fails here, or what others change there, is for
//! [`super::ports`] to find as well.

use crate::drive::ports::PortError;
use crate::node::Node;
use karri_proto::runtime::health::Pulse;
use karri_proto::runtime::server::Shutdown;
use std::sync::Arc;
use std::time::Duration;

const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// To say that there is somebody.
const ROUND: Duration = Duration::from_secs(30);

/// Runs until shutdown.
pub async fn enforce_groups(node: Arc<Node>, pulse: Pulse, mut shutdown: Shutdown) {
    let mut changed = node.facts.changed();
    let mut enforced = 0;
    loop {
        let newest = *changed.borrow_and_update();
        let outcome = enforce(&node, enforced).await;
        let wait = match &outcome {
            Ok(()) => {
                enforced = newest;
                ROUND
            }
            Err(error) => {
                tracing::warn!(%error, "a change of security groups is not in force yet");
                TRY_AGAIN_AFTER
            }
        };
        let failed = outcome.is_err();
        pulse.told(outcome);
        tokio::select! {
            _ = shutdown.wait() => return,
            Ok(()) = changed.changed(), if !failed => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn enforce(node: &Node, since: u64) -> Result<(), PortError> {
    let keys = node.facts.changed_since(since);
    if keys.as_ref().is_some_and(Vec::is_empty) {
        return Ok(());
    }
    node.drives.ports.told(keys.as_deref()).await
}
