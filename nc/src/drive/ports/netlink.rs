//! Links, addresses and routes through rtnetlink.

use super::PortError;
use crate::drive::is_passing;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{InfoBridge, InfoData, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr};

/// Weaker than the route that comes with the gateway's own address.
const ROUTE_PRIORITY: u32 = 4096;
const EXISTS: i32 = -17;
const NO_DEVICE: i32 = -19;

#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
}

fn failed(what: &str) -> impl FnOnce(rtnetlink::Error) -> PortError + '_ {
    move |error| {
        let passing = matches!(&error, rtnetlink::Error::NetlinkError(told) if is_passing(&told.to_io()));
        let message = format!("{what}: {error}");
        if passing { PortError::Later(message) } else { PortError::Broken(message) }
    }
}

/// What is already so is no error.
fn unless(code: i32, result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == code => Ok(()),
        other => other,
    }
}

impl Netlink {
    pub fn open() -> Result<Self, PortError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|e| PortError::Broken(format!("rtnetlink: {e}")))?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    pub async fn index(&self, name: &str) -> Result<Option<u32>, PortError> {
        let mut links = self.handle.link().get().match_name(name).execute();
        match links.try_next().await {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == NO_DEVICE => Ok(None),
            Err(error) => Err(failed(name)(error)),
        }
    }

    /// The bridge's index; makes it if nobody has.
    pub async fn bridge_ensure(&self, name: &str) -> Result<u32, PortError> {
        if self.index(name).await?.is_none() {
            let message = LinkBridge::new(name).up().build();
            unless(EXISTS, self.handle.link().add(message).execute().await).map_err(failed(name))?;
            tracing::info!(bridge = name, "made the bridge");
        }
        let index =
            self.index(name).await?.ok_or_else(|| PortError::Broken(format!("{name} has vanished")))?;
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(up).execute().await.map_err(failed(name))?;
        Ok(index)
    }

    /// Whether the kernel shows what the bridge carries to iptables, by the bridge's own setting.
    pub async fn is_filtered(&self, bridge: &str) -> Result<bool, PortError> {
        let mut links = self.handle.link().get().match_name(bridge.to_owned()).execute();
        let link = links.try_next().await.map_err(failed(bridge))?;
        let attributes = link.into_iter().flat_map(|link| link.attributes);
        let infos = attributes.filter_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        });
        Ok(infos.flatten().any(|info| match info {
            LinkInfo::Data(InfoData::Bridge(of)) => of.contains(&InfoBridge::NfCallIpTables(true)),
            _ => false,
        }))
    }

    pub async fn set_filtered(&self, bridge: &str, on: bool) -> Result<(), PortError> {
        let message = LinkBridge::new(bridge).append_info_data(InfoBridge::NfCallIpTables(on)).build();
        self.handle.link().change(message).execute().await.map_err(failed(bridge))
    }

    /// Makes `port` a port of the bridge: the cable to the other nodes.
    pub async fn join(&self, port: &str, bridge: u32) -> Result<(), PortError> {
        let index =
            self.index(port).await?.ok_or_else(|| PortError::Broken(format!("there is no link {port}")))?;
        let message = LinkUnspec::new_with_index(index).controller(bridge).up().build();
        self.handle.link().set(message).execute().await.map_err(failed(port))
    }

    /// Takes it off whatever bridge it is a port of.
    pub async fn leave(&self, port: &str) -> Result<(), PortError> {
        let Some(index) = self.index(port).await? else { return Ok(()) };
        let message = LinkUnspec::new_with_index(index).nocontroller().build();
        self.handle.link().set(message).execute().await.map_err(failed(port))
    }

    /// The bridge that a link is a port of.
    pub async fn controller(&self, name: &str) -> Result<Option<u32>, PortError> {
        let links = self.links().await?;
        let is_it = |link: &&LinkMessage| link.attributes.contains(&LinkAttribute::IfName(name.to_owned()));
        let link =
            links.iter().find(is_it).ok_or_else(|| PortError::Broken(format!("there is no link {name}")))?;
        Ok(link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Controller(index) => Some(*index),
            _ => None,
        }))
    }

    pub async fn has_address(&self, link: u32, address: Ipv4Addr) -> Result<bool, PortError> {
        let filter =
            self.handle.address().get().set_link_index_filter(link).set_address_filter(IpAddr::V4(address));
        let found: Vec<_> = filter.execute().try_collect().await.map_err(failed("addresses"))?;
        Ok(!found.is_empty())
    }

    pub async fn address_ensure(&self, link: u32, address: Ipv4Addr) -> Result<(), PortError> {
        let request = self.handle.address().add(link, IpAddr::V4(address), 32);
        unless(EXISTS, request.execute().await).map_err(failed("address"))
    }

    pub async fn address_delete(&self, link: u32, address: Ipv4Addr) -> Result<(), PortError> {
        let filter =
            self.handle.address().get().set_link_index_filter(link).set_address_filter(IpAddr::V4(address));
        let found: Vec<_> = filter.execute().try_collect().await.map_err(failed("addresses"))?;
        for message in found {
            self.handle.address().del(message).execute().await.map_err(failed("address"))?;
        }
        Ok(())
    }

    pub async fn has_ports(&self, bridge: u32) -> Result<bool, PortError> {
        let links = self.links().await?;
        let of_bridge = |attribute: &LinkAttribute| *attribute == LinkAttribute::Controller(bridge);
        Ok(links.iter().any(|link| link.attributes.iter().any(of_bridge)))
    }

    /// The way to guests for a node that is not their gateway.
    pub async fn route_ensure(
        &self,
        link: u32,
        network: (Ipv4Addr, u8),
        source: Ipv4Addr,
    ) -> Result<(), PortError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(network.0, network.1)
            .output_interface(link)
            .pref_source(source)
            .priority(ROUTE_PRIORITY)
            .scope(RouteScope::Link)
            .build();
        unless(EXISTS, self.handle.route().add(route).execute().await).map_err(failed("route"))
    }

    pub async fn link_delete(&self, name: &str) -> Result<(), PortError> {
        let Some(index) = self.index(name).await? else { return Ok(()) };
        unless(NO_DEVICE, self.handle.link().del(index).execute().await).map_err(failed(name))
    }

    async fn links(&self) -> Result<Vec<LinkMessage>, PortError> {
        self.handle.link().get().execute().try_collect().await.map_err(failed("links"))
    }

    pub async fn link_names(&self) -> Result<Vec<String>, PortError> {
        let links = self.links().await?;
        let name = |link: LinkMessage| {
            link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })
        };
        Ok(links.into_iter().filter_map(name).collect())
    }
}
