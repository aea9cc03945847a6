//! What leads from the links of a segment that are there to those that are wanted. Pure.

use crate::NetError;
use crate::link::{Kind, Link, Vxlan};
use crate::names::Tag;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// By this number a link is known as one of ours: the kernel puts it on when the link is made, not a moment later.
/// `ip link show group 19265` lists them all.
pub const GROUP: u32 = 0x4b41;

/// What VXLAN puts before a packet: the frame's own head (14 bytes), its own (8), UDP's (8) and IPv4's (20).
pub const OVERHEAD_BYTES: u32 = 50;

/// Where a host takes frames of segments from other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    pub address: Ipv4Addr,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub tag: Tag,
    /// None: no device, and if there is one it is another's.
    pub tunnel: Option<Tunnel>,
    pub mtu: u32,
    /// Where frames go that are for everybody, or of which nobody knows for whom.
    pub flood: BTreeSet<Ipv4Addr>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub bridge: Option<Link>,
    pub device: Option<Link>,
    pub flood: BTreeSet<Ipv4Addr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    BridgeMake,
    BridgeSet,
    DeviceDelete,
    DeviceMake,
    /// Joins it to the bridge, and the rest.
    DeviceSet,
    Flood(Ipv4Addr),
    /// Not at once: see [`crate::Segments`].
    Unflood(Ipv4Addr),
}

impl Wanted {
    pub fn device(&self) -> Option<Vxlan> {
        let Tunnel { address, port } = self.tunnel?;
        Some(Vxlan { vni: self.tag, local: Some(address), port, learning: true })
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
    let Some(device) = wanted.device() else { return Ok(steps) };
    let mut is_new = true;
    match &seen.device {
        None => steps.push(Step::DeviceMake),
        Some(link) if link.group != GROUP => return Err(foreign(link)),
        Some(link) if link.kind != Kind::Vxlan(device) => {
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
        let tunnel = Some(Tunnel { address: OWN, port: 4789 });
        Wanted { tag: 0x1001, tunnel, mtu: 1450, flood: BTreeSet::from([OTHER]) }
    }

    fn link(index: u32, kind: Kind) -> Link {
        let (arp, controller) = (index != 7, (index != 7).then_some(7));
        let name = format!("link{index}");
        let (up, mtu, mac, group, isolated) = (true, 1450, None, GROUP, index != 7);
        Link { index, name, kind, up, arp, mtu, mac, group, controller, isolated, hairpin: false }
    }

    fn whole() -> Seen {
        let device = Kind::Vxlan(wanted().device().unwrap());
        Seen {
            bridge: Some(link(7, Kind::Bridge { filtered: true })),
            device: Some(link(8, device)),
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
        check(|wanted, _| wanted.tunnel.as_mut().unwrap().port = 8472, &anew);
        check(|wanted, _| wanted.tunnel.as_mut().unwrap().address = GONE, &anew);
        check(|_, seen| seen.device.as_mut().unwrap().kind = Kind::Other, &anew);
    }

    #[test]
    fn without_a_tunnel_there_is_a_bridge_and_the_device_of_another_stays() {
        check(|wanted, _| wanted.tunnel = None, &[]);
        let alone = |wanted: &mut Wanted, seen: &mut Seen| (wanted.tunnel, *seen) = (None, Seen::default());
        check(alone, &[Step::BridgeMake]);
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
