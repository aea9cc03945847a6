//! Gathers what a plan is made from.

use super::step::wanted_ports;
use crate::app::plan::{Guest, Observed, RebootSeen};
use crate::app::record::{Record, State};
use crate::drive::host;
use crate::drive::hypervisor::HypervisorError;
use crate::node::{Live, Node, now_unix_ms};
use karri_proto::instance::Desired;
use std::sync::Arc;
use std::time::Instant;

fn ms_since(instant: Instant) -> u64 {
    u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What is known of a guest that could not be looked at. Only that the name is another's says that there is
/// none: taken for absent while it runs, a guest would lose its disk.
fn unseen(error: &HypervisorError) -> Guest {
    match error {
        HypervisorError::Unreachable(_) | HypervisorError::Busy(_) | HypervisorError::Refused(_) => {
            Guest::Unknown
        }
        // Starting will say so.
        HypervisorError::Foreign(_) => Guest::Absent,
    }
}

/// Since the intent came. A clock that was set back between two lives of the process must not stretch deadlines:
/// at least what this one has waited counts.
fn accepted_ms(entry: &mut Live, accepted_at_unix_ms: i64, now_unix_ms: i64) -> u64 {
    let known = entry.looked.filter(|(at, _)| *at == accepted_at_unix_ms);
    let (_, looked) = *entry.looked.insert(known.unwrap_or((accepted_at_unix_ms, Instant::now())));
    u64::try_from(now_unix_ms - accepted_at_unix_ms).unwrap_or(0).max(ms_since(looked))
}

/// A guest that is off may be off because its machine goes down: then it is to run again after it has come up,
/// and nothing is to be written down.
fn ends_with_host(guest: &Guest) -> bool {
    match guest {
        Guest::Absent | Guest::Off { .. } => true,
        Guest::Unknown | Guest::Running => false,
    }
}

pub async fn observe(node: &Arc<Node>, record: &Record) -> Observed {
    let id = &record.intent.id;
    let guest = match node.drives.hypervisor.guest(id).await {
        Ok(guest) => guest,
        Err(error) => unseen(&error),
    };
    let was_up = matches!(record.state, State::Up { .. }) && record.intent.desired == Desired::Running;
    let ended = was_up && ends_with_host(&guest);
    let guest = if ended && node.drives.hypervisor.polled() && host::is_stopping().await {
        Guest::Unknown
    } else {
        guest
    };
    let lying = node.drives.storage.lying(id).await;
    let capturing = record.capturing().is_some();
    let wants_images = record.intent.desired == Desired::Running && guest != Guest::Running && !capturing;
    let images = wants_images && node.drives.storage.images_ready(&record.intent.spec).await;
    let mut live = node.live();
    let entry = live.entry(id.clone()).or_default();
    let accepted_ms = accepted_ms(entry, record.accepted_at_unix_ms, now_unix_ms());
    let waited_ms = if was_up && guest != Guest::Running && !capturing {
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
        copy: lying.copy,
        ports: node.is_plugged(id),
        ports_right: node.has_plugged(id, &wanted_ports(node, record)),
        boot_id: node.boot_id.clone(),
        waited_ms,
        accepted_ms,
        asked_ms: entry.asked_off.map(ms_since),
        reboot: entry.reboot.map(|(asked, done)| RebootSeen { asked_ms: ms_since(asked), done }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_does_not_stretch_a_deadline() {
        let mut entry = Live::default();
        assert_eq!(accepted_ms(&mut entry, 1_000, 4_000), 3_000);
        entry.looked = Some((90_000, Instant::now() - std::time::Duration::from_millis(7_000)));
        assert!(accepted_ms(&mut entry, 90_000, 4_000) >= 7_000);
        assert!(accepted_ms(&mut entry, 91_000, 4_000) < 7_000, "a newer intent has its own time");
    }

    #[test]
    fn a_failing_look_says_nothing_of_the_guest() {
        let why = || "internal error: End of file from qemu monitor".to_owned();
        assert_eq!(unseen(&HypervisorError::Refused(why())), Guest::Unknown);
        assert_eq!(unseen(&HypervisorError::Unreachable(why())), Guest::Unknown);
        assert_eq!(unseen(&HypervisorError::Busy(why())), Guest::Unknown);
        assert_eq!(unseen(&HypervisorError::Foreign("karri-i-1".to_owned())), Guest::Absent);
    }
}
