//! What a starting node does with what its last life left: everything it can prove to be its own is
//! adopted or taken away, everything else is left alone.

use super::instance::wake;
use super::watch::compare;
use crate::drive::hypervisor::Found;
use crate::drive::ports::Plugged;
use crate::node::Node;
use std::collections::HashMap;
use std::sync::Arc;

/// Before anything is served: records are told, ports are matched to them, orphans removed.
pub async fn adopt(node: &Arc<Node>) {
    let records = node.store.records();
    let mut owners = HashMap::new();
    for record in &records {
        node.journal.touch(&record.intent.id);
        for port in &record.intent.spec.ports {
            owners.insert(node.names.tap(port), record.intent.id.clone());
        }
    }
    match node.drives.ports.plugged().await {
        Ok(ports) => {
            let mut orphans = Vec::new();
            for port in ports {
                match owners.get(&port.tap) {
                    Some(id) => node.note_plugging(id, &[]),
                    None => orphans.push(port),
                }
            }
            remove_orphans(node, orphans).await;
        }
        Err(error) => tracing::warn!(%error, "ports cannot be seen"),
    }
    // Before any of them is worked on: which ports there are is known, and their rules are looked at.
    if let Err(error) = node.drives.ports.mend(&super::ports::plugged(node)).await {
        tracing::warn!(%error, "ports cannot be looked after");
    }
    if !records.is_empty() {
        tracing::info!(instances = records.len(), "adopted the instances of an earlier life");
    }
    for record in &records {
        wake(node, &record.intent.id);
    }
}

/// Rules of nobody. Where there is a link, somebody's guest has it, be it a stray of ours or another node's whose
/// names look like ours: that is left alone, with its rules.
async fn remove_orphans(node: &Arc<Node>, orphans: Vec<Plugged>) {
    let (used, orphans): (Vec<_>, Vec<_>) = orphans.into_iter().partition(|port| port.link);
    let names = |ports: Vec<Plugged>| ports.into_iter().map(|port| port.tap).collect::<Vec<_>>();
    let (used, orphans) = (names(used), names(orphans));
    if !used.is_empty() {
        tracing::warn!(taps = ?used, "ports in use that no instance here owns: left alone");
    }
    if orphans.is_empty() {
        return;
    }
    tracing::warn!(?orphans, "removing ports that no instance owns");
    if let Err(error) = node.drives.ports.unplug(&orphans).await {
        tracing::warn!(%error, "orphaned ports cannot be removed");
    }
}

/// The first look at the hypervisor.
pub async fn first_look(node: &Arc<Node>, found: Found) {
    let (own, foreign) = (found.own.len(), found.foreign.len());
    tracing::info!(own, foreign, "guests found on this host");
    compare(node, found).await;
}
