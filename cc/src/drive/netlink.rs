//! The bridge and its gateway address, by rtnetlink. Idempotent; never deletes what it did not make.

use super::DriveError;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::{Error, Handle, LinkBridge, LinkUnspec};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const NETLINK_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs `work` over a connection of its own, within a time limit.
async fn with_handle<T, F: Future<Output = Result<T, DriveError>>>(
    work: impl FnOnce(Handle) -> F,
) -> Result<T, DriveError> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|cause| DriveError::new("netlink", cause))?;
    let connection = tokio::spawn(connection);
    let outcome = tokio::time::timeout(NETLINK_TIMEOUT, work(handle)).await;
    connection.abort();
    outcome.map_err(|_| DriveError::new("netlink", "no answer in time"))?
}

async fn link_named(handle: &Handle, name: &str) -> Result<Option<LinkMessage>, Error> {
    match handle.link().get().match_name(name).execute().try_next().await {
        // "no such device"
        Err(Error::NetlinkError(message)) if message.raw_code() == -19 => Ok(None),
        other => other,
    }
}

fn is_bridge(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Bridge)),
        _ => false,
    })
}

/// Whether a link of that name is there.
pub async fn link_exists(name: &str) -> Result<bool, DriveError> {
    with_handle(|handle| async move {
        let link = link_named(&handle, name).await;
        link.map(|link| link.is_some()).map_err(|cause| DriveError::new(format!("link {name}"), cause))
    })
    .await
}

/// Whether another bridge than this is up: Docker's, libvirt's, somebody's.
pub async fn other_bridge_is_up(name: &str) -> Result<bool, DriveError> {
    let failed = |cause: Error| DriveError::new("links", cause);
    with_handle(|handle| async move {
        let mut links = handle.link().get().execute();
        while let Some(link) = links.try_next().await.map_err(failed)? {
            let own = link.attributes.contains(&LinkAttribute::IfName(name.to_owned()));
            if is_bridge(&link) && !own && link.header.flags.contains(LinkFlags::Up) {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
}

/// The bridge is there, is up and has the gateway's address. `true`: something had to be done.
pub async fn bridge_put(name: &str, gateway: Ipv4Addr, prefix: u8) -> Result<bool, DriveError> {
    let failed = |cause: Error| DriveError::new(format!("bridge {name}"), cause);
    with_handle(|handle| async move {
        let mut changed = false;
        let link = match link_named(&handle, name).await.map_err(failed)? {
            Some(link) => link,
            None => {
                handle.link().add(LinkBridge::new(name).build()).execute().await.map_err(failed)?;
                changed = true;
                let made = link_named(&handle, name).await.map_err(failed)?;
                made.ok_or_else(|| DriveError::new(format!("bridge {name}"), "made, and not there"))?
            }
        };
        if !is_bridge(&link) {
            return Err(DriveError::new(format!("network.bridge = {name}"), "is there and is not a bridge"));
        }
        let index = link.header.index;
        if !has_address(&handle, index, gateway, prefix).await.map_err(failed)? {
            let add = handle.address().add(index, IpAddr::V4(gateway), prefix);
            add.execute().await.map_err(failed)?;
            changed = true;
        }
        if !link.header.flags.contains(LinkFlags::Up) {
            let up = LinkUnspec::new_with_index(index).up().build();
            handle.link().set(up).execute().await.map_err(failed)?;
            changed = true;
        }
        Ok(changed)
    })
    .await
}

async fn has_address(handle: &Handle, index: u32, address: Ipv4Addr, prefix: u8) -> Result<bool, Error> {
    let mut present = handle.address().get().set_link_index_filter(index).execute();
    while let Some(message) = present.try_next().await? {
        let same = message.attributes.contains(&AddressAttribute::Address(IpAddr::V4(address)));
        if same && message.header.prefix_len == prefix && message.header.index == index {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gone, or never there.
pub async fn bridge_delete(name: &str) -> Result<(), DriveError> {
    let failed = |cause: Error| DriveError::new(format!("bridge {name}"), cause);
    with_handle(|handle| async move {
        match link_named(&handle, name).await.map_err(failed)? {
            Some(link) if is_bridge(&link) => {
                handle.link().del(link.header.index).execute().await.map_err(failed)
            }
            _ => Ok(()),
        }
    })
    .await
}
