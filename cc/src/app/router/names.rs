//! Names of what a cluster has in the kernel for its routers. All begin with the flat bridge's name, which is one
//! cluster's own on its host.

use karri_proto::ids::VpcId;
use karri_proto::network::SegmentTag;
use sha2::{Digest, Sha256};

/// Leaves room for a letter and the six digits of the largest tag.
const STEM_MAX: usize = 8;
const VPC_DIGITS: usize = 10;

/// The bridge's name, or what stands for a long one.
pub fn stem(bridge: &str) -> String {
    if bridge.len() <= STEM_MAX {
        return bridge.to_owned();
    }
    let sum = Sha256::digest(bridge.as_bytes());
    format!("k{:02x}{:02x}{:02x}", sum[0], sum[1], sum[2])
}

/// Of a router's namespace, as `ip netns` lists it.
pub fn namespace(bridge: &str, vpc: &VpcId) -> String {
    format!("{}{}", namespaces(bridge), vpc_digits(vpc))
}

/// With this begins the name of every router's namespace.
pub fn namespaces(bridge: &str) -> String {
    format!("karri-{bridge}-")
}

fn vpc_digits(vpc: &VpcId) -> &str {
    let id = vpc.as_str();
    &id[id.len().saturating_sub(VPC_DIGITS)..] // ids are ASCII
}

/// The host's end of a router's way out. `number`: the router's own on this host.
pub fn uplink(bridge: &str, number: u16) -> String {
    format!("{}u{number:x}", stem(bridge))
}

/// Matches every uplink of the cluster, and no other link.
pub fn uplinks(bridge: &str) -> String {
    format!("{}u+", stem(bridge))
}

/// The segment's end of a router's leg, on the host.
pub fn leg_outside(bridge: &str, tag: SegmentTag) -> String {
    format!("{}s{tag:x}", stem(bridge))
}

/// The router's own end of it.
pub fn leg_inside(tag: SegmentTag) -> String {
    format!("s{tag:x}")
}

/// The router's end of its way out.
pub const UP: &str = "u";
