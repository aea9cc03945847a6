//! The worker of one instance: look, plan, do one step, again, until there is nothing to do.
//!
//! It takes no hint of what changed. A step that cannot be done now is planned again a moment later;
//! a step that can never be done becomes the instance's reason to fail.

use super::observe::observe;
use super::step::{Outcome, carry_out, say_waiting};
use crate::app::plan::{Guest, Step, plan};
use crate::node::Node;
use karri_proto::ids::InstanceId;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RETRY_AFTER: Duration = Duration::from_millis(1_000);
/// A plan that never rests is a mistake; give others the processor between its steps.
const STEPS_IN_A_ROW_MAX: usize = 64;

/// Sees to it that a worker looks at the instance (again).
pub fn wake(node: &Arc<Node>, id: &InstanceId) {
    let mut live = node.live();
    let entry = live.entry(id.clone()).or_default();
    entry.dirty = true;
    entry.changed.notify_waiters();
    if !entry.busy {
        entry.busy = true;
        tokio::spawn(work(node.clone(), id.clone()));
    }
}

enum Pause {
    Rest,
    For(Duration),
}

/// A worker that panics must not be waited for: another one looks in a moment.
pub(super) struct Alive {
    pub node: Arc<Node>,
    pub id: InstanceId,
}

impl Drop for Alive {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(entry) = self.node.live().get_mut(&self.id)
        {
            entry.busy = false;
            entry.wake_at = Some(Instant::now() + RETRY_AFTER);
        }
    }
}

async fn work(node: Arc<Node>, id: InstanceId) {
    let _alive = Alive { node: node.clone(), id: id.clone() };
    loop {
        if let Some(entry) = node.live().get_mut(&id) {
            entry.dirty = false;
            entry.wake_at = None;
        }
        let pause = advance(&node, &id).await;
        let mut live = node.live();
        let Some(entry) = live.get_mut(&id) else { return };
        if entry.dirty {
            continue;
        }
        match pause {
            Pause::Rest => drop(live.remove(&id)),
            Pause::For(time) => {
                entry.busy = false;
                entry.wake_at = Some(Instant::now() + time);
            }
        }
        return;
    }
}

/// Steps until the plan rests or something has to be waited for.
async fn advance(node: &Arc<Node>, id: &InstanceId) -> Pause {
    for _ in 0..STEPS_IN_A_ROW_MAX {
        let Some(record) = node.store.record(id) else { return Pause::Rest };
        let seen = observe(node, &record).await;
        let step = plan(&record, &seen, &node.limits);
        if seen.guest == Guest::Unknown && step != Step::Rest {
            say_waiting(node, &record, "the hypervisor does not answer".to_owned());
        }
        match step {
            Step::Rest => return Pause::Rest,
            Step::Wait { ms } => return Pause::For(Duration::from_millis(ms.max(1))),
            _ => {}
        }
        if carry_out(node, &record, step).await == Outcome::Later {
            return Pause::For(RETRY_AFTER);
        }
    }
    tracing::warn!(instance_id = %id, "the instance's plan does not come to rest");
    Pause::For(RETRY_AFTER)
}

/// Wakes the workers whose time has come.
pub fn wake_due(node: &Arc<Node>) {
    let now = Instant::now();
    let due: Vec<InstanceId> = {
        let live = node.live();
        let due = live.iter().filter(|(_, entry)| !entry.busy && entry.wake_at.is_some_and(|at| at <= now));
        due.map(|(id, _)| id.clone()).collect()
    };
    for id in due {
        wake(node, &id);
    }
}
