//! Wires a process together: drives by configuration, then nodes, then what serves and watches them.

use crate::api::facts::Facts;
use crate::api::instances::Instances;
use crate::api::kernel::Kernel;
use crate::api::metadata;
use crate::api::story::Story;
use crate::app::domain_xml::Platform;
use crate::app::owner_tag::{Owner, OwnerTag};
use crate::app::plan::Limits;
use crate::app::record::State;
use crate::app::user_network::UserNetwork;
use crate::config::{Accelerator, Config, Driver, GuestConfig, NetworkConfig, NetworkMode, Shortcut};
use crate::drive::blobs::WalrusBlobs;
use crate::drive::dhcp::hear;
use crate::drive::hypervisor::Hypervisor;
use crate::drive::hypervisor::libvirt::{Libvirt, PlatformChoice, probe, runs_as};
use crate::drive::hypervisor::sim::SimHypervisor;
use crate::drive::ports::{BridgePorts, Bridges, NoPorts, Place, Ports, TapNames, Wire, wire};
use crate::drive::storage::Storage;
use crate::drive::storage::files::FileStorage;
use crate::drive::storage::images::ImageCache;
use crate::drive::storage::sim::SimStorage;
use crate::facts::{FactPool, NodeFacts};
use crate::node::{Drives, Node, NodeParts};
use crate::reconcile::addresses::learn_addresses;
use crate::reconcile::adopt::{adopt, first_look};
use crate::reconcile::groups::enforce_groups;
use crate::reconcile::heartbeat::{HelloFacts, heartbeat};
use crate::reconcile::ports::mend_ports;
use crate::reconcile::starved::resume_starved;
use crate::reconcile::watch::watch;
use crate::store::Store;
use crate::user_network;
use anyhow::Context;
use axum::Router;
use karri_proto::internal::caller::guarded;
use karri_proto::internal::{Identity, Role, facts, instances, kernel, story};
use karri_proto::network::SegmentDriver;
use karri_proto::resources::Need;
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::process::Base;
use karri_proto::runtime::server::Shutdown;
use karri_proto::runtime::tls;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

const GIB: u64 = 1 << 30;
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A look at all guests takes no longer, unless the hypervisor hangs.
const WATCH_ROUND_MAX: Duration = Duration::from_secs(60);
const MEND_ROUND_MAX: Duration = Duration::from_secs(90);
const GROUPS_ROUND_MAX: Duration = Duration::from_secs(90);

pub async fn start(config: Config, base: Base) -> anyhow::Result<Endpoint> {
    match config.hypervisor.driver {
        Driver::Libvirt => start_with(config, base, None).await,
        Driver::Sim => start_simulated(config, base).await,
    }
}

fn limits(guest: &GuestConfig) -> Limits {
    Limits {
        prepare_ms: guest.prepare_secs_max.saturating_mul(1000),
        stop_ms: guest.stop_secs_max.saturating_mul(1000),
        terminate_ms: guest.terminate_secs_max.saturating_mul(1000),
        reboot_ms: guest.reboot_secs_max.saturating_mul(1000),
        capture_ms: guest.capture_secs_max.saturating_mul(1000),
    }
}

pub(crate) fn owner(config: &Config, node: &str) -> anyhow::Result<Owner> {
    let ca = std::fs::read_to_string(&config.controller.tls.ca)
        .with_context(|| config.controller.tls.ca.display().to_string())?;
    Ok(Owner { cloud: tls::fingerprint(&ca)?[..16].to_owned(), node: node.to_owned() })
}

/// Names one boot of the host: guests do not outlive it.
pub(crate) fn boot_id() -> anyhow::Result<String> {
    let file = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(file).context(file)?.trim().to_owned())
}

/// Only the cc of the node's own cluster is obeyed. What is meant for one life of the node finds nobody in another:
/// the records that make a late order harmless may have been lost in between.
fn node_router(node: &Arc<Node>, identity: &Identity) -> Router {
    let cluster = identity.cluster.clone();
    let router = instances::router(Arc::new(Instances(node.clone())))
        .merge(facts::router(Arc::new(Facts(node.facts.clone()))));
    let router = guarded(router, move |caller| caller.role == Role::Cc && caller.cluster == cluster);
    router.clone().nest(&format!("/lives/{}", node.journal.epoch()), router)
}

/// What an operator asks for, which changes nothing.
fn asked_router(node: &Arc<Node>, base: &Base) -> Router {
    let cluster = base.identity.cluster.clone();
    let router = story::router(Arc::new(Story(base.story.clone())))
        .merge(kernel::router(Arc::new(Kernel(node.clone()))));
    guarded(router, move |caller| caller.role == Role::Cc && caller.cluster == cluster)
}

/// `guests`: what runs them, and what they stand on, where it is not libvirt and images.
pub async fn start_with(
    config: Config,
    base: Base,
    guests: Option<(Arc<dyn Hypervisor>, Arc<dyn Storage>)>,
) -> anyhow::Result<Endpoint> {
    let state_dir = &config.controller.state_dir;
    let name = base.identity.name.clone();
    let owner = owner(&config, &name)?;
    let boot_id = boot_id()?;
    // Before anything of the host is touched: another controller there has the address.
    let listener = base.bind(&config.controller).await?;
    let (hypervisor, storage) = match guests {
        Some(guests) => guests,
        None => real_guests(&config, &base, &owner, &boot_id).await?,
    };
    let facts = NodeFacts::open(state_dir)?;
    let Joined { ports, listeners, user_network } = match config.network.mode {
        NetworkMode::Bridge => joined_to_bridges(&config, &boot_id, &owner, &facts).await?,
        NetworkMode::User => joined_by_qemu(state_dir)?,
    };
    let store = Store::open(state_dir)?;
    let node = Node::new(NodeParts {
        name,
        bridges: bridges(&config),
        user_network,
        boot_id,
        limits: limits(&config.guest),
        store,
        facts,
        drives: Drives { hypervisor, ports, storage },
        owner,
        metrics: base.metrics.clone(),
    });
    let router = node_router(&node, &base.identity).merge(asked_router(&node, &base));
    adopt(&node).await;
    let key = metadata::token_key(state_dir)?;
    base.spawn(metadata::serve(listeners, node.clone(), key, base.shutdown.clone()));
    let pulse = base.health.pulse("hypervisor", WATCH_ROUND_MAX);
    base.spawn(watch(node.clone(), pulse, base.shutdown.clone()));
    base.spawn(resume_starved(node.clone(), base.shutdown.clone()));
    let pulse = base.health.pulse("ports", MEND_ROUND_MAX);
    base.spawn(mend_ports(node.clone(), pulse, base.shutdown.clone()));
    let pulse = base.health.pulse("security groups", GROUPS_ROUND_MAX);
    base.spawn(enforce_groups(node.clone(), pulse, base.shutdown.clone()));
    if config.network.mode == NetworkMode::Bridge {
        let heard = hear().context("hearing what DHCP servers say")?;
        base.spawn(learn_addresses(node.clone(), heard, base.shutdown.clone()));
    }
    let endpoint = base.serve_on(listener, &config.controller, router).await?;
    let total = config.node.total(config.hypervisor.driver, state_dir);
    let cc = InternalClient::new(&config.node.cc_url, Role::Cc, &config.controller.tls)?;
    let told = Told::of(&config, endpoint.url.clone(), total);
    base.spawn(introduce(node, told, cc, base.clone()));
    Ok(endpoint)
}

/// Libvirt's, on images from Walrus.
async fn real_guests(
    config: &Config,
    base: &Base,
    owner: &Owner,
    boot_id: &str,
) -> anyhow::Result<(Arc<dyn Hypervisor>, Arc<dyn Storage>)> {
    let state_dir = &config.controller.state_dir;
    let platform = platform(config, boot_id).await?;
    let walrus = InternalClient::new(&config.node.walrus_url, Role::Walrus, &config.controller.tls)?;
    let source = Arc::new(WalrusBlobs::new(walrus, base.identity.clone()));
    let limit = config.images.cache_gib.saturating_mul(GIB);
    let images = ImageCache::open(&state_dir.join("images"), limit, source.clone())?;
    let instances = state_dir.join("instances");
    let hypervisor = Libvirt::new(&config.hypervisor.uri, owner.clone(), platform, &instances);
    Ok((Arc::new(hypervisor), Arc::new(FileStorage::new(&instances, images, source))))
}

/// How guests are joined to networks, and where they ask for metadata.
struct Joined {
    ports: Arc<dyn Ports>,
    listeners: metadata::Listeners,
    user_network: Option<UserNetwork>,
}

async fn joined_to_bridges(
    config: &Config,
    boot_id: &str,
    owner: &Owner,
    facts: &Arc<NodeFacts>,
) -> anyhow::Result<Joined> {
    let network = &config.network;
    let ports = BridgePorts::open(place(config, boot_id), TapNames::new(owner), facts.clone()).await?;
    let flat = metadata_listener(&ports, network.metadata).await?;
    let of_segments = ports.segment_listeners().context("listeners of segments are taken once")?;
    if wire(network) == Wire::Alone {
        tracing::info!(
            "network.tunnel_address is not set: segments of this node reach no other host, and it takes instances of \
             such networks only where it is the only node of its cluster"
        );
    }
    let listeners = metadata::Listeners::Bridges { flat, of_segments };
    Ok(Joined { ports: Arc::new(ports), listeners, user_network: None })
}

/// QEMU makes the ports itself, with the guest, and they go with it: on the host there is nothing to put or to guard.
fn joined_by_qemu(state_dir: &Path) -> anyhow::Result<Joined> {
    let (network, listener) = user_network::establish(state_dir)?;
    let listeners = metadata::Listeners::User(listener);
    Ok(Joined { ports: Arc::new(NoPorts), listeners, user_network: Some(network) })
}

fn bridges(config: &Config) -> Bridges {
    Bridges::of_host(&config.network)
}

pub(crate) fn place<'a>(config: &'a Config, boot_id: &'a str) -> Place<'a> {
    let network = &config.network;
    Place {
        bridge: &network.bridge,
        uplink: network.uplink.as_deref(),
        metadata_address: *network.metadata.ip(),
        wire: wire(network),
        tunnel_mtu: network.tunnel_mtu,
        vxlan_port: network.vxlan_port,
        shortcut: network.shortcut == Shortcut::Auto,
        state_dir: &config.controller.state_dir,
        boot_id,
    }
}

async fn metadata_listener(ports: &BridgePorts, address: SocketAddrV4) -> anyhow::Result<TcpListener> {
    let before = ports.metadata_port().filter(|_| address.port() == 0);
    let again = match before {
        Some(port) => TcpListener::bind(SocketAddrV4::new(*address.ip(), port)).await.ok(),
        None => None,
    };
    let listener = match again {
        Some(listener) => listener,
        None => TcpListener::bind(address).await.with_context(|| format!("network.metadata = {address}"))?,
    };
    let bound = SocketAddrV4::new(*address.ip(), listener.local_addr()?.port());
    ports.serve_metadata(bound).await?;
    Ok(listener)
}

async fn platform(config: &Config, boot_id: &str) -> anyhow::Result<PlatformChoice> {
    let hypervisor = &config.hypervisor;
    if hypervisor.is_xen() {
        return Ok(hypervisor.xen_platform().map_or(PlatformChoice::XenAny, PlatformChoice::XenOnly));
    }
    let directory = &config.controller.state_dir;
    Ok(PlatformChoice::Qemu(match hypervisor.accel {
        Accelerator::Tcg => Platform::Tcg,
        Accelerator::Auto => probe::accelerator(directory, boot_id, runs_as(&hypervisor.uri).await).await,
        Accelerator::Kvm => {
            let works = probe::kvm_works(directory, boot_id, runs_as(&hypervisor.uri).await).await;
            works.map_err(|why| anyhow::anyhow!("hypervisor.accel = \"kvm\": {why}"))?;
            Platform::Kvm
        }
    }))
}

/// What a node tells of itself besides what its hypervisor is.
struct Told {
    url: String,
    tunnel: Option<Ipv4Addr>,
    user_network: bool,
    driver: SegmentDriver,
    total: Need,
}

impl Told {
    fn of(config: &Config, url: String, total: Need) -> Self {
        let NetworkConfig { mode, tunnel_address, driver, .. } = config.network;
        Self { url, tunnel: tunnel_address, user_network: mode == NetworkMode::User, driver, total }
    }
}

/// Says hello once the hypervisor has answered: before that nothing can be placed here.
async fn introduce(node: Arc<Node>, told: Told, cc: InternalClient, base: Base) {
    let mut shutdown = base.shutdown.clone();
    let Some(facts) = hypervisor_facts(&node, &mut shutdown).await else { return };
    let Told { url, tunnel, user_network, driver, total } = told;
    let (accelerator, hypervisor) = (facts.accelerator, facts.hypervisor);
    let facts = HelloFacts { url, tunnel, user_network, driver, total, accelerator, hypervisor };
    heartbeat(node, facts, cc, base.caller("heartbeat"), shutdown).await;
}

async fn hypervisor_facts(
    node: &Arc<Node>,
    shutdown: &mut Shutdown,
) -> Option<crate::drive::hypervisor::HypervisorFacts> {
    let mut told = false;
    loop {
        let hypervisor = &node.drives.hypervisor;
        match (hypervisor.facts().await, hypervisor.found().await) {
            (Ok(facts), Ok(found)) => {
                first_look(node, found).await;
                return Some(facts);
            }
            (Err(error), _) | (_, Err(error)) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "waiting for the hypervisor");
                }
            }
        }
        tokio::select! {
            _ = shutdown.wait() => return None,
            () = tokio::time::sleep(LOOK_AGAIN_AFTER) => {}
        }
    }
}

async fn start_simulated(config: Config, base: Base) -> anyhow::Result<Endpoint> {
    let mut router = Router::new();
    let mut nodes = Vec::new();
    let pool = Arc::new(FactPool::default());
    for number in 0..config.hypervisor.sim_nodes {
        let name = format!("{}-{number}", base.identity.name);
        let node = simulated_node(&config, &base, &name, &pool)?;
        let own = node_router(&node, &base.identity).merge(asked_router(&node, &base));
        router = router.nest(&format!("/nodes/{name}"), own);
        adopt(&node).await;
        nodes.push(node);
    }
    let endpoint = base.serve(&config.controller, router).await?;
    let total = config.node.total(config.hypervisor.driver, &config.controller.state_dir);
    let cc = InternalClient::new(&config.node.cc_url, Role::Cc, &config.controller.tls)?;
    for node in nodes {
        let pulse = base.health.pulse(&format!("hypervisor of {}", node.name), WATCH_ROUND_MAX);
        base.spawn(watch(node.clone(), pulse, base.shutdown.clone()));
        let url = format!("{}/nodes/{}", endpoint.url, node.name);
        let told = Told::of(&config, url, total);
        base.spawn(introduce(node, told, cc.clone(), base.clone()));
    }
    Ok(endpoint)
}

fn simulated_node(
    config: &Config,
    base: &Base,
    name: &str,
    pool: &Arc<FactPool>,
) -> anyhow::Result<Arc<Node>> {
    let owner = owner(config, name)?;
    let boot_id = boot_id()?;
    let store = if config.hypervisor.sim_in_memory {
        Store::in_memory()
    } else {
        Store::open(&config.controller.state_dir.join("nodes").join(name))?
    };
    let hypervisor = SimHypervisor::new(Duration::from_millis(config.hypervisor.sim_start_ms));
    let storage = SimStorage::default();
    for record in store.records() {
        let intent = &record.intent;
        if record.has_run && record.holds_images() {
            storage.remember(&intent.id);
        }
        if matches!(&record.state, State::Up { boot_id: then, .. } if *then == boot_id) {
            hypervisor.remember(OwnerTag {
                owner: owner.clone(),
                id: intent.id.clone(),
                account: intent.account.clone(),
                generation: intent.generation,
                attempt: intent.attempt,
                reboots: record.reboots,
            });
        }
    }
    Ok(Node::new(NodeParts {
        name: name.to_owned(),
        owner,
        bridges: bridges(config),
        user_network: None,
        boot_id,
        limits: limits(&config.guest),
        store,
        facts: NodeFacts::pooled(pool.node()),
        drives: Drives {
            hypervisor: Arc::new(hypervisor),
            ports: Arc::new(NoPorts),
            storage: Arc::new(storage),
        },
        metrics: base.metrics.clone(),
    }))
}
