//! The routers of VPCs on this host: each a namespace that is made, kept as it is wanted, and removed.
//!
//! ```text
//!   namespace.rs   namespaces with names, and their settings
//!   netlink.rs     links, addresses, routes and rules by rtnetlink
//!   running.rs     one router: what leads from what there is to what is wanted
//!   pace.rs        when routers are looked at that nobody has changed
//!   tables.rs      its iptables
//!   serving.rs     what dnsmasq tells the guests of a subnet
//!   look.rs        what there is of a subnet, for people
//!   flows.rs       connections that go by an address that leads elsewhere now
//!   made.rs        what was made on this host
//! ```
//!
//! A router goes on without us. Another life finds it by its name and changes nothing that is as it should be.

pub mod flows;
mod look;
mod made;
pub mod namespace;
pub mod netlink;
mod pace;
mod running;
mod serving;
mod tables;

use crate::app::router::{Router, names};
use crate::config::NetworkConfig;
use crate::drive::{DriveError, Wanted};
use futures_util::{FutureExt, StreamExt};
use karri_net::nfnetlink::{Nfnetlink, is_counted as is_counted_by};
use karri_net::{Heard, Names, Netlink, Segments, Watch, Wire, descriptors_raise};
use karri_proto::ids::VpcId;
use karri_proto::network::SegmentTag;
pub use look::HostEyes;
use made::{Made, link_address};
use netlink::{Addresses, Held, Kernel};
use pace::Pace;
use running::Running;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// By this number the kernel tells of routes and proxied addresses whose they are.
pub const PROTOCOL: u8 = 75;
/// What others have changed is found within this, where the kernel does not tell it unasked.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Looks at all segments take at most one part in so many of the time.
const LOOK_SHARE: u32 = 20;
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
    pace: Pace,
    segments_looked: Option<SegmentsLooked>,
    /// Tells what happens on the host.
    watch: Option<Watch>,
    /// What the host's links have; none: it has changed.
    addresses: Option<Addresses>,
    /// The host's own routes, as they were brought to.
    routes: Option<BTreeSet<Held>>,
    /// Whether segments are there, and the network between hosts is as the configuration says: what can be done without
    /// is done all the same.
    tunnel: Result<(), DriveError>,
    /// There was nothing to do, and nothing was left of earlier lives.
    was_idle: bool,
}

/// All of them were as they should be.
struct SegmentsLooked {
    at: Instant,
    took: Duration,
    tags: BTreeSet<SegmentTag>,
    tunnels: Arc<[Ipv4Addr]>,
    /// Something has happened to these.
    doubted: BTreeSet<SegmentTag>,
}

impl std::fmt::Debug for Routers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routers").field("made", &self.made).finish_non_exhaustive()
    }
}

/// Whether the kernel counts changes of this host's rules.
pub(super) fn is_counted() -> bool {
    static COUNTED: OnceLock<bool> = OnceLock::new();
    *COUNTED.get_or_init(|| is_counted_by("iptables").unwrap_or(false))
}

/// The kernel's number for changes of rules in the host's own tables. `None`: it does not count them.
pub async fn generation() -> Option<u32> {
    let work = || is_counted().then(|| Nfnetlink::open()?.tables_generation());
    tokio::task::spawn_blocking(work).await.ok()??.ok()
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
            pace: Pace::default(),
            segments_looked: None,
            watch: None,
            addresses: None,
            routes: None,
            tunnel: Ok(()),
            was_idle: false,
        }
    }

    fn open(&mut self) -> Result<Arc<Host>, DriveError> {
        if let Some((host, _)) = &self.opened {
            return Ok(host.clone());
        }
        descriptors_raise().map_err(|cause| DriveError::new("open files", cause))?;
        let NetworkConfig { bridge, run_dir, tunnel_mtu, .. } = &self.network;
        let netlink = Netlink::open().map_err(net)?;
        let segments = Segments::new(netlink, bridge, wire(&self.network), *tunnel_mtu);
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
        self.listen(&host)?;
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

    /// What has happened on the host since the last round is looked at in this one.
    fn listen(&mut self, host: &Host) -> Result<(), DriveError> {
        let heard = match &self.watch {
            Some(watch) => watch.heard(),
            None => {
                self.watch = Some(Watch::open().map_err(|cause| DriveError::new("netlink", cause))?);
                Heard { everything: true, ..Heard::default() }
            }
        };
        if heard.is_nothing() {
            return Ok(());
        }
        if heard.everything || !heard.addresses.is_empty() {
            self.addresses = None;
        }
        let uplinks = names::uplinks(&host.bridge);
        let leads_out =
            |link: &String| *link == host.bridge || link.starts_with(uplinks.trim_end_matches('+'));
        // The kernel says nothing of routes that go with their links.
        let rerouted = heard.routes || !heard.addresses.is_empty() || heard.links.iter().any(leads_out);
        if heard.everything || rerouted {
            self.routes = None;
        }
        if heard.everything {
            self.segments_looked = None;
        }
        if let Some(looked) = &mut self.segments_looked {
            let names = Names::new(&host.bridge);
            let tag = |name: &String| names.tag_of_bridge(name).or_else(|| names.tag_of_device(name));
            looked.doubted.extend(heard.links.iter().filter_map(tag));
        }
        self.running.values_mut().for_each(|running| running.hear(&host.bridge, &heard));
        Ok(())
    }

    /// Which segments have to be looked at, and whether these are all.
    fn segments_due(
        &self,
        tags: &BTreeSet<SegmentTag>,
        tunnels: &Arc<[Ipv4Addr]>,
    ) -> (BTreeSet<SegmentTag>, bool) {
        let Some(looked) = &self.segments_looked else { return (tags.clone(), true) };
        let every = LOOK_EVERY.max(looked.took * LOOK_SHARE);
        if looked.tunnels != *tunnels || looked.at.elapsed() >= every {
            return (tags.clone(), true);
        }
        let is_due = |tag: &&SegmentTag| !looked.tags.contains(tag) || looked.doubted.contains(tag);
        (tags.iter().filter(is_due).copied().collect(), false)
    }

    /// Segments are made before legs join them.
    async fn segments_ensure(&mut self, wanted: &Wanted) {
        let tags: BTreeSet<SegmentTag> =
            wanted.routers.values().flat_map(|router| router.legs.keys().copied()).collect();
        let (due, all) = self.segments_due(&tags, &wanted.tunnels);
        let Some((_, segments)) = self.opened.as_ref() else { return };
        let before = self.segments_looked.take();
        let began = Instant::now();
        let ensured = match due.is_empty() {
            true => Ok(BTreeMap::new()),
            false => segments.ensure(&due, &wanted.tunnels).await.map_err(net),
        };
        match ensured {
            Ok(ensured) => {
                for (tag, changed) in ensured {
                    let changed = changed.join(", ");
                    tracing::info!(segment = format!("{tag:x}"), changed, "segment put right");
                    // What is in it may have lost its place.
                    self.running.values_mut().for_each(|running| running.doubt(tag));
                }
                if all {
                    self.tunnel = segments.check().await.map_err(net);
                }
                let (at, took) = match before.filter(|_| !all) {
                    Some(before) => (before.at, before.took),
                    None => (Instant::now(), began.elapsed()),
                };
                let (tunnels, doubted) = (wanted.tunnels.clone(), BTreeSet::new());
                self.segments_looked = Some(SegmentsLooked { at, took, tags, tunnels, doubted });
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
        // Changes first: they wait for no look.
        let is_at =
            |vpc: &VpcId, running: &Running| routers.get(vpc).is_none_or(|router| running.is_at(router));
        let changed = self.running.iter().filter(|(vpc, running)| !is_at(vpc, running));
        let changed: BTreeSet<VpcId> = changed.map(|(vpc, _)| vpc.clone()).collect();
        let mut outcome = self.routers_bring(host, routers, &changed).await;
        if !self.pace.is_time(Instant::now()) {
            return outcome;
        }
        let others = self.running.iter_mut().filter(|(vpc, _)| !changed.contains(*vpc));
        let dues = others.map(|(vpc, running)| (vpc.clone(), running.due()));
        for due in pace::choose(routers.len(), dues) {
            outcome = outcome.and(self.routers_bring(host, routers, &due).await);
        }
        self.pace.looked(Instant::now());
        outcome
    }

    async fn routers_bring(
        &mut self,
        host: &Arc<Host>,
        routers: &BTreeMap<VpcId, Arc<Router>>,
        which: &BTreeSet<VpcId>,
    ) -> Result<(), DriveError> {
        if which.is_empty() {
            return Ok(());
        }
        let addresses = match self.addresses.take() {
            Some(known) => known,
            None => host.kernel.addresses().await?,
        };
        let mut work = Vec::new();
        for (vpc, running) in self.running.iter_mut().filter(|(vpc, _)| which.contains(*vpc)) {
            if let Some(router) = routers.get(vpc) {
                work.push(running.apply(host, router, &addresses).boxed());
            }
        }
        let outcomes: Vec<_> =
            futures_util::stream::iter(work).buffer_unordered(ROUTERS_AT_ONCE).collect().await;
        self.addresses = Some(addresses);
        outcomes.into_iter().collect()
    }

    /// The host's own routes to what is behind routers.
    async fn routes_apply(&mut self, host: &Host, wanted: &Wanted) -> Result<(), DriveError> {
        let mut routes = BTreeSet::new();
        let bridge = host.kernel.links_named(std::slice::from_ref(&host.bridge)).await?;
        let bridge = bridge.values().next().map(|link| link.index);
        if let Some(bridge) = bridge {
            // The host itself must have a way there before its packets are translated.
            routes.extend(wanted.outside.flat.keys().map(|public| Held::on_link(*public, bridge)));
        }
        for (vpc, running) in &self.running {
            let Some(link) = running.uplink() else { continue };
            let address = link_address(self.made.number(vpc).unwrap_or_default());
            routes.insert(Held::on_link(address, link));
            let public = wanted.routers.get(vpc).into_iter().flat_map(|router| router.public.keys());
            routes.extend(public.map(|public| Held::by(*public, link, address)));
        }
        match self.routes.take() {
            Some(known) => host.kernel.routes_change(&known, &routes).await?,
            None => {
                let links = host.kernel.links().await?;
                let uplinks = names::uplinks(&host.bridge);
                let uplinks =
                    links.iter().filter(|(name, _)| name.starts_with(uplinks.trim_end_matches('+')));
                let own: BTreeSet<u32> = uplinks.map(|(_, link)| link.index).chain(bridge).collect();
                let is_ours = |route: &Held| route.link.is_some_and(|link| own.contains(&link));
                host.kernel.routes_become(&routes, is_ours).await?;
            }
        }
        self.routes = Some(routes);
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

/// What joins the segments of this host to those of others.
fn wire(network: &NetworkConfig) -> Wire {
    Wire::by(network.trunk.as_deref(), network.tunnel_address, network.vxlan_port)
}

/// Ethernet's, as on the flat network.
const MTU_UP: u32 = 1500;
