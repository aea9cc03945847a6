//! The cloud controller: front door, accounts, what users want, and the loops that bring it about.
//!
//! ```text
//!   clients ──EC2, STS──► api ──► app ──► store          (intent, committed)
//!                                  │ wakes
//!   cc ◄──intents── reconcile ◄────┘
//!   cc ──reports──► reconcile ──► app ──► store          (what is known)
//! ```

pub mod api;
pub mod app;
pub mod config;
pub mod drive;
pub mod reconcile;
pub mod store;

use async_trait::async_trait;
pub use config::Config;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::process::{Base, Controller, ControllerConfig};
use std::sync::Arc;

pub struct Clc;

#[async_trait]
impl Controller for Clc {
    const NAME: &'static str = "karri-clc";
    const ABOUT: &'static str = "Karri's cloud controller: EC2's front door, accounts, and what users want.";
    const ENVIRONMENT: &'static str = "KARRI_CLC";
    type Config = Config;

    fn controller(config: &Config) -> &ControllerConfig {
        &config.controller
    }

    fn check(config: &Config) -> Result<(), String> {
        config.check()?;
        let types = &config.catalogue.instance_types;
        let named = |error| format!("catalogue.instance_types: {:#}", anyhow::Error::new(error));
        app::instance_type::Catalogue::load(types).map(drop).map_err(named)
    }

    async fn start(config: Config, base: Base) -> anyhow::Result<Endpoint> {
        let store = store::Store::open(&config.database).await?;
        let sealer = store::Sealer::load_or_create(&config.secrets.key_file)?;
        let asked = store.clone();
        base.health.check("database", move || {
            let store = asked.clone();
            async move { store.counter_fetch("instances").await.map(drop).map_err(|error| error.to_string()) }
        });
        let app = Arc::new(app::App::new(&config, store, sealer, base.clone())?);
        app.recover().await?;
        let mut endpoint = base.serve(&config.controller, api::internal::router(app.clone())).await?;
        app.internal_url_set(&endpoint.url);
        reconcile::start(&app);
        let public = api::public::router(app, api::table());
        endpoint.public_url = Some(base.serve_plain(config.api.listen, public).await?);
        Ok(endpoint)
    }
}
