//! karri-nc: the node controller. It runs what its cluster controller wants to be run, and says how
//! it is.
//!
//! What runs is libvirt's own truth; what is wanted, and how far it is, lies in a directory per
//! instance, so that with every other controller dead guests run on and find their metadata.

pub mod api;
pub mod app;
pub mod config;
pub mod drive;
pub mod facts;
pub mod host;
pub mod node;
pub mod pipe;
pub mod reconcile;
pub mod store;

mod start;
mod user_network;

pub use config::Config;
pub use start::start_with;

use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::process::{Base, Controller, ControllerConfig};

pub struct Nc;

#[async_trait::async_trait]
impl Controller for Nc {
    const NAME: &'static str = "karri-nc";
    const ABOUT: &'static str = "Karri's node controller: runs instances on this machine";
    const ENVIRONMENT: &'static str = "KARRI_NC";
    type Config = Config;

    fn controller(config: &Config) -> &ControllerConfig {
        &config.controller
    }

    fn check(config: &Config) -> Result<(), String> {
        config::check(config)
    }

    async fn start(config: Config, base: Base) -> anyhow::Result<Endpoint> {
        start::start(config, base).await
    }
}

/// Anything a guest could send as a metadata request must be answered without a panic, and a listing
/// must name only what is there. For fuzzing.
pub fn fuzz_metadata(data: &[u8]) {
    app::metadata::fuzz(data);
}
