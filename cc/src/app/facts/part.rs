//! What a node needs of all facts: a function of the facts and of the ports that are placed there.
//!
//! - its ports' own facts,
//! - the rules of the groups that these are in,
//! - the ports that are in a group to which one of those rules refers.

use super::shelf::Shelf;
use karri_proto::ids::{NetworkInterfaceId, SecurityGroupId};
use karri_proto::network::{Fact, FactChange, FactTable, Peer};
use std::collections::BTreeSet;

/// The rule itself. What is told by changes ([`super::Facts`]) must come to the same.
pub fn part<'a>(all: &FactTable, ports: impl IntoIterator<Item = &'a NetworkInterfaceId>) -> FactTable {
    let own: Vec<_> = ports.into_iter().filter_map(|id| all.port(id)).collect();
    let groups: BTreeSet<&SecurityGroupId> = own.iter().flat_map(|port| &port.groups).collect();
    let rules: Vec<_> = groups.into_iter().flat_map(|group| all.rules_of(group)).collect();
    let peers: BTreeSet<&SecurityGroupId> = rules.iter().filter_map(|rule| peer_group(&rule.peer)).collect();
    let members = peers.into_iter().flat_map(|group| all.members_of(group));
    let facts = rules.iter().map(|rule| Fact::Rule((*rule).clone()));
    let facts = facts.chain(own.iter().copied().chain(members).map(|port| Fact::Port(port.clone())));
    let mut part = FactTable::default();
    facts.for_each(|fact| drop(part.apply(FactChange::Put(fact))));
    part
}

pub fn peer_group(peer: &Peer) -> Option<&SecurityGroupId> {
    match peer {
        Peer::Group(group) => Some(group),
        Peer::V4(_) | Peer::V6(_) => None,
    }
}

/// By which a fact is in a node's part or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interest {
    /// Placed there, whether anything is known of them or not.
    pub ports: BTreeSet<NetworkInterfaceId>,
    /// Whose rules are needed.
    pub groups: BTreeSet<SecurityGroupId>,
    /// Whose members are needed.
    pub peers: BTreeSet<SecurityGroupId>,
}

impl Interest {
    pub fn of(ports: BTreeSet<NetworkInterfaceId>, shelf: &Shelf) -> Self {
        let own = ports.iter().filter_map(|id| shelf.port(id));
        let groups: BTreeSet<SecurityGroupId> = own.flat_map(|entry| entry.groups()).cloned().collect();
        let rules = groups.iter().flat_map(|group| shelf.rules_of(group));
        let peers = rules.filter_map(|entry| entry.peer()).cloned().collect();
        Self { ports, groups, peers }
    }

    pub fn has_member(&self, groups: &[SecurityGroupId]) -> bool {
        groups.iter().any(|group| self.peers.contains(group))
    }

    pub fn needs_port(&self, id: &NetworkInterfaceId, groups: &[SecurityGroupId]) -> bool {
        self.has_member(groups) || self.ports.contains(id)
    }
}
