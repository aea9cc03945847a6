//! Which bridge a port is on. Pure.

use crate::config::NetworkConfig;
use karri_net::{Names, Wire};
use karri_proto::network::SegmentTag;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridges {
    flat: String,
    segments: Names,
    segment_mtu: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    pub name: String,
    /// None: what is usual.
    pub mtu: Option<u32>,
}

/// What joins the segments of this host to those of others.
pub fn wire(network: &NetworkConfig) -> Wire {
    Wire::by(network.trunk.as_deref(), network.tunnel_address, network.vxlan_port)
}

impl Bridges {
    pub fn of_host(network: &NetworkConfig) -> Self {
        Self::new(&network.bridge, wire(network).mtu(network.tunnel_mtu))
    }

    pub fn new(flat: &str, segment_mtu: u32) -> Self {
        Self { flat: flat.to_owned(), segments: Names::new(flat), segment_mtu }
    }

    pub fn of(&self, segment: SegmentTag) -> Bridge {
        match segment {
            0 => Bridge { name: self.flat.clone(), mtu: None },
            tag => Bridge { name: self.segments.bridge(tag), mtu: Some(self.segment_mtu) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_net::Tunnel;

    #[test]
    fn ports_of_segments_have_the_mtu_of_what_joins_these() {
        let mut network = NetworkConfig::default();
        let mtu = |network: &NetworkConfig| (wire(network), Bridges::of_host(network).of(100).mtu);
        assert_eq!(mtu(&network), (Wire::Alone, Some(1450)));
        network.tunnel_address = Some([192, 0, 2, 11].into());
        let tunnel = Tunnel { address: [192, 0, 2, 11].into(), port: 4789 };
        assert_eq!(mtu(&network), (Wire::Tunnel(tunnel), Some(1450)));
        network.tunnel_mtu = 9000;
        assert_eq!(mtu(&network).1, Some(8950));
        (network.tunnel_address, network.trunk) = (None, Some("eth1".to_owned()));
        assert_eq!(mtu(&network), (Wire::Trunk("eth1".to_owned()), Some(9000)));
        assert_eq!(Bridges::of_host(&network).of(0), Bridge { name: "karri0".to_owned(), mtu: None });
    }
}
