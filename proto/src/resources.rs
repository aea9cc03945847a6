//! What an instance needs and what a node has: the paper's describeResources as values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};

/// Amounts of the three things that a node can run out of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Need {
    pub vcpus: u32,
    pub memory_mib: u64,
    pub disk_gib: u64,
}

impl Need {
    pub fn fits(self, free: Need) -> bool {
        self.vcpus <= free.vcpus && self.memory_mib <= free.memory_mib && self.disk_gib <= free.disk_gib
    }

    /// How many of these fit into `free`: the paper's slots.
    pub fn slots(self, free: Need) -> u64 {
        let each = [
            (u64::from(free.vcpus), u64::from(self.vcpus)),
            (free.memory_mib, self.memory_mib),
            (free.disk_gib, self.disk_gib),
        ];
        each.into_iter().filter(|(_, need)| *need > 0).map(|(free, need)| free / need).min().unwrap_or(0)
    }
}

impl Add for Need {
    type Output = Need;

    fn add(self, other: Need) -> Need {
        Need {
            vcpus: self.vcpus.saturating_add(other.vcpus),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            disk_gib: self.disk_gib.saturating_add(other.disk_gib),
        }
    }
}

/// What is left; never below nothing, for capacity may shrink under what was given out.
impl Sub for Need {
    type Output = Need;

    fn sub(self, other: Need) -> Need {
        Need {
            vcpus: self.vcpus.saturating_sub(other.vcpus),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
            disk_gib: self.disk_gib.saturating_sub(other.disk_gib),
        }
    }
}

/// A node as its nc describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFacts {
    pub name: String,
    /// What it can give to instances, in all.
    pub total: Need,
    /// `kvm`, `tcg`, `xen` or `sim`.
    pub accelerator: String,
    pub hypervisor: String,
    pub version: String,
    /// Guests that Karri did not start: reported, never touched.
    pub foreign_guests: Vec<String>,
}

/// A node as its cc sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeResources {
    pub facts: NodeFacts,
    pub used: Need,
    pub alive: bool,
    /// Where it takes packets of segments from other hosts.
    #[serde(default)]
    pub tunnel: Option<std::net::Ipv4Addr>,
}

impl NodeResources {
    pub fn free(&self) -> Need {
        if self.alive { self.facts.total - self.used } else { Need::default() }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterResources {
    pub nodes: Vec<NodeResources>,
}
