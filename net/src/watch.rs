//! Hears what changes among the links, addresses, routes and rules of a namespace, whoever changes it. The kernel keeps
//! what was not asked for yet, and says so where it was too much.

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Result};

/// Settings of forwarding are among it.
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv4Netconf,
];
/// How much is read at a time: what comes faster is taken as too much.
const MESSAGES_MAX: usize = 10_000;

#[derive(Debug)]
pub struct Watch {
    socket: Socket,
}

/// What has changed since the last time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// By their names.
    pub links: BTreeSet<String>,
    /// Links whose addresses have changed.
    pub addresses: BTreeSet<u32>,
    pub routes: bool,
    /// Rules of routing, or settings.
    pub others: bool,
    /// Nobody knows what: it was too much.
    pub everything: bool,
}

impl Heard {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn note(&mut self, message: RouteNetlinkMessage) {
        match message {
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => {
                self.links.extend(name_of(link));
            }
            RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
                self.addresses.insert(address.header.index);
            }
            RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) => self.routes = true,
            _ => self.others = true,
        }
    }
}

fn name_of(link: LinkMessage) -> Option<String> {
    link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })
}

impl Watch {
    /// Of this thread's namespace.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let groups = GROUPS.iter().fold(0, |all, group| all | 1 << (*group as u32 - 1));
        socket.bind(&SocketAddr::new(0, groups))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket })
    }

    /// Does not wait.
    pub fn heard(&self) -> Heard {
        let mut heard = Heard::default();
        for _ in 0..MESSAGES_MAX {
            match self.socket.recv_from_full() {
                Ok((bytes, _)) => match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes) {
                    Ok(NetlinkMessage { payload: NetlinkPayload::InnerMessage(message), .. }) => {
                        heard.note(message);
                    }
                    _ => heard.others = true, // settings, which the crate does not know
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return heard,
                Err(_) => heard.everything = true, // ENOBUFS: something was not kept
            }
        }
        heard.everything = true;
        heard
    }
}
