//! Tells the cluster controller that this node lives, and what it has.

use crate::node::Node;
use karri_proto::internal::Caller;
use karri_proto::internal::nodes::{HEARTBEAT_EVERY, NodeHello, NodeService};
use karri_proto::network::SegmentDriver;
use karri_proto::resources::{Need, NodeFacts};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::outage::Outage;
use karri_proto::runtime::server::Shutdown;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

/// The constant part of a node's hello.
#[derive(Debug, Clone)]
pub struct HelloFacts {
    pub url: String,
    pub tunnel: Option<Ipv4Addr>,
    pub user_network: bool,
    pub driver: SegmentDriver,
    pub total: Need,
    pub accelerator: String,
    pub hypervisor: String,
}

fn hello(node: &Node, facts: &HelloFacts) -> NodeHello {
    NodeHello {
        url: facts.url.clone(),
        tunnel: facts.tunnel,
        user_network: facts.user_network,
        driver: facts.driver,
        facts: NodeFacts {
            name: node.name.clone(),
            total: facts.total,
            accelerator: facts.accelerator.clone(),
            hypervisor: facts.hypervisor.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            foreign_guests: node.foreign_guests(),
        },
    }
}

/// Runs until shutdown.
pub async fn heartbeat(
    node: Arc<Node>,
    facts: HelloFacts,
    cc: InternalClient,
    caller: Caller,
    mut shutdown: Shutdown,
) {
    let mut tick = tokio::time::interval(HEARTBEAT_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut heard = false;
    let mut silence = Outage::default();
    loop {
        tokio::select! {
            _ = shutdown.wait() => return,
            _ = tick.tick() => {}
        }
        let answer = cc.node_hello(&caller, hello(&node, &facts)).await;
        match &answer {
            Ok(welcome) => {
                silence.ends();
                tokio::spawn(tunnels_told(node.clone(), welcome.tunnels.clone()));
                if !heard {
                    tracing::info!(node = node.name, "the cluster controller knows this node");
                }
            }
            Err(error) if silence.goes_on(Instant::now()) => {
                tracing::warn!(node = node.name, %error, "the cluster controller does not hear this node");
            }
            Err(_) => {}
        }
        heard = answer.is_ok();
    }
}

/// Apart, for a heart does not wait for other changes of the network. What fails here is done by the next look at the
/// ports, and told by /healthz.
async fn tunnels_told(node: Arc<Node>, tunnels: Vec<Ipv4Addr>) {
    if let Err(error) = node.drives.ports.tunnels_told(&tunnels).await {
        tracing::warn!(node = node.name, %error, "frames do not go to all hosts of the cluster yet");
    }
}
