//! Ports of real guests on the node's bridge.

use super::netlink::Netlink;
use super::{Port, PortError, Ports, TapNames, dnat, ebtables};
use async_trait::async_trait;
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use tokio::sync::Mutex;

pub struct BridgePorts {
    netlink: Netlink,
    bridge: String,
    bridge_index: u32,
    names: TapNames,
    metadata_address: Ipv4Addr,
    /// Taps whose chain is jumped to. Held over every change, for changes go one by one.
    chains: Mutex<HashSet<String>>,
}

impl BridgePorts {
    /// Makes the bridge if it is missing and gives it the address the metadata listener binds.
    pub async fn open(
        bridge: &str,
        uplink: Option<&str>,
        names: TapNames,
        metadata_address: Ipv4Addr,
    ) -> Result<Self, PortError> {
        let netlink = Netlink::open()?;
        let bridge_index = netlink.bridge_ensure(bridge).await?;
        if let Some(uplink) = uplink {
            netlink.join(uplink, bridge_index).await?;
        }
        netlink.address_ensure(bridge_index, metadata_address).await?;
        Self::over(netlink, bridge, bridge_index, names, metadata_address).await
    }

    /// Sees what is there and makes nothing: enough to clean.
    pub async fn attach(
        bridge: &str,
        names: TapNames,
        metadata_address: Ipv4Addr,
    ) -> Result<Self, PortError> {
        let netlink = Netlink::open()?;
        let bridge_index = netlink.index(bridge).await?.unwrap_or(0); // no link has index 0
        Self::over(netlink, bridge, bridge_index, names, metadata_address).await
    }

    async fn over(
        netlink: Netlink,
        bridge: &str,
        bridge_index: u32,
        names: TapNames,
        metadata_address: Ipv4Addr,
    ) -> Result<Self, PortError> {
        let chains = ebtables::chains(&ebtables::save().await?, |name| names.owns(name));
        let chains = Mutex::new(chains.into_iter().collect());
        Ok(Self { netlink, bridge: bridge.to_owned(), bridge_index, names, metadata_address, chains })
    }

    /// How this node's rules of the whole bridge are known.
    fn tag(&self) -> String {
        format!("karri-{}", self.names.prefix())
    }

    /// Takes away everything of this node: ports, rules, its address, and the bridge if it has no
    /// other port.
    pub async fn clean(&self) -> Result<(), PortError> {
        self.unplug(&self.plugged().await?).await?;
        let tag = self.tag();
        tokio::task::spawn_blocking(move || dnat::remove(&tag))
            .await
            .map_err(|e| PortError(e.to_string()))??;
        if self.bridge_index == 0 {
            return Ok(());
        }
        if self.netlink.has_ports(self.bridge_index).await? {
            return self.netlink.address_delete(self.bridge_index, self.metadata_address).await;
        }
        self.netlink.link_delete(&self.bridge).await
    }

    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// Sends guests' metadata requests to `listener`.
    pub async fn serve_metadata(&self, listener: SocketAddrV4) -> Result<(), PortError> {
        let (bridge, tag) = (self.bridge.clone(), self.tag());
        tokio::task::spawn_blocking(move || dnat::install(&bridge, &tag, listener))
            .await
            .map_err(|e| PortError(e.to_string()))?
    }
}

#[async_trait]
impl Ports for BridgePorts {
    async fn plug(&self, ports: &[Port]) -> Result<(), PortError> {
        let mut chains = self.chains.lock().await;
        ebtables::restore(ebtables::plug_script(ports, |tap| chains.contains(tap))).await?;
        chains.extend(ports.iter().map(|port| port.tap.clone()));
        drop(chains);
        for port in ports {
            let network = parse_cidr(&port.subnet_cidr)
                .ok_or_else(|| PortError(format!("{} is not a network", port.subnet_cidr)))?;
            self.netlink.route_ensure(self.bridge_index, network, self.metadata_address).await?;
        }
        Ok(())
    }

    async fn unplug(&self, taps: &[String]) -> Result<(), PortError> {
        let mut chains = self.chains.lock().await;
        let known: Vec<String> = taps.iter().filter(|tap| chains.contains(*tap)).cloned().collect();
        if !known.is_empty() {
            ebtables::restore(ebtables::unplug_script(&known)).await?;
            chains.retain(|tap| !known.contains(tap));
        }
        drop(chains);
        for tap in taps {
            self.netlink.link_delete(tap).await?;
        }
        Ok(())
    }

    async fn plugged(&self) -> Result<Vec<String>, PortError> {
        let mut all: HashSet<String> = self.chains.lock().await.clone();
        let links = self.netlink.link_names().await?;
        all.extend(links.into_iter().filter(|name| self.names.owns(name)));
        Ok(all.into_iter().collect())
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
