//! Whether groups let a packet through that belongs to no flow let through before.

use super::{Direction, FactTable, GroupRule, Peer, PortFact, Traffic};
use std::net::Ipv4Addr;

/// The first packet of a flow, as seen from the port that it comes to or goes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub direction: Direction,
    pub peer: Ipv4Addr,
    pub content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// To which port it is sent.
    Tcp(u16),
    Udp(u16),
    Icmp {
        r#type: u8,
        code: u8,
    },
    Protocol(u8),
}

/// One rule of one of the port's groups is enough.
pub fn passes(table: &FactTable, port: &PortFact, packet: &Packet) -> bool {
    passes_by(table, port, packet).is_some()
}

/// The first rule that lets it through.
pub fn passes_by<'a>(table: &'a FactTable, port: &PortFact, packet: &Packet) -> Option<&'a GroupRule> {
    let mut rules = port.groups.iter().flat_map(|group| table.rules_toward(group, packet.direction));
    rules.find(|rule| lets_through(table, rule, packet))
}

fn lets_through(table: &FactTable, rule: &GroupRule, packet: &Packet) -> bool {
    rule.traffic.carries(packet.content) && is_peer(table, &rule.peer, packet.peer)
}

fn is_peer(table: &FactTable, peer: &Peer, address: Ipv4Addr) -> bool {
    match peer {
        Peer::V4(net) => net.contains(address),
        Peer::V6(_) => false,
        Peer::Group(group) => table.addresses_of(group).any(|member| member == address),
    }
}

impl Traffic {
    pub fn carries(self, content: Content) -> bool {
        let any_or = |wanted: Option<u8>, found: u8| wanted.is_none_or(|wanted| wanted == found);
        match (self, content) {
            (Traffic::All, _) => true,
            (Traffic::Tcp { from, to }, Content::Tcp(port))
            | (Traffic::Udp { from, to }, Content::Udp(port)) => (from..=to).contains(&port),
            (Traffic::Icmp { r#type: wanted, code: of }, Content::Icmp { r#type, code }) => {
                any_or(wanted, r#type) && any_or(of, code)
            }
            (Traffic::Protocol(wanted), Content::Protocol(found)) => wanted == found,
            _ => false,
        }
    }
}
