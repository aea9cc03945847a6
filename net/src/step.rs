//! What leads from the links of a segment that are there to those that are wanted. Pure.

use crate::NetError;
use crate::link::{Kind, Link, Vxlan};
use crate::names::Tag;
use crate::wire::{Tunnel, Wire};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// By this number a link is known as one of ours: the kernel puts it on when the link is made, not a moment later.
/// `ip link show group 19265` lists them all.
pub const GROUP: u32 = 0x4b41;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub tag: Tag,
    pub wire: Wire,
    pub mtu: u32,
    /// By a tunnel: where frames go that are for everybody, or of which nobody knows for whom.
    pub flood: BTreeSet<Ipv4Addr>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub bridge: Option<Link>,
    pub device: Option<Link>,
    /// Where the wire is one.
    pub trunk: Option<Link>,
    pub flood: BTreeSet<Ipv4Addr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    BridgeMake,
    BridgeSet,
    TrunkUp,
    DeviceDelete,
    DeviceMake,
    /// Joins it to the bridge, and the rest.
    DeviceSet,
    Flood(Ipv4Addr),
    /// Not at once: see [`crate::Segments`].
    Unflood(Ipv4Addr),
}

/// What joins a bridge to those of other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    pub kind: Kind,
    /// The link that carries its frames, where it is a certain one.
    pub below: Option<u32>,
}

impl Wanted {
    /// `None`: no device, and if there is one it is another's.
    pub fn device(&self, trunk: Option<&Link>) -> Result<Option<Device>, NetError> {
        match &self.wire {
            Wire::Alone => Ok(None),
            Wire::Tunnel(Tunnel { address, port }) => {
                let vxlan = Vxlan { vni: self.tag, local: Some(*address), port: *port, learning: true };
                Ok(Some(Device { kind: Kind::Vxlan(vxlan), below: None }))
            }
            Wire::Trunk(name) => {
                let trunk = trunk.ok_or_else(|| Wire::no_trunk(name))?;
                let vlan = Wire::vlan(self.tag)?;
                Ok(Some(Device { kind: Kind::Vlan(vlan), below: Some(trunk.index) }))
            }
        }
    }
}

/// An error: somebody else has a link of that name.
pub fn steps(wanted: &Wanted, seen: &Seen) -> Result<Vec<Step>, NetError> {
    let mut steps = Vec::new();
    let foreign = |link: &Link| NetError::Broken(format!("{} is there and is not Karri's", link.name));
    match &seen.bridge {
        None => steps.push(Step::BridgeMake),
        Some(link) => {
            if link.group != GROUP || !matches!(link.kind, Kind::Bridge { .. }) {
                return Err(foreign(link));
            }
            if !link.up || link.arp || link.mtu != wanted.mtu {
                steps.push(Step::BridgeSet);
            }
        }
    }
    let Some(device) = wanted.device(seen.trunk.as_ref())? else { return Ok(steps) };
    if seen.trunk.as_ref().is_some_and(|trunk| !trunk.up) {
        steps.push(Step::TrunkUp);
    }
    let mut is_new = true;
    match &seen.device {
        None => steps.push(Step::DeviceMake),
        Some(link) if link.group != GROUP => return Err(foreign(link)),
        Some(link) if link.kind != device.kind || (device.below.is_some() && link.below != device.below) => {
            steps.extend([Step::DeviceDelete, Step::DeviceMake]);
        }
        Some(link) => {
            is_new = false;
            let bridge = seen.bridge.as_ref().map(|bridge| bridge.index);
            let is_joined = bridge.is_some() && link.controller == bridge && link.isolated;
            if !is_joined || !link.up || link.mtu != wanted.mtu {
                steps.push(Step::DeviceSet);
            }
        }
    }
    let nothing = BTreeSet::new();
    let flood = if is_new { &nothing } else { &seen.flood };
    steps.extend(wanted.flood.difference(flood).copied().map(Step::Flood));
    steps.extend(flood.difference(&wanted.flood).copied().map(Step::Unflood));
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    const GONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

    fn wanted() -> Wanted {
        Wanted { tag: 0x1001, wire: tunnel(OWN, 4789), mtu: 1450, flood: BTreeSet::from([OTHER]) }
    }

    fn tunnel(address: Ipv4Addr, port: u16) -> Wire {
        Wire::Tunnel(Tunnel { address, port })
    }

    fn link(index: u32, kind: Kind) -> Link {
        let (arp, controller) = (index != 7, (index != 7).then_some(7));
        let name = format!("link{index}");
        let (up, mtu, mac, group, isolated) = (true, 1450, None, GROUP, index != 7);
        let below = None;
        let (ipv6, hairpin) = (false, false);
        Link { index, name, kind, up, arp, ipv6, mtu, mac, group, controller, below, isolated, hairpin }
    }

    fn whole() -> Seen {
        let device = wanted().device(None).unwrap().unwrap();
        Seen {
            bridge: Some(link(7, Kind::Bridge { filtered: true })),
            device: Some(link(8, device.kind)),
            trunk: None,
            flood: BTreeSet::from([OTHER]),
        }
    }

    fn check(change: impl FnOnce(&mut Wanted, &mut Seen), expected: &[Step]) {
        let (mut wanted, mut seen) = (wanted(), whole());
        change(&mut wanted, &mut seen);
        assert_eq!(steps(&wanted, &seen).unwrap(), expected, "{wanted:?} {seen:?}");
    }

    #[test]
    fn what_is_there_is_left_alone_and_what_is_missing_is_made() {
        check(|_, _| {}, &[]);
        check(|_, seen| *seen = Seen::default(), &[Step::BridgeMake, Step::DeviceMake, Step::Flood(OTHER)]);
        check(|_, seen| seen.bridge = None, &[Step::BridgeMake, Step::DeviceSet]);
        check(|_, seen| seen.device = None, &[Step::DeviceMake, Step::Flood(OTHER)]);
        check(|_, seen| seen.flood.clear(), &[Step::Flood(OTHER)]);
        check(|_, seen| _ = seen.flood.insert(GONE), &[Step::Unflood(GONE)]);
    }

    #[test]
    fn what_is_not_as_it_was_made_is_put_right() {
        let bridge = |change: fn(&mut Link)| {
            check(|_, seen| change(seen.bridge.as_mut().unwrap()), &[Step::BridgeSet]);
        };
        bridge(|link| link.up = false);
        bridge(|link| link.arp = true);
        bridge(|link| link.mtu = 1500);
        let device = |change: fn(&mut Link)| {
            check(|_, seen| change(seen.device.as_mut().unwrap()), &[Step::DeviceSet]);
        };
        device(|link| link.up = false);
        device(|link| link.controller = None);
        device(|link| link.controller = Some(9));
        device(|link| link.isolated = false);
        device(|link| link.mtu = 1500);
        let anew = [Step::DeviceDelete, Step::DeviceMake, Step::Flood(OTHER)];
        check(|wanted, _| wanted.wire = tunnel(OWN, 8472), &anew);
        check(|wanted, _| wanted.wire = tunnel(GONE, 4789), &anew);
        check(|_, seen| seen.device.as_mut().unwrap().kind = Kind::Other, &anew);
    }

    #[test]
    fn without_a_tunnel_there_is_a_bridge_and_the_device_of_another_stays() {
        check(|wanted, _| wanted.wire = Wire::Alone, &[]);
        let alone =
            |wanted: &mut Wanted, seen: &mut Seen| (wanted.wire, *seen) = (Wire::Alone, Seen::default());
        check(alone, &[Step::BridgeMake]);
    }

    const TRUNK: u32 = 3;

    /// Segment 100 on eth1, and a host where it is.
    fn tagged() -> (Wanted, Seen) {
        let wire = Wire::Trunk("eth1".to_owned());
        let trunk = Link { group: 0, controller: None, isolated: false, ..link(TRUNK, Kind::Other) };
        let device = Link { below: Some(TRUNK), ..link(8, Kind::Vlan(100)) };
        let seen = Seen { device: Some(device), trunk: Some(trunk), flood: BTreeSet::new(), ..whole() };
        (Wanted { tag: 100, wire, mtu: 1450, flood: BTreeSet::new() }, seen)
    }

    fn check_tagged(change: impl FnOnce(&mut Wanted, &mut Seen), expected: &[Step]) {
        let (mut wanted, mut seen) = tagged();
        change(&mut wanted, &mut seen);
        assert_eq!(steps(&wanted, &seen).unwrap(), expected, "{wanted:?} {seen:?}");
    }

    #[test]
    fn by_a_trunk_a_segment_is_joined_in_tagged_frames() {
        let device = |seen: &mut Seen, change: fn(&mut Link)| change(seen.device.as_mut().unwrap());
        check_tagged(|_, _| {}, &[]);
        check_tagged(
            |_, seen| (seen.bridge, seen.device) = (None, None),
            &[Step::BridgeMake, Step::DeviceMake],
        );
        check_tagged(|_, seen| seen.device = None, &[Step::DeviceMake]);
        check_tagged(|_, seen| device(seen, |link| link.controller = None), &[Step::DeviceSet]);
        check_tagged(|_, seen| device(seen, |link| link.up = false), &[Step::DeviceSet]);
        // Another number, another protocol, another interface below, or what another driver has left.
        let anew = [Step::DeviceDelete, Step::DeviceMake];
        check_tagged(|_, seen| device(seen, |link| link.kind = Kind::Vlan(101)), &anew);
        check_tagged(|_, seen| device(seen, |link| link.kind = Kind::Other), &anew);
        check_tagged(|_, seen| device(seen, |link| link.below = Some(9)), &anew);
        check_tagged(|_, seen| seen.device = whole().device, &anew);
        let down = |seen: &mut Seen| seen.trunk.as_mut().unwrap().up = false;
        check_tagged(|_, seen| down(seen), &[Step::TrunkUp]);
    }

    #[test]
    fn without_its_trunk_or_with_a_tag_that_is_no_vlan_nothing_is_made() {
        let error = |change: fn(&mut Wanted, &mut Seen)| {
            let (mut wanted, mut seen) = tagged();
            (seen.bridge, seen.device) = (None, None);
            change(&mut wanted, &mut seen);
            steps(&wanted, &seen).unwrap_err().to_string()
        };
        assert_eq!(error(|_, seen| seen.trunk = None), "trunk: this host has no interface eth1");
        for tag in [0, 4095, 0x1001] {
            let (mut wanted, seen) = tagged();
            wanted.tag = tag;
            let error = steps(&wanted, &seen).unwrap_err().to_string();
            assert!(error.contains(&tag.to_string()) && error.contains("VLAN"), "{error}");
        }
    }

    #[test]
    fn a_link_of_somebody_elses_is_an_error_that_names_it() {
        let error = |change: fn(&mut Seen)| {
            let mut seen = whole();
            change(&mut seen);
            steps(&wanted(), &seen).unwrap_err().to_string()
        };
        assert!(error(|seen| seen.bridge.as_mut().unwrap().group = 0).starts_with("link7 "));
        assert!(error(|seen| seen.bridge.as_mut().unwrap().kind = Kind::Other).starts_with("link7 "));
        assert!(error(|seen| seen.device.as_mut().unwrap().group = 0).starts_with("link8 "));
    }
}
