//! Waits until every zone has the nodes that it should have.

use crate::cloud::Cloud;
use crate::facts::Facts;
use karri_proto::internal::admin::{AdminService, CloudStatus};
use std::time::Duration;
use tokio::time::{Instant, interval};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const WITHIN: Duration = Duration::from_secs(60);

/// The number of nodes that are there. Too few in time is an error that says where.
pub async fn arrive(cloud: &Cloud, facts: &Facts) -> anyhow::Result<usize> {
    let clc = cloud.clc()?;
    let deadline = Instant::now() + WITHIN;
    let mut look = interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let status = clc.cloud_status(cloud.caller()).await?;
        let Some(missing) = first_short(&status, facts) else {
            return Ok(status.zones.iter().map(|zone| zone.resources.nodes.len()).sum());
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
        let zone = status.zones.iter().find(|zone| zone.zone == name);
        zone.map_or(0, |zone| zone.resources.nodes.iter().filter(|node| node.alive).count())
    };
    facts.zones.iter().map(|zone| &zone.name).find(|name| alive(name) < wanted).cloned()
}
