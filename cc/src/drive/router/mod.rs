//! The routers of VPCs on this host: each a namespace that is made, kept as it is wanted, and removed.
//!
//! ```text
//!   namespace.rs   namespaces with names, and their settings
//!   netlink.rs     links, addresses, routes and rules by rtnetlink
//!   running.rs     one router: what leads from what there is to what is wanted
//!   tables.rs      its iptables
//!   serving.rs     what dnsmasq tells the guests of a subnet
//!   flows.rs       connections that go by an address that leads elsewhere now
//!   made.rs        what was made on this host
//! ```
//!
//! A router goes on without us. Another life finds it by its name and changes nothing that is as it should be.

pub mod flows;
mod made;
pub mod namespace;
pub mod netlink;
mod running;
mod serving;
mod tables;

use crate::app::router::{Router, names};
use crate::config::NetworkConfig;
use crate::drive::{DriveError, Wanted};
use futures_util::{FutureExt, StreamExt};
use karri_net::{Netlink, Segments, Tunnel};
use karri_proto::ids::VpcId;
use karri_proto::network::SegmentTag;
use made::{Made, link_address};
use netlink::{Held, Kernel};
use running::{Running, Seen};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What others have changed is found within this.
const LOOK_EVERY: Duration = Duration::from_secs(3);
const ROUTERS_AT_ONCE: usize = 8;

/// What all routers of this host have in common.
#[derive(Debug)]
pub struct Host {
    pub bridge: String,
    pub run_dir: PathBuf,
    /// Of segments, and of what is beyond the host.
    pub mtu: u32,
    pub mtu_up: u32,
    pub kernel: Kernel,
}

pub struct Routers {
    network: NetworkConfig,
    made: Made,
    opened: Option<(Arc<Host>, Segments)>,
    running: BTreeMap<VpcId, Running>,
    segments_checked: Option<(Instant, BTreeSet<SegmentTag>, Arc<[Ipv4Addr]>)>,
    host_looked: Option<(Instant, Vec<Held>)>,
    /// Whether segments are there, and the network between hosts is as the configuration says: what can be done without
    /// is done all the same.
    tunnel: Result<(), DriveError>,
    /// There was nothing to do, and nothing was left of earlier lives.
    was_idle: bool,
}

impl std::fmt::Debug for Routers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routers").field("made", &self.made).finish_non_exhaustive()
    }
}

fn net(cause: karri_net::NetError) -> DriveError {
    DriveError::new("segments", cause)
}

impl Routers {
    pub fn new(network: &NetworkConfig) -> Self {
        Self {
            network: network.clone(),
            made: Made::read(&network.run_dir),
            opened: None,
            running: BTreeMap::new(),
            segments_checked: None,
            host_looked: None,
            tunnel: Ok(()),
            was_idle: false,
        }
    }

    fn open(&mut self) -> Result<Arc<Host>, DriveError> {
        if let Some((host, _)) = &self.opened {
            return Ok(host.clone());
        }
        let NetworkConfig { bridge, run_dir, tunnel_address, tunnel_mtu, vxlan_port, .. } = &self.network;
        let tunnel = tunnel_address.map(|address| Tunnel { address, port: *vxlan_port });
        let segments = Segments::new(Netlink::open().map_err(net)?, bridge, tunnel, *tunnel_mtu);
        let host = Arc::new(Host {
            bridge: bridge.clone(),
            run_dir: run_dir.clone(),
            mtu: segments.mtu(),
            mtu_up: MTU_UP,
            kernel: Kernel::here()?,
        });
        self.opened = Some((host.clone(), segments));
        Ok(host)
    }

    /// Each router is as it is wanted, as far as it can be; the first thing that cannot is told.
    pub async fn apply(&mut self, wanted: &Wanted) -> Result<(), DriveError> {
        let nothing = wanted.routers.is_empty() && wanted.outside.flat.is_empty();
        let is_idle = nothing && self.made.routers().is_empty();
        if is_idle && self.was_idle {
            return Ok(());
        }
        let host = self.open()?;
        let unwanted: Vec<VpcId> =
            self.made.routers().into_iter().filter(|vpc| !wanted.routers.contains_key(vpc)).collect();
        for vpc in &unwanted {
            self.router_remove(&host, vpc).await?;
        }
        self.made.add(wanted.routers.keys())?;
        self.segments_ensure(wanted).await;
        let mut outcome = self.routers_apply(&host, &wanted.routers).await;
        if outcome.is_ok() {
            outcome = self.routes_apply(&host, wanted).await;
        }
        let left = self.running.values_mut().flat_map(Running::take_left).collect();
        outcome.and(self.remove_unused(left).await)?;
        self.was_idle = is_idle;
        self.tunnel.clone()
    }

    /// Segments are made before legs join them.
    async fn segments_ensure(&mut self, wanted: &Wanted) {
        let tags: BTreeSet<SegmentTag> =
            wanted.routers.values().flat_map(|router| router.legs.keys().copied()).collect();
        let is_fresh = self.segments_checked.as_ref().is_some_and(|(when, known, tunnels)| {
            when.elapsed() < LOOK_EVERY && *known == tags && *tunnels == wanted.tunnels
        });
        let Some((_, segments)) = self.opened.as_ref().filter(|_| !is_fresh) else { return };
        self.segments_checked = None;
        match segments.ensure(&tags, &wanted.tunnels).await.map_err(net) {
            Ok(ensured) => {
                for (tag, changed) in ensured {
                    let changed = changed.join(", ");
                    tracing::info!(segment = format!("{tag:x}"), changed, "segment put right");
                    // What is in it may have lost its place.
                    self.running.values_mut().for_each(|running| running.doubt(tag));
                }
                self.tunnel = segments.check().await.map_err(net);
                self.segments_checked = Some((Instant::now(), tags, wanted.tunnels.clone()));
            }
            // The others are there; routers with legs in this one will say so.
            Err(error) => self.tunnel = Err(error),
        }
    }

    async fn routers_apply(
        &mut self,
        host: &Arc<Host>,
        routers: &BTreeMap<VpcId, Arc<Router>>,
    ) -> Result<(), DriveError> {
        for vpc in routers.keys() {
            let number = self.made.number(vpc).unwrap_or_default();
            self.running.entry(vpc.clone()).or_insert_with(|| Running::new(host, vpc, number));
        }
        let mut due = Vec::new();
        for (vpc, running) in &mut self.running {
            if let Some(router) = routers.get(vpc)
                && running.is_due(router, LOOK_EVERY)
            {
                due.push((running, router));
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        let seen = Seen { links: host.kernel.links().await?, addresses: host.kernel.addresses().await? };
        let mut work = Vec::new();
        for (running, router) in due {
            work.push(running.apply(host, router, &seen).boxed());
        }
        let outcomes: Vec<_> =
            futures_util::stream::iter(work).buffer_unordered(ROUTERS_AT_ONCE).collect().await;
        outcomes.into_iter().collect()
    }

    /// The host's own routes to what is behind routers.
    async fn routes_apply(&mut self, host: &Host, wanted: &Wanted) -> Result<(), DriveError> {
        let mut routes = Vec::new();
        let links = host.kernel.links().await?;
        let bridge = links.get(&host.bridge).map(|link| link.index);
        if let Some(bridge) = bridge {
            // The host itself must have a way there before its packets are translated.
            routes.extend(wanted.outside.flat.keys().map(|public| Held::on_link(*public, bridge)));
        }
        for (vpc, running) in &self.running {
            let Some(link) = running.uplink() else { continue };
            let address = link_address(self.made.number(vpc).unwrap_or_default());
            routes.push(Held::on_link(address, link));
            let public = wanted.routers.get(vpc).into_iter().flat_map(|router| router.public.keys());
            routes.extend(public.map(|public| Held::by(*public, link, address)));
        }
        routes.sort();
        let looked = self.host_looked.as_ref();
        if looked.is_some_and(|(when, known)| when.elapsed() < LOOK_EVERY && *known == routes) {
            return Ok(());
        }
        self.host_looked = None;
        let uplinks = names::uplinks(&host.bridge);
        let uplinks = links.iter().filter(|(name, _)| name.starts_with(uplinks.trim_end_matches('+')));
        let own: BTreeSet<u32> = uplinks.map(|(_, link)| link.index).chain(bridge).collect();
        let is_ours = |route: &Held| route.link.is_some_and(|link| own.contains(&link));
        host.kernel.routes_become(&routes.iter().copied().collect(), is_ours).await?;
        self.host_looked = Some((Instant::now(), routes));
        Ok(())
    }

    /// Segments that nothing of ours is in any more go, if nothing else is in them.
    async fn remove_unused(&self, tags: BTreeSet<SegmentTag>) -> Result<(), DriveError> {
        let Some((_, segments)) = &self.opened else { return Ok(()) };
        for tag in tags {
            if segments.remove_unused(tag).await.map_err(net)? {
                tracing::info!(segment = format!("{tag:x}"), "segment removed");
            }
        }
        Ok(())
    }

    async fn router_remove(&mut self, host: &Arc<Host>, vpc: &VpcId) -> Result<(), DriveError> {
        let number = self.made.number(vpc).unwrap_or_default();
        let mut running = self.running.remove(vpc).unwrap_or_else(|| Running::new(host, vpc, number));
        let removed = running.remove(host).await;
        if removed.is_err() {
            self.running.insert(vpc.clone(), running);
        }
        let tags = removed?;
        self.remove_unused(tags).await?;
        self.made.remove(vpc)
    }

    /// Takes away everything that was made for routers on this host, and nothing else.
    pub async fn remove(&mut self) -> Result<(), DriveError> {
        let known = self.made.routers();
        if known.is_empty() && namespace::names(&names::namespaces(&self.network.bridge)).is_empty() {
            self.made.forget();
            return Ok(());
        }
        let host = self.open()?;
        for vpc in known {
            self.router_remove(&host, &vpc).await?;
        }
        self.made.forget();
        Ok(())
    }
}

/// Ethernet's, as on the flat network.
const MTU_UP: u32 = 1500;
