//! karri-cc: the cluster controller of one availability zone.
//!
//! It takes what users want from the cloud controller, places it on nodes, keeps the cluster's network, and
//! reports what became of it. All that it was told is in its own database, so the cluster goes on when the
//! cloud controller is away.
//!
//! ```text
//!   clc ── api ──► keeper: book (app) + store ──► reconcile ──► nodes, drive (network)
//! ```

mod api;
pub mod app;
pub mod config;
pub mod drive;
mod keeper;
mod reconcile;
pub mod store;

use crate::app::book::Settings;
pub use crate::config::Config;
use crate::config::NetworkMode;
use crate::drive::Driver;
use crate::drive::nodes::NodeClients;
use crate::keeper::Keeper;
use crate::store::Store;
use karri_proto::internal::Role;
use karri_proto::internal::clusters::ClusterHello;
use karri_proto::internal::nodes::NodeWelcome;
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::process::{Base, Controller, ControllerConfig};
use rand::Rng;
use std::time::Duration;

#[derive(Debug)]
pub struct Cc;

#[async_trait::async_trait]
impl Controller for Cc {
    const NAME: &'static str = "karri-cc";
    const ABOUT: &'static str =
        "Karri's cluster controller: places instances on nodes and keeps their network";
    const ENVIRONMENT: &'static str = "KARRI_CC";
    type Config = Config;

    fn controller(config: &Config) -> &ControllerConfig {
        &config.controller
    }

    fn check(config: &Config) -> Result<(), String> {
        config.check()
    }

    async fn start(config: Config, base: Base) -> anyhow::Result<Endpoint> {
        let driver: Box<dyn Driver> = match config.network.mode {
            // What there is to make is made where the zone's own cluster controller is.
            _ if config.cluster.extends => Box::new(drive::simulated::Simulated::default()),
            NetworkMode::None | NetworkMode::System | NetworkMode::User => {
                Box::new(drive::simulated::Simulated::default())
            }
            NetworkMode::Managed | NetworkMode::Static => Box::new(drive::flat::Flat::new(&config.network)),
        };
        start_with(config, base, driver).await
    }
}

/// [`Cc::start`] with another network.
pub async fn start_with(config: Config, base: Base, driver: Box<dyn Driver>) -> anyhow::Result<Endpoint> {
    anyhow::ensure!(
        base.identity.role == Role::Cc && !base.identity.cluster.is_empty(),
        "controller.tls.certificate: {} is not the identity of a cluster controller",
        base.identity
    );
    std::fs::create_dir_all(&config.controller.state_dir)?;
    let new_epoch = rand::thread_rng().gen_range(1..i64::MAX as u64);
    let (mut store, reader) = Store::open(&config.database_path(), new_epoch).await?;
    store.mode_settle(&config.network.told(), config.network.driver).await?;
    let lost_after = Duration::from_secs(u64::from(config.placement.node_lost_secs));
    let settings = Settings {
        policy: config.placement.policy,
        node_lost_ms: i64::from(config.placement.node_lost_secs) * 1000,
        tunnels: config.network.has_tunnels(),
    };
    let (keeper, names) = Keeper::start(&base, store, reader, settings).await?;
    let asked = keeper.clone();
    base.health.check("database", move || {
        let keeper = asked.clone();
        async move {
            keeper.reader.ping().await.map_err(|error| error.to_string())?;
            keeper.ask(|_, _| ()).await.map_err(|error| error.to_string())
        }
    });
    let site = config.site();
    let nodes = NodeClients::new(&base.identity.cluster, &config.controller.tls);
    let api = api::Api {
        base: base.clone(),
        keeper: keeper.clone(),
        nodes: nodes.clone(),
        // Where the zone's routers are elsewhere, this host has nothing on segments but what nodes of its own tell.
        tunnel: config.network.tunnel_address.filter(|_| !config.cluster.extends),
        site: site.clone(),
        eyes: driver.eyes(),
        mode: config.network.told(),
        driver: config.network.driver,
        welcome: NodeWelcome {
            zone: config.cluster.zone.clone(),
            subnet_cidr: config.network.subnet.to_string(),
            gateway: config.network.gateway,
            tunnels: Vec::new(),
        },
    };
    let endpoint = base.serve(&config.controller, api::router(api)).await?;
    let hello = ClusterHello {
        zone: config.cluster.zone.clone(),
        extends: config.cluster.extends,
        url: endpoint.url.clone(),
        subnet_cidr: config.network.subnet.to_string(),
        gateway: config.network.gateway,
        mode: config.network.told(),
        tunnels: config.network.tunnels(),
        vlans: config.network.vlans(),
        version: endpoint.version.clone(),
    };
    let clc = InternalClient::new(&config.cluster.clc_url, Role::Clc, &config.controller.tls)?;
    base.spawn(reconcile::heartbeat::run(base.clone(), keeper.clone(), clc, hello));
    base.spawn(reconcile::tick::run(base.clone(), keeper.clone()));
    base.spawn(reconcile::network::run(base.clone(), keeper.clone(), site, driver));
    let facts = reconcile::facts::FactTelling::new(base.clone(), keeper.clone(), nodes.clone());
    let loops = reconcile::node::Nodes { base: base.clone(), keeper, clients: nodes, facts, lost_after };
    base.spawn(loops.run(names));
    Ok(endpoint)
}
