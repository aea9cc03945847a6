//! What things in the kernel are called. Every name of this node's begins alike, and ends in what it is.

use karri_proto::ids::SecurityGroupId;
use karri_proto::network::Direction;
use sha2::{Digest, Sha256};

/// iptables takes 28 characters, ipset 31.
const HASH_DIGITS: usize = 12;

/// Of one node: its bridge, and how its names begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub bridge: String,
    pub segments: karri_net::Names,
    /// How its taps begin.
    pub taps: String,
    start: String,
}

/// Which packets a chain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a port.
    From,
    /// To a port, by the bridge.
    To,
    /// To a port, from the host itself or through it.
    Routed,
}

impl Names {
    pub fn new(bridge: &str, taps: &str) -> Self {
        let segments = karri_net::Names::new(bridge);
        Self { bridge: bridge.to_owned(), segments, taps: taps.to_owned(), start: format!("KARRI-{taps}") }
    }

    /// Of chains and sets: nothing else on the host is named so.
    pub fn are_own(&self, name: &str) -> bool {
        name.starts_with(&self.start)
    }

    pub fn way(&self, way: Way) -> String {
        let Self { start, .. } = self;
        match way {
            Way::From => format!("{start}-from"),
            Way::To => format!("{start}-to"),
            Way::Routed => format!("{start}-routed"),
        }
    }

    /// A sixteenth of all ports.
    pub fn share(&self, way: Way, digit: u8) -> String {
        format!("{}-{digit:x}", self.way(way))
    }

    pub fn port(tap: &str, way: Way) -> String {
        match way {
            Way::From => format!("KARRI-{tap}-from"),
            Way::To | Way::Routed => format!("KARRI-{tap}-to"),
        }
    }

    /// The set of a port's addresses, where it has several.
    pub fn own_addresses(tap: &str) -> String {
        format!("KARRI-{tap}-own")
    }

    /// The chain of a group, and the set of who may talk by which port.
    pub fn group(&self, group: &SecurityGroupId, direction: Direction) -> String {
        let end = match direction {
            Direction::Ingress => "in",
            Direction::Egress => "out",
        };
        format!("{}-{}-{end}", self.start, hash(group.as_str()))
    }

    /// The set of networks that rules of one kind name.
    pub fn networks(&self, group: &SecurityGroupId, direction: Direction, kind: &str) -> String {
        format!("{}-{}-net", self.start, hash(&format!("{group} {direction:?} {kind}")))
    }

    /// The set of hosts' own addresses, where they exchange frames of segments.
    pub fn hosts(&self) -> String {
        format!("{}-hosts", self.start)
    }

    pub fn members(&self, group: &SecurityGroupId) -> String {
        format!("{}-{}-ip", self.start, hash(group.as_str()))
    }
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))[..HASH_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_are_known_as_ones_own() {
        let names = Names::new("karri0", "k1234");
        let group: SecurityGroupId = "sg-0123456789abcdef0".parse().unwrap();
        let tap = "k12340123456789";
        let chains = [
            names.share(Way::Routed, 15),
            Names::port(tap, Way::From),
            names.group(&group, Direction::Egress),
        ];
        assert!(chains.iter().all(|name| name.len() <= 28 && names.are_own(name)), "{chains:?}");
        let sets = [
            names.networks(&group, Direction::Ingress, "-p tcp"),
            names.members(&group),
            Names::own_addresses(tap),
            chains[2].clone(),
        ];
        assert!(sets.iter().all(|name| name.len() <= 31 && names.are_own(name)), "{sets:?}");
        assert!(!names.are_own("KARRI-FWD-k1234") && !names.are_own("KARRI-kabcd-from"));
    }
}
