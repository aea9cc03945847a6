//! Brings what changes in the facts into the kernel at once, and into the file where that failed before. What fails
//! here, or what others change in the kernel, is for [`super::ports`] to find as well.

use crate::drive::ports::PortError;
use crate::node::Node;
use karri_proto::runtime::health::Pulse;
use karri_proto::runtime::server::Shutdown;
use std::sync::Arc;
use std::time::Duration;

const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// All facts are written then, perhaps many.
const KEEP_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// To say that there is somebody.
const ROUND: Duration = Duration::from_secs(30);

/// Runs until shutdown.
pub async fn enforce_groups(node: Arc<Node>, pulse: Pulse, mut shutdown: Shutdown) {
    let mut changed = node.facts.changed();
    let mut enforced = 0;
    loop {
        let newest = *changed.borrow_and_update();
        let outcome = enforce(&node, enforced).await;
        let (failed, mut wait) = match &outcome {
            Ok(()) => (false, ROUND),
            Err(error) => {
                tracing::warn!(%error, "a change of security groups is not in force yet");
                (true, TRY_AGAIN_AFTER)
            }
        };
        if !failed {
            enforced = newest;
        }
        // In force first: that is what whoever revokes a rule waits for.
        let kept = keep(&node).await;
        if kept.is_err() {
            wait = wait.min(KEEP_AGAIN_AFTER);
        }
        pulse.told(outcome.map_err(|error| error.to_string()).and(kept));
        tokio::select! {
            _ = shutdown.wait() => return,
            Ok(()) = changed.changed(), if !failed => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn keep(node: &Node) -> Result<(), String> {
    let facts = node.facts.clone();
    let kept = tokio::task::spawn_blocking(move || facts.keep()).await;
    let kept = kept.map_err(|error| error.to_string())?;
    kept.map_err(|error| format!("what was told is in force, but cannot be written: {error}"))
}

async fn enforce(node: &Node, since: u64) -> Result<(), PortError> {
    let keys = node.facts.changed_since(since);
    if keys.as_ref().is_some_and(Vec::is_empty) {
        return Ok(());
    }
    node.drives.ports.told(keys.as_deref()).await
}
