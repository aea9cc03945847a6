//! Zones of several clusters: one that the zone is, and others that extend it with nodes (docs/adr/0023).
//!
//! Subnets with a segment of their own span all clusters of their zone. What leads from subnet to subnet and outside,
//! DHCP and names stay with the zone's own cluster, whichever cluster an instance is in.

use super::App;
use super::cluster::ClusterLink;
use super::facts::Site;
use super::instance::{Instance, State};
use crate::store::subnet::Subnet;
use karri_proto::internal::ApiError;
use karri_proto::internal::clusters::{ClusterHello, Tunnels};
use karri_proto::resources::ClusterResources;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Why the hosts of a cluster cannot share segments with those of the zone's own.
fn check_joined(own: &ClusterLink, hello: &ClusterHello) -> Result<(), String> {
    let (zone, name) = (&hello.zone, &own.name);
    let without =
        |what: &str| format!("cluster.extends: cluster {name}, which zone {zone} is, has no {what}");
    let own = own.hello().tunnels.ok_or_else(|| without("segments that reach other clusters"))?;
    if own.address.is_none() {
        return Err(without("network.tunnel_address"));
    }
    let Some(Tunnels { mtu, port, .. }) = hello.tunnels else {
        return Err(format!("cluster.extends: its segments reach no other clusters, not {name} either"));
    };
    let other = |key: &str, is: u64, there: u64| {
        format!("network.{key} = {is}: it is {there} in cluster {name}, whose zone this one extends")
    };
    if mtu != own.mtu {
        return Err(other("tunnel_mtu", mtu.into(), own.mtu.into()));
    }
    if port != own.port {
        return Err(other("vxlan_port", port.into(), own.port.into()));
    }
    Ok(())
}

/// `reported`: what is known of its nodes.
fn site(hello: &ClusterHello, reported: Option<&ClusterResources>) -> Site {
    let nodes = reported.into_iter().flat_map(|resources| &resources.nodes).filter_map(|node| node.tunnel);
    // The one where routers are has segments without having a node.
    let own = hello.tunnels.as_ref().and_then(|tunnels| tunnels.address).filter(|_| !hello.extends);
    let tunnels: BTreeSet<Ipv4Addr> = nodes.chain(own).collect();
    Site { zone: hello.zone.clone(), extends: hello.extends, tunnels: tunnels.into_iter().collect() }
}

impl App {
    /// Whether a cluster may be of the zone that it names.
    pub(super) fn check_zone(&self, name: &str, hello: &ClusterHello) -> Result<(), ApiError> {
        let zone = &hello.zone;
        self.check_stays(name, hello)?;
        match self.clusters.by_zone(zone).filter(|own| own.name != name) {
            Some(own) if hello.extends => check_joined(&own, hello).map_err(ApiError::conflict),
            Some(own) => Err(ApiError::conflict(format!("zone {zone} is cluster {}", own.name))),
            None if hello.extends => Err(ApiError::conflict(format!(
                "cluster.extends: no cluster has told yet that it is zone {zone}"
            ))),
            None => Ok(()),
        }
    }

    /// Whose routers serve its instances stays while there are any.
    fn check_stays(&self, name: &str, hello: &ClusterHello) -> Result<(), ApiError> {
        let Some(known) = self.clusters.get(name).map(|link| link.hello()) else { return Ok(()) };
        if hello.extends && !known.extends {
            // Accounts have default subnets there, and instances may have addresses of them.
            return Err(ApiError::conflict(format!(
                "cluster.extends: cluster {name} has been zone {} itself; one that extends a zone needs a name of its own",
                known.zone
            )));
        }
        let is_moved = (known.extends, &known.zone) != (hello.extends, &hello.zone);
        let living = self.living_of(name, &known);
        if !known.extends || !is_moved || living == 0 {
            return Ok(());
        }
        Err(ApiError::conflict(format!(
            "cluster.extends, zone: the cluster has {living} instances in zone {}; terminate them before it is changed, or \
             set it back",
            known.zone
        )))
    }

    /// How many instances there are that live by its network: where it is the zone, those of all its clusters.
    pub(super) fn living_of(&self, name: &str, hello: &ClusterHello) -> usize {
        let lives_by = |one: &Instance| one.cluster == name || !hello.extends && one.zone == hello.zone;
        self.instances.select(|one| one.state != State::Terminated && lives_by(one)).len()
    }

    /// Whether instances of that subnet may be in the cluster.
    pub(super) fn may_carry(&self, hello: &ClusterHello, subnet: &Subnet) -> bool {
        if !hello.extends {
            return true;
        }
        let own = self.clusters.by_zone(&hello.zone);
        !subnet.is_flat() && own.is_some_and(|own| check_joined(&own, hello).is_ok())
    }

    /// Makes known, to be told, where clusters and their hosts are.
    pub(super) fn sites_follow(&self) {
        let book = self.book(); // for no instance is taken over meanwhile
        let site = |link: &std::sync::Arc<ClusterLink>| {
            (link.name.clone(), site(&link.hello(), book.reported.get(&link.name)))
        };
        let (moved, mut stirred) = self.facts.sites_are(self.clusters.list().iter().map(site).collect());
        if !moved.is_empty() {
            let theirs = self.instances.select(|instance| moved.contains(&instance.cluster));
            stirred.extend(self.facts.instances_changed(&theirs));
        }
        drop(book);
        self.facts_stirred(&stirred);
    }

    /// These clusters have something to hear.
    pub(super) fn facts_stirred(&self, clusters: &BTreeSet<String>) {
        for link in clusters.iter().filter_map(|name| self.clusters.get(name)) {
            link.news.notify_one();
        }
    }
}
