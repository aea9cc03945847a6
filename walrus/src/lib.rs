//! Walrus: keeps and serves image blobs by digest, and takes images in.
//!
//! ```text
//!   api/     HTTP edge: image blobs for the other controllers, S3 for everybody
//!   app/     import, image bundles, and the pure rules: what a file is, which qcow2, VMDK and VHD are
//!            harmless, what S3 allows
//!   store/   image blobs, each with its info file; objects: facts in SQLite, bytes behind a trait
//!   reconcile/  what follows from an overwritten manifest; lifecycle rules, carried out round by round;
//!            events and access logs on their way out
//!   drive/   qemu-img, under limits; who signs S3 requests; webhooks
//!   offline  what the operator does with a store that no Walrus uses
//! ```
//!
//! Of an image blob its file and the info file beside it are the truth, read once at start; of an object
//! the database is. What outlives its request is a bucket's lifecycle, and an event until it is heard.

pub mod api;
pub mod app;
pub mod config;
pub mod drive;
pub mod offline;
pub mod reconcile;
mod s3;
pub mod store;

pub use config::Config;

use app::import::Importer;
use drive::qemu_img::QemuImg;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::process::{Base, Controller, ControllerConfig};
use std::sync::Arc;
use store::blobs::BlobStore;

#[derive(Debug)]
pub struct Walrus;

#[async_trait::async_trait]
impl Controller for Walrus {
    const NAME: &'static str = "karri-walrus";
    const ABOUT: &'static str = "Karri's object and image store";
    const ENVIRONMENT: &'static str = "KARRI_WALRUS";
    type Config = Config;

    fn controller(config: &Config) -> &ControllerConfig {
        &config.controller
    }

    fn check(config: &Config) -> Result<(), String> {
        config.check()
    }

    async fn start(config: Config, base: Base) -> anyhow::Result<Endpoint> {
        let limits = config.blobs.limits();
        let (state_dir, metrics) = (config.controller.state_dir.clone(), base.metrics.clone());
        let store =
            tokio::task::spawn_blocking(move || BlobStore::open(&state_dir, limits.store_bytes_max, metrics))
                .await??;
        let tool = QemuImg::new(config.blobs.tool_limits());
        if let Err(error) = tool.version().await {
            tracing::warn!(%error, "only raw images can be imported");
        }
        let store = Arc::new(store);
        let asked = store.clone();
        base.health.check("store", move || {
            let store = asked.clone();
            async move {
                let probed = tokio::task::spawn_blocking(move || store.probe()).await;
                probed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
            }
        });
        let importer = Importer::new(store, tool, limits, base.clone());
        let mut internal = api::router(importer.clone(), &base);
        let s3 = match config.s3 {
            Some(s3) => Some(s3::open(&config.controller, s3, &config.store, &base).await?),
            None => None,
        };
        internal = internal.merge(api::buckets::router(s3.as_ref().map(s3::Opened::objects)));
        if let Some(s3) = &s3 {
            let bundles = s3.bundles(&config.controller, importer.clone(), &base).await?;
            internal = internal.merge(api::objects::router(s3.backups(&config.controller)));
            internal = internal.merge(api::bundles::router(bundles));
            internal = internal.merge(api::exports::router(s3.exports(importer.clone())));
            let expected = api::captures::Expected::default();
            let desk = s3.instance_bundles(importer.clone(), expected.clone())?;
            internal = internal.merge(api::instance_bundles::router(desk));
            internal = internal.merge(api::captures::router(importer, expected));
        }
        let mut endpoint = base.serve(&config.controller, internal).await?;
        if let Some(s3) = s3 {
            endpoint.public_url = Some(s3.serve(&base).await?);
        }
        Ok(endpoint)
    }
}

/// Whatever bytes are sent as a bundle's manifest. For fuzzing.
pub fn fuzz_manifest(data: &[u8]) {
    app::bundle::fuzz::manifest(data);
}

/// Whatever bytes a bundle's archive has. For fuzzing.
pub fn fuzz_tar(data: &[u8]) {
    app::bundle::fuzz::archive(data);
}

/// Whatever bytes a bundle's parts have. For fuzzing.
pub fn fuzz_bundle(data: &[u8]) {
    app::bundle::fuzz::parts(data);
}

/// Whatever bytes are sent as an image must be judged without a panic. For fuzzing.
pub fn fuzz_image(data: &[u8]) {
    app::fuzz(data);
}
