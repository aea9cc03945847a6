//! What the cloud controller does: use cases and rules. EC2, the console and the command line call the
//! same functions. Decisions are functions of values; what needs the store or a clock says so.

pub mod account;
pub mod address;
pub mod admission;
pub mod bundle_task;
pub mod certificate;
pub mod cluster;
pub mod creation;
pub mod dhcp_options;
pub mod facts;
pub mod identity;
pub mod image;
pub mod instance;
pub mod instance_type;
pub mod internet_gateway;
pub mod join;
pub mod kept;
pub mod key_pair;
pub mod mode;
pub mod names;
pub mod nat_gateway;
pub mod network;
pub mod network_acl;
pub mod network_interface;
pub mod path;
pub mod prefix_list;
pub mod public_address;
pub mod route_table;
pub mod security_group;
pub mod session;
pub mod signers;
pub mod snapshot;
pub mod status;
pub mod story;
pub mod subnet;
pub mod tag;
mod taken;
pub mod text;
mod turns;
pub mod volume;
pub mod vpc;
mod zone;

use crate::config::{Config, Limits};
use crate::drive::blobs::{Blobs, Walrus};
use crate::store::instance::instances_changed_after_in_txn;
use crate::store::{Engine, Sealer, Store, StoreError, Tx};
use address::{AddressBook, Cidr, network_of};
use admission::Ledger;
use cluster::Clusters;
use facts::Facts;
use identity::Identities;
use instance::{Instance, State, Tokens, View};
use instance_type::Catalogue;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::InstanceId;
use karri_proto::instance::PortSpec;
use karri_proto::internal::bundles::BundleService;
use karri_proto::internal::clusters::ClusterHello;
use karri_proto::internal::exports::ExportService;
use karri_proto::internal::instance_bundles::InstanceBundleService;
use karri_proto::internal::{ApiError, Caller, Role};
use karri_proto::resources::{ClusterResources, Need, NodeResources};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::clock::Clock;
use karri_proto::runtime::metrics::Metrics;
use karri_proto::runtime::pki::Authority;
use karri_proto::runtime::process::Base;
use karri_proto::runtime::tls::TlsFiles;
use kept::KeptAnswers;
use rand::RngCore;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{Notify, RwLock};
use turns::Turns;

/// The running cloud controller, shared by all requests and loops.
pub struct App {
    pub region: String,
    /// Every region whose signatures are accepted, ours first.
    pub regions: Vec<String>,
    pub body_bytes_max: usize,
    pub limits: Limits,
    /// What subnets and VPCs get theirs of.
    pub segment_tags: RangeInclusive<u32>,
    /// Of which public addresses are given out.
    pub public_ranges: Vec<RangeInclusive<u32>>,
    /// Whether new default subnets give public addresses at launch.
    pub default_subnets_public: bool,
    pub store: Store,
    pub identities: Arc<Identities>,
    pub instances: View,
    pub facts: Facts,
    pub tokens: Tokens,
    pub clusters: Clusters,
    pub answers: KeptAnswers,
    pub catalogue: Catalogue,
    pub blobs: Arc<dyn Blobs>,
    pub bundles: Arc<dyn BundleService>,
    pub walrus: InternalClient,
    pub exports: Arc<dyn ExportService>,
    pub instance_bundles: Arc<dyn InstanceBundleService>,
    /// An image is to be made, or a task about one to be worked at.
    pub images_pending: Notify,
    pub metrics: Arc<Metrics>,
    pub base: Base,
    pub walrus_url: String,
    pub authority: Authority,
    pub tls: TlsFiles,
    turns: Turns,
    /// Held by who puts ports into subnets and groups, from looking those up until the books know the ports; taken alone
    /// by who removes subnets and groups, or tells all instances of a VPC something else.
    networks_held: RwLock<()>,
    internal_url: OnceLock<String>,
    leads: AtomicBool,
    /// Instances that a cluster runs and nobody ordered; each is told once.
    strangers: Mutex<HashSet<InstanceId>>,
    book: Mutex<Book>,
}

/// What launches reserve from. One lock: a launch takes room and addresses together.
#[derive(Debug, Default)]
pub struct Book {
    pub ledger: Ledger,
    pub addresses: AddressBook,
    /// By cluster, as last reported.
    pub reported: HashMap<String, ClusterResources>,
    /// By account: launches that are not committed yet, for its limit.
    launching: HashMap<String, usize>,
}

impl App {
    pub fn new(config: &Config, store: Store, sealer: Sealer, base: Base) -> anyhow::Result<Self> {
        let mut regions = vec![config.api.region.clone()];
        regions.extend(config.api.also_accept_regions.iter().cloned());
        let catalogue = Catalogue::load(&config.catalogue.instance_types)?;
        let walrus = InternalClient::new(&config.pki.walrus_url, Role::Walrus, &config.controller.tls)?;
        Ok(Self {
            region: config.api.region.clone(),
            regions,
            body_bytes_max: config.api.body_bytes_max,
            limits: config.limits.clone(),
            segment_tags: config.network.segment_tags(),
            public_ranges: config.network.public_ranges().map_err(anyhow::Error::msg)?,
            default_subnets_public: config.network.default_subnets_public,
            store,
            identities: Arc::new(Identities::new(sealer)),
            instances: View::default(),
            facts: Facts::default(),
            tokens: Tokens::default(),
            clusters: Clusters::default(),
            answers: KeptAnswers::new(config.api.answer_cache_mib << 20),
            catalogue,
            blobs: Arc::new(Walrus(walrus.clone())),
            bundles: Arc::new(walrus.clone()),
            exports: Arc::new(walrus.clone()),
            instance_bundles: Arc::new(walrus.clone()),
            walrus,
            images_pending: Notify::new(),
            metrics: base.metrics.clone(),
            walrus_url: config.pki.walrus_url.clone(),
            authority: Authority::load_or_create(&config.pki.ca_dir)?,
            tls: config.controller.tls.clone(),
            base,
            turns: Turns::default(),
            networks_held: RwLock::default(),
            internal_url: OnceLock::new(),
            leads: AtomicBool::new(false),
            strangers: Mutex::default(),
            book: Mutex::default(),
        })
    }

    /// Rebuilds what is kept in memory from the store.
    pub async fn recover(&self) -> anyhow::Result<()> {
        self.clusters_follow().await?;
        let instances = self.store.instances_changed_after(0).await?;
        tracing::info!(instances = instances.len(), clusters = self.clusters.list().len(), "state recovered");
        self.instances.followed_to(instances.iter().map(|instance| instance.change).max());
        self.adopt(instances);
        for (network, address) in self.store.addresses_of_no_instance().await? {
            self.book().addresses.take_this(&network, address);
        }
        if self.store.engine() == Engine::Sqlite {
            self.tokens.remember(self.store.client_tokens().await?);
        }
        self.older_instances_told().await?;
        Ok(self.policies_check().await?)
    }

    /// Takes over the clusters as the store has them.
    pub async fn clusters_follow(&self) -> Result<(), StoreError> {
        for cluster in self.store.cluster_list().await? {
            if let Err(error) = self.cluster_link(&cluster.name, cluster.hello) {
                tracing::warn!(cluster = cluster.name, %error, "cluster cannot be called");
            }
            // The one who reconciles hears of nodes first hand.
            if !self.leads() {
                self.book().reported(&cluster.name, ClusterResources { nodes: cluster.nodes });
            }
        }
        self.sites_follow();
        Ok(())
    }

    /// Where the others reach our internal API; known once it is bound.
    pub fn internal_url(&self) -> String {
        self.internal_url.get().cloned().unwrap_or_default()
    }

    pub fn internal_url_set(&self, url: &str) {
        let _ = self.internal_url.set(url.to_owned());
    }

    /// Whether this controller runs the loops that speak to clusters.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    pub fn leads_set(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
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
        self.book().ledger.cluster_known(name, &hello.zone);
        self.addresses_follow(name, &hello.mode);
        if self.clusters.get(name).is_none() {
            // Until it has been silent for long enough, a cluster is taken to be there.
            self.clusters.put(name, hello, &self.tls)?.saw(steady_ms());
            self.book().ledger.cluster_answers(name, true);
        } else {
            self.clusters.put(name, hello, &self.tls)?;
        }
        Ok(())
    }

    /// A cluster's nodes, as it reports them. Kept in the store, so that a restarted controller can admit
    /// before it hears anew, but only when something else changed than what is in use.
    pub async fn resources_reported(
        &self,
        cluster: &str,
        resources: ClusterResources,
    ) -> Result<(), StoreError> {
        let stable = |nodes: &[NodeResources]| -> Vec<NodeResources> {
            nodes.iter().map(|node| NodeResources { used: Need::default(), ..node.clone() }).collect()
        };
        let nodes = stable(&resources.nodes);
        let before = {
            let mut book = self.book();
            let before = book.reported.get(cluster).map(|known| stable(&known.nodes));
            book.reported(cluster, resources);
            before
        };
        if before.as_ref() != Some(&nodes) {
            self.store.cluster_nodes_update(cluster, &nodes).await?;
            self.sites_follow();
        }
        Ok(())
    }

    /// Takes over what other controllers on the same database have changed.
    pub async fn follow(&self) -> Result<(), StoreError> {
        if self.store.engine() == Engine::Postgres {
            let changed = self.store.instances_changed_after(self.instances.followed()).await?;
            self.instances.followed_to(changed.iter().map(|instance| instance.change).max());
            self.adopt(changed);
        }
        Ok(())
    }

    /// As `follow`, for whoever has taken the next change number: then nobody else can write, and what is known
    /// is all that there is. Alone on a database, a controller knows that anyway.
    async fn catch_up_in_txn(&self, tx: &mut Tx, change: i64) -> Result<(), StoreError> {
        if self.store.engine() == Engine::Postgres {
            let news = instances_changed_after_in_txn(tx, self.instances.followed()).await?;
            self.adopt(news);
            self.instances.followed_to(Some(change - 1));
        }
        Ok(())
    }

    /// Puts the books right again after something was tried with these instances and not done.
    fn observe_again(&self, ids: &[InstanceId]) {
        let mut book = self.book();
        for instance in ids.iter().filter_map(|id| self.instances.get(id)) {
            book.observe(&instance);
        }
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
        let stirred = self.facts.instances_changed(&news);
        drop(book);
        let moved = |one: &Arc<Instance>| {
            let public = |port: &PortSpec| port.addresses().any(|(_, public)| public.is_some());
            one.state == State::Stopped || one.spec.ports.iter().any(public)
        };
        if news.iter().any(moved) {
            self.networks_changed(); // where public addresses lead may be otherwise
        }
        self.facts_stirred(&stirred);
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
    fn launching(&self, account: &str) -> usize {
        self.launching.get(account).copied().unwrap_or(0)
    }

    fn launching_add(&mut self, account: &str, count: i64) {
        let entry = self.launching.entry(account.to_owned()).or_default();
        *entry = entry.saturating_add_signed(isize::try_from(count).unwrap_or(0));
        if *entry == 0 {
            self.launching.remove(account);
        }
    }

    /// A free address, or the very one that was asked for.
    fn address(&mut self, network: &str, range: Cidr, asked: Option<Ipv4Addr>) -> Result<Ipv4Addr, Fault> {
        let Some(address) = asked else {
            return self.addresses.take(network, range).ok_or_else(no_address);
        };
        if !self.addresses.is_assignable(network, range, address) {
            let sentence = format!("Address {address} does not fall within the subnet's address range");
            return Err(Fault::invalid_parameter(sentence));
        }
        if !self.addresses.take_this(network, address) {
            let sentence = format!("Address {address} is in use.");
            return Err(Fault::new(FaultCode::InvalidIpAddressInUse, sentence));
        }
        Ok(address)
    }

    /// What a row holds: everything while it lives, its disk while it is stopped.
    pub fn observe(&mut self, instance: &Instance) {
        let need = instance.spec.need;
        let held = match instance.state {
            State::Terminated => return self.forget(instance),
            State::Stopped => Need { disk_gib: need.disk_gib, ..Need::default() },
            State::Pending | State::Running | State::Stopping | State::ShuttingDown => need,
        };
        self.ledger.observe(&instance.id, &instance.cluster, instance.node.as_deref(), held);
        for port in &instance.spec.ports {
            let network = network_of(port, &instance.cluster);
            port.addresses().for_each(|(address, _)| _ = self.addresses.take_this(&network, address));
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
                let network = network_of(port, &instance.cluster);
                port.addresses().for_each(|(address, _)| self.addresses.release(&network, address));
            }
        }
    }
}

pub fn no_address() -> Fault {
    Fault::new(FaultCode::InsufficientFreeAddresses, "The subnet has no free addresses left")
}

pub fn now_ms() -> i64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// For deadlines and silences: a step of the system's clock neither brings them on nor puts them off.
pub fn steady_ms() -> i64 {
    Clock::of_process().now_ms()
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
