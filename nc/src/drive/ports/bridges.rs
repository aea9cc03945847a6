//! Which bridge a port is on. Pure.

use karri_net::{Names, OVERHEAD_BYTES};
use karri_proto::network::SegmentTag;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridges {
    flat: String,
    segments: Names,
    tunnel_mtu: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    pub name: String,
    /// None: what is usual.
    pub mtu: Option<u32>,
}

impl Bridges {
    pub fn new(flat: &str, tunnel_mtu: u32) -> Self {
        Self { flat: flat.to_owned(), segments: Names::new(flat), tunnel_mtu }
    }

    pub fn of(&self, segment: SegmentTag) -> Bridge {
        match segment {
            0 => Bridge { name: self.flat.clone(), mtu: None },
            tag => Bridge {
                name: self.segments.bridge(tag),
                mtu: Some(self.tunnel_mtu.saturating_sub(OVERHEAD_BYTES)),
            },
        }
    }
}
