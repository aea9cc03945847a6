//! What networks let through, as clusters are told of it.
//!
//! ```text
//!   rows of rules      ──follow──►  table of all facts  ──part──►  what one cluster needs  ──telling──►  pages
//!   rows of VPCs       ──follow──►
//!   rows of instances  ──adopt───►
//!   rows of clusters   ──follow──►  who is beside whom
//! ```
//!
//! A copy of the rows, never ahead of them, and rebuilt at every start, with an epoch of its own: a controller that
//! starts tells everything once more, which is cheap and cannot be wrong. Each change costs what it touches.

mod beside;
mod held;
mod part;
mod stand;
mod table;
mod telling;

pub use beside::Site;
pub use stand::Stand;

use crate::app::App;
use crate::app::instance::{Instance, State};
use crate::store::StoreError;
use held::Held;
use karri_proto::ids::SecurityGroupId;
use karri_proto::instance::{PortSpec, private_name};
use karri_proto::internal::facts::{FACTS_PAGE_BYTES_MAX, FACTS_PER_PAGE_MAX, FactsPage};
use karri_proto::network::{FactTable, FarPort, PortFact};
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use table::{Most, Table};

/// Numbers that every JSON reader and every database takes.
const EPOCH_BITS: u32 = 52;

pub struct Facts {
    epoch: u64,
    table: Mutex<Table>,
    /// Taken after the table.
    held: Mutex<Held>,
    /// Up to which change of rules the table knows all. One reads and takes over at a time, so that nothing older
    /// comes after something newer.
    followed: tokio::sync::Mutex<Option<i64>>,
    /// The same of changes of VPCs.
    networks_followed: tokio::sync::Mutex<Option<i64>>,
}

impl Default for Facts {
    fn default() -> Self {
        let epoch = rand::thread_rng().gen_range(1..1u64 << EPOCH_BITS);
        let (followed, networks_followed) = Default::default();
        Self { epoch, table: Mutex::default(), held: Mutex::default(), followed, networks_followed }
    }
}

impl Facts {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over instances as they were committed. Returns the clusters that have something to hear.
    pub fn instances_changed(&self, instances: &[Arc<Instance>]) -> BTreeSet<String> {
        let mut table = self.table();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stirred = BTreeSet::new();
        for instance in instances {
            let there = instance.state != State::Terminated;
            let ports: &[PortSpec] = if there { &instance.spec.ports } else { &[] };
            for port in held.now(&instance.id, ports.iter().map(|port| &port.id)) {
                stirred.extend(table.port_set(&port, None));
                stirred.extend(table.far_set(&port, None));
            }
            for port in ports {
                let home = instance.cluster.as_str();
                stirred.extend(table.port_set(&port.id, Some((fact_of(port), home))));
                stirred.extend(table.far_set(&port.id, far_of(instance, port).map(|far| (far, home))));
            }
        }
        stirred
    }

    /// Where clusters are, as their rows have it now. Returns those that are elsewhere than before, whose instances are to
    /// be taken over anew, and those that have something to hear.
    pub fn sites_are(&self, sites: BTreeMap<String, Site>) -> (BTreeSet<String>, BTreeSet<String>) {
        let (moved, stirred) = self.table().sites_are(sites);
        (moved, stirred.into_iter().collect())
    }

    pub fn look<T>(&self, look: impl FnOnce(&FactTable) -> T) -> T {
        look(&self.table().facts)
    }

    /// Whether any port is in the group.
    pub fn has_members(&self, group: &SecurityGroupId) -> bool {
        self.table().has_members(group)
    }

    /// What a cluster that stands at `from` is told next; None: it is to be told everything.
    pub fn page(&self, cluster: &str, from: Option<u64>) -> FactsPage {
        let most = Most { facts: FACTS_PER_PAGE_MAX, bytes: FACTS_PAGE_BYTES_MAX };
        self.table().page(self.epoch, cluster, from, most)
    }

    /// The cluster has everything up to there.
    pub fn heard(&self, cluster: &str, at: u64) {
        self.table().heard(cluster, at);
    }

    /// Whether a cluster that stands at `at` can be told the rest.
    pub fn reaches(&self, cluster: &str, at: u64) -> bool {
        self.table().reaches(cluster, at)
    }
}

fn fact_of(port: &PortSpec) -> PortFact {
    PortFact {
        id: port.id.clone(),
        vpc: port.vpc_id.clone(),
        addresses: port.addresses().map(|(address, _)| address).collect(),
        groups: port.groups.iter().map(|(id, _)| id.clone()).collect(),
    }
}

/// As the routers of another cluster serve it. None: it is on the flat network.
fn far_of(instance: &Instance, port: &PortSpec) -> Option<FarPort> {
    let hostname = &instance.spec.hostname;
    let is_first = instance.spec.ports.first().is_some_and(|first| first.id == port.id);
    (port.segment != 0).then(|| FarPort {
        port: port.id.clone(),
        vpc: port.vpc_id.clone(),
        tag: port.segment,
        mac: port.mac.clone(),
        address: port.private_ip,
        hostname: if is_first { hostname.clone() } else { private_name(hostname, port.private_ip) },
    })
}

impl App {
    /// The clusters are to hear of a change of rules or VPCs.
    pub fn networks_changed(&self) {
        self.clusters.list().iter().for_each(|link| link.news.notify_one());
    }

    /// Takes over what has changed among the rules, whoever changed it.
    pub async fn rules_follow(&self) -> Result<(), StoreError> {
        let mut followed = self.facts.followed.lock().await;
        let Some(changes) = self.store.rules_changed_after(*followed).await? else { return Ok(()) };
        let to = changes.to;
        self.facts.table().rules_changed(changes);
        *followed = Some(to);
        Ok(())
    }

    /// The same among VPCs and what belongs to them.
    pub async fn networks_follow(&self) -> Result<(), StoreError> {
        let mut followed = self.facts.networks_followed.lock().await;
        let Some(changes) = self.store.networks_changed_after(*followed).await? else { return Ok(()) };
        let to = changes.to;
        self.facts.table().networks_changed(changes);
        *followed = Some(to);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
