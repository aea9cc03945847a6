//! What a rule says, and how EC2 spells it: protocols, ports, networks. Pure.
//!
//! One thing has one form: `6` is `tcp`, `10.1.2.3/8` is `10.0.0.0/8`, so that equal rules are found equal.

use karri_proto::fault::{Fault, shown};
use karri_proto::ids::{PrefixListId, SecurityGroupId};
use karri_proto::network::{self, Direction, Net4, Net6, Traffic};
use std::net::{Ipv4Addr, Ipv6Addr};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
/// EC2's word for all protocols, all types and all codes.
pub const ALL: i32 = -1;

/// Who is at the other end. Clusters know no lists: they are told of each entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    V4(Net4),
    V6(Net6),
    Group(SecurityGroupId),
    List(PrefixListId),
}

/// What tells rules of one group apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Terms {
    pub direction: Direction,
    pub traffic: Traffic,
    pub peer: Peer,
}

impl std::fmt::Display for Terms {
    /// As EC2 tells of one that is there already.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "peer: {}, ", peer_text(&self.peer))?;
        let part = |value: &Option<u8>| value.map_or("ALL".to_owned(), |value| value.to_string());
        match &self.traffic {
            Traffic::All => write!(f, "ALL")?,
            Traffic::Tcp { from, to } => write!(f, "TCP, from port: {from}, to port: {to}")?,
            Traffic::Udp { from, to } => write!(f, "UDP, from port: {from}, to port: {to}")?,
            Traffic::Icmp { r#type, code } => {
                write!(f, "ICMP, type: {}, code: {}", part(r#type), part(code))?;
            }
            Traffic::Icmp6 { r#type, code } => {
                write!(f, "ICMPv6, type: {}, code: {}", part(r#type), part(code))?;
            }
            Traffic::Protocol(number) => write!(f, "{number}")?,
        }
        write!(f, ", ALLOW")
    }
}

/// A protocol by name or number, with its ports, or the type and code of ICMP.
pub fn traffic(protocol: &str, from: Option<i32>, to: Option<i32>) -> Result<Traffic, Fault> {
    let number = match protocol.to_ascii_lowercase().as_str() {
        "-1" => return Ok(Traffic::All),
        "tcp" => TCP,
        "udp" => UDP,
        "icmp" => ICMP,
        "icmpv6" => ICMP6,
        other => other.parse().map_err(|_| unknown_protocol(protocol))?,
    };
    Ok(match number {
        TCP => {
            let (from, to) = ports("TCP", from, to)?;
            Traffic::Tcp { from, to }
        }
        UDP => {
            let (from, to) = ports("UDP", from, to)?;
            Traffic::Udp { from, to }
        }
        ICMP => {
            let (r#type, code) = type_and_code(from, to)?;
            Traffic::Icmp { r#type, code }
        }
        ICMP6 => {
            let (r#type, code) = type_and_code(from, to)?;
            Traffic::Icmp6 { r#type, code }
        }
        // EC2 lets such a protocol through whole, whatever is said of ports.
        other => Traffic::Protocol(other),
    })
}

fn unknown_protocol(text: &str) -> Fault {
    Fault::invalid_parameter(format!("Invalid value '{}' for IP protocol. Unknown protocol.", shown(text)))
}

fn ports(name: &str, from: Option<i32>, to: Option<i32>) -> Result<(u16, u16), Fault> {
    let (Some(from), Some(to)) = (from, to) else {
        let sentence = "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.";
        return Err(Fault::invalid_parameter(sentence));
    };
    let wrong = || {
        let sentence = format!(
            "Invalid {name} port range: {from} to {to}. Ports are from 0 to 65535, the first not above the last."
        );
        Fault::invalid_parameter(sentence)
    };
    let port = |value: i32| u16::try_from(value).map_err(|_| wrong());
    if from > to { Err(wrong()) } else { Ok((port(from)?, port(to)?)) }
}

fn type_and_code(r#type: Option<i32>, code: Option<i32>) -> Result<(Option<u8>, Option<u8>), Fault> {
    let part = |what: &str, value: Option<i32>| match value {
        None | Some(ALL) => Ok(None),
        Some(value) => u8::try_from(value).map(Some).map_err(|_| {
            let sentence = format!("Invalid value '{value}' for ICMP {what}. It is -1 or from 0 to 255.");
            Fault::invalid_parameter(sentence)
        }),
    };
    match (part("type", r#type)?, part("code", code)?) {
        (None, Some(code)) => {
            let sentence =
                format!("Invalid value '{code}' for ICMP code. All types were given, so it has to be -1.");
            Err(Fault::invalid_parameter(sentence))
        }
        parts => Ok(parts),
    }
}

/// EC2's name of a protocol.
pub fn protocol_text(traffic: Traffic) -> String {
    match traffic {
        Traffic::All => ALL.to_string(),
        Traffic::Tcp { .. } => "tcp".to_owned(),
        Traffic::Udp { .. } => "udp".to_owned(),
        Traffic::Icmp { .. } => "icmp".to_owned(),
        Traffic::Icmp6 { .. } => "icmpv6".to_owned(),
        Traffic::Protocol(number) => number.to_string(),
    }
}

/// The ports, or the type and code of ICMP; None: the protocol has none.
pub fn ports_of(traffic: Traffic) -> Option<(i32, i32)> {
    let part = |value: Option<u8>| value.map_or(ALL, i32::from);
    match traffic {
        Traffic::All | Traffic::Protocol(_) => None,
        Traffic::Tcp { from, to } | Traffic::Udp { from, to } => Some((from.into(), to.into())),
        Traffic::Icmp { r#type, code } | Traffic::Icmp6 { r#type, code } => Some((part(r#type), part(code))),
    }
}

fn malformed_cidr(text: &str) -> Fault {
    Fault::invalid_parameter(format!("CIDR block {} is malformed", shown(text)))
}

/// Address and prefix; leading zeros and signs are none of a number's.
fn split<A: std::str::FromStr>(text: &str, bits: u8) -> Option<(A, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let plain = prefix.bytes().all(|b| b.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0'));
    let prefix = prefix.parse().ok().filter(|prefix| plain && *prefix <= bits)?;
    Some((address.parse().ok()?, prefix))
}

/// Bits behind the prefix are taken off, as EC2 does.
pub fn net4(text: &str) -> Result<Net4, Fault> {
    let (address, prefix) = split::<Ipv4Addr>(text, 32).ok_or_else(|| malformed_cidr(text))?;
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    Ok(Net4 { address: Ipv4Addr::from(u32::from(address) & mask), prefix })
}

pub fn net6(text: &str) -> Result<Net6, Fault> {
    let (address, prefix) = split::<Ipv6Addr>(text, 128).ok_or_else(|| malformed_cidr(text))?;
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    Ok(Net6 { address: Ipv6Addr::from(u128::from(address) & mask), prefix })
}

pub fn peer_text(peer: &Peer) -> String {
    match peer {
        Peer::V4(net) => net.to_string(),
        Peer::V6(net) => net.to_string(),
        Peer::Group(group) => group.to_string(),
        Peer::List(list) => list.to_string(),
    }
}

/// What `peer_text` has written.
pub fn peer_of(text: &str) -> Option<Peer> {
    if text.starts_with(SecurityGroupId::PREFIX) {
        return text.parse().ok().map(Peer::Group);
    }
    if text.starts_with(PrefixListId::PREFIX) {
        return text.parse().ok().map(Peer::List);
    }
    match net_of(text)? {
        network::Peer::V4(net) => Some(Peer::V4(net)),
        network::Peer::V6(net) => Some(Peer::V6(net)),
        network::Peer::Group(_) => None,
    }
}

/// A range of either kind.
pub fn net_of(text: &str) -> Option<network::Peer> {
    match text.contains(':') {
        true => net6(text).ok().map(network::Peer::V6),
        false => net4(text).ok().map(network::Peer::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_come_by_name_and_number_and_are_the_same() {
        let check = |protocol: &str, ports: (Option<i32>, Option<i32>), expected: Result<Traffic, &str>| {
            let found = traffic(protocol, ports.0, ports.1);
            assert_eq!(found.as_ref().map_err(|fault| fault.code()), expected.as_ref().map_err(|c| *c));
        };
        let wrong = Err("InvalidParameterValue");
        check("TCP", (Some(22), Some(22)), Ok(Traffic::Tcp { from: 22, to: 22 }));
        check("6", (Some(0), Some(65535)), Ok(Traffic::Tcp { from: 0, to: 65535 }));
        check("17", (Some(53), Some(53)), Ok(Traffic::Udp { from: 53, to: 53 }));
        check("icmp", (Some(8), Some(-1)), Ok(Traffic::Icmp { r#type: Some(8), code: None }));
        check("1", (None, None), Ok(Traffic::Icmp { r#type: None, code: None }));
        check("icmpv6", (Some(-1), Some(-1)), Ok(Traffic::Icmp6 { r#type: None, code: None }));
        check("-1", (Some(5), Some(4)), Ok(Traffic::All));
        check("50", (Some(1), None), Ok(Traffic::Protocol(50)));
        for protocol in ["", "xyz", "256", "-2", "tcp "] {
            check(protocol, (Some(1), Some(1)), wrong);
        }
        for ports in [(Some(80), Some(22)), (Some(-1), Some(5)), (Some(1), Some(65536)), (None, Some(1))] {
            check("tcp", ports, wrong);
        }
        for parts in [(Some(-1), Some(0)), (Some(256), None), (Some(8), Some(-2))] {
            check("icmp", parts, wrong);
        }
    }

    #[test]
    fn networks_lose_the_bits_behind_their_prefix() {
        for (text, expected) in [
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("100.68.0.18/18", "100.68.0.0/18"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("255.255.255.255/1", "128.0.0.0/1"),
        ] {
            assert_eq!(net4(text).unwrap().to_string(), expected);
        }
        for (text, expected) in
            [("::/0", "::/0"), ("2001:DB8:0:0::1/32", "2001:db8::/32"), ("::1/128", "::1/128")]
        {
            assert_eq!(net6(text).unwrap().to_string(), expected);
        }
        for text in
            ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08", "::/0"]
        {
            let fault = net4(text).unwrap_err();
            assert_eq!(fault.code(), "InvalidParameterValue");
            assert_eq!(fault.message(), format!("CIDR block {text} is malformed"));
        }
        assert!(net6("::/129").is_err() && net6("10.0.0.0/8").is_err());
    }

    #[test]
    fn peers_are_read_as_they_were_written() {
        for text in ["0.0.0.0/0", "2001:db8::/32", "sg-0123456789abcdef0", "pl-0123456789abcdef0"] {
            assert_eq!(peer_text(&peer_of(text).unwrap()), text);
        }
        for text in ["", "pl-1", "sg-1", "eni-0123456789abcdef0"] {
            assert_eq!(peer_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_rule_is_told_in_ec2s_words() {
        let terms = |protocol: &str, from, to, peer: &str| Terms {
            direction: Direction::Ingress,
            traffic: traffic(protocol, from, to).unwrap(),
            peer: peer_of(peer).unwrap(),
        };
        let text = terms("tcp", Some(443), Some(443), "0.0.0.0/0").to_string();
        assert_eq!(text, "peer: 0.0.0.0/0, TCP, from port: 443, to port: 443, ALLOW");
        assert_eq!(terms("-1", None, None, "10.0.0.0/19").to_string(), "peer: 10.0.0.0/19, ALL, ALLOW");
    }
}
