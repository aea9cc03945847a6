//! Addresses that a host answers for on a link though they are none of its own: `ip neigh show proxy`.

use crate::netlink::{failed, unless};
use crate::{NetError, Netlink, dump};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const NO_ENTRY: i32 = -2;

impl Netlink {
    /// Those of a link, with the number of whose they are.
    pub async fn proxies(&self, link: u32) -> Result<BTreeMap<Ipv4Addr, u8>, NetError> {
        let ask =
            || self.handle.neighbours().get().proxies().set_address_family(AddressFamily::Inet).execute();
        let all = dump(ask).await.map_err(failed("proxied addresses"))?;
        Ok(all.iter().filter(|entry| entry.header.ifindex == link).filter_map(address_of).collect())
    }

    /// The kernel answers for it, as long as its own way to the address is by another link.
    pub async fn proxy(&self, link: u32, address: Ipv4Addr, whose: u8) -> Result<(), NetError> {
        let message = RouteNetlinkMessage::NewNeighbour(entry(link, address, whose));
        self.request(message, NLM_F_CREATE | NLM_F_EXCL).await.map_err(failed("proxied address"))
    }

    /// One that is not there is no error.
    pub async fn unproxy(&self, link: u32, address: Ipv4Addr) -> Result<(), NetError> {
        let message = RouteNetlinkMessage::DelNeighbour(entry(link, address, 0));
        unless(NO_ENTRY, self.request(message, 0).await).map_err(failed("proxied address"))
    }
}

fn entry(link: u32, address: Ipv4Addr, whose: u8) -> NeighbourMessage {
    let mut entry = NeighbourMessage::default();
    entry.header.family = AddressFamily::Inet;
    entry.header.ifindex = link;
    entry.header.flags = NeighbourFlags::Proxy;
    entry.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
        NeighbourAttribute::Protocol(RouteProtocol::from(whose)),
    ];
    entry
}

fn address_of(entry: &NeighbourMessage) -> Option<(Ipv4Addr, u8)> {
    let (mut address, mut whose) = (None, 0);
    for attribute in &entry.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => address = Some(*found),
            NeighbourAttribute::Protocol(of) => whose = u8::from(*of),
            _ => {}
        }
    }
    Some((address?, whose))
}
