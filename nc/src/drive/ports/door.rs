//! The way to metadata on a segment: a network namespace for each, whose only link is a port of the segment's bridge,
//! and which has the address of metadata and nothing else.
//!
//! So an instance is known by segment and address, however many segments have the same range, or the range of the
//! host's own networks: neither routes nor addresses of the host come into it. The port is isolated, as is the VXLAN
//! device: nothing of it reaches other hosts, and nothing of theirs comes here. The namespace has no name, and is gone
//! with this process.

use super::{METADATA_ADDRESS, PortError};
use karri_net::{GROUP, Link, Namespace, NetError, Netlink, silence};
use karri_proto::network::SegmentTag;
use std::io;
use std::net::TcpListener as StdListener;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const INSIDE: &str = "eth0";
const PORT: u16 = 80;
/// The namespace answers connections, and nothing else. It has no IPv6 if the kernel has none.
const SETTINGS: [(&str, &str); 6] = [
    ("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1"),
    ("/proc/sys/net/ipv4/conf/all/rp_filter", "0"),
    ("/proc/sys/net/ipv4/conf/default/rp_filter", "0"),
    ("/proc/sys/net/ipv4/ip_forward", "0"),
    ("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"),
    ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
];

/// Whoever connects to it is a port of the segment.
pub struct SegmentListener {
    pub segment: SegmentTag,
    pub listener: TcpListener,
    /// Ends when nobody may connect any more.
    pub closed: oneshot::Receiver<()>,
}

/// Closed when it is dropped.
pub struct Door {
    _closes: oneshot::Sender<()>,
}

/// On this host. No tap is named so: behind the node's part those have digits only.
pub fn link_name(prefix: &str, segment: SegmentTag) -> String {
    format!("{prefix}m{segment:x}")
}

/// One for all segments of a node, by the digits that its taps begin with: several nodes of a host may be on one.
pub fn mac_of(tap: &str) -> [u8; 6] {
    let digit =
        |at: usize| tap.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16)).unwrap_or(0);
    let byte = |at: usize| u8::try_from(digit(at) << 4 | digit(at + 1)).unwrap_or(0);
    [0x0e, 0x4b, 0x41, 0, byte(1), byte(3)]
}

pub fn printed(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl Door {
    /// `name`: of its link, of which nothing may be there. `bridge`: the index of the segment's.
    pub async fn open(
        netlink: &Netlink,
        name: &str,
        segment: SegmentTag,
        bridge: u32,
        mtu: u32,
    ) -> Result<(Self, SegmentListener), PortError> {
        let failed = |error: io::Error| PortError::from(NetError::of("metadata on a segment", &error));
        let namespace = Namespace::new().map_err(failed)?;
        namespace.run(settle).map_err(failed)?.map_err(failed)?;
        netlink.pair_make(name, GROUP, INSIDE, &namespace, mac_of(name)).await?;
        let inside = Netlink::open_in(&namespace)?;
        inside.set_up(INSIDE, mtu).await?;
        let index = inside.index(INSIDE).await?.ok_or_else(|| vanished(name))?;
        inside.address_ensure(index, METADATA_ADDRESS).await?;
        inside.everybody_is_on(index).await?;
        let listener = namespace.run(listen).map_err(failed)?.map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        join(netlink, name, bridge, mtu).await?;
        let (closes, closed) = oneshot::channel();
        Ok((Self { _closes: closes }, SegmentListener { segment, listener, closed }))
    }
}

fn vanished(name: &str) -> PortError {
    PortError::Later(format!("{name} has vanished"))
}

fn settle() -> io::Result<()> {
    for (file, value) in SETTINGS {
        match std::fs::write(file, value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn listen() -> io::Result<StdListener> {
    let listener = StdListener::bind((METADATA_ADDRESS, PORT))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Makes the link a port of the bridge that meets only the ports of guests there.
pub async fn join(netlink: &Netlink, name: &str, bridge: u32, mtu: u32) -> Result<(), PortError> {
    silence(name)?;
    netlink.join(name, bridge).await?;
    netlink.isolate(name).await?;
    Ok(netlink.set_up(name, mtu).await?)
}

pub fn is_joined(link: &Link, bridge: u32) -> bool {
    link.up && link.isolated && link.controller == Some(bridge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_link_is_named_as_no_tap_and_its_mac_is_the_nodes() {
        assert_eq!(link_name("k1a2b", 0x1001), "k1a2bm1001");
        assert_eq!(printed(mac_of("k1a2bm1001")), "0e:4b:41:00:1a:2b");
        assert_eq!(mac_of("k1a2b789abcdef0"), mac_of("k1a2b"));
        let (local, of_many) = (mac_of("k1a2b")[0] & 2, mac_of("k1a2b")[0] & 1);
        assert_eq!((local, of_many), (2, 0));
    }
}
