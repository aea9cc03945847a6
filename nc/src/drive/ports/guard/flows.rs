//! Flows that were let through and would not be now. What they say goes on until the kernel forgets them.

use super::wanted::is_always_allowed;
use crate::drive::ports::Port;
use karri_net::nfnetlink::{Attribute, Nfnetlink, attribute_put, attributes, find};
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
    /// Of its segment: equal addresses of several are several.
    pub zone: u16,
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
        let zone = port(&all, ZONE);
        Ok(Self { zone, original: tuple(TUPLE_ORIGINAL)?, reply: tuple(TUPLE_REPLY)?, related, key })
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
        port.addresses().any(|address| address == own).then_some(Packet { direction, peer, content })
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

/// Also a zone: both are numbers in the network's order, and 0 when they are missing.
fn port(all: &[Attribute<'_>], kind: u16) -> u16 {
    find(all, kind).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes)
}

/// Where an address means one machine: the zone of its segment, and the address.
pub type Place = (u16, Ipv4Addr);

pub type Judged = HashMap<Place, Port>;

/// Whether one of these ports refuses what the flow began with. A port of which nothing is known refuses only
/// what is new.
pub fn is_refused(facts: &FactTable, ports: &Judged, flow: &Flow) -> bool {
    let refuses = |address: Ipv4Addr, direction| {
        let Some(port) = ports.get(&(flow.zone, address)) else { return false };
        let (Some(fact), Some(packet)) = (facts.port(&port.id), flow.first_packet(port, direction)) else {
            return false;
        };
        !is_always_allowed(port, &packet) && !passes(facts, fact, &packet)
    };
    !flow.related
        && (refuses(flow.original.source, Direction::Egress)
            || refuses(flow.reply.source, Direction::Ingress))
}

/// Whether it has anything to do with one of these addresses.
pub fn concerns(places: &[Place], flow: &Flow) -> bool {
    [flow.original.source, flow.reply.source].iter().any(|address| places.contains(&(flow.zone, *address)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::network::{Fact, FactChange, GroupRule, Net4, Peer, PortFact, Traffic};

    const GUEST: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 5);
    const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
    const ZONE_OF_PORT: u16 = 7;

    fn tuple(source: Ipv4Addr, destination: Ipv4Addr, ports: (u16, u16)) -> Tuple {
        let (source_port, destination_port) = ports;
        Tuple { source, destination, protocol: TCP, source_port, destination_port, icmp: (0, 0) }
    }

    fn flow(original: Tuple, reply: Tuple) -> Flow {
        Flow { zone: ZONE_OF_PORT, original, reply, related: false, key: Vec::new() }
    }

    /// Of a port that lets in port 22 from the client, and out 443 to the client.
    fn is_cut(flow: &Flow) -> bool {
        let port = Port {
            id: "eni-00000005".parse().unwrap(),
            tap: String::new(),
            mac: String::new(),
            address: GUEST,
            secondary: Vec::new(),
            source_dest_check: true,
            segment: 7,
            subnet_cidr: String::new(),
            gateway: GATEWAY,
        };
        let group: karri_proto::ids::SecurityGroupId = "sg-00000001".parse().unwrap();
        let mut facts = FactTable::default();
        for (id, direction, to) in
            [("sgr-00000001", Direction::Ingress, 22), ("sgr-00000002", Direction::Egress, 443)]
        {
            let (group, id) = (group.clone(), id.parse().unwrap());
            let (traffic, peer) =
                (Traffic::Tcp { from: to, to }, Peer::V4(Net4 { address: CLIENT, prefix: 32 }));
            facts.apply(FactChange::Put(Fact::Rule(GroupRule {
                group,
                id,
                direction,
                traffic,
                peer,
                part_of: None,
            })));
        }
        let (id, vpc) = (port.id.clone(), "vpc-00000001".parse().unwrap());
        let fact = PortFact { id, vpc, addresses: vec![GUEST], groups: vec![group] };
        facts.apply(FactChange::Put(Fact::Port(fact)));
        is_refused(&facts, &HashMap::from([((ZONE_OF_PORT, GUEST), port)]), flow)
    }

    #[test]
    fn a_flow_is_judged_by_what_the_ports_rules_saw_of_it() {
        let inward = |port| flow(tuple(CLIENT, GUEST, (999, port)), tuple(GUEST, CLIENT, (port, 999)));
        assert!(!is_cut(&inward(22)) && is_cut(&inward(80)));
        let outward = |to, port| flow(tuple(GUEST, to, (999, port)), tuple(to, GUEST, (port, 999)));
        assert!(
            !is_cut(&outward(CLIENT, 443)) && is_cut(&outward(CLIENT, 80)) && is_cut(&outward(PUBLIC, 443))
        );
        // To a public address on another port, brought to the guest.
        let translated = |port| flow(tuple(CLIENT, PUBLIC, (999, 2222)), tuple(GUEST, CLIENT, (port, 999)));
        assert!(!is_cut(&translated(22)) && is_cut(&translated(2222)));
        // From the guest, behind its gateway's address.
        let masked = |port| flow(tuple(GUEST, CLIENT, (999, port)), tuple(CLIENT, PUBLIC, (port, 999)));
        assert!(!is_cut(&masked(443)) && is_cut(&masked(22)));
    }

    #[test]
    fn what_no_group_decides_is_not_cut() {
        let to = |address, port| flow(tuple(GUEST, address, (999, port)), tuple(address, GUEST, (port, 999)));
        assert!(!is_cut(&to(GATEWAY, 53)) && is_cut(&to(GATEWAY, 54)) && is_cut(&to(CLIENT, 53)));
        assert!(!is_cut(&to(Ipv4Addr::new(169, 254, 169, 254), 80)));
        let others = flow(tuple(CLIENT, PUBLIC, (1, 2)), tuple(PUBLIC, CLIENT, (2, 1)));
        assert!(!is_cut(&others));
        let related = Flow { related: true, ..to(CLIENT, 80) };
        assert!(!is_cut(&related));
        let of_another_segment = Flow { zone: ZONE_OF_PORT + 1, ..to(CLIENT, 80) };
        assert!(is_cut(&to(CLIENT, 80)) && !is_cut(&of_another_segment));
        assert!(!concerns(&[(ZONE_OF_PORT, GUEST)], &of_another_segment));
    }

    #[test]
    fn a_message_that_is_cut_short_is_an_error() {
        assert!(Flow::parse(&[]).is_err());
        assert!(Flow::parse(&[8, 0, 1, 0]).is_err());
        assert!(Flow::parse(&[4, 0, 1, 0, 4, 0, 2, 0]).is_err());
        assert!(attributes(&[2, 0, 1, 0]).is_err(), "an attribute is longer than its head");
    }
}
