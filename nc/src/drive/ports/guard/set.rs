//! Sets of ipset as values. Their members print as ipset prints them.

use karri_proto::network::Net4;
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

/// The default is 65,536.
const MEMBERS_MAX: u32 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub kind: SetKind,
    pub members: BTreeSet<Member>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetKind {
    Addresses,
    Networks,
    NetworksAndPorts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    net: Net4,
    /// `true` is TCP.
    port: Option<(bool, u16)>,
}

impl SetKind {
    pub fn as_str(self) -> &'static str {
        match self {
            SetKind::Addresses => "hash:ip",
            SetKind::Networks => "hash:net",
            SetKind::NetworksAndPorts => "hash:net,port",
        }
    }

    pub fn create(self, name: &str) -> String {
        format!("create {name} {} family inet maxelem {MEMBERS_MAX}", self.as_str())
    }
}

impl Member {
    pub fn address(address: Ipv4Addr) -> Self {
        Self { net: Net4 { address, prefix: 32 }, port: None }
    }

    pub fn net(net: Net4) -> Self {
        Self { net, port: None }
    }

    pub fn net_port(net: Net4, tcp: bool, port: u16) -> Self {
        Self { net, port: Some((tcp, port)) }
    }

    #[cfg(test)]
    pub fn holds(&self, address: Ipv4Addr, port: Option<(bool, u16)>) -> bool {
        self.net.contains(address) && (self.port.is_none() || self.port == port)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.net.prefix {
            32 => write!(f, "{}", self.net.address)?,
            prefix => write!(f, "{}/{prefix}", self.net.address)?,
        }
        match self.port {
            Some((true, port)) => write!(f, ",tcp:{port}"),
            Some((false, port)) => write!(f, ",udp:{port}"),
            None => Ok(()),
        }
    }
}
