//! The flat network's bridge and its gateway address. Idempotent; never deletes what it did not make.

use super::DriveError;
use karri_net::{Kind, Link, NetError, Netlink};
use std::net::Ipv4Addr;
use std::time::Duration;

const NETLINK_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs `work` over a connection of its own, within a time limit.
async fn with_netlink<T, F: Future<Output = Result<T, DriveError>>>(
    work: impl FnOnce(Netlink) -> F,
) -> Result<T, DriveError> {
    let netlink = Netlink::open().map_err(|cause| DriveError::new("netlink", cause))?;
    let outcome = tokio::time::timeout(NETLINK_TIMEOUT, work(netlink)).await;
    outcome.map_err(|_| DriveError::new("netlink", "no answer in time"))?
}

fn is_bridge(link: &Link) -> bool {
    matches!(link.kind, Kind::Bridge { .. })
}

/// Whether a link of that name is there.
pub async fn link_exists(name: &str) -> Result<bool, DriveError> {
    with_netlink(|netlink| async move {
        let index = netlink.index(name).await;
        index.map(|index| index.is_some()).map_err(|cause| DriveError::new(format!("link {name}"), cause))
    })
    .await
}

/// Whether another bridge than this is up: Docker's, libvirt's, somebody's.
pub async fn other_is_up(name: &str) -> Result<bool, DriveError> {
    with_netlink(|netlink| async move {
        let links = netlink.links().await.map_err(|cause| DriveError::new("links", cause))?;
        Ok(links.iter().any(|link| is_bridge(link) && link.name != name && link.up))
    })
    .await
}

/// The bridge is there, is up and has the gateway's address. `true`: something had to be done.
pub async fn put(name: &str, gateway: Ipv4Addr, prefix: u8) -> Result<bool, DriveError> {
    let failed = |cause: NetError| DriveError::new(format!("bridge {name}"), cause);
    with_netlink(|netlink| async move {
        let link = netlink.link(name).await.map_err(failed)?;
        if link.as_ref().is_some_and(|link| !is_bridge(link)) {
            return Err(DriveError::new(format!("network.bridge = {name}"), "is there and is not a bridge"));
        }
        let is_up = link.is_some_and(|link| link.up);
        if !is_up {
            netlink.bridge_ensure(name).await.map_err(failed)?;
        }
        let index = netlink.index(name).await.map_err(failed)?;
        let index = index.ok_or_else(|| DriveError::new(format!("bridge {name}"), "made, and not there"))?;
        let added = netlink.network_ensure(index, gateway, prefix).await.map_err(failed)?;
        Ok(added || !is_up)
    })
    .await
}

/// Gone, or never there.
pub async fn delete(name: &str) -> Result<(), DriveError> {
    let failed = |cause: NetError| DriveError::new(format!("bridge {name}"), cause);
    with_netlink(|netlink| async move {
        match netlink.link(name).await.map_err(failed)? {
            Some(link) if is_bridge(&link) => netlink.link_delete(name).await.map_err(failed),
            _ => Ok(()),
        }
    })
    .await
}
