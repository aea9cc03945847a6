//! The segments that ports of this node are on: made before the first, gone with the last, and put right between.

use super::door::{self, Door, SegmentListener};
use super::guard::{Guard, Hosts};
use super::made::Notes;
use super::tunnels::Tunnels;
use super::{Place, PortError, filtering};
use karri_net::{Kind, Link, Netlink, Segments, Tunnel};
use karri_proto::internal::kernel::KernelLook;
use karri_proto::network::SegmentTag;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use tokio::sync::{Mutex, mpsc};

/// Zones of the kernel's connection tracking are numbers of 16 bits. 0 is the flat network's.
const ZONE_MAX: u32 = 0xffff;

pub struct OnSegments {
    netlink: Netlink,
    segments: Segments,
    tunnel: Option<Tunnel>,
    port: u16,
    tunnels: Tunnels,
    /// How this node's links begin.
    prefix: String,
    doors: Mutex<BTreeMap<SegmentTag, Door>>,
    /// One at a time of each segment.
    listeners: mpsc::UnboundedSender<SegmentListener>,
    listened: std::sync::Mutex<Option<mpsc::UnboundedReceiver<SegmentListener>>>,
}

impl OnSegments {
    pub fn new(netlink: &Netlink, place: &Place<'_>, prefix: &str) -> Self {
        let (listeners, listened) = mpsc::unbounded_channel();
        Self {
            netlink: netlink.clone(),
            segments: Segments::new(netlink.clone(), place.bridge, place.wire.clone(), place.tunnel_mtu),
            tunnel: place.wire.tunnel(),
            port: place.vxlan_port,
            tunnels: Tunnels::open(place.state_dir),
            prefix: prefix.to_owned(),
            doors: Mutex::default(),
            listeners,
            listened: std::sync::Mutex::new(Some(listened)),
        }
    }

    /// Whether the network between hosts is as the configuration has it.
    pub async fn check(&self) -> Result<(), PortError> {
        self.segments.check().await.map_err(|error| PortError::Broken(format!("network.{error}")))
    }

    /// What there is of a segment, and what would have to be done about it.
    pub async fn look_at(&self, look: &mut KernelLook, segment: SegmentTag) -> Result<(), PortError> {
        let seen = self.segments.describe(segment, &self.tunnels.known()).await?;
        seen.present.into_iter().for_each(|(place, text)| look.line(place, text, None));
        look.differs.extend(seen.differs);
        Ok(())
    }

    /// Once.
    pub fn listeners(&self) -> Option<mpsc::UnboundedReceiver<SegmentListener>> {
        self.listened.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    pub fn bridge(&self, segment: SegmentTag) -> String {
        self.segments.names().bridge(segment)
    }

    /// What joins it to other hosts.
    pub fn device(&self, segment: SegmentTag) -> Option<String> {
        self.segments.device(segment)
    }

    /// Whether a link's name is one that such devices have.
    pub fn is_device(&self, name: &str) -> bool {
        self.segments.names().tag_of_device(name).is_some()
    }

    /// The segment whose bridge has this name.
    pub fn segment_of(&self, bridge: &str) -> Option<SegmentTag> {
        self.segments.names().tag_of_bridge(bridge)
    }

    /// Where no guest may send frames to.
    pub fn hosts(&self) -> Hosts {
        let own = self.tunnel.map(|tunnel| tunnel.address);
        Hosts { port: self.port, addresses: self.tunnels.known().into_iter().chain(own).collect() }
    }

    /// False: they were known.
    pub fn tunnels_put(&self, tunnels: &[Ipv4Addr]) -> Result<bool, PortError> {
        self.tunnels.put(tunnels)
    }

    /// What connections of these segments are told apart by, as noted.
    pub fn note(&self, notes: &Notes, wanted: &BTreeSet<SegmentTag>) -> Result<(), PortError> {
        notes.note(|made| {
            for segment in wanted {
                if !made.segments.contains_key(segment) {
                    let zone = zone_for(*segment, &made.segments);
                    made.segments.insert(*segment, zone);
                }
            }
        })
    }

    /// Makes these segments and puts them right; tells what was not as it should be.
    pub async fn ensure(&self, wanted: &BTreeSet<SegmentTag>) -> Result<Vec<String>, PortError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let made = self.segments.ensure(wanted, &self.tunnels.known()).await;
        let mut mended: Vec<String> = made.iter().flat_map(BTreeMap::values).flatten().cloned().collect();
        filtering::ensure().await?;
        let links = self.netlink.links().await?;
        let links: HashMap<&str, &Link> = links.iter().map(|link| (link.name.as_str(), link)).collect();
        for segment in wanted {
            let name = self.bridge(*segment);
            let Some(bridge) = links.get(name.as_str()) else { continue }; // told by its error
            if bridge.kind != (Kind::Bridge { filtered: true }) {
                self.netlink.set_filtered(&name, true).await?;
                mended.push(format!("filtering on {name}"));
            }
            let door = door::link_name(&self.prefix, *segment);
            if self.door_ensure(*segment, bridge.index, links.get(door.as_str()).copied()).await? {
                mended.push(format!("the way to metadata on {name}"));
            }
        }
        made.map_err(PortError::from).map(|_| mended)
    }

    /// True: it was, and not as it should be.
    async fn door_ensure(
        &self,
        segment: SegmentTag,
        bridge: u32,
        link: Option<&Link>,
    ) -> Result<bool, PortError> {
        let (name, mtu) = (door::link_name(&self.prefix, segment), self.segments.mtu());
        let mut doors = self.doors.lock().await;
        match link {
            Some(link) if doors.contains_key(&segment) => {
                if door::is_joined(link, bridge) {
                    return Ok(false);
                }
                door::join(&self.netlink, &name, bridge, mtu).await?;
            }
            _ => {
                let was_there = doors.remove(&segment).is_some();
                self.netlink.link_delete(&name).await?; // an earlier life's, whose namespace is not gone yet
                let (door, listener) = Door::open(&self.netlink, &name, segment, bridge, mtu).await?;
                doors.insert(segment, door);
                let _ = self.listeners.send(listener); // nobody listens in a process that only cleans
                return Ok(was_there);
            }
        }
        Ok(true)
    }

    /// Leaves those that were noted and are not among these, and takes away what nobody else uses.
    pub async fn leave_others(
        &self,
        notes: &Notes,
        guard: &Guard,
        wanted: &BTreeSet<SegmentTag>,
    ) -> Result<(), PortError> {
        let noted = notes.made().segments;
        let mut failure = None;
        for segment in noted.keys().filter(|segment| !wanted.contains(segment)) {
            match self.leave(guard, *segment).await {
                Ok(()) => notes.note(|made| _ = made.segments.remove(segment))?,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        guard.zones_put(&notes.made().segments).await?;
        failure.map_or(Ok(()), Err)
    }

    async fn leave(&self, guard: &Guard, segment: SegmentTag) -> Result<(), PortError> {
        self.doors.lock().await.remove(&segment);
        self.netlink.link_delete(&door::link_name(&self.prefix, segment)).await?;
        if self.segments.remove_unused(segment).await? || guard.others_use(segment).await? {
            return Ok(());
        }
        let bridge = self.bridge(segment);
        if self.netlink.is_filtered(&bridge).await? {
            self.netlink.set_filtered(&bridge, false).await?;
        }
        Ok(())
    }

    pub fn forget(&self) -> Result<(), PortError> {
        self.tunnels.forget()
    }
}

/// By the segment itself, so that it is mostly the same again, on other nodes of the host too; the next that is free
/// where another segment has it.
fn zone_for(segment: SegmentTag, used: &BTreeMap<SegmentTag, u16>) -> u16 {
    let used: BTreeSet<u16> = used.values().copied().collect();
    let zone = |number: u32| u16::try_from(number % ZONE_MAX + 1).unwrap_or(1);
    let first = segment.saturating_sub(1);
    let free = (0..ZONE_MAX).map(|step| zone(first + step)).find(|zone| !used.contains(zone));
    free.unwrap_or_else(|| zone(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_the_segments_own_and_never_that_of_the_flat_network() {
        let mut used = BTreeMap::new();
        for (segment, zone) in
            [(1, 1), (0x1001, 0x1001), (0xffff, 0xffff), (0x1_0000, 2), (0x1_0001, 3), (2, 4)]
        {
            assert_eq!(zone_for(segment, &used), zone, "{segment}");
            used.insert(segment, zone);
        }
        assert_eq!(zone_for(0xff_ffff, &used), 255);
    }
}
