//! KernelService: what this node's kernel has of a port.

use crate::node::Node;
use async_trait::async_trait;
use karri_proto::internal::kernel::{KernelAbout, KernelPart, KernelService};
use karri_proto::internal::{ApiError, Caller};
use std::sync::Arc;

pub struct Kernel(pub Arc<Node>);

#[async_trait]
impl KernelService for Kernel {
    async fn kernel(&self, _: &Caller, about: &KernelAbout) -> Result<Vec<KernelPart>, ApiError> {
        // Nothing but ports is a node's.
        let KernelAbout::Port(port) = about else { return Ok(Vec::new()) };
        let who = format!("nc {}", self.0.name);
        Ok(match self.0.drives.ports.look(port).await {
            Ok(None) => Vec::new(),
            Ok(Some(look)) => vec![KernelPart { who, look: look.bounded() }],
            Err(error) => vec![KernelPart::blind(who, error)],
        })
    }
}
