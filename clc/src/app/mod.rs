//! What the cloud controller does: use cases and rules. EC2, the console and the command line call the
//! same functions. Decisions are functions of values; what needs the store or a clock says so.

pub mod account;
pub mod address;
pub mod admission;
pub mod cluster;
pub mod identity;
pub mod image;
pub mod instance;
pub mod instance_type;
pub mod join;
pub mod key_pair;
pub mod network;
pub mod status;
pub mod story;

use crate::config::{Config, Limits};
use crate::store::{Sealer, Store};
use address::AddressBook;
use admission::Ledger;
use cluster::Clusters;
use identity::Identities;
use instance::{Instance, State, View};
use instance_type::Catalogue;
use karri_proto::internal::clusters::ClusterHello;
use karri_proto::internal::{ApiError, Caller};
use karri_proto::resources::{ClusterResources, Need};
use karri_proto::runtime::metrics::Metrics;
use karri_proto::runtime::pki::Authority;
use karri_proto::runtime::process::Base;
use karri_proto::runtime::tls::TlsFiles;
use rand::RngCore;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The running cloud controller, shared by all requests and loops.
pub struct App {
    pub region: String,
    /// Every region whose signatures are accepted, ours first.
    pub regions: Vec<String>,
    pub body_bytes_max: usize,
    pub limits: Limits,
    pub store: Store,
    pub identities: Identities,
    pub instances: View,
    pub clusters: Clusters,
    pub catalogue: Catalogue,
    pub metrics: Arc<Metrics>,
    pub base: Base,
    pub walrus_url: String,
    pub authority: Authority,
    pub tls: TlsFiles,
    internal_url: OnceLock<String>,
    book: Mutex<Book>,
}

/// What launches reserve from. One lock: a launch takes room and addresses together.
#[derive(Debug, Default)]
pub struct Book {
    pub ledger: Ledger,
    pub addresses: AddressBook,
    /// By cluster, as last reported.
    pub reported: HashMap<String, ClusterResources>,
}

impl App {
    pub fn new(config: &Config, store: Store, sealer: Sealer, base: Base) -> anyhow::Result<Self> {
        let mut regions = vec![config.api.region.clone()];
        regions.extend(config.api.also_accept_regions.iter().cloned());
        let catalogue = Catalogue::load(&config.catalogue.instance_types).map_err(anyhow::Error::msg)?;
        Ok(Self {
            region: config.api.region.clone(),
            regions,
            body_bytes_max: config.api.body_bytes_max,
            limits: config.limits.clone(),
            store,
            identities: Identities::new(sealer),
            instances: View::default(),
            clusters: Clusters::default(),
            catalogue,
            metrics: base.metrics.clone(),
            walrus_url: config.pki.walrus_url.clone(),
            authority: Authority::load_or_create(&config.pki.ca_dir)?,
            tls: config.controller.tls.clone(),
            base,
            internal_url: OnceLock::new(),
            book: Mutex::default(),
        })
    }

    /// Rebuilds what is kept in memory from the store.
    pub async fn recover(&self) -> anyhow::Result<()> {
        for cluster in self.store.cluster_list().await? {
            self.cluster_link(&cluster.name, cluster.hello)?;
            self.book().reported(&cluster.name, ClusterResources { nodes: cluster.nodes });
        }
        let instances = self.store.instances_changed_after(0).await?;
        tracing::info!(instances = instances.len(), clusters = self.clusters.list().len(), "state recovered");
        self.adopt(instances);
        Ok(())
    }

    /// Where the others reach our internal API; known once it is bound.
    pub fn internal_url(&self) -> String {
        self.internal_url.get().cloned().unwrap_or_default()
    }

    pub fn internal_url_set(&self, url: &str) {
        let _ = self.internal_url.set(url.to_owned());
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A caller of our own, for internal calls.
    pub fn caller(&self, request_id: &str) -> Caller {
        self.base.caller(request_id)
    }

    /// Makes a cluster's facts known to all that need them; its loops start when it is new.
    pub fn cluster_link(&self, name: &str, hello: ClusterHello) -> Result<(), ApiError> {
        {
            let mut book = self.book();
            book.ledger.cluster_known(name, &hello.zone);
            book.addresses.cluster_known(name, &hello.subnet_cidr);
        }
        self.clusters.put(name, hello, &self.tls)?;
        Ok(())
    }

    /// Takes over rows that a transaction has committed: into the view, the books, and to the loops that
    /// tell clusters. Everything that writes instances ends here.
    pub fn adopt(&self, instances: Vec<Instance>) -> Vec<Arc<Instance>> {
        // Under the book's lock, so that two changes of one instance cannot overtake each other.
        let mut book = self.book();
        let news = self.instances.apply(instances);
        for instance in &news {
            book.observe(instance);
        }
        drop(book);
        let mut clusters: Vec<&str> = news.iter().map(|instance| instance.cluster.as_str()).collect();
        clusters.sort_unstable();
        clusters.dedup();
        for link in clusters.into_iter().filter_map(|name| self.clusters.get(name)) {
            link.wake.notify_one();
        }
        news
    }
}

impl Book {
    /// What a row holds: everything while it lives, its disk while it is stopped.
    fn observe(&mut self, instance: &Instance) {
        let need = instance.spec.need;
        let held = match instance.state {
            State::Terminated => return self.forget(instance),
            State::Stopped => Need { disk_gib: need.disk_gib, ..Need::default() },
            State::Pending | State::Running | State::Stopping | State::ShuttingDown => need,
        };
        self.ledger.observe(&instance.id, &instance.cluster, instance.node.as_deref(), held);
        for port in &instance.spec.ports {
            self.addresses.take_this(&instance.cluster, port.private_ip);
        }
    }

    pub fn reported(&mut self, cluster: &str, resources: ClusterResources) {
        self.ledger.nodes_reported(cluster, &resources.nodes);
        self.reported.insert(cluster.to_owned(), resources);
    }

    fn forget(&mut self, instance: &Instance) {
        if self.ledger.is_held(&instance.id) {
            self.ledger.release(&instance.id);
            for port in &instance.spec.ports {
                self.addresses.release(&instance.cluster, port.private_ip);
            }
        }
    }
}

pub fn now_ms() -> i64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// A request id in AWS's form, a random UUID.
pub fn request_id() -> String {
    let mut bytes = [0u8; 16];
    rand::thread_rng().fill_bytes(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}
