//! Takes over the addresses that the site gives to guests of mode `system`: into the record, so that they are told and
//! kept, and to the port, which lets through that one and no other from then on.

use super::step::told;
use crate::app::record::{Change, Record};
use crate::drive::dhcp::Given;
use crate::node::Node;
use karri_proto::instance::LearntAddress;
use karri_proto::runtime::server::Shutdown;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Runs until shutdown.
pub async fn learn_addresses(node: Arc<Node>, mut heard: mpsc::Receiver<Given>, mut shutdown: Shutdown) {
    loop {
        let given = tokio::select! {
            _ = shutdown.wait() => return,
            Some(given) = heard.recv() => given,
            else => return,
        };
        if let Some((record, learnt)) = news(&node, &given) {
            learn(&node, &record, learnt).await;
        }
    }
}

/// None: it is no guest's of ours, or known.
fn news(node: &Node, given: &Given) -> Option<(Arc<Record>, LearntAddress)> {
    let records = node.store.records().into_iter().filter(|record| record.holds_images());
    records.into_iter().find_map(|record| {
        let mut ports = record.intent.spec.ports.iter();
        let port = ports.find(|port| port.learns_address && port.mac == given.mac)?;
        let learnt = LearntAddress { port: port.id.clone(), address: given.address };
        (port.private_ip != given.address).then_some(learnt).map(|learnt| (record.clone(), learnt))
    })
}

/// What goes wrong here is made good when the guest asks again.
async fn learn(node: &Arc<Node>, record: &Arc<Record>, learnt: LearntAddress) {
    let change = Change::Address(learnt);
    told(record, &change);
    let (owner, planned) = (node.clone(), record.clone());
    let written = tokio::task::spawn_blocking(move || owner.record(&planned, change)).await;
    if !matches!(written, Ok(Ok(true))) {
        tracing::warn!(instance_id = %record.intent.id, "an address that was learnt cannot be recorded now");
        return;
    }
    let Some(record) = node.store.record(&record.intent.id).filter(|_| node.is_plugged(&record.intent.id))
    else {
        return;
    };
    let ports: Vec<_> = record.intent.spec.ports.iter().map(|port| node.names.port(port)).collect();
    if let Err(error) = node.drives.ports.plug(&ports).await {
        tracing::warn!(instance_id = %record.intent.id, %error, "a port does not let its new address through yet");
    }
}
