//! A link of the kernel's, as far as anybody here asks about it.

use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVlan,
    InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
};
use std::net::Ipv4Addr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub kind: Kind,
    pub up: bool,
    /// It asks and answers who has an address.
    pub arp: bool,
    /// It speaks IPv6.
    pub ipv6: bool,
    pub mtu: u32,
    /// Of one that has such an address.
    pub mac: Option<[u8; 6]>,
    /// A number that whoever made it has given it.
    pub group: u32,
    /// The bridge that it is a port of.
    pub controller: Option<u32>,
    /// The link that carries it.
    pub below: Option<u32>,
    /// As a port: it exchanges nothing with other isolated ports of its bridge.
    pub isolated: bool,
    /// As a port: what came in by it may go out by it again.
    pub hairpin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bridge {
        /// iptables sees what it carries, by the bridge's own setting.
        filtered: bool,
    },
    Vxlan(Vxlan),
    /// Of 802.1Q, by its number.
    Vlan(u16),
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vxlan {
    pub vni: u32,
    pub local: Option<Ipv4Addr>,
    pub port: u16,
    pub learning: bool,
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let flags = message.header.flags;
        let ipv6 = speaks_ipv6(&message);
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: Kind::Other,
            up: flags.contains(LinkFlags::Up),
            arp: !flags.contains(LinkFlags::Noarp),
            ipv6,
            mtu: 0,
            mac: None,
            group: 0,
            controller: None,
            below: None,
            isolated: false,
            hairpin: false,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(mac) => link.mac = mac.try_into().ok(),
                LinkAttribute::Group(group) => link.group = group,
                LinkAttribute::Link(index) => link.below = Some(index),
                LinkAttribute::Controller(index) => link.controller = Some(index),
                LinkAttribute::LinkInfo(infos) => link.read(&infos),
                _ => {}
            }
        }
        link
    }
}

impl Link {
    fn read(&mut self, infos: &[LinkInfo]) {
        for info in infos {
            match info {
                LinkInfo::Kind(InfoKind::Bridge) if self.kind == Kind::Other => {
                    self.kind = Kind::Bridge { filtered: false };
                }
                LinkInfo::Data(InfoData::Bridge(of)) => {
                    self.kind = Kind::Bridge { filtered: of.contains(&InfoBridge::NfCallIpTables(true)) };
                }
                LinkInfo::Data(InfoData::Vxlan(of)) => self.kind = Kind::Vxlan(vxlan(of)),
                LinkInfo::Data(InfoData::Vlan(of)) => self.kind = vlan(of).map_or(Kind::Other, Kind::Vlan),
                LinkInfo::PortData(InfoPortData::BridgePort(of)) => {
                    self.isolated = of.contains(&InfoBridgePort::Isolated(true));
                    self.hairpin = of.contains(&InfoBridgePort::HairpinMode(true));
                }
                _ => {}
            }
        }
    }
}

/// A link says nothing of it where the kernel knows no IPv6.
#[must_use]
pub fn speaks_ipv6(link: &LinkMessage) -> bool {
    let is_on = |family: &AfSpecUnspec| {
        let AfSpecUnspec::Inet6(of) = family else { return false };
        of.iter().any(|fact| matches!(fact, AfSpecInet6::DevConf(settings) if settings.disable_ipv6 == 0))
    };
    link.attributes.iter().any(
        |attribute| matches!(attribute, LinkAttribute::AfSpecUnspec(families) if families.iter().any(is_on)),
    )
}

/// `None`: of another protocol than 802.1Q.
fn vlan(infos: &[InfoVlan]) -> Option<u16> {
    let mut id = None;
    for info in infos {
        match info {
            InfoVlan::Id(of) => id = Some(*of),
            InfoVlan::Protocol(VlanProtocol::Ieee8021Q) => {}
            InfoVlan::Protocol(_) => return None,
            _ => {}
        }
    }
    id
}

fn vxlan(infos: &[InfoVxlan]) -> Vxlan {
    let mut vxlan = Vxlan { vni: 0, local: None, port: 0, learning: false };
    for info in infos {
        match info {
            InfoVxlan::Id(vni) => vxlan.vni = *vni,
            InfoVxlan::Local(address) => vxlan.local = Some(*address),
            InfoVxlan::Port(port) => vxlan.port = *port,
            InfoVxlan::Learning(on) => vxlan.learning = *on,
            _ => {}
        }
    }
    vxlan
}
