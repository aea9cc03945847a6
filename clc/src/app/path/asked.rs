//! What `karri net show` is asked, understood.

use crate::app::security_group::terms::traffic;
use karri_proto::ids::{InstanceId, NetworkInterfaceId, SubnetId};
use karri_proto::internal::ApiError;
use karri_proto::internal::path::PathAsked;
use karri_proto::network::{Content, Traffic};
use std::net::Ipv4Addr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    Subnet(SubnetId),
    Port(NetworkInterfaceId),
    /// Its interfaces, each by itself; with a packet its first one.
    Instance(InstanceId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub about: About,
    pub packet: Option<Packet>,
}

pub fn asked(asked: &PathAsked) -> Result<Asked, ApiError> {
    let about = about(&asked.about)?;
    let packet = match (asked.from, asked.to, &asked.protocol) {
        (None, None, None) if asked.port.is_none() => None,
        (Some(from), Some(to), Some(protocol)) => {
            Some(Packet { from, to, content: content(protocol, asked.port)? })
        }
        _ => {
            let sentence = "from, to, protocol: a packet has all of them, or none is asked about";
            return Err(ApiError::invalid(sentence));
        }
    };
    Ok(Asked { about, packet })
}

fn about(text: &str) -> Result<About, ApiError> {
    let subnet = text.parse().map(About::Subnet);
    let port = subnet.or_else(|_| text.parse().map(About::Port));
    let instance = port.or_else(|_| text.parse().map(About::Instance));
    instance.map_err(|_| ApiError::invalid(format!("about: {text}: expecting subnet-…, eni-… or i-…")))
}

fn content(protocol: &str, port: Option<u16>) -> Result<Content, ApiError> {
    let number = port.map(i32::from);
    let wrong = |what: String| ApiError::invalid(what);
    let said = match traffic(protocol, number, number) {
        Ok(said) => said,
        // Without ports it would not be a packet of these.
        Err(_) if port.is_none() => return Err(wrong(format!("port: {protocol} has one"))),
        Err(fault) => return Err(wrong(format!("protocol: {}", fault.message()))),
    };
    match said {
        Traffic::Tcp { from, .. } => Ok(Content::Tcp(from)),
        Traffic::Udp { from, .. } => Ok(Content::Udp(from)),
        // A ping, unless another type was said.
        Traffic::Icmp { r#type, .. } => Ok(Content::Icmp { r#type: r#type.unwrap_or(8), code: 0 }),
        Traffic::Protocol(number) => Ok(Content::Protocol(number)),
        Traffic::All | Traffic::Icmp6 { .. } => {
            Err(wrong(format!("protocol: {protocol}: expecting tcp, udp, icmp or a number")))
        }
    }
}
