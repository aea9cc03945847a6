//! Flows that were let through and would not be now. What they say goes on until the kernel forgets them.

use super::nfnetlink::{Attribute, Nfnetlink, attribute_put, attributes, find};
use super::wanted::is_always_allowed;
use crate::drive::ports::Port;
use karri_proto::network::{Content, Direction, FactTable, Packet, passes};
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const TUPLE_MASTER: u16 = 14;
const ZONE: u16 = 18;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const ADDRESS_SOURCE: u16 = 1;
const ADDRESS_DESTINATION: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PORT_SOURCE: u16 = 2;
const PORT_DESTINATION: u16 = 3;
const ICMP_TYPE: u16 = 5;
const ICMP_CODE: u16 = 6;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
    pub icmp: (u8, u8),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    pub original: Tuple,
    pub reply: Tuple,
    /// Another flow has brought it about.
    pub related: bool,
    /// By which the kernel is told to forget it.
    key: Vec<u8>,
}

impl Flow {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let all = attributes(bytes)?;
        let tuple = |kind| find(&all, kind).ok_or_else(missing).and_then(Tuple::parse);
        let mut key = Vec::new();
        for kind in [TUPLE_ORIGINAL, ID, ZONE] {
            if let Some(value) = find(&all, kind) {
                attribute_put(&mut key, kind, value, kind == TUPLE_ORIGINAL);
            }
        }
        let related = find(&all, TUPLE_MASTER).is_some();
        Ok(Self { original: tuple(TUPLE_ORIGINAL)?, reply: tuple(TUPLE_REPLY)?, related, key })
    }

    /// Its first packet as the port's rules have seen it: on its way from a guest before its destination is
    /// translated, on its way to one after that and before its source is.
    fn first_packet(&self, port: &Port, direction: Direction) -> Option<Packet> {
        let (own, peer, destination_port) = match direction {
            Direction::Egress => {
                (self.original.source, self.original.destination, self.original.destination_port)
            }
            Direction::Ingress => (self.reply.source, self.original.source, self.reply.source_port),
        };
        let content = match self.original.protocol {
            TCP => Content::Tcp(destination_port),
            UDP => Content::Udp(destination_port),
            ICMP => Content::Icmp { r#type: self.original.icmp.0, code: self.original.icmp.1 },
            other => Content::Protocol(other),
        };
        (own == port.address).then_some(Packet { direction, peer, content })
    }
}

impl Tuple {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let all = attributes(bytes)?;
        let within = |kind| find(&all, kind).ok_or_else(missing).and_then(attributes);
        let (addresses, protocol) = (within(TUPLE_ADDRESSES)?, within(TUPLE_PROTOCOL)?);
        let address = |kind| {
            let four: [u8; 4] =
                find(&addresses, kind).and_then(|bytes| bytes.try_into().ok()).ok_or_else(missing)?;
            Ok::<_, Error>(Ipv4Addr::from(four))
        };
        Ok(Self {
            source: address(ADDRESS_SOURCE)?,
            destination: address(ADDRESS_DESTINATION)?,
            protocol: byte(&protocol, PROTOCOL_NUMBER),
            source_port: port(&protocol, PORT_SOURCE),
            destination_port: port(&protocol, PORT_DESTINATION),
            icmp: (byte(&protocol, ICMP_TYPE), byte(&protocol, ICMP_CODE)),
        })
    }
}

fn missing() -> Error {
    Error::new(ErrorKind::InvalidData, "a flow without addresses or protocol")
}

fn byte(all: &[Attribute<'_>], kind: u16) -> u8 {
    find(all, kind).and_then(|bytes| bytes.first()).copied().unwrap_or(0)
}

fn port(all: &[Attribute<'_>], kind: u16) -> u16 {
    find(all, kind).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes)
}

/// Ports by address.
pub type Judged = HashMap<Ipv4Addr, Port>;

/// Whether one of these ports refuses what the flow began with. A port of which nothing is known refuses only
/// what is new.
pub fn is_refused(facts: &FactTable, ports: &Judged, flow: &Flow) -> bool {
    let refuses = |address: Ipv4Addr, direction| {
        let Some(port) = ports.get(&address) else { return false };
        let (Some(fact), Some(packet)) = (facts.port(&port.id), flow.first_packet(port, direction)) else {
            return false;
        };
        !is_always_allowed(port, &packet) && !passes(facts, fact, &packet)
    };
    !flow.related
        && (refuses(flow.original.source, Direction::Egress) || refuses(flow.reply.source, Direction::Ingress))
}

/// Whether it has anything to do with one of these addresses.
pub fn concerns(addresses: &[Ipv4Addr], flow: &Flow) -> bool {
    [flow.original.source, flow.reply.source].iter().any(|address| addresses.contains(address))
}

/// Makes the kernel forget the flows that `condemned` picks out; tells how many. Blocking.
pub fn cut(mut condemned: impl FnMut(&Flow) -> bool) -> Result<usize> {
    let netlink = Nfnetlink::open()?;
    let mut keys = Vec::new();
    netlink.flows(|bytes| {
        let flow = Flow::parse(bytes)?;
        if condemned(&flow) {
            keys.push(flow.key);
        }
        Ok(())
    })?;
    for key in &keys {
        netlink.flow_delete(key)?;
    }
    Ok(keys.len())
}
