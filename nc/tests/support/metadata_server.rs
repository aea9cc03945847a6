//! The metadata service of a node that is nothing else.

use karri_nc::api::metadata::{Listeners, serve, token_key};
use karri_nc::app::owner_tag::Owner;
use karri_nc::app::plan::Limits;
use karri_nc::app::{record::Record, sample};
use karri_nc::drive::hypervisor::sim::SimHypervisor;
use karri_nc::drive::ports::{Bridges, NoPorts, Port, SegmentListener};
use karri_nc::drive::storage::sim::SimStorage;
use karri_nc::facts::NodeFacts;
use karri_nc::node::{Drives, Node, NodeParts};
use karri_nc::store::Store;
use karri_proto::instance::SecondaryAddress;
use karri_proto::runtime::metrics::Metrics;
use karri_proto::runtime::server::{ShutdownTrigger, shutdown_pair};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

pub struct MetadataServer {
    node: Arc<Node>,
    directory: PathBuf,
    running: Mutex<Option<(ShutdownTrigger, JoinHandle<()>)>>,
}

pub fn start(directory: &Path) -> MetadataServer {
    let node = Node::new(NodeParts {
        name: "node".to_owned(),
        owner: Owner { cloud: "cloud".to_owned(), node: "node".to_owned() },
        bridges: Bridges::new("karri-t0", 1450),
        user_network: None,
        boot_id: "boot-1".to_owned(),
        limits: Limits { prepare_ms: 1, stop_ms: 1, terminate_ms: 1, reboot_ms: 1, capture_ms: 1 },
        store: Store::in_memory(),
        facts: NodeFacts::in_memory(),
        drives: Drives {
            hypervisor: Arc::new(SimHypervisor::new(Duration::ZERO)),
            ports: Arc::new(NoPorts),
            storage: Arc::new(SimStorage::default()),
        },
        metrics: Arc::new(Metrics::default()),
    });
    MetadataServer { node, directory: directory.to_owned(), running: Mutex::default() }
}

impl MetadataServer {
    /// An instance on this port, named after it.
    pub fn know(&self, port: &Port) {
        let mut intent = sample::intent();
        intent.id = port.id.as_str().replace("eni-", "i-").parse().unwrap();
        let spec = &mut intent.spec.ports[0];
        (spec.id, spec.segment, spec.private_ip) = (port.id.clone(), port.segment, port.address);
        let more = port.secondary.iter().map(|address| SecondaryAddress { address: *address, public: None });
        spec.secondary = more.collect();
        self.node.note_plugging(&intent.id, &[]);
        self.node.store.record_put(Record::new(intent, 0)).unwrap();
    }

    /// In the place of the one before.
    pub async fn listen(&self, flat: SocketAddrV4, of_segments: UnboundedReceiver<SegmentListener>) {
        let mut running = self.running.lock().await;
        if let Some((trigger, task)) = running.take() {
            trigger.fire();
            task.await.unwrap();
        }
        let listeners = Listeners::Bridges { flat: TcpListener::bind(flat).await.unwrap(), of_segments };
        let (trigger, shutdown) = shutdown_pair();
        let serving = serve(listeners, self.node.clone(), token_key(&self.directory).unwrap(), shutdown);
        *running = Some((trigger, tokio::spawn(serving)));
    }
}
