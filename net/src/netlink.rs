//! Links, addresses, routes and the places of MAC addresses through rtnetlink. What is already so is no error.

use crate::link::{Kind, Link};
use crate::{Namespace, NetError, dump, is_passing};
use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoBridge, LinkAttribute, LinkExtentMask, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{
    AddressGetRequest, Handle, LinkBridge, LinkBridgePort, LinkGetRequest, LinkMessageBuilder, LinkUnspec,
    LinkVeth, LinkVlan, RouteMessageBuilder, new_connection_with_strict_check,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use tokio::runtime::Handle as Runtime;

/// Weaker than the route that comes with the gateway's own address.
const ROUTE_PRIORITY: u32 = 4096;
pub(crate) const EXISTS: i32 = -17;
pub(crate) const NO_DEVICE: i32 = -19;
pub(crate) const NO_ENTRY: i32 = -2;
const INVALID: i32 = -22;
const UNKNOWN_KIND: i32 = -95;
/// A first byte of a MAC that nobody else's is greater than: local, and of one.
const HIGH: u8 = 0xfe;
/// Nothing of this name is ever there.
const PROBE: &str = "karri-probe";
/// Whose frames have no better place.
const EVERYBODY: [u8; 6] = [0; 6];

#[derive(Debug, Clone)]
pub struct Netlink {
    pub(crate) handle: Handle,
}

pub(crate) fn failed(what: &str) -> impl FnOnce(rtnetlink::Error) -> NetError + '_ {
    move |error| {
        let passing = matches!(&error, rtnetlink::Error::NetlinkError(told) if is_passing(&told.to_io()));
        let message = format!("{what}: {error}");
        if passing { NetError::Later(message) } else { NetError::Broken(message) }
    }
}

pub(crate) fn unless(code: i32, result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == code => Ok(()),
        other => other,
    }
}

/// Asks about links without what they have counted: with IPv6 that is most of the answer, and most of its cost.
#[must_use]
pub fn links_ask(handle: &Handle) -> LinkGetRequest {
    handle.link().get().set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats])
}

/// Asks for addresses of IPv4 alone: of IPv6 each link of the host may have one by itself.
#[must_use]
pub fn addresses_ask(handle: &Handle) -> AddressGetRequest {
    let mut request = handle.address().get();
    request.message_mut().header.family = AddressFamily::Inet;
    request
}

fn missing(name: &str) -> NetError {
    NetError::Broken(format!("there is no link {name}"))
}

impl Netlink {
    /// Of the namespace of this process. The kernel takes what lists are asked for at its word.
    pub fn open() -> Result<Self, NetError> {
        let (connection, handle, _) =
            new_connection_with_strict_check().map_err(|error| NetError::of("rtnetlink", &error))?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    pub fn open_in(namespace: &Namespace) -> Result<Self, NetError> {
        let failed = |error| NetError::of("rtnetlink in a namespace", &error);
        let runtime = Runtime::current();
        let connected = namespace.run(|| {
            let _entered = runtime.enter();
            new_connection_with_strict_check()
        });
        let (connection, handle, _) = connected.map_err(failed)?.map_err(failed)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    async fn message(&self, name: &str) -> Result<Option<LinkMessage>, NetError> {
        self.first(name, links_ask(&self.handle).match_name(name)).await
    }

    /// `None`: there is no such link.
    async fn first(&self, what: &str, request: LinkGetRequest) -> Result<Option<LinkMessage>, NetError> {
        match request.execute().try_next().await {
            Ok(link) => Ok(link),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == NO_DEVICE => Ok(None),
            Err(error) => Err(failed(what)(error)),
        }
    }

    pub async fn link_by_index(&self, index: u32) -> Result<Option<Link>, NetError> {
        let request = links_ask(&self.handle).match_index(index);
        Ok(self.first("link", request).await?.map(Link::from))
    }

    pub async fn link(&self, name: &str) -> Result<Option<Link>, NetError> {
        Ok(self.message(name).await?.map(Link::from))
    }

    pub async fn links(&self) -> Result<Vec<Link>, NetError> {
        let all = dump(|| links_ask(&self.handle).execute()).await.map_err(failed("links"))?;
        Ok(all.into_iter().map(Link::from).collect())
    }

    pub async fn index(&self, name: &str) -> Result<Option<u32>, NetError> {
        Ok(self.message(name).await?.map(|link| link.header.index))
    }

    async fn index_of(&self, name: &str) -> Result<u32, NetError> {
        self.index(name).await?.ok_or_else(|| missing(name))
    }

    /// For what this crate has no word for.
    pub(crate) async fn link_make(&self, name: &str, message: LinkMessage) -> Result<(), NetError> {
        unless(EXISTS, self.handle.link().add(message).execute().await).map_err(failed(name))
    }

    /// Whether there are links of 802.1Q. Nothing is made: it asks for one without a number, which a kernel that knows them
    /// refuses.
    pub(crate) async fn knows_vlans(&self) -> Result<bool, NetError> {
        let nameless = LinkMessageBuilder::<LinkVlan>::new(PROBE).build();
        match self.handle.link().add(nameless).execute().await {
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == INVALID => Ok(true),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == UNKNOWN_KIND => Ok(false),
            outcome => outcome.map(|()| true).map_err(failed("VLANs")),
        }
    }

    pub(crate) async fn link_change(&self, name: &str, message: LinkMessage) -> Result<(), NetError> {
        self.handle.link().set(message).execute().await.map_err(failed(name))
    }

    /// The bridge's index; makes it if nobody has.
    pub async fn bridge_ensure(&self, name: &str) -> Result<u32, NetError> {
        if self.index(name).await?.is_none() {
            self.link_make(name, LinkBridge::new(name).up().build()).await?;
            tracing::info!(bridge = name, "made the bridge");
        }
        let index = self.index(name).await?.ok_or_else(|| missing(name))?;
        self.up(name, index).await?;
        Ok(index)
    }

    async fn up(&self, name: &str, index: u32) -> Result<(), NetError> {
        self.link_change(name, LinkUnspec::new_with_index(index).up().build()).await
    }

    /// Whether the kernel shows what the bridge carries to iptables, by the bridge's own setting.
    pub async fn is_filtered(&self, bridge: &str) -> Result<bool, NetError> {
        Ok(self.link(bridge).await?.is_some_and(|link| link.kind == Kind::Bridge { filtered: true }))
    }

    pub async fn set_filtered(&self, bridge: &str, on: bool) -> Result<(), NetError> {
        let message = LinkBridge::new(bridge).append_info_data(InfoBridge::NfCallIpTables(on)).build();
        self.handle.link().change(message).execute().await.map_err(failed(bridge))
    }

    /// Makes `port` a port of the bridge.
    pub async fn join(&self, port: &str, bridge: u32) -> Result<(), NetError> {
        let index = self.index_of(port).await?;
        self.link_change(port, LinkUnspec::new_with_index(index).controller(bridge).up().build()).await
    }

    /// Takes it off whatever bridge it is a port of.
    pub async fn leave(&self, port: &str) -> Result<(), NetError> {
        let Some(index) = self.index(port).await? else { return Ok(()) };
        self.link_change(port, LinkUnspec::new_with_index(index).nocontroller().build()).await
    }

    /// A port that exchanges nothing with other such ports of its bridge.
    pub async fn isolate(&self, port: &str) -> Result<(), NetError> {
        let message = LinkBridgePort::new(self.index_of(port).await?).isolated(true).build();
        self.handle.link().set_port(message).execute().await.map_err(failed(port))
    }

    /// A port to which its bridge gives back what came from it, where that is the way.
    pub async fn set_hairpin(&self, port: &str) -> Result<(), NetError> {
        let message = LinkBridgePort::new(self.index_of(port).await?).hairpin(true).build();
        self.handle.link().set_port(message).execute().await.map_err(failed(port))
    }

    /// The bridge that a link is a port of.
    pub async fn controller(&self, name: &str) -> Result<Option<u32>, NetError> {
        self.link(name).await?.map(|link| link.controller).ok_or_else(|| missing(name))
    }

    /// A pair whose one end is here, named `name` and known by `group`, and whose other end is in `namespace`, with the
    /// name `inside` and this MAC. Neither is up. The end here has the same MAC but for its first byte, and so always the
    /// same; it is greater than others, for a bridge takes the least one of its ports.
    pub async fn pair_make(
        &self,
        name: &str,
        group: u32,
        inside: &str,
        namespace: &Namespace,
        mac: [u8; 6],
    ) -> Result<(), NetError> {
        let far = format!("{name}-"); // here only for a moment
        let near = [HIGH, mac[1], mac[2], mac[3], mac[4], mac[5]];
        let pair = LinkVeth::new(name, &far).link_group(group).address(near.to_vec()).build();
        self.handle.link().add(pair).execute().await.map_err(failed(name))?;
        let index = self.index_of(&far).await?;
        let there = LinkUnspec::new_with_index(index)
            .name(inside)
            .address(mac.to_vec())
            .setns_by_fd(namespace.as_fd().as_raw_fd())
            .build();
        self.link_change(&far, there).await
    }

    pub async fn set_up(&self, name: &str, mtu: u32) -> Result<(), NetError> {
        let index = self.index_of(name).await?;
        self.link_change(name, LinkUnspec::new_with_index(index).mtu(mtu).up().build()).await
    }

    async fn addresses_of(&self, link: u32, address: Ipv4Addr) -> Result<Vec<AddressMessage>, NetError> {
        let ask = || {
            let mut request = addresses_ask(&self.handle);
            // The kernel picks them out: the host may have many other links.
            request.message_mut().header.index = link;
            request.set_address_filter(IpAddr::V4(address)).execute()
        };
        match dump(ask).await {
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == NO_DEVICE => Ok(Vec::new()),
            found => found.map_err(failed("addresses")),
        }
    }

    pub async fn has_address(&self, link: u32, address: Ipv4Addr) -> Result<bool, NetError> {
        let found = self.addresses_of(link, address).await?;
        Ok(!found.is_empty())
    }

    /// The index of the link that has it.
    pub async fn link_of(&self, address: Ipv4Addr) -> Result<Option<u32>, NetError> {
        let ask = || addresses_ask(&self.handle).set_address_filter(IpAddr::V4(address)).execute();
        let found = dump(ask).await.map_err(failed("addresses"))?;
        Ok(found.first().map(|message| message.header.index))
    }

    pub async fn address_ensure(&self, link: u32, address: Ipv4Addr) -> Result<(), NetError> {
        let request = self.handle.address().add(link, IpAddr::V4(address), 32);
        unless(EXISTS, request.execute().await).map_err(failed("address"))
    }

    /// The link has the address, and the network around it. `true`: it had not.
    pub async fn network_ensure(&self, link: u32, address: Ipv4Addr, prefix: u8) -> Result<bool, NetError> {
        let found = self.addresses_of(link, address).await?;
        let is_there = |message: &AddressMessage| {
            message.header.index == link
                && message.header.prefix_len == prefix
                && message.attributes.contains(&AddressAttribute::Address(IpAddr::V4(address)))
        };
        if found.iter().any(is_there) {
            return Ok(false);
        }
        let request = self.handle.address().add(link, IpAddr::V4(address), prefix);
        unless(EXISTS, request.execute().await).map_err(failed("address"))?;
        Ok(true)
    }

    pub async fn address_delete(&self, link: u32, address: Ipv4Addr) -> Result<(), NetError> {
        let found = self.addresses_of(link, address).await?;
        for message in found {
            self.handle.address().del(message).execute().await.map_err(failed("address"))?;
        }
        Ok(())
    }

    /// The links that are ports of a bridge, which the kernel picks out: the host may have many others. They are few: what
    /// they have counted costs less than the kernel's look at how long the answer would be without.
    pub async fn ports_of(&self, bridge: u32) -> Result<Vec<Link>, NetError> {
        let ask = || {
            let mut request = self.handle.link().get();
            request.message_mut().attributes.push(LinkAttribute::Controller(bridge));
            request.execute()
        };
        let ports = dump(ask).await.map_err(failed("ports of a bridge"))?;
        Ok(ports.into_iter().map(Link::from).filter(|link| link.controller == Some(bridge)).collect())
    }

    pub async fn has_ports(&self, bridge: u32) -> Result<bool, NetError> {
        Ok(!self.ports_of(bridge).await?.is_empty())
    }

    /// The way to guests for a node that is not their gateway.
    pub async fn route_ensure(
        &self,
        link: u32,
        network: (Ipv4Addr, u8),
        source: Ipv4Addr,
    ) -> Result<(), NetError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(network.0, network.1)
            .output_interface(link)
            .pref_source(source)
            .priority(ROUTE_PRIORITY)
            .scope(RouteScope::Link)
            .build();
        self.route_put(route).await
    }

    /// Everybody is on the wire of this link.
    pub async fn everybody_is_on(&self, link: u32) -> Result<(), NetError> {
        let route =
            RouteMessageBuilder::<Ipv4Addr>::new().output_interface(link).scope(RouteScope::Link).build();
        self.route_put(route).await
    }

    async fn route_put(&self, route: RouteMessage) -> Result<(), NetError> {
        unless(EXISTS, self.handle.route().add(route).execute().await).map_err(failed("route"))
    }

    /// One that is not there is no error.
    pub async fn link_delete(&self, name: &str) -> Result<(), NetError> {
        let Some(index) = self.index(name).await? else { return Ok(()) };
        unless(NO_DEVICE, self.handle.link().del(index).execute().await).map_err(failed(name))
    }

    pub async fn link_names(&self) -> Result<Vec<String>, NetError> {
        Ok(self.links().await?.into_iter().map(|link| link.name).collect())
    }

    /// Where each VXLAN device sends the frames of which it does not know whose they are.
    pub(crate) async fn floods(&self) -> Result<BTreeMap<u32, BTreeSet<Ipv4Addr>>, NetError> {
        let ask = || self.handle.neighbours().get().set_address_family(AddressFamily::Bridge).execute();
        let mut floods: BTreeMap<u32, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        for entry in dump(ask).await.map_err(failed("forwarding entries"))? {
            if let Some(to) = flooded_to(&entry) {
                floods.entry(entry.header.ifindex).or_default().insert(to);
            }
        }
        Ok(floods)
    }

    /// One more of them: none of those that are there is replaced.
    pub(crate) async fn flood(&self, device: &str, to: Ipv4Addr) -> Result<(), NetError> {
        let message = RouteNetlinkMessage::NewNeighbour(self.flood_entry(device, to).await?);
        let flags = NLM_F_CREATE | NLM_F_APPEND;
        unless(EXISTS, self.request(message, flags).await).map_err(failed(device))
    }

    pub(crate) async fn unflood(&self, device: &str, to: Ipv4Addr) -> Result<(), NetError> {
        let message = RouteNetlinkMessage::DelNeighbour(self.flood_entry(device, to).await?);
        unless(NO_ENTRY, self.request(message, 0).await).map_err(failed(device))
    }

    async fn flood_entry(&self, device: &str, to: Ipv4Addr) -> Result<NeighbourMessage, NetError> {
        let mut entry = NeighbourMessage::default();
        entry.header.family = AddressFamily::Bridge;
        entry.header.ifindex = self.index_of(device).await?;
        entry.header.state = NeighbourState::Permanent;
        entry.header.flags = NeighbourFlags::Own;
        entry.attributes = vec![
            NeighbourAttribute::LinkLayerAddress(EVERYBODY.to_vec()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet(to)),
        ];
        Ok(entry)
    }

    pub(crate) async fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), rtnetlink::Error> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self.handle.clone().request(request)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(rtnetlink::Error::NetlinkError(error));
            }
        }
        Ok(())
    }
}

fn flooded_to(entry: &NeighbourMessage) -> Option<Ipv4Addr> {
    let mut to = None;
    let mut is_for_everybody = false;
    for attribute in &entry.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(mac) => is_for_everybody = *mac == EVERYBODY,
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => to = Some(*address),
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                to = <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from);
            }
            _ => {}
        }
    }
    to.filter(|_| is_for_everybody)
}
