//! Starts the S3 side of Walrus: keys, signers, the plain listener, and image bundles over its objects.

use crate::api::bundles::BundleDesk;
use crate::api::captures::Expected;
use crate::api::exports::ExportDesk;
use crate::api::instance_bundles::InstanceBundleDesk;
use crate::api::objects::Backups;
use crate::api::s3::{S3, S3Options, router};
use crate::app::bundle::CloudKey;
use crate::app::bundle::cache::Bundles;
use crate::app::import::Importer;
use crate::app::s3::expiry::Calendar;
use crate::config::{Backend, S3Config, StoreConfig};
use crate::drive::signers::{Authenticator, Fixed, Remote};
use crate::drive::webhooks::Webhooks;
use crate::offline::STORE;
use crate::reconcile::access_logs::{self, AccessLogs};
use crate::reconcile::events::{self, Sender};
use crate::reconcile::{self, lifecycle};
use crate::store::keeper::Keeper;
use crate::store::keeper::local::LocalKeeper;
use crate::store::keeper::s3::S3Keeper;
use crate::store::keeper::seal::MasterKeys;
use crate::store::objects::{HousekeepingConfig, Objects, ObjectsConfig, now_unix_ms};
use anyhow::{Context, anyhow};
use karri_proto::internal::Role;
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::process::{Base, ControllerConfig};
use karri_proto::runtime::rsa_pair::RsaPair;
use karri_proto::runtime::state_lock::StateLock;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The name in the certificate that image bundles are encrypted for.
const CLOUD_NAME: &str = "Karri cloud";
/// Where parts wait for an engine, below the store's directory.
const SPOOL: &str = "incoming";

/// Open, and not yet served.
pub struct Opened {
    s3: Arc<S3>,
    listen: SocketAddr,
}

pub async fn open(
    controller: &ControllerConfig,
    config: S3Config,
    store: &StoreConfig,
    base: &Base,
) -> anyhow::Result<Opened> {
    let authenticator = authenticator(controller, &config, base)?;
    let (key, certificate) = (config.cloud_key_file.clone(), config.cloud_certificate_file.clone());
    // Making a key takes seconds, once.
    let made = tokio::task::spawn_blocking(move || RsaPair::load_or_create(&key, &certificate, CLOUD_NAME));
    let cloud = made.await??;
    let objects = objects(controller, &config, store, base).await?;
    let (options, listen) = (S3Options::from(&config), config.listen);
    let webhooks = Arc::new(Webhooks::open(&config.webhooks).map_err(|why| anyhow!(why))?);
    let sender = Sender::new(objects.clone(), webhooks.clone(), base.metrics.clone(), now_unix_ms);
    base.spawn(events::run(sender, base.shutdown.clone()));
    let delay = Duration::from_secs(config.log_delivery_secs);
    let logs = Arc::new(AccessLogs::new(delay, base.metrics.clone()));
    base.spawn(access_logs::run(logs.clone(), objects.clone(), base.shutdown.clone()));
    let metrics = base.metrics.clone();
    let s3 = S3 { objects, authenticator, metrics, options, cloud: Some(cloud), logs, webhooks };
    Ok(Opened { s3: Arc::new(s3), listen })
}

impl Opened {
    pub fn objects(&self) -> Objects {
        self.s3.objects.clone()
    }

    /// For the operator.
    pub fn backups(&self, controller: &ControllerConfig) -> Arc<Backups> {
        Arc::new(Backups::new(self.s3.objects.clone(), &controller.state_dir))
    }

    /// What the cloud controller asks about bundles, with the loop that looks after them.
    pub async fn bundles(
        &self,
        controller: &ControllerConfig,
        importer: Importer,
        base: &Base,
    ) -> anyhow::Result<BundleDesk> {
        let key = self.cloud_key()?;
        let state_dir = controller.state_dir.clone();
        let opened = tokio::task::spawn_blocking(move || Bundles::open(importer, &state_dir, key)).await??;
        let objects = self.s3.objects.clone();
        base.spawn(reconcile::bundles::run(opened.clone(), objects, base.shutdown.clone()));
        Ok(BundleDesk::new(self.s3.clone(), opened))
    }

    /// What the cloud controller asks about exports.
    pub fn exports(&self, importer: Importer) -> ExportDesk {
        ExportDesk::new(self.s3.clone(), importer)
    }

    /// What the cloud controller asks about root disks that become bundles. `expected` is shared with who takes the
    /// disks in.
    pub fn instance_bundles(
        &self,
        importer: Importer,
        expected: Expected,
    ) -> anyhow::Result<InstanceBundleDesk> {
        Ok(InstanceBundleDesk::new(self.s3.clone(), importer, self.cloud_key()?, expected))
    }

    fn cloud_key(&self) -> anyhow::Result<CloudKey> {
        let key = self.s3.cloud.as_ref().map(|pair| pair.key_pem.as_str()).unwrap_or_default();
        CloudKey::from_pem(key).map_err(|why| anyhow!("s3.cloud_key_file: {why}"))
    }

    /// Serves; returns the URL.
    pub async fn serve(self, base: &Base) -> anyhow::Result<String> {
        base.serve_plain(self.listen, router(self.s3)).await.context("s3.listen")
    }
}

async fn objects(
    controller: &ControllerConfig,
    config: &S3Config,
    store: &StoreConfig,
    base: &Base,
) -> anyhow::Result<Objects> {
    let dir = controller.state_dir.join(STORE);
    std::fs::create_dir_all(&dir)?;
    // Its own lock beside the state directory's: it may lie elsewhere, behind a link.
    base.hold(StateLock::take(&dir)?);
    let keeper = keeper(&dir, store, base)?;
    let settings =
        ObjectsConfig { master_keys: master_keys(&dir, &config.key_file).await?, ..ObjectsConfig::new(&dir) };
    let objects = Objects::open(settings, keeper, base.metrics.clone()).await?;
    let asked = objects.clone();
    base.health.check("objects", move || {
        let objects = asked.clone();
        async move { objects.probe().await.map_err(|error| error.to_string()) }
    });
    if store.backend == Backend::S3 {
        let asked = objects.clone();
        base.health.check("engine", move || {
            let objects = asked.clone();
            async move { objects.probe_engine().await.map_err(|error| error.to_string()) }
        });
    }
    let calendar = Calendar::with_day_secs(config.lifecycle_day_secs);
    let ended = objects.clone();
    base.at_end(async move { ended.close().await });
    let (kept, shutdown) = (objects.clone(), base.shutdown.clone());
    base.spawn(async move {
        let house = kept.keep_house(HousekeepingConfig::default());
        lifecycle::run(kept, calendar, now_unix_ms, shutdown).await;
        drop(house);
    });
    Ok(objects)
}

/// What keeps the bytes of larger objects.
fn keeper(dir: &Path, store: &StoreConfig, base: &Base) -> anyhow::Result<Arc<dyn Keeper>> {
    Ok(match store.backend {
        Backend::Local => Arc::new(LocalKeeper::open(dir)?),
        Backend::S3 => {
            let options = store.engine().map_err(|why| anyhow!(why))?;
            Arc::new(S3Keeper::open(options, &dir.join(SPOOL), base.metrics.clone())?)
        }
    })
}

/// A key file is made for a store that needs none yet. One that does is not given another in its place.
async fn master_keys(dir: &Path, path: &Path) -> anyhow::Result<MasterKeys> {
    if let Some(keys) = MasterKeys::load(path).context("s3.key_file")? {
        return Ok(keys);
    }
    let missing = || format!("s3.key_file = \"{}\": is not there", path.display());
    Objects::expect_no_master_keys(dir).await.with_context(missing)?;
    MasterKeys::create(path).context("s3.key_file")
}

fn authenticator(
    controller: &ControllerConfig,
    config: &S3Config,
    base: &Base,
) -> anyhow::Result<Arc<dyn Authenticator>> {
    if let Some(file) = &config.credentials_file {
        return Ok(Fixed::load(file).map_err(|why| anyhow!("s3.credentials_file: {why}"))?);
    }
    let url = config.clc_url.as_deref().unwrap_or_default();
    let clc = InternalClient::new(url, Role::Clc, &controller.tls)?;
    let silence_max = Duration::from_secs(config.signers_silence_secs);
    let remote = Remote::new(Arc::new(clc), base.caller("signers"), silence_max);
    base.spawn(remote.clone().listen(base.revoked.clone(), base.shutdown.clone()));
    Ok(remote)
}
