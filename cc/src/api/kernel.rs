//! What kernels have of a port, as its node tells, and of a subnet, as this host has it.

use super::Api;
use crate::app::book::Book;
use crate::reconcile::network::wanted;
use async_trait::async_trait;
use karri_proto::ids::{NetworkInterfaceId, SubnetId};
use karri_proto::internal::kernel::{KernelAbout, KernelPart, KernelService};
use karri_proto::internal::{ApiError, Caller};
use std::time::Duration;

/// A node with a thousand ports lists its rules in a second or two.
const NODE_TIMEOUT: Duration = Duration::from_secs(10);

#[async_trait]
impl KernelService for Api {
    async fn kernel(&self, caller: &Caller, about: &KernelAbout) -> Result<Vec<KernelPart>, ApiError> {
        match about {
            KernelAbout::Port(port) => self.port(caller, port).await,
            KernelAbout::Subnet(subnet) => self.subnet(subnet).await,
        }
    }
}

/// Where a port is.
enum Home {
    Nowhere,
    /// With its node's name, the owner of its certificate, and where it answers.
    Node(String, Option<(String, String)>),
}

fn home(book: &Book, port: &NetworkInterfaceId) -> Option<Home> {
    let row = book.rows().find(|row| !row.phase.is_final() && row.ports.contains(port))?;
    let Some(name) = row.node.clone() else { return Some(Home::Nowhere) };
    let place = book.node(&name).map(|node| (node.record.owner.clone(), node.record.url.clone()));
    Some(Home::Node(name, place))
}

impl Api {
    async fn port(&self, caller: &Caller, port: &NetworkInterfaceId) -> Result<Vec<KernelPart>, ApiError> {
        let id = port.clone();
        let (name, place) = match self.keeper.ask(move |book, _| home(book, &id)).await? {
            None => return Ok(Vec::new()),
            Some(Home::Nowhere) => return Ok(vec![KernelPart::blind(self.who(), "it is on no node")]),
            Some(Home::Node(name, place)) => (name, place),
        };
        let who = format!("nc {name}");
        let Some((owner, url)) = place else {
            return Ok(vec![KernelPart::blind(who, "it is of this cluster no more")]);
        };
        let about = KernelAbout::Port(port.clone());
        let ask = async { self.nodes.to(&owner, &url)?.kernel(caller, &about).await };
        Ok(match tokio::time::timeout(NODE_TIMEOUT, ask).await {
            Ok(Ok(parts)) if parts.is_empty() => vec![KernelPart::blind(who, "it has no such port")],
            Ok(Ok(parts)) => parts,
            Ok(Err(error)) => vec![KernelPart::blind(who, error)],
            Err(_) => vec![KernelPart::blind(who, "no answer in time")],
        })
    }

    async fn subnet(&self, subnet: &SubnetId) -> Result<Vec<KernelPart>, ApiError> {
        let id = subnet.clone();
        let known = self.keeper.ask(move |book, _| Some((book.subnet(&id)?, book.router_news_all())));
        let Some((subnet, news)) = known.await? else { return Ok(Vec::new()) };
        // The flat network is each zone's own.
        if subnet.tag == 0 && subnet.zone != self.site.zone {
            return Ok(Vec::new());
        }
        let who = self.who();
        Ok(match self.eyes.look(&wanted(news, self.site.clone()), &subnet).await {
            Ok(look) if look.lines.is_empty() && look.differs.is_empty() => Vec::new(),
            Ok(look) => vec![KernelPart { who, look: look.bounded() }],
            Err(error) => vec![KernelPart::blind(who, error)],
        })
    }

    fn who(&self) -> String {
        format!("cc {}", self.base.identity.name)
    }
}
