//! One router: brought from what there is to what is wanted, and taken away.

use super::flows::Public;
use super::made::link_address;
use super::netlink::{Addresses, End, Held, Kernel, Link, Links};
use super::tables::Tables;
use super::{Host, flows, is_counted, namespace, serving};
use crate::app::router::names::{self, UP, leg_inside, leg_outside};
use crate::app::router::{NEXT_HOP, Router, table_of};
use crate::drive::DriveError;
use crate::drive::dnsmasq::Dnsmasq;
use crate::drive::flat::make_directory;
use crate::drive::naming;
use karri_net::nfnetlink::Nfnetlink;
use karri_net::{GROUP, Heard, Names, Namespace, Watch, silence};
use karri_proto::ids::VpcId;
use karri_proto::network::SegmentTag;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the kernel tells unasked is not taken for all of it: each router is looked at whole once in this time.
const SURE_EVERY: Duration = Duration::from_secs(60);
/// Where the kernel does not count changes of tables. A look that is put off ([`super::pace`]) waits for the next round of
/// two seconds: together less than the five in which all is mended.
const UNCOUNTED_EVERY: Duration = Duration::from_secs(2);

/// Whether a router has to be looked at that is wanted as it was brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Something has happened to it.
    Stirred,
    /// It has been a while.
    Sure,
    No,
}

#[derive(Debug)]
pub struct Running {
    vpc: VpcId,
    name: String,
    number: u16,
    directory: PathBuf,
    inside: Option<Inside>,
    uplink: Option<u32>,
    tables: Tables,
    /// No connection goes by another translation than these.
    settled: Option<Public>,
    /// The host's ends of its links are not as they were.
    stirred: bool,
    dnsmasq: BTreeMap<SegmentTag, Dnsmasq>,
    /// As it was brought to, and when that was last seen to be so.
    applied: Option<(Arc<Router>, Instant)>,
    /// Segments in which it has no leg any more.
    left: BTreeSet<SegmentTag>,
}

#[derive(Debug)]
struct Inside {
    number: u64,
    namespace: Namespace,
    kernel: Kernel,
    watch: Watch,
    netfilter: Nfnetlink,
}

/// One pair of links: here, and in the namespace.
struct Pair {
    outside: String,
    inside: String,
    mac: Option<[u8; 6]>,
    mtu: u32,
    /// The bridge that the outer end is a port of.
    bridge: Option<String>,
}

impl Running {
    pub fn new(host: &Host, vpc: &VpcId, number: u16) -> Self {
        let name = names::namespace(&host.bridge, vpc);
        Self {
            vpc: vpc.clone(),
            number,
            directory: host.run_dir.join(&name),
            name,
            inside: None,
            uplink: None,
            tables: Tables::default(),
            settled: None,
            stirred: false,
            dnsmasq: BTreeMap::new(),
            applied: None,
            left: BTreeSet::new(),
        }
    }

    /// It was brought to that.
    pub fn is_at(&self, wanted: &Arc<Router>) -> bool {
        self.applied.as_ref().is_some_and(|(router, _)| Arc::ptr_eq(router, wanted) || router == wanted)
    }

    /// Asks the kernel only for what it tells at once.
    pub fn due(&mut self) -> Due {
        let Some(looked) = self.applied.as_ref().map(|(_, looked)| *looked) else { return Due::Stirred };
        if self.is_stirred() || (!is_counted() && looked.elapsed() >= UNCOUNTED_EVERY) {
            return Due::Stirred;
        }
        if looked.elapsed() >= SURE_EVERY { Due::Sure } else { Due::No }
    }

    fn is_stirred(&mut self) -> bool {
        let Some(inside) = &self.inside else { return true };
        let is_there = namespace::number(&self.name) == Some(inside.number);
        if !inside.watch.heard().is_nothing() || !is_there {
            self.stirred = true;
        }
        if is_counted() {
            let generation = inside.netfilter.tables_generation().ok();
            self.stirred |= !self.tables.were_right_at(generation);
        }
        self.stirred || !self.dnsmasq.values_mut().all(Dnsmasq::is_serving)
    }

    /// What has happened on the host.
    pub fn hear(&mut self, bridge: &str, heard: &Heard) {
        let ends = self.applied.iter().flat_map(|(router, _)| router.legs.keys());
        let mut ends = ends.map(|tag| leg_outside(bridge, *tag)).chain([names::uplink(bridge, self.number)]);
        let is_ours = self.uplink.is_some_and(|link| heard.addresses.contains(&link));
        self.stirred |= heard.everything || is_ours || ends.any(|end| heard.links.contains(&end));
    }

    /// Something has been done to the segment.
    pub fn doubt(&mut self, tag: SegmentTag) {
        if self.applied.as_ref().is_some_and(|(router, _)| router.legs.contains_key(&tag)) {
            self.applied = None;
        }
    }

    /// The host's end of its way up.
    pub fn uplink(&self) -> Option<u32> {
        self.uplink
    }

    pub fn take_left(&mut self) -> BTreeSet<SegmentTag> {
        std::mem::take(&mut self.left)
    }

    /// `addresses`: what links of the host have.
    pub async fn apply(
        &mut self,
        host: &Host,
        wanted: &Arc<Router>,
        addresses: &Addresses,
    ) -> Result<(), DriveError> {
        self.applied = None;
        self.stirred = false;
        let mut done = self.enter()?;
        let generation = self.settings()?;
        let inside = self.inside.as_ref().ok_or_else(|| self.vanished())?;
        if self.tables.apply(&inside.namespace, &wanted.tables, generation).await? {
            done.push("rules");
        }
        if self.links(host, wanted, addresses).await? {
            done.push("links");
        }
        if self.routes(wanted).await? {
            done.push("routes");
        }
        if !done.is_empty() {
            tracing::info!(vpc_id = %self.vpc, namespace = self.name, changed = done.join(", "), "router put right");
        }
        self.settle(wanted).await?;
        self.serve(wanted, host.mtu).await?;
        self.applied = Some((wanted.clone(), Instant::now()));
        Ok(())
    }

    fn vanished(&self) -> DriveError {
        DriveError::new(format!("namespace {}", self.name), "it has vanished")
    }

    /// It is there, and we have sockets in it.
    fn enter(&mut self) -> Result<Vec<&'static str>, DriveError> {
        let made = namespace::ensure(&self.name)?;
        let number = namespace::number(&self.name).ok_or_else(|| self.vanished())?;
        if self.inside.as_ref().is_none_or(|inside| inside.number != number) {
            let namespace = namespace::open(&self.name)?;
            let kernel = Kernel::inside(&namespace)?;
            let failed = |cause: std::io::Error| DriveError::new(format!("namespace {}", self.name), cause);
            let sockets = namespace
                .run(|| Ok::<_, std::io::Error>((Watch::open()?, Nfnetlink::open()?)))
                .map_err(failed)?;
            let (watch, netfilter) = sockets.map_err(failed)?;
            self.inside = Some(Inside { number, namespace, kernel, watch, netfilter });
            self.tables.forget();
            self.settled = None;
        }
        Ok(if made { vec!["namespace"] } else { Vec::new() })
    }

    /// Kept as they are put; tells the kernel's number for changes of rules there.
    fn settings(&self) -> Result<Option<u32>, DriveError> {
        let failed = |cause| DriveError::new(format!("namespace {}", self.name), cause);
        let inside = self.inside.as_ref().ok_or_else(|| self.vanished())?;
        if inside.namespace.run(namespace::settings_put).map_err(failed)?? {
            tracing::info!(namespace = self.name, "settings put");
        }
        Ok(is_counted().then(|| inside.netfilter.tables_generation()).and_then(Result::ok))
    }

    fn pairs(&self, host: &Host, wanted: &Router) -> Vec<Pair> {
        let segments = Names::new(&host.bridge);
        let up = Pair {
            outside: names::uplink(&host.bridge, self.number),
            inside: UP.to_owned(),
            mac: None,
            mtu: host.mtu_up,
            bridge: None,
        };
        let legs = wanted.legs.keys().map(|tag| Pair {
            outside: leg_outside(&host.bridge, *tag),
            inside: leg_inside(*tag),
            mac: Some(gateway_mac(*tag)),
            mtu: host.mtu,
            bridge: Some(segments.bridge(*tag)),
        });
        std::iter::once(up).chain(legs).collect()
    }

    /// `true`: something had to be done.
    async fn links(
        &mut self,
        host: &Host,
        wanted: &Router,
        addresses: &Addresses,
    ) -> Result<bool, DriveError> {
        let inside = self.inside.as_ref().ok_or_else(|| self.vanished())?;
        let mut there = inside.kernel.links().await?;
        let mut changed = false;
        let pairs = self.pairs(host, wanted);
        let mut on_host: Vec<String> = pairs.iter().map(|pair| pair.outside.clone()).collect();
        on_host.extend(pairs.iter().filter_map(|pair| pair.bridge.clone()));
        let mut here = host.kernel.links_named(&on_host).await?;
        for pair in pairs.iter().filter(|pair| !pair.is_there(&here, &there)) {
            pair.make(host, inside, &here, &there).await?;
            changed = true;
        }
        if changed {
            there = inside.kernel.links().await?;
            here = host.kernel.links_named(&on_host).await?;
        }
        for pair in &pairs {
            changed |= pair.set(host, inside, &here, &there).await?;
        }
        let up = names::uplink(&host.bridge, self.number);
        let uplink = here.get(&up).ok_or_else(|| DriveError::new(up, "it has vanished"))?.index;
        if !addresses.contains(&(uplink, NEXT_HOP, 32)) {
            host.kernel.address_add(uplink, NEXT_HOP, 32, true).await?;
            changed = true;
        }
        changed |= self.addresses(wanted, &there).await?;
        changed |= self.legs_remove(wanted, &there).await?;
        self.uplink = Some(uplink);
        Ok(changed)
    }

    /// Of legs that are not wanted any more, whatever life made them, what serves goes first.
    async fn legs_remove(&mut self, wanted: &Router, there: &Links) -> Result<bool, DriveError> {
        let files = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let served = files.filter_map(|entry| tag_of(entry.file_name().to_str()?));
        let mut gone: BTreeSet<SegmentTag> =
            there.keys().filter_map(|name| tag_of(name)).chain(served).collect();
        gone.retain(|tag| !wanted.legs.contains_key(tag));
        for tag in &gone {
            self.served_no_more(*tag).await?;
            let inside = self.inside.as_ref().ok_or_else(|| self.vanished())?;
            if let Some(link) = there.get(&leg_inside(*tag)) {
                inside.kernel.link_delete(link.index).await?;
            }
            self.left.insert(*tag);
        }
        Ok(!gone.is_empty())
    }

    async fn served_no_more(&mut self, tag: SegmentTag) -> Result<(), DriveError> {
        let directory = self.directory.join(leg_inside(tag));
        let unknown = || Dnsmasq::new(&directory, Some(&self.name), Vec::new());
        let mut dnsmasq = self.dnsmasq.remove(&tag).unwrap_or_else(unknown);
        if let Err(error) = dnsmasq.remove().await {
            self.dnsmasq.insert(tag, dnsmasq);
            return Err(error);
        }
        let _ = std::fs::remove_dir(&directory); // only if nobody else keeps files there
        Ok(())
    }

    async fn addresses(&self, wanted: &Router, there: &Links) -> Result<bool, DriveError> {
        let inside = self.inside.as_ref().ok_or_else(|| self.vanished())?;
        let found = inside.kernel.addresses().await?;
        let legs = wanted.legs.values().map(|leg| (leg_inside(leg.tag), leg.gateway, leg.range.prefix));
        let mut changed = false;
        for (name, address, prefix) in legs.chain([(UP.to_owned(), link_address(self.number), 32)]) {
            let link = there.get(&name).ok_or_else(|| DriveError::new(name, "it has vanished"))?;
            if !found.contains(&(link.index, address, prefix)) {
                inside.kernel.address_add(link.index, address, prefix, false).await?;
                changed = true;
            }
        }
        Ok(changed)
    }

    async fn routes(&self, wanted: &Router) -> Result<bool, DriveError> {
        let kernel = &self.inside.as_ref().ok_or_else(|| self.vanished())?.kernel;
        let links = kernel.links().await?;
        let index = |name: &str| links.get(name).map(|link| link.index);
        let up = index(UP).ok_or_else(|| DriveError::new(UP, "it has vanished"))?;
        let mut held: BTreeSet<Held> = wanted
            .routes
            .iter()
            .filter_map(|route| Held::new(route, (up, NEXT_HOP), |tag| index(&leg_inside(tag))))
            .collect();
        held.insert(Held::on_link(NEXT_HOP, up));
        let mut changed = kernel.routes_become(&held, |_| true).await?;
        let rules: BTreeSet<(String, u32)> =
            wanted.legs.keys().map(|tag| (leg_inside(*tag), table_of(*tag))).collect();
        let found = kernel.rules().await?;
        for (link, table) in rules.difference(&found) {
            kernel.rule_add(link, *table).await?;
            changed = true;
        }
        for (link, table) in found.difference(&rules) {
            kernel.rule_delete(link, *table).await?;
            changed = true;
        }
        Ok(changed)
    }

    /// Connections by addresses that lead elsewhere now end.
    async fn settle(&mut self, wanted: &Router) -> Result<(), DriveError> {
        if self.settled.as_ref() == Some(&wanted.public) {
            return Ok(());
        }
        let failed = |cause: String| DriveError::new("connections of a router", cause);
        let namespace = namespace::open(&self.name)?;
        let public = wanted.public.clone();
        let work = move || namespace.run(|| flows::cut(|flow| flows::is_stale(flow, &public)));
        let cut = tokio::task::spawn_blocking(work).await.map_err(|cause| failed(cause.to_string()))?;
        let cut = cut.and_then(|cut| cut).map_err(|cause| failed(cause.to_string()))?;
        if cut > 0 {
            tracing::info!(vpc_id = %self.vpc, cut, "connections by addresses that lead elsewhere now have ended");
        }
        self.settled = Some(wanted.public.clone());
        Ok(())
    }

    async fn serve(&mut self, wanted: &Router, mtu: u32) -> Result<(), DriveError> {
        let names = naming::file(&wanted.naming);
        for (tag, leg) in &wanted.legs {
            let arguments = serving::arguments(leg, &wanted.naming, mtu);
            self.dnsmasq_of(*tag, arguments)?.apply(&leg.hosts, names.clone()).await?;
        }
        Ok(())
    }

    fn dnsmasq_of(&mut self, tag: SegmentTag, arguments: Vec<String>) -> Result<&mut Dnsmasq, DriveError> {
        let directory = self.directory.join(leg_inside(tag));
        make_directory(&directory)?;
        if !self.dnsmasq.get(&tag).is_some_and(|dnsmasq| dnsmasq.has(&arguments)) {
            let new = Dnsmasq::new(&directory, Some(&self.name), arguments);
            match self.dnsmasq.get_mut(&tag) {
                Some(dnsmasq) => dnsmasq.become_another(new),
                None => drop(self.dnsmasq.insert(tag, new)),
            }
        }
        self.dnsmasq.get_mut(&tag).ok_or_else(|| DriveError::new("dnsmasq", "it has vanished"))
    }

    /// Takes it away, whatever life made it; tells the segments that it was in.
    pub async fn remove(&mut self, host: &Host) -> Result<BTreeSet<SegmentTag>, DriveError> {
        self.applied = None;
        let files = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let served: Vec<SegmentTag> = files.filter_map(|entry| tag_of(entry.file_name().to_str()?)).collect();
        for tag in served {
            self.served_no_more(tag).await?;
        }
        let mut left = self.take_left();
        let up = names::uplink(&host.bridge, self.number);
        if namespace::number(&self.name).is_some() {
            let there = Kernel::inside(&namespace::open(&self.name)?)?.links().await?;
            let legs = there.iter().filter_map(|(name, link)| Some((tag_of(name)?, link.index)));
            for (tag, link) in legs {
                left.insert(tag);
                let outside = leg_outside(&host.bridge, tag);
                let here = host.kernel.links_named(&[outside]).await?;
                let own = here.values().filter(|own| own.peer == Some(link) && own.group == GROUP);
                for own in own {
                    host.kernel.link_delete(own.index).await?;
                }
            }
        }
        let here = host.kernel.links_named(&[up]).await?;
        for up in here.values().filter(|link| link.group == GROUP) {
            host.kernel.link_delete(up.index).await?;
        }
        self.inside = None;
        namespace::remove(&self.name)?;
        let _ = std::fs::remove_dir(&self.directory);
        tracing::info!(vpc_id = %self.vpc, namespace = self.name, "router removed");
        Ok(left)
    }
}

impl Pair {
    /// The two ends are each other's.
    fn is_there(&self, here: &Links, there: &Links) -> bool {
        let (Some(outside), Some(inside)) = (here.get(&self.outside), there.get(&self.inside)) else {
            return false;
        };
        outside.group == GROUP
            && outside.peer == Some(inside.index)
            && inside.peer == Some(outside.index)
            && self.mac.is_none_or(|mac| inside.mac == mac)
    }

    /// What is left of an older one goes before.
    async fn make(
        &self,
        host: &Host,
        inside: &Inside,
        here: &Links,
        there: &Links,
    ) -> Result<(), DriveError> {
        match here.get(&self.outside) {
            Some(link) if link.group != GROUP => {
                return Err(DriveError::new(&self.outside, "is there and is not Karri's"));
            }
            Some(link) => host.kernel.link_delete(link.index).await?,
            None => {}
        }
        if let Some(link) = there.get(&self.inside) {
            inside.kernel.link_delete(link.index).await?;
        }
        let near = End { name: &self.outside, mac: None };
        let far = End { name: &self.inside, mac: self.mac };
        host.kernel.pair_make(&near, &far, &inside.namespace, GROUP).await
    }

    async fn set(
        &self,
        host: &Host,
        inside: &Inside,
        here: &Links,
        there: &Links,
    ) -> Result<bool, DriveError> {
        let missing = |name: &str| DriveError::new(name, "it has vanished");
        let bridge = match &self.bridge {
            Some(name) => Some(here.get(name).ok_or_else(|| missing(name))?.index),
            None => None,
        };
        let outside = here.get(&self.outside).ok_or_else(|| missing(&self.outside))?;
        let far = there.get(&self.inside).ok_or_else(|| missing(&self.inside))?;
        let is_set = |link: &Link| link.up && link.mtu == self.mtu;
        let mut changed = false;
        if !is_set(far) {
            inside.kernel.link_set(far.index, self.mtu, None).await?;
            changed = true;
        }
        // Before it is up: the kernel looks through all of the host's routes of IPv6 whenever any link changes.
        changed |= outside.ipv6 && silence(&self.outside).map_err(super::net)?;
        if !is_set(outside) || outside.controller != bridge {
            host.kernel.link_set(outside.index, self.mtu, bridge).await?;
            changed = true;
        }
        Ok(changed)
    }
}

/// Always the same: guests remember their gateway's.
fn gateway_mac(tag: SegmentTag) -> [u8; 6] {
    let [_, a, b, c] = tag.to_be_bytes();
    [0x0e, 0x4b, 0x41, a, b, c]
}

/// Of a leg, by the name that it has inside.
fn tag_of(name: &str) -> Option<SegmentTag> {
    let tag = SegmentTag::from_str_radix(name.strip_prefix('s')?, 16).ok()?;
    (leg_inside(tag) == name).then_some(tag)
}
