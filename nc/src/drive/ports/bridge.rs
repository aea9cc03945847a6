//! Ports of real guests on the node's bridges.
//!
//! What is needed is put when it is asked for, and looked at again every few seconds ([`Ports::mend`]): a
//! firewall that was reloaded, a bridge or an address that somebody took away are put right.

mod clean;
mod links;
mod look;
mod tables;

use super::announcing::Announcing;
use super::door::SegmentListener;
use super::guard::{Facts, Guard};
use super::made::Notes;
use super::segments::OnSegments;
use super::shortcut::Shortcut;
use super::strays::{Strays, flat};
use super::{Plugged, Port, PortError, Ports, TapNames, ebtables, filtering, guard};
use async_trait::async_trait;
use karri_net::{NetError, Netlink, Wire, descriptors_raise};
use karri_proto::ids::NetworkInterfaceId;
use karri_proto::internal::kernel::KernelLook;
use karri_proto::network::{FactKey, FactTable, SegmentTag};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};

pub struct BridgePorts {
    netlink: Netlink,
    bridge: String,
    uplink: Option<String>,
    names: TapNames,
    metadata_address: Ipv4Addr,
    notes: Notes,
    guard: Guard,
    segments: OnSegments,
    shortcut: Shortcut,
    /// Held over every change, for changes go one by one.
    rules: Mutex<Rules>,
}

#[derive(Default)]
struct Rules {
    /// Taps whose chain is there and jumped to.
    chains: HashSet<String>,
    /// How the kernel printed a tap's rules after we put them: the same later means that nobody changed them.
    printed: HashMap<String, Vec<String>>,
    /// What is the same for all taps is there.
    wire: bool,
    /// The kernel's count of changes when all rules but the guard's were right.
    generation: Option<u32>,
    strays: Strays,
    announcing: Announcing,
    /// Taps to which the bridge gives back what came from them, by the index of the link that was made so.
    hairpins: HashMap<String, u32>,
    /// Where metadata requests go, and how the kernel printed that.
    metadata: Option<(SocketAddrV4, Vec<String>)>,
}

/// What a node is told of its bridge.
pub struct Place<'a> {
    pub bridge: &'a str,
    pub uplink: Option<&'a str>,
    pub metadata_address: Ipv4Addr,
    /// What joins its segments to those of other hosts, and what that carries in bytes a packet.
    pub wire: Wire,
    pub tunnel_mtu: u32,
    pub vxlan_port: u16,
    /// Open flows pass from port to port beside the rules, which are asked now and then.
    pub shortcut: bool,
    pub state_dir: &'a Path,
    pub boot_id: &'a str,
}

impl BridgePorts {
    /// Makes the bridge if it is missing and gives it the address the metadata listener binds.
    pub async fn open(place: Place<'_>, names: TapNames, facts: Arc<dyn Facts>) -> Result<Self, PortError> {
        descriptors_raise().map_err(|error| NetError::of("open files", &error))?;
        let ports = Self::new(place, names, facts).await?;
        ports.segments.check().await?;
        ports.guard.hosts_put(ports.segments.hosts()).await?;
        ports.bridge_ensure().await?;
        Ok(ports)
    }

    /// Sees what is there and makes nothing: enough to clean.
    pub async fn attach(place: Place<'_>, names: TapNames) -> Result<Self, PortError> {
        Self::new(Place { shortcut: false, ..place }, names, Arc::new(NoFacts)).await
    }

    async fn new(place: Place<'_>, names: TapNames, facts: Arc<dyn Facts>) -> Result<Self, PortError> {
        let chains = ebtables::chains(&ebtables::save().await?, |name| names.owns(name));
        let rules = Rules { chains: chains.into_iter().collect(), ..Rules::default() };
        let netlink = Netlink::open()?;
        Ok(Self {
            segments: OnSegments::new(&netlink, &place, names.prefix()),
            shortcut: Shortcut::open(&netlink, names.prefix(), place.shortcut),
            netlink,
            guard: Guard::new(place.bridge, names.prefix(), facts),
            bridge: place.bridge.to_owned(),
            uplink: place.uplink.map(str::to_owned),
            names,
            metadata_address: place.metadata_address,
            notes: Notes::open(place.state_dir, place.boot_id)?,
            rules: Mutex::new(rules),
        })
    }

    /// The flat bridge's index; with address and uplink.
    async fn bridge_ensure(&self) -> Result<u32, PortError> {
        let known = self.netlink.index(&self.bridge).await?;
        if known.is_none() {
            self.notes.note(|made| made.bridge = true)?;
        }
        let index = self.netlink.bridge_ensure(&self.bridge).await?;
        if !self.netlink.has_address(index, self.metadata_address).await? {
            self.notes.note(|made| made.address = true)?;
            self.netlink.address_ensure(index, self.metadata_address).await?;
        }
        if let Some(uplink) = &self.uplink
            && self.netlink.controller(uplink).await? != Some(index)
        {
            self.notes.note(|made| made.uplink = Some(uplink.clone()))?;
            self.netlink.join(uplink, index).await?;
        }
        Ok(index)
    }

    /// The bridge of a segment, or the flat one.
    fn bridge_of(&self, segment: SegmentTag) -> String {
        if segment == 0 { self.bridge.clone() } else { self.segments.bridge(segment) }
    }

    fn segment_of(&self, bridge: &str) -> Option<SegmentTag> {
        if bridge == self.bridge { Some(0) } else { self.segments.segment_of(bridge) }
    }

    /// Makes the segments of these ports, what tells their connections apart first.
    async fn segments_ensure(&self, segments: &BTreeSet<SegmentTag>) -> Result<Vec<String>, PortError> {
        self.segments.note(&self.notes, segments)?;
        self.guard.zones_put(&self.notes.made().segments).await?;
        self.segments.ensure(segments).await
    }

    /// Leaves those that no port is on any more. While it is not known which ports there are, none is left.
    async fn segments_leave(&self, rules: &Rules) -> Result<(), PortError> {
        let Some(ports) = self.guard.ports().await else { return Ok(()) };
        let used =
            segments_of(ports.values()).into_iter().chain(rules.strays.segments().filter(|tag| *tag != 0));
        self.segments.leave_others(&self.notes, &self.guard, &used.collect()).await
    }

    /// How this node's rules of the whole bridge are known.
    fn tag(&self) -> String {
        format!("karri-{}", self.names.prefix())
    }

    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// The bridges of segments that ports of this node are or were on.
    pub fn segments(&self) -> Vec<String> {
        self.notes.made().segments.keys().map(|segment| self.segments.bridge(*segment)).collect()
    }

    /// Where the ports of segments ask for metadata, each time one comes. Once.
    pub fn segment_listeners(&self) -> Option<mpsc::UnboundedReceiver<SegmentListener>> {
        self.segments.listeners()
    }

    /// How the names of chains and sets for security groups begin.
    pub fn chains(&self) -> String {
        format!("KARRI-{}", self.names.prefix())
    }

    /// All that are guarded or are to be, by where they belong. Of those without a record it is where they were seen;
    /// while this node is on no segment, there is only one place.
    async fn taps(&self, rules: &Rules, ports: &[Port], nobodys: &[String]) -> BTreeMap<String, SegmentTag> {
        let plugged = self.guard.ports().await.unwrap_or_default();
        let mut taps: BTreeMap<String, SegmentTag> =
            plugged.values().chain(ports).map(|port| (port.tap.clone(), port.segment)).collect();
        let only_flat = self.notes.made().segments.is_empty();
        for tap in nobodys {
            match rules.strays.segment(tap).or(only_flat.then_some(0)) {
                Some(segment) => _ = taps.insert(tap.clone(), segment),
                None => _ = taps.remove(tap),
            }
        }
        taps
    }

    /// What leads to the ports of a segment is no matter of the host's.
    async fn routes_ensure(&self, bridge: u32, ports: &[Port]) -> Result<(), PortError> {
        let networks: HashSet<&str> = flat(ports).map(|port| port.subnet_cidr.as_str()).collect();
        for network in networks {
            let parsed = parse_cidr(network)
                .ok_or_else(|| PortError::Broken(format!("{network} is not a network")))?;
            self.netlink.route_ensure(bridge, parsed, self.metadata_address).await?;
        }
        Ok(())
    }
}

fn segments_of<'a>(ports: impl IntoIterator<Item = &'a Port>) -> BTreeSet<SegmentTag> {
    ports.into_iter().map(|port| port.segment).filter(|segment| *segment != 0).collect()
}

/// Of a node that only cleans.
pub struct NoFacts;

impl Facts for NoFacts {
    fn table(&self) -> Arc<FactTable> {
        Arc::default()
    }
}

/// iptables is a program.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| PortError::Broken(e.to_string()))?
}

#[async_trait]
impl Ports for BridgePorts {
    async fn plug(&self, ports: &[Port]) -> Result<(), PortError> {
        let _void = self.shortcut.void_after();
        let mut rules = self.rules.lock().await;
        if !rules.wire {
            self.wire_ensure(&mut rules).await?;
        }
        ebtables::restore(ebtables::plug_script(ports, |tap| rules.chains.contains(tap))).await?;
        for port in ports {
            rules.printed.remove(&port.tap);
            rules.chains.insert(port.tap.clone());
        }
        let bridge = self.bridge_ensure().await?;
        self.filtering_ensure().await?;
        self.segments_ensure(&segments_of(ports)).await?;
        let before = self.guard.ports().await.unwrap_or_default();
        ports.iter().for_each(|port| rules.announcing.gained(before.get(&port.tap), port));
        self.guard.plug(ports).await?;
        self.announce(&mut rules, false).await?;
        drop(rules);
        self.routes_ensure(bridge, ports).await
    }

    async fn started(&self, ports: &[Port]) -> Result<(), PortError> {
        let mut rules = self.rules.lock().await;
        let links = self.netlink.links().await?;
        let taps = ports.iter().map(|port| (port.tap.clone(), port.segment)).collect();
        self.hairpins_ensure(&mut rules, &taps, &links).await?;
        let plugged = self.guard.ports().await.unwrap_or_default();
        let all = plugged.into_values().map(|port| (port.tap, port.segment)).chain(taps).collect();
        self.shortcut_ensure(&all, &links).await.map(drop)
    }

    async fn unplug(&self, taps: &[String]) -> Result<(), PortError> {
        let _void = self.shortcut.void_after();
        let mut rules = self.rules.lock().await;
        let known: Vec<String> = taps.iter().filter(|tap| rules.chains.contains(*tap)).cloned().collect();
        if !known.is_empty() {
            if ebtables::restore(ebtables::unplug_script(&known, |_| (1, true))).await.is_err() {
                // Somebody else took some of it away, or put more.
                let saved = ebtables::Saved::parse(&ebtables::save().await?);
                let there = |tap: &str| (saved.jumps(tap), saved.has(tap));
                ebtables::restore(ebtables::unplug_script(&known, there)).await?;
            }
            rules.chains.retain(|tap| !known.contains(tap));
            rules.printed.retain(|tap, _| !known.contains(tap));
        }
        for tap in taps {
            self.netlink.link_delete(tap).await?;
        }
        self.guard.unplug(taps).await?;
        self.segments_leave(&rules).await
    }

    async fn plugged(&self) -> Result<Vec<Plugged>, PortError> {
        let chains: HashSet<String> = self.rules.lock().await.chains.clone();
        let links = self.netlink.link_names().await?;
        let links: HashSet<String> = links.into_iter().filter(|name| self.names.owns(name)).collect();
        let of = |tap: &String| Plugged {
            tap: tap.clone(),
            rules: chains.contains(tap),
            link: links.contains(tap),
        };
        Ok(chains.union(&links).map(of).collect())
    }

    async fn mend(&self, ports: &[Port]) -> Result<Vec<String>, PortError> {
        let _void = self.shortcut.void_after();
        let mut rules = self.rules.lock().await;
        let mut mended = Vec::new();
        let before = self.netlink.index(&self.bridge).await?;
        let bridge = self.bridge_ensure().await?;
        if before != Some(bridge) {
            mended.push(format!("bridge {}", self.bridge));
        }
        self.routes_ensure(bridge, ports).await?;
        let links = self.netlink.links().await?;
        let names: HashSet<&str> = links.iter().map(|link| link.name.as_str()).collect();
        let bare = |port: &&Port| !rules.chains.contains(&port.tap) && names.contains(port.tap.as_str());
        let bare: Vec<Port> = ports.iter().filter(bare).cloned().collect();
        if !bare.is_empty() {
            let saved = ebtables::Saved::parse(&ebtables::save().await?);
            ebtables::restore(ebtables::plug_script(&bare, |tap| saved.jumps_to(tap))).await?;
            mended.extend(bare.iter().map(|port| format!("rules of {}", port.tap)));
            rules.chains.extend(bare.into_iter().map(|port| port.tap));
        }
        let generation = guard::generation().await;
        if generation.is_none() || generation != rules.generation {
            let others_did = self.tables_mend(&mut rules, ports).await?;
            rules.generation = generation.filter(|_| others_did.is_empty());
            mended.extend(others_did);
        }
        if self.filtering_ensure().await? && before == Some(bridge) {
            mended.push(format!("filtering on {}", self.bridge));
        }
        let guarded: Vec<Port> =
            ports.iter().filter(|port| rules.chains.contains(&port.tap)).cloned().collect();
        let known: HashSet<&str> = ports.iter().map(|port| port.tap.as_str()).collect();
        let is_nobodys = |tap: &&String| names.contains(tap.as_str()) && !known.contains(tap.as_str());
        let nobodys: Vec<String> = rules.chains.iter().filter(is_nobodys).cloned().collect();
        rules.strays.look(nobodys.iter(), &links, |bridge| self.segment_of(bridge));
        let of_nobody =
            |tap: &String| self.guard.port_of_nobody(tap, rules.strays.segment(tap).unwrap_or_default());
        let guarded: Vec<Port> = guarded.into_iter().chain(nobodys.iter().filter_map(of_nobody)).collect();
        let taps = self.taps(&rules, &guarded, &nobodys).await;
        let segments = taps.values().copied().filter(|segment| *segment != 0).collect();
        let at_links = self.shortcut_ensure(&taps, &links).await;
        let made = self.segments_ensure(&segments).await;
        mended.extend(self.guard.mend(guarded, !filtering::is_on_for_all()?).await?);
        mended.extend(made?);
        mended.extend(self.rejoin(&taps, &links).await?);
        mended.extend(self.hairpins_ensure(&mut rules, &taps, &links).await?);
        rules.hairpins.retain(|tap, _| taps.contains_key(tap));
        mended.extend(at_links?);
        self.segments_leave(&rules).await?;
        self.announce(&mut rules, true).await?;
        Ok(mended)
    }

    async fn tunnels_told(&self, tunnels: &[Ipv4Addr]) -> Result<(), PortError> {
        if !self.segments.tunnels_put(tunnels)? {
            return Ok(());
        }
        let _void = self.shortcut.void_after();
        let _rules = self.rules.lock().await;
        self.guard.hosts_put(self.segments.hosts()).await?;
        let segments = self.notes.made().segments.into_keys().collect();
        self.segments.ensure(&segments).await.map(drop)
    }

    async fn look(&self, port: &NetworkInterfaceId) -> Result<Option<KernelLook>, PortError> {
        self.look_at(port).await
    }

    async fn told(&self, changed: Option<&[FactKey]>) -> Result<(), PortError> {
        let _void = self.shortcut.void_after();
        match changed {
            Some(keys) => self.guard.told(keys).await,
            None => self.guard.told_all().await,
        }
    }
}

fn parse_cidr(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (Ipv4Addr, u8) = (address.parse().ok()?, bits.parse().ok()?);
    let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
    (bits <= 32).then(|| (Ipv4Addr::from(u32::from(address) & mask), bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_lose_their_host_part_and_nonsense_is_refused() {
        assert_eq!(parse_cidr("172.31.5.9/20"), Some((Ipv4Addr::new(172, 31, 0, 0), 20)));
        assert_eq!(parse_cidr("0.0.0.0/0"), Some((Ipv4Addr::UNSPECIFIED, 0)));
        for bad in ["", "172.31.0.0", "172.31.0.0/33", "x/8"] {
            assert_eq!(parse_cidr(bad), None, "{bad}");
        }
    }
}
