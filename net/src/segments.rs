//! Segments on this host: a bridge each, and a device that joins it to those of the same tag on other hosts: VXLAN, or a
//! VLAN of a trunk.
//!
//! Whoever needs a segment makes it, whoever leaves it last takes it away: the controllers of a host agree by what
//! there is in the kernel, and by nothing else. The host itself has no part in a segment: it answers nobody there, has
//! no address and speaks no IPv6.

use crate::link::{Kind, Link};
use crate::names::{Names, TAG_MAX, Tag};
use crate::step::{GROUP, Seen, Step, Wanted, steps};
use crate::wire::{Tunnel, Wire};
use crate::{NetError, Netlink};
use rtnetlink::{LinkBridge, LinkUnspec, LinkVlan, LinkVxlan};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Another controller of this host may know of a host a little earlier than this one: what it has added is not taken
/// away at once.
const UNFLOOD_AFTER: Duration = Duration::from_secs(10);

/// So many are asked for one by one.
const FEW: usize = 8;

pub struct Segments {
    netlink: Netlink,
    names: Names,
    wire: Wire,
    /// What the network between hosts carries.
    carried: u32,
    /// Since when an entry is there that is not wanted. Held over every change, for changes go one by one.
    doubts: Mutex<HashMap<(Tag, Ipv4Addr), Instant>>,
}

/// For people: what there is, by where it is, and what is not as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    pub present: Vec<(String, String)>,
    pub differs: Vec<String>,
}

impl Segments {
    /// `bridge`: the cluster's, after which the links are named. `carried`: what the network between hosts carries, in
    /// bytes a packet.
    pub fn new(netlink: Netlink, bridge: &str, wire: Wire, carried: u32) -> Self {
        Self { netlink, names: Names::new(bridge), wire, carried, doubts: Mutex::default() }
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// What joins the segment to other hosts. `None`: nothing does, and a link of that name is somebody else's.
    pub fn device(&self, tag: Tag) -> Option<String> {
        (self.wire != Wire::Alone).then(|| self.names.device(tag))
    }

    /// Of everything that is joined to a segment.
    pub fn mtu(&self) -> u32 {
        self.wire.mtu(self.carried)
    }

    /// Whether the network between hosts is as was said.
    pub async fn check(&self) -> Result<(), NetError> {
        match &self.wire {
            Wire::Alone => Ok(()),
            Wire::Tunnel(tunnel) => self.check_tunnel(tunnel.address).await,
            Wire::Trunk(name) => self.check_trunk(name).await,
        }
    }

    async fn check_tunnel(&self, address: Ipv4Addr) -> Result<(), NetError> {
        let Some(index) = self.netlink.link_of(address).await? else {
            return Err(NetError::Broken(format!("tunnel_address: this host has no address {address}")));
        };
        let link = self.netlink.link_by_index(index).await?;
        link.map_or(Ok(()), |link| self.check_width(&link, &format!("{}, which has {address},", link.name)))
    }

    async fn check_trunk(&self, name: &str) -> Result<(), NetError> {
        let trunk = self.netlink.link(name).await?.ok_or_else(|| Wire::no_trunk(name))?;
        if !self.netlink.knows_vlans().await? {
            return Err(NetError::Broken(
                "driver = \"vlan\": this kernel knows no VLANs (its module 8021q is not there)".to_owned(),
            ));
        }
        self.check_width(&trunk, name)
    }

    fn check_width(&self, link: &Link, called: &str) -> Result<(), NetError> {
        if link.mtu >= self.carried {
            return Ok(());
        }
        Err(NetError::Broken(format!("tunnel_mtu = {}: {called} carries {}", self.carried, link.mtu)))
    }

    /// Makes what is missing of these segments and puts right what is not as it was made. `tunnels`: the addresses of
    /// all hosts. Tells what had to be done, by segment. One that cannot be made keeps none of the others from it.
    pub async fn ensure(
        &self,
        tags: &BTreeSet<Tag>,
        tunnels: &[Ipv4Addr],
    ) -> Result<BTreeMap<Tag, Vec<String>>, NetError> {
        let mut doubts = self.doubts.lock().await;
        let mut all = BTreeMap::new();
        let mut failure = None;
        let seen = self.look(tags).await?;
        for (tag, seen) in seen {
            match self.ensure_one(tag, &seen, tunnels, &mut doubts).await {
                Ok(done) if done.is_empty() => {}
                Ok(done) => _ = all.insert(tag, done),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(all), Err)
    }

    async fn ensure_one(
        &self,
        tag: Tag,
        seen: &Seen,
        tunnels: &[Ipv4Addr],
        doubts: &mut HashMap<(Tag, Ipv4Addr), Instant>,
    ) -> Result<Vec<String>, NetError> {
        let wanted = self.wanted(tag, tunnels)?;
        let (mut done, now) = (Vec::new(), Instant::now());
        doubts.retain(|(of, address), _| *of != tag || seen.flood.contains(address));
        for step in steps(&wanted, seen)? {
            match step {
                Step::Unflood(address) => {
                    let since = *doubts.entry((tag, address)).or_insert(now);
                    if now.duration_since(since) < UNFLOOD_AFTER {
                        continue;
                    }
                }
                Step::Flood(address) => _ = doubts.remove(&(tag, address)),
                _ => {}
            }
            self.take(&wanted, step).await?;
            done.push(self.words(tag, step));
        }
        // Those that were just made are silent.
        let device = seen.device.as_ref().filter(|_| wanted.wire != Wire::Alone);
        for link in [seen.bridge.as_ref(), device].into_iter().flatten().filter(|link| link.ipv6) {
            if silence(&link.name)? && done.is_empty() {
                done.push(format!("that {} speaks no IPv6", link.name));
            }
        }
        Ok(done)
    }

    fn wanted(&self, tag: Tag, tunnels: &[Ipv4Addr]) -> Result<Wanted, NetError> {
        if !(1..=TAG_MAX).contains(&tag) {
            return Err(NetError::Broken(format!("{tag} is no segment's tag")));
        }
        let flood = match self.wire.tunnel() {
            Some(own) => tunnels.iter().copied().filter(|address| *address != own.address).collect(),
            None => BTreeSet::new(),
        };
        Ok(Wanted { tag, wire: self.wire.clone(), mtu: self.mtu(), flood })
    }

    async fn look(&self, tags: &BTreeSet<Tag>) -> Result<BTreeMap<Tag, Seen>, NetError> {
        if tags.is_empty() {
            return Ok(BTreeMap::new());
        }
        let links = self.links_of(tags).await?;
        let links: HashMap<&str, &Link> = links.iter().map(|link| (link.name.as_str(), link)).collect();
        let find = |name: &str| links.get(name).map(|link| (*link).clone());
        let has_device = tags.iter().any(|tag| links.contains_key(self.names.device(*tag).as_str()));
        let floods = match self.wire.tunnel() {
            Some(_) if has_device => self.netlink.floods().await?,
            _ => BTreeMap::new(),
        };
        let trunk = match self.wire.trunk() {
            Some(name) => self.netlink.link(name).await?,
            None => None,
        };
        let seen = tags.iter().map(|tag| {
            let (bridge, device) = (find(&self.names.bridge(*tag)), find(&self.names.device(*tag)));
            let flood = device.as_ref().and_then(|device| floods.get(&device.index));
            let flood = flood.cloned().unwrap_or_default();
            (*tag, Seen { bridge, device, trunk: trunk.clone(), flood })
        });
        Ok(seen.collect())
    }

    /// Of a few segments their links alone: the host may have many.
    async fn links_of(&self, tags: &BTreeSet<Tag>) -> Result<Vec<Link>, NetError> {
        if tags.len() > FEW {
            return self.netlink.links().await;
        }
        let mut links = Vec::new();
        for tag in tags {
            for name in [self.names.bridge(*tag), self.names.device(*tag)] {
                links.extend(self.netlink.link(&name).await?);
            }
        }
        Ok(links)
    }

    async fn take(&self, wanted: &Wanted, step: Step) -> Result<(), NetError> {
        let (bridge, device) = (self.names.bridge(wanted.tag), self.names.device(wanted.tag));
        match step {
            Step::BridgeMake => {
                let message = LinkBridge::new(&bridge).link_group(GROUP).mtu(wanted.mtu).arp(false);
                self.netlink.link_make(&bridge, message.mcast_snooping(false).build()).await?;
                self.bridge_set(&bridge, wanted.mtu).await
            }
            Step::BridgeSet => self.bridge_set(&bridge, wanted.mtu).await,
            Step::DeviceDelete => self.netlink.link_delete(&device).await,
            Step::TrunkUp => match self.wire.trunk() {
                Some(name) => {
                    self.netlink.link_change(name, LinkUnspec::new_with_name(name).up().build()).await
                }
                None => Ok(()),
            },
            Step::DeviceMake => {
                let place = self.device_make(&device, wanted).await?;
                if self.netlink.index(&device).await?.is_none() {
                    return Err(NetError::Broken(format!(
                        "{device}: another device of this host has the tag {} {place}",
                        wanted.tag
                    )));
                }
                self.device_set(&bridge, &device, wanted.mtu).await
            }
            Step::DeviceSet => self.device_set(&bridge, &device, wanted.mtu).await,
            Step::Flood(address) => self.netlink.flood(&device, address).await,
            Step::Unflood(address) => self.netlink.unflood(&device, address).await,
        }
    }

    /// Tells where each tag is once.
    async fn device_make(&self, device: &str, wanted: &Wanted) -> Result<String, NetError> {
        match &self.wire {
            Wire::Alone => Ok(String::new()),
            Wire::Tunnel(Tunnel { address, port }) => {
                let message = LinkVxlan::new(device, wanted.tag).local(*address).port(*port).learning(true);
                let message = message.link_group(GROUP).mtu(wanted.mtu).build();
                self.netlink.link_make(device, message).await?;
                Ok(format!("at UDP port {port}"))
            }
            Wire::Trunk(name) => {
                let trunk = self.netlink.index(name).await?.ok_or_else(|| Wire::no_trunk(name))?;
                let message = LinkVlan::new(device, trunk, Wire::vlan(wanted.tag)?);
                let message = message.link_group(GROUP).mtu(wanted.mtu).build();
                self.netlink.link_make(device, message).await?;
                Ok(format!("on {name}"))
            }
        }
    }

    async fn bridge_set(&self, name: &str, mtu: u32) -> Result<(), NetError> {
        silence(name)?;
        self.netlink.link_change(name, LinkUnspec::new_with_name(name).arp(false).mtu(mtu).up().build()).await
    }

    /// Isolated like a node's own services on the segment, which are not for other hosts.
    async fn device_set(&self, bridge: &str, device: &str, mtu: u32) -> Result<(), NetError> {
        silence(device)?;
        let index = self.netlink.index(bridge).await?;
        let index = index.ok_or_else(|| NetError::Later(format!("{bridge} has vanished")))?;
        let message = LinkUnspec::new_with_name(device).controller(index).mtu(mtu);
        self.netlink.link_change(device, message.build()).await?;
        self.netlink.isolate(device).await?;
        self.netlink.link_change(device, LinkUnspec::new_with_name(device).up().build()).await
    }

    fn words(&self, tag: Tag, step: Step) -> String {
        let device = self.names.device(tag);
        match step {
            Step::BridgeMake => format!("bridge {}", self.names.bridge(tag)),
            Step::BridgeSet => format!("what bridge {} is like", self.names.bridge(tag)),
            Step::TrunkUp => format!("{} that was down", self.wire.trunk().unwrap_or_default()),
            Step::DeviceDelete => format!("{device} that was another"),
            Step::DeviceMake => format!("device {device}"),
            Step::DeviceSet => format!("how {device} is joined"),
            Step::Flood(address) => format!("the way of {device} to {address}"),
            Step::Unflood(address) => format!("no way of {device} to {address}"),
        }
    }

    /// One segment as it is on this host, and what would have to be done about it.
    pub async fn describe(&self, tag: Tag, tunnels: &[Ipv4Addr]) -> Result<Described, NetError> {
        let seen = self.look(&BTreeSet::from([tag])).await?.remove(&tag).unwrap_or_default();
        let differs = steps(&self.wanted(tag, tunnels)?, &seen)?;
        let mut described = Described {
            present: Vec::new(),
            differs: differs
                .into_iter()
                .map(|step| format!("not as it should be: {}", self.words(tag, step)))
                .collect(),
        };
        for link in [&seen.bridge, &seen.device].into_iter().flatten() {
            let kind = match &link.kind {
                Kind::Bridge { filtered: true } => "bridge whose packets meet iptables".to_owned(),
                Kind::Bridge { filtered: false } => "bridge".to_owned(),
                Kind::Vxlan(vxlan) => {
                    let from = vxlan.local.map(|local| format!(" from {local}")).unwrap_or_default();
                    format!("VXLAN {:#x}{from}, UDP port {}", vxlan.vni, vxlan.port)
                }
                Kind::Vlan(tag) => format!("VLAN {tag} of {}", self.wire.trunk().unwrap_or_default()),
                Kind::Other => "link of another kind".to_owned(),
            };
            let up = if link.up { "up" } else { "down" };
            described
                .present
                .push((format!("link {}", link.name), format!("{kind}, {up}, mtu {}", link.mtu)));
        }
        let device = self.names.device(tag);
        let tell = |to: &Ipv4Addr| (format!("fdb {device}"), format!("00:00:00:00:00:00 dst {to}"));
        described.present.extend(seen.flood.iter().map(tell));
        Ok(described)
    }

    /// The segments that there are on this host, whoever made them.
    pub async fn present(&self) -> Result<BTreeSet<Tag>, NetError> {
        let links = self.netlink.links().await?;
        let own = links.iter().filter(|link| link.group == GROUP);
        let tag = |link: &Link| match link.kind {
            Kind::Bridge { .. } => self.names.tag_of_bridge(&link.name),
            Kind::Vxlan(_) | Kind::Vlan(_) => self.names.tag_of_device(&link.name),
            Kind::Other => None,
        };
        Ok(own.filter_map(tag).collect())
    }

    /// Takes a segment away unless something is joined to it. False: something is.
    pub async fn remove_unused(&self, tag: Tag) -> Result<bool, NetError> {
        let mut doubts = self.doubts.lock().await;
        let (bridge, device) = (self.names.bridge(tag), self.names.device(tag));
        let links = self.links_of(&BTreeSet::from([tag])).await?;
        let own = |name: &str| links.iter().find(|link| link.name == name && link.group == GROUP);
        if let Some(bridge) = own(&bridge) {
            let ports = self.netlink.ports_of(bridge.index).await?;
            if ports.iter().any(|port| port.name != device) {
                return Ok(false);
            }
        }
        for name in [&device, &bridge].into_iter().filter(|name| own(name).is_some()) {
            self.netlink.link_delete(name).await?;
        }
        doubts.retain(|(of, _), _| *of != tag);
        Ok(true)
    }
}

/// Without IPv6 a link says nothing by itself. True: it had it. A kernel without IPv6 has no such setting.
pub fn silence(name: &str) -> Result<bool, NetError> {
    let file: PathBuf = Path::new("/proc/sys/net/ipv6/conf").join(name).join("disable_ipv6");
    match std::fs::read_to_string(&file) {
        Ok(value) if value.trim() == "0" => {
            std::fs::write(&file, "1").map_err(|error| NetError::of(&file.display().to_string(), &error))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
