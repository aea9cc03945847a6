//! Facts in few words.
#![allow(dead_code)] // each suite uses its own part

use super::guarded::port_at;
use karri_proto::ids::SecurityGroupId;
use karri_proto::network::{Direction, Fact, FactChange, FactKey, GroupRule, Net4, Peer, PortFact, Traffic};
use std::net::Ipv4Addr;

pub fn group(number: u8) -> SecurityGroupId {
    format!("sg-{number:08x}").parse().unwrap()
}

pub fn rule(of: u8, id: u8, direction: Direction, traffic: Traffic, peer: Peer) -> FactChange {
    let id = format!("sgr-{id:08x}").parse().unwrap();
    FactChange::Put(Fact::Rule(GroupRule { group: group(of), id, direction, traffic, peer, part_of: None }))
}

pub fn ingress(of: u8, id: u8, traffic: Traffic, peer: Peer) -> FactChange {
    rule(of, id, Direction::Ingress, traffic, peer)
}

/// What a rule of this number says of one entry of the prefix list that it names.
pub fn of_list(of: u8, id: u8, entry: u8, traffic: Traffic, peer: Peer) -> FactChange {
    let part_of = Some(format!("sgr-{id:08x}").parse().unwrap());
    let (direction, id) = (Direction::Ingress, format!("sgr-{entry:08x}").parse().unwrap());
    FactChange::Put(Fact::Rule(GroupRule { group: group(of), id, direction, traffic, peer, part_of }))
}

pub fn revoked(of: u8, id: u8) -> FactChange {
    FactChange::Gone(FactKey::Rule { group: group(of), rule: format!("sgr-{id:08x}").parse().unwrap() })
}

pub fn member(node: &str, number: u8, groups: &[u8]) -> FactChange {
    member_at(node, 0, number, groups)
}

pub fn member_at(node: &str, segment: u32, number: u8, groups: &[u8]) -> FactChange {
    let port = port_at(node, segment, number);
    FactChange::Put(Fact::Port(PortFact {
        id: port.id,
        vpc: "vpc-00000001".parse().unwrap(),
        addresses: vec![port.address],
        groups: groups.iter().copied().map(group).collect(),
    }))
}

/// The same port in a VPC of somebody else.
pub fn of_another(node: &str, number: u8, groups: &[u8]) -> FactChange {
    match member(node, number, groups) {
        FactChange::Put(Fact::Port(port)) => {
            FactChange::Put(Fact::Port(PortFact { vpc: "vpc-00000002".parse().unwrap(), ..port }))
        }
        other => other,
    }
}

pub fn one(address: Ipv4Addr) -> Peer {
    Peer::V4(Net4 { address, prefix: 32 })
}

pub const EVERYWHERE: Peer = Peer::V4(Net4::EVERYWHERE);
pub const PING: Traffic = Traffic::Icmp { r#type: Some(8), code: Some(0) };

pub fn tcp(from: u16, to: u16) -> Traffic {
    Traffic::Tcp { from, to }
}

/// What a new group may: everything outward.
pub fn outward(of: u8) -> FactChange {
    rule(of, 200 + of, Direction::Egress, Traffic::All, EVERYWHERE)
}
