//! Rules of iptables as values. They print as iptables-save prints them, so that what is wanted can be compared
//! with what is there.

use std::fmt;
use std::net::Ipv4Addr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub matches: Vec<Match>,
    pub target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Accept,
    Drop,
    Jump(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Came in by this port of a bridge; `+` at the end stands for the rest of a name.
    FromPort(String),
    /// Goes out by this port of the bridge that it came in by.
    ToPort(String),
    /// Goes out by this bridge, and did not come in by it.
    RoutedTo(String),
    Destination(Ipv4Addr),
    NotDestination(Ipv4Addr),
    Source(Ipv4Addr),
    /// The last four bits of the destination.
    LastBits(u8),
    /// Belongs to a flow that was let through.
    Established,
    Invalid,
    /// TCP, and not the packet that opens a connection.
    NotOpening,
    Carries(Carried),
    UdpPorts {
        source: u16,
        destination: u16,
    },
    Set {
        name: String,
        looks_at: LooksAt,
    },
    /// The destination is not in this set.
    DestinationNotIn(String),
    Comment(String),
}

/// What of a packet is looked up in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LooksAt {
    Source,
    Destination,
    SourceAndPort,
    DestinationAndPort,
}

/// Packets by protocol, as a rule can tell them apart. The port is the one that is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Carried {
    All,
    Tcp { from: u16, to: u16 },
    Udp { from: u16, to: u16 },
    Icmp,
    IcmpType(u8),
    IcmpCode { r#type: u8, code: u8 },
    Protocol(u8),
}

impl Rule {
    pub fn new(matches: impl IntoIterator<Item = Match>, target: Target) -> Self {
        Self { matches: matches.into_iter().collect(), target }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.matches {
            let text = part.to_string();
            if !text.is_empty() {
                write!(f, "{text} ")?;
            }
        }
        match &self.target {
            Target::Accept => write!(f, "-j ACCEPT"),
            Target::Drop => write!(f, "-j DROP"),
            Target::Jump(chain) => write!(f, "-j {chain}"),
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::FromPort(tap) => write!(f, "-m physdev --physdev-in {tap}"),
            Match::ToPort(tap) => write!(f, "-m physdev --physdev-out {tap} --physdev-is-bridged"),
            Match::RoutedTo(bridge) => write!(f, "-o {bridge} -m physdev ! --physdev-is-bridged"),
            Match::Destination(address) => write!(f, "-d {address}/32"),
            Match::NotDestination(address) => write!(f, "! -d {address}/32"),
            Match::Source(address) => write!(f, "-s {address}/32"),
            Match::LastBits(bits) => write!(f, "-d 0.0.0.{bits}/0.0.0.15"),
            Match::Established => write!(f, "-m conntrack --ctstate RELATED,ESTABLISHED"),
            Match::Invalid => write!(f, "-m conntrack --ctstate INVALID"),
            Match::NotOpening => write!(f, "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN"),
            Match::Carries(carried) => carried.fmt(f),
            Match::UdpPorts { source, destination } => {
                write!(f, "-p udp -m udp --sport {source} --dport {destination}")
            }
            Match::Set { name, looks_at } => write!(f, "-m set --match-set {name} {looks_at}"),
            Match::DestinationNotIn(name) => write!(f, "-m set ! --match-set {name} dst"),
            Match::Comment(words) => write!(f, "-m comment --comment {words}"),
        }
    }
}

impl fmt::Display for LooksAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LooksAt::Source => "src",
            LooksAt::Destination => "dst",
            LooksAt::SourceAndPort => "src,dst",
            LooksAt::DestinationAndPort => "dst,dst",
        })
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Carried::All => Ok(()),
            Carried::Tcp { from, to } => ports(f, "tcp", from, to),
            Carried::Udp { from, to } => ports(f, "udp", from, to),
            Carried::Icmp => write!(f, "-p icmp"),
            Carried::IcmpType(number) => write!(f, "-p icmp -m icmp --icmp-type {number}"),
            Carried::IcmpCode { r#type, code } => write!(f, "-p icmp -m icmp --icmp-type {type}/{code}"),
            Carried::Protocol(number) => write!(f, "-p {number}"),
        }
    }
}

fn ports(f: &mut fmt::Formatter<'_>, protocol: &str, from: u16, to: u16) -> fmt::Result {
    match (from, to) {
        (0, u16::MAX) => write!(f, "-p {protocol}"),
        _ if from == to => write!(f, "-p {protocol} -m {protocol} --dport {from}"),
        _ => write!(f, "-p {protocol} -m {protocol} --dport {from}:{to}"),
    }
}
