//! What `karri status` prints: controllers, capacity in slots per instance type, instances by state.

use super::App;
use super::cluster::ClusterLink;
use karri_proto::internal::admin::{CloudStatus, ControllerStatus, TypeSlots, ZoneStatus};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::fleet::FleetService;
use karri_proto::internal::{ApiError, Caller};
use karri_proto::resources::ClusterResources;
use std::time::Duration;

impl App {
    pub async fn cloud_status(&self, _: &Caller) -> Result<CloudStatus, ApiError> {
        let wrong = self.base.health.wrong().await;
        let engine = format!("{:?}", self.store.engine()).to_lowercase();
        let mut status = CloudStatus {
            controllers: vec![ControllerStatus {
                role: "clc".to_owned(),
                name: self.base.identity.name.clone(),
                url: self.internal_url(),
                healthy: wrong.is_empty(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                detail: if wrong.is_empty() { engine } else { wrong.join("; ") },
            }],
            zones: Vec::new(),
            instances: self.instances.states().into_iter().map(|(s, n)| (s.as_str().to_owned(), n)).collect(),
        };
        for link in self.clusters.list() {
            let resources = self.cluster_resources(&link.name);
            status.controllers.push(self.cluster_status(&link));
            status.controllers.extend(resources.nodes.iter().map(node_status));
            status.zones.push(ZoneStatus {
                zone: link.hello().zone,
                cluster: link.name.clone(),
                mode: link.hello().mode,
                slots: self.slots(&link.name),
                resources,
            });
        }
        Ok(status)
    }

    /// The cluster, which goes by its own name or by that of the zone that it is, forgets a node that is gone for good; what it ran comes back as reports. From the cluster's next
    /// greeting on the node's certificate is refused.
    pub async fn node_forget(
        &self,
        caller: &Caller,
        zone: &str,
        node: &str,
        force: bool,
    ) -> Result<(), ApiError> {
        let link = self.clusters.get(zone).or_else(|| self.clusters.by_zone(zone));
        let none = || ApiError::not_found(format!("there is no zone or cluster \"{zone}\""));
        let link = link.ok_or_else(none)?;
        let caller_own = self.caller(&caller.request_id);
        let forgotten = FleetService::node_forget(&link.client(), &caller_own, node, force).await;
        match forgotten {
            Ok(()) => {
                self.store.node_name_free(&link.name, node, super::now_ms()).await?;
            }
            // It was given its name and never came.
            Err(error) if error.kind == ApiErrorKind::NotFound => {
                let given = self.store.node_name_free(&link.name, node, super::now_ms()).await?;
                return if given { Ok(()) } else { Err(error) };
            }
            Err(error) => return Err(error),
        }
        // Its own telling may take a moment.
        let mut resources = self.cluster_resources(&link.name);
        resources.nodes.retain(|known| known.facts.name != node);
        self.resources_reported(&link.name, resources).await?;
        tracing::info!(request_id = caller.request_id, zone, node, force, "node forgotten");
        Ok(())
    }

    /// Silent for too long counts as away.
    pub fn cluster_is_away(&self, link: &ClusterLink) -> bool {
        let silent_ms = super::steady_ms().saturating_sub(link.seen_ms());
        Duration::from_millis(u64::try_from(silent_ms).unwrap_or(0)) > self.limits.cluster_silent()
    }

    fn cluster_status(&self, link: &ClusterLink) -> ControllerStatus {
        let hello = link.hello();
        let healthy = !self.cluster_is_away(link);
        let detail = if healthy { format!("zone {}", hello.zone) } else { "does not answer".to_owned() };
        ControllerStatus {
            role: "cc".to_owned(),
            name: link.name.clone(),
            url: hello.url,
            healthy,
            version: hello.version,
            detail,
        }
    }

    /// Free and total slots per instance type: the paper's describeResources.
    pub fn slots(&self, cluster: &str) -> Vec<TypeSlots> {
        let book = self.book();
        let slots = |one: &super::instance_type::InstanceType| {
            let (free, total) = book.ledger.slots(cluster, one.need());
            TypeSlots {
                instance_type: one.name.clone(),
                vcpus: one.vcpus,
                memory_mib: one.memory_mib,
                disk_gib: one.disk_gib,
                free,
                total,
            }
        };
        self.catalogue.iter().map(slots).collect()
    }

    /// The sums of all its clusters.
    pub fn slots_of_zone(&self, zone: &str) -> Vec<TypeSlots> {
        let clusters = self.clusters.list().into_iter().filter(|link| link.hello().zone == zone);
        let mut each = clusters.map(|link| self.slots(&link.name));
        let mut sums = each.next().unwrap_or_default();
        for more in each {
            for (sum, more) in sums.iter_mut().zip(more) {
                (sum.free, sum.total) = (sum.free + more.free, sum.total + more.total);
            }
        }
        sums
    }

    pub fn cluster_resources(&self, cluster: &str) -> ClusterResources {
        self.book().reported.get(cluster).cloned().unwrap_or_default()
    }
}

fn node_status(node: &karri_proto::resources::NodeResources) -> ControllerStatus {
    let facts = &node.facts;
    let foreign = match facts.foreign_guests.len() {
        0 => String::new(),
        count => format!(", {count} guests that are not ours"),
    };
    ControllerStatus {
        role: "nc".to_owned(),
        name: facts.name.clone(),
        url: String::new(),
        healthy: node.alive,
        version: facts.version.clone(),
        detail: format!("{} {}{foreign}", facts.hypervisor, facts.accelerator),
    }
}
