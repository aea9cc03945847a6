//! The joining side of `karri node join`: certificate and configuration of a node controller.

use super::configs;
use crate::args::NodeJoin;
use crate::facts::Ports;
use crate::home::Home;
use anyhow::Context;
use karri_proto::internal::Identity;
use karri_proto::internal::join::{JoinToken, join as ask};
use karri_proto::runtime::endpoint::write_durably;
use karri_proto::runtime::files::create_passable;
use karri_proto::runtime::pki::{certificate_request, write_secret};
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;

/// How a joined node's files are called; there is one on a machine.
pub const NAME: &str = "nc";

#[derive(Debug)]
pub struct Node {
    pub identity: Identity,
    pub config: PathBuf,
}

/// Spends the token and writes what `karri-nc` needs. A second join renews the certificate and keeps an
/// edited configuration.
pub async fn join(home: &Home, wanted: &NodeJoin, name: &str) -> anyhow::Result<Node> {
    let token = JoinToken::decode(&wanted.token)?;
    let address = match wanted.address {
        Some(address) => address,
        None => address_towards(&token.clc_url)?,
    };
    let ports = Ports::from(wanted.port)?;
    let (key, request) = certificate_request()?;
    let answer = ask(&token, name, &request).await.context("the cloud does not let us in")?;

    create_passable(home.root())?;
    let tls = home.tls(NAME);
    std::fs::create_dir_all(home.tls_directory(NAME))?;
    write_secret(&tls.key, key.as_bytes())?;
    write_durably(&tls.ca, answer.ca_pem.as_bytes())?;
    write_durably(&tls.certificate, answer.certificate_pem.as_bytes())?;
    configs::write_node(home, wanted.sim, address, ports, &answer)?;
    Ok(Node { identity: answer.identity, config: home.config(NAME) })
}

/// `karri-nc` beside this program.
pub fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.with_file_name("karri-nc"))
}

/// The address of ours that a packet to the cloud would carry. Nothing is sent.
fn address_towards(url: &str) -> anyhow::Result<IpAddr> {
    let url: reqwest::Url = url.parse().context("the token's address")?;
    let peer = url.socket_addrs(|| None).context("the token's address")?;
    let peer = peer.first().context("the token's address leads nowhere")?;
    let any: IpAddr = if peer.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_loopback_cloud_is_loopback() {
        assert_eq!(address_towards("https://127.0.0.1:8774").unwrap(), IpAddr::from([127, 0, 0, 1]));
        assert!(address_towards("nonsense").is_err());
    }
}
