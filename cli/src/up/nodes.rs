//! Waits until every zone has the nodes that it should have.

use crate::cloud::Cloud;
use crate::facts::Facts;
use karri_proto::internal::admin::{AdminService, CloudStatus};
use std::time::Duration;
use tokio::time::{Instant, interval};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const WITHIN: Duration = Duration::from_secs(60);

/// What the nodes say that runs their guests where the processor does not.
const EMULATED: &str = "tcg";

/// The nodes that are there.
#[derive(Debug, PartialEq, Eq)]
pub struct Arrived {
    count: usize,
    emulated: usize,
}

impl Arrived {
    fn of(status: &CloudStatus) -> Self {
        let nodes = || status.zones.iter().flat_map(|zone| &zone.resources.nodes);
        let emulated = nodes().filter(|node| node.facts.accelerator == EMULATED).count();
        Self { count: nodes().count(), emulated }
    }

    /// Whoever sees a guest take a minute to boot should know from the start.
    pub fn describe(&self) -> String {
        let slow = if self.emulated > 0 { "; no KVM here: guests are emulated, and slow" } else { "" };
        format!("{} ready{slow}", self.count)
    }
}

/// Too few in time is an error that says where.
pub async fn arrive(cloud: &Cloud, facts: &Facts) -> anyhow::Result<Arrived> {
    let clc = cloud.clc()?;
    let deadline = Instant::now() + WITHIN;
    let mut look = interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let status = clc.cloud_status(cloud.caller()).await?;
        let Some(missing) = first_short(&status, facts) else {
            return Ok(Arrived::of(&status));
        };
        if Instant::now() > deadline {
            anyhow::bail!(
                "zone {missing} has too few nodes after {} s; karri status shows them",
                WITHIN.as_secs()
            );
        }
    }
}

fn first_short(status: &CloudStatus, facts: &Facts) -> Option<String> {
    let wanted = facts.simulated_nodes.unwrap_or(1) as usize;
    let alive = |name: &str| {
        let own = status.zones.iter().find(|zone| zone.cluster == name); // others may extend the zone
        own.map_or(0, |zone| zone.resources.nodes.iter().filter(|node| node.alive).count())
    };
    facts.zones.iter().map(|zone| &zone.name).find(|name| alive(name) < wanted).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::status::tests::sample;

    #[test]
    fn nodes_that_emulate_their_guests_are_told_apart() {
        let mut status = sample();
        assert_eq!(Arrived::of(&status).describe(), "1 ready");
        status.zones[0].resources.nodes[0].facts.accelerator = EMULATED.to_owned();
        assert_eq!(Arrived::of(&status).describe(), "1 ready; no KVM here: guests are emulated, and slow");
    }
}
