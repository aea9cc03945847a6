//! Heartbeats of nodes.

use super::Api;
use crate::app::node::NodeRecord;
use async_trait::async_trait;
use karri_proto::internal::nodes::{NodeHello, NodeService, NodeWelcome, may_be_called};
use karri_proto::internal::{ApiError, Caller, Identity};
use karri_proto::network::{NetworkMode, SegmentDriver};
use std::net::Ipv4Addr;

const URL_BYTES_MAX: usize = 256;
const FOREIGN_GUESTS_MAX: usize = 100;
const TEXT_BYTES_MAX: usize = 128;

#[async_trait]
impl NodeService for Api {
    async fn node_hello(&self, caller: &Caller, hello: NodeHello) -> Result<NodeWelcome, ApiError> {
        check_mode(&self.mode, &hello)?;
        check_driver(&self.mode, self.driver, &hello)?;
        let record = record(&caller.identity, hello)?;
        self.keeper.ask(move |book, now_ms| book.hello(record, now_ms)).await??;
        let nodes = self.keeper.ask(|book, _| book.tunnels()).await?;
        let own = self.tunnel.filter(|own| !nodes.contains(own));
        Ok(NodeWelcome { tunnels: nodes.iter().copied().chain(own).collect(), ..self.welcome.clone() })
    }
}

/// A node of the other kind could not join an instance to anything.
fn check_mode(mode: &NetworkMode, hello: &NodeHello) -> Result<(), ApiError> {
    let own = matches!(mode, NetworkMode::User { .. });
    if own == hello.user_network {
        return Ok(());
    }
    let wanted = if own { "user" } else { "bridge" };
    let sentence =
        format!("the cluster's network.mode is \"{mode}\": its nodes have network.mode = \"{wanted}\"");
    Err(ApiError::conflict(sentence))
}

/// Where there are segments, those of a node of another driver would reach nobody.
fn check_driver(mode: &NetworkMode, driver: SegmentDriver, hello: &NodeHello) -> Result<(), ApiError> {
    if *mode != NetworkMode::Managed || driver == hello.driver {
        return Ok(());
    }
    Err(ApiError::conflict(format!(
        "the cluster's network.driver is \"{driver}\", the node's is \"{}\": set the node's to the cluster's",
        hello.driver
    )))
}

/// What is kept of a greeting. The certificate says whose it is.
fn record(sender: &Identity, hello: NodeHello) -> Result<NodeRecord, ApiError> {
    let NodeHello { url, tunnel, user_network: _, driver: _, mut facts } = hello;
    if !url.starts_with("https://") || url.len() > URL_BYTES_MAX {
        return Err(ApiError::invalid("url: an https address is expected"));
    }
    if tunnel.is_some_and(is_no_hosts) {
        return Err(ApiError::invalid("tunnel: the address of a host is expected"));
    }
    if !may_be_called(sender, &facts.name) {
        return Err(ApiError::forbidden(format!("{sender} does not speak for this node")));
    }
    facts.foreign_guests.truncate(FOREIGN_GUESTS_MAX);
    let texts = [&mut facts.accelerator, &mut facts.hypervisor, &mut facts.version];
    for text in texts.into_iter().chain(&mut facts.foreign_guests) {
        if text.len() > TEXT_BYTES_MAX {
            *text = text.chars().take(TEXT_BYTES_MAX / 4).collect();
        }
    }
    Ok(NodeRecord { owner: sender.name.clone(), url, tunnel, facts })
}

/// Packets sent there would come to nobody, to many, or back to who sent them.
fn is_no_hosts(address: Ipv4Addr) -> bool {
    address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast()
}
