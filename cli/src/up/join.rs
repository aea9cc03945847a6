//! The joining side of `karri node join`: certificate and configuration of a node controller.

use super::configs;
use crate::args::NodeJoin;
use crate::facts::Ports;
use crate::home::Home;
use anyhow::Context;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::join::{JoinToken, join as ask};
use karri_proto::internal::{ApiError, Identity};
use karri_proto::runtime::endpoint::write_durably;
use karri_proto::runtime::files::create_passable;
use karri_proto::runtime::pki::{certificate_request, certificate_request_for, write_secret};
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};

/// How a joined node's files are called; there is one on a machine.
pub const NAME: &str = "nc";

/// What the handshake says when another cloud answers: nothing was asked there.
const ANOTHER_CA: &str = "another CA than the join token names";

#[derive(Debug)]
pub struct Node {
    pub identity: Identity,
    pub config: PathBuf,
}

/// Spends the token and writes what `karri-nc` needs. A second join renews the certificate and keeps an
/// edited configuration. The key is on disk before anybody is asked and stays the same: by it the cloud knows this
/// machine again, whose first answer may have been lost. A refusal leaves nothing.
pub async fn join(home: &Home, wanted: &NodeJoin, name: &str) -> anyhow::Result<Node> {
    let token = JoinToken::decode(&wanted.token)?;
    let address = match wanted.address {
        Some(address) => address,
        None => address_towards(&token.clc_url)?,
    };
    let ports = Ports::from(wanted.port)?;
    let tls = home.tls(NAME);
    let fresh = !home.root().exists();
    let (request, made) = request(home, &tls.key)?;
    let answer = ask(&token, name, &request).await;
    if made && answer.as_ref().is_err_and(is_refusal) {
        unmake(home, &tls.key, fresh);
    }
    let answer = answer.context("the cloud does not let us in")?;

    write_durably(&tls.ca, answer.ca_pem.as_bytes())?;
    write_durably(&tls.certificate, answer.certificate_pem.as_bytes())?;
    configs::write_node(home, wanted.sim, address, ports, &answer)?;
    Ok(Node { identity: answer.identity, config: home.config(NAME) })
}

/// With this machine's key, and whether that was made now.
fn request(home: &Home, key: &Path) -> anyhow::Result<(String, bool)> {
    match std::fs::read_to_string(key) {
        Ok(pem) => {
            let request = certificate_request_for(&pem).with_context(|| key.display().to_string())?;
            Ok((request, false))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            create_passable(home.root())?;
            std::fs::create_dir_all(home.tls_directory(NAME))?;
            let (pem, request) = certificate_request()?;
            write_secret(key, pem.as_bytes())?;
            Ok((request, true))
        }
        Err(error) => Err(error).with_context(|| key.display().to_string()),
    }
}

/// It is certain that the cloud has given this key nothing.
fn is_refusal(error: &ApiError) -> bool {
    error.kind != ApiErrorKind::Unreachable || error.message.contains(ANOTHER_CA)
}

/// Directories that hold something else stay.
fn unmake(home: &Home, key: &Path, fresh: bool) {
    let _ = std::fs::remove_file(key);
    let directory = home.tls_directory(NAME);
    let above = directory.parent().map(Path::to_owned);
    let root = Some(home.root().to_owned()).filter(|_| fresh);
    for directory in [Some(directory), above, root].into_iter().flatten() {
        let _ = std::fs::remove_dir(directory);
    }
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
