//! Ports that come and go with a running guest.

use super::step::{Failure, guest_port, wanted_ports};
use crate::app::record::Record;
use crate::drive::hypervisor::HypervisorError;
use crate::drive::ports::Port;
use crate::node::Node;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A guest that does not let go of a port by then keeps a device that leads nowhere until it is started anew.
const LET_GO_FOR: Duration = Duration::from_secs(10);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Takes away all ports of the instance but these. `had`: what the guest had, whoever plugged it.
pub async fn unplug_others(
    node: &Node,
    record: &Record,
    wanted: &[Port],
    had: &HashSet<String>,
) -> Result<(), Failure> {
    let (known, newest) = (node.plugged_ports(&record.intent.id), wanted_ports(node, record));
    let others = known.iter().chain(&newest).map(|port| &port.tap).chain(had).cloned();
    let others: HashSet<String> = others.filter(|tap| wanted.iter().all(|port| port.tap != *tap)).collect();
    if others.is_empty() {
        return Ok(());
    }
    Ok(node.drives.ports.unplug(&others.into_iter().collect::<Vec<_>>()).await?)
}

/// What goes is taken from the guest first, so that it hears of it, and is cut off whether it lets go or not. What comes has
/// its rules before the guest has it.
pub async fn change_ports(node: &Arc<Node>, record: &Record) -> Result<(), Failure> {
    let (id, hypervisor) = (&record.intent.id, &node.drives.hypervisor);
    let wanted = wanted_ports(node, record);
    if node.user_network.is_some() {
        // Behind QEMU's user networking a guest has what it was started with.
        node.note_plugged(id, wanted);
        return Ok(());
    }
    node.note_plugging(id, &wanted);
    let links = node.drives.ports.plugged().await?;
    let is_whole = |tap: &String| links.iter().any(|port| port.tap == *tap && port.link);
    // One that was cut off and is wanted again is to be given to the guest anew.
    let stays = |tap: &String| wanted.iter().any(|port| port.tap == *tap) && is_whole(tap);
    let has: HashSet<String> = hypervisor.interfaces(id).await?.into_iter().collect();
    let (has, goes): (HashSet<String>, HashSet<String>) = has.into_iter().partition(stays);
    for tap in &goes {
        match hypervisor.unplug(id, tap).await {
            Ok(()) => {}
            Err(HypervisorError::Refused(why)) => {
                tracing::info!(instance_id = %id, tap, why, "the guest keeps a device without a port");
            }
            Err(error) => return Err(error.into()),
        }
    }
    unplug_others(node, record, &wanted, &goes).await?;
    if !goes.is_empty() {
        let kept = let_go(node, record, &goes).await?;
        if kept.iter().any(|tap| wanted.iter().any(|port| port.tap == *tap)) {
            return Err(Failure::Later("the guest does not let go of a network device".to_owned()));
        }
    }
    node.drives.ports.plug(&wanted).await?;
    for port in &record.intent.spec.ports {
        let port = guest_port(node, port);
        if !has.contains(&port.tap) {
            hypervisor.plug(id, &port).await?;
        }
    }
    node.note_plugged(id, wanted);
    Ok(())
}

/// Waits until the guest has none of these any more, but not for ever. Returns those that it has.
async fn let_go(node: &Node, record: &Record, goes: &HashSet<String>) -> Result<Vec<String>, Failure> {
    let started = Instant::now();
    loop {
        let has = node.drives.hypervisor.interfaces(&record.intent.id).await?;
        let kept: Vec<String> = has.into_iter().filter(|tap| goes.contains(tap)).collect();
        if kept.is_empty() || started.elapsed() >= LET_GO_FOR {
            return Ok(kept);
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}
