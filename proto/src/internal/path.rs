//! `karri net show`: the way of a packet through a VPC, and what decides about it on that way.

use super::kernel::KernelPart;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Whose way is asked for. With a packet, what becomes of it; without, what there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathAsked {
    /// A subnet, a network interface, or an instance.
    pub about: String,
    /// A packet has both addresses and a protocol.
    pub from: Option<Ipv4Addr>,
    pub to: Option<Ipv4Addr>,
    /// `tcp`, `udp`, `icmp`, or a number.
    pub protocol: Option<String>,
    /// To which port; of ICMP the type.
    pub port: Option<u16>,
}

/// One place on the way, in the order in which a packet comes to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Station {
    /// `port eni-…`, `segment subnet-…`, `router vpc-…`, `outside`.
    pub place: String,
    /// What there is, and what it is called in the kernel. `*` stands for what is one host's own: its bridge, or how its
    /// names begin.
    pub has: Vec<String>,
    /// None: nothing is decided there, or no packet was asked about.
    pub verdict: Option<Verdict>,
    /// What is in kernels there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel: Vec<KernelPart>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// False: the packet ends here.
    pub passes: bool,
    /// By which rule, entry or route.
    pub by: String,
}
