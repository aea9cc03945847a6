//! What the four `main.rs` share: arguments, configuration, logs, a clean stop.

use crate::internal::caller::guarded;
use crate::internal::{ApiError, Caller, Identity};
use crate::runtime::config;
use crate::runtime::endpoint::Endpoint;
use crate::runtime::files::private_umask;
use crate::runtime::health::Health;
use crate::runtime::lasting::Fatal;
use crate::runtime::metrics::Metrics;
use crate::runtime::revoked::Revoked;
use crate::runtime::server::{self, Observed, Running, Shutdown, observe_router, shutdown_pair, stop_signal};
use crate::runtime::state_lock::StateLock;
use crate::runtime::story_log::StoryLog;
use crate::runtime::telemetry;
use crate::runtime::tls::{self, TlsFiles};
use anyhow::Context as _;
use axum::Router;
use clap::Parser;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long a controller that cannot go on waits for the end of what still works.
const BROKEN_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The `[controller]` section, the same in every controller's file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerConfig {
    pub state_dir: PathBuf,
    /// The internal API, mutual TLS. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// How the other controllers reach `listen`, when not by its own address.
    #[serde(default)]
    pub advertise: Option<String>,
    /// Plain HTTP `/healthz` and `/metrics`; absent: not served in plain.
    #[serde(default)]
    pub observe: Option<SocketAddr>,
    /// A level, or directives such as `info,karri_clc=debug`.
    #[serde(default = "default_log")]
    pub log: String,
    pub tls: TlsFiles,
}

fn default_log() -> String {
    "info".to_owned()
}

#[derive(Debug, Parser)]
struct Arguments {
    /// The controller's TOML file.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Read the configuration, say whether it is right, and exit.
    #[arg(long)]
    check_config: bool,
}

/// One of the four controllers.
#[async_trait::async_trait]
pub trait Controller {
    /// `karri-clc` …
    const NAME: &'static str;
    const ABOUT: &'static str;
    /// `KARRI_CLC` …
    const ENVIRONMENT: &'static str;
    type Config: DeserializeOwned + Send;

    fn controller(config: &Self::Config) -> &ControllerConfig;
    /// Everything a parsed config can still have wrong, each naming its key.
    fn check(config: &Self::Config) -> Result<(), String>;
    /// Binds, recovers, starts its loops. Serving has begun when this returns.
    async fn start(config: Self::Config, base: Base) -> anyhow::Result<Endpoint>;
}

/// What every controller starts from. `base.running.lock()` collects its tasks.
#[derive(Debug, Clone)]
pub struct Base {
    pub identity: Identity,
    pub story: StoryLog,
    pub metrics: Arc<Metrics>,
    /// What `/healthz` looks at.
    pub health: Health,
    /// Certificates that the internal API refuses.
    pub revoked: Revoked,
    pub shutdown: Shutdown,
    /// Why the process cannot go on.
    pub fatal: Fatal,
    running: Arc<std::sync::Mutex<Option<Running>>>,
}

impl Base {
    /// For a controller inside a test process, or one of several nodes in one process.
    pub fn new(config: &ControllerConfig, who: &str) -> anyhow::Result<(Self, Stopper)> {
        std::fs::create_dir_all(&config.state_dir)?;
        let story = StoryLog::open(&config.state_dir, who)?;
        Self::with_story(config, story)
    }

    fn with_story(config: &ControllerConfig, story: StoryLog) -> anyhow::Result<(Self, Stopper)> {
        let identity = tls::own_identity(&config.tls)?;
        let lock = StateLock::take(&config.state_dir)?;
        let (trigger, shutdown) = shutdown_pair();
        let running = Arc::new(std::sync::Mutex::new(Some(Running::new(trigger, lock))));
        let base = Self {
            identity,
            story,
            metrics: Arc::default(),
            health: Health::default(),
            revoked: Revoked::load(&config.state_dir)?,
            shutdown,
            fatal: Fatal::default(),
            running: running.clone(),
        };
        Ok((base, Stopper(running)))
    }

    /// Runs until the controller stops; `task` must listen to `self.shutdown`. The process ends when it does
    /// not last that long.
    #[track_caller]
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let from = std::panic::Location::caller();
        let name = format!("the task of {}:{}", from.file(), from.line());
        let task = self.lasting(&name, &self.shutdown, task);
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(running) = running.as_mut() {
            running.spawn(task);
        }
    }

    /// `task` for somebody else to run until `shutdown`. The process ends when it does not last that long.
    pub fn lasting(
        &self,
        name: &str,
        shutdown: &Shutdown,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.fatal.clone().watch(name.to_owned(), shutdown.clone(), task)
    }

    /// Done last, when nothing runs any more and nothing is served.
    pub fn at_end(&self, end: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(running) = running.as_mut() {
            running.at_end(end);
        }
    }

    /// Holds one more directory until the controller has stopped.
    pub fn hold(&self, lock: StateLock) {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(running) = running.as_mut() {
            running.hold(lock);
        }
    }

    /// A caller of our own, for calls that no client request stands behind.
    pub fn caller(&self, request_id: &str) -> Caller {
        Caller { identity: self.identity.clone(), request_id: request_id.to_owned() }
    }

    /// Binds the internal API's address: first of all where a start changes the host.
    pub async fn bind(&self, config: &ControllerConfig) -> anyhow::Result<TcpListener> {
        let bound = TcpListener::bind(config.listen).await;
        bound.map_err(|e| anyhow::anyhow!("controller.listen = {}: {e}", config.listen))
    }

    /// Binds and serves the internal API and the observing listener; returns their addresses.
    pub async fn serve(&self, config: &ControllerConfig, internal: Router) -> anyhow::Result<Endpoint> {
        self.serve_on(self.bind(config).await?, config, internal).await
    }

    pub async fn serve_on(
        &self,
        listener: TcpListener,
        config: &ControllerConfig,
        internal: Router,
    ) -> anyhow::Result<Endpoint> {
        let url = config.advertise.clone().unwrap_or(format!("https://{}", listener.local_addr()?));
        let observed = Observed {
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            certificate_until: tls::own_validity(&config.tls)?.until,
        };
        let router = self.revoked.guard(internal.merge(guarded(observe_router(observed.clone()), |_| true)));
        let tls = tls::server_config(&config.tls)?;
        self.spawn(server::serve(listener, Some(tls), router, self.shutdown.clone()));
        let observe_url = match config.observe {
            Some(address) => Some(self.serve_plain(address, observe_router(observed)).await?),
            None => None,
        };
        Ok(Endpoint {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            url,
            public_url: None,
            observe_url,
        })
    }

    /// Binds and serves plain HTTP; returns its URL.
    pub async fn serve_plain(&self, address: SocketAddr, router: Router) -> anyhow::Result<String> {
        let listener = TcpListener::bind(address).await.map_err(|e| anyhow::anyhow!("{address}: {e}"))?;
        let url = format!("http://{}", listener.local_addr()?);
        self.spawn(server::serve(listener, None, router, self.shutdown.clone()));
        Ok(url)
    }
}

/// Stops what a [`Base`] has started and waits for its end.
#[derive(Debug)]
pub struct Stopper(Arc<std::sync::Mutex<Option<Running>>>);

impl Stopper {
    pub async fn stop(self) {
        let running = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(running) = running {
            running.stop().await;
        }
    }
}

/// The whole of a controller's `main`.
pub fn main<C: Controller>() -> ExitCode {
    match run::<C>() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error:#}", C::NAME);
            ExitCode::FAILURE
        }
    }
}

fn run<C: Controller>() -> anyhow::Result<()> {
    private_umask();
    let command = <Arguments as clap::CommandFactory>::command()
        .name(C::NAME)
        .about(C::ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(format!(
            "Every key of the file can be set by {}_SECTION__KEY in the environment.",
            C::ENVIRONMENT
        ));
    let arguments = <Arguments as clap::FromArgMatches>::from_arg_matches(&command.get_matches())?;
    let config: C::Config = config::load(&arguments.config, C::ENVIRONMENT)?;
    let checked = telemetry::check(&C::controller(&config).log).and_then(|()| C::check(&config));
    checked.map_err(|message| anyhow::anyhow!("{}: {message}", arguments.config.display()))?;
    if arguments.check_config {
        let files = &C::controller(&config).tls;
        let loaded = tls::own_identity(files).and_then(|_| tls::server_config(files));
        loaded.with_context(|| format!("{}: controller.tls", arguments.config.display()))?;
        println!("{}: ok", arguments.config.display());
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(live::<C>(config))
}

async fn live<C: Controller>(config: C::Config) -> anyhow::Result<()> {
    let controller = C::controller(&config).clone();
    let identity = tls::own_identity(&controller.tls)?;
    let who = format!("{} {}", identity.role.as_str(), identity.name);
    std::fs::create_dir_all(&controller.state_dir)?;
    let story = telemetry::init(&controller.log, &who, &controller.state_dir)?;
    let (base, stopper) = Base::with_story(&controller, story)?;
    let fatal = base.fatal.clone();
    let endpoint = C::start(config, base).await?;
    endpoint.write(&controller.state_dir)?;
    tracing::info!(
        url = endpoint.url,
        public = endpoint.public_url,
        version = endpoint.version,
        "{who} is ready"
    );
    let failed = tokio::select! {
        () = stop_signal() => None,
        why = fatal.told() => Some(why),
    };
    tracing::info!("{who} is stopping");
    match &failed {
        None => stopper.stop().await,
        // Others may wait for ever for what the broken one held.
        Some(_) => drop(tokio::time::timeout(BROKEN_STOP_TIMEOUT, stopper.stop()).await),
    }
    Endpoint::remove(&controller.state_dir);
    match failed {
        None => Ok(()),
        Some(why) => Err(anyhow::anyhow!(why)),
    }
}

/// What [`crate::internal::story::StoryService`] answers when nobody is below.
pub fn own_story(story: &StoryLog, about: &str) -> Result<Vec<crate::internal::story::StoryLine>, ApiError> {
    Ok(story.lines_about(about))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::Role;
    use crate::runtime::pki::Authority;

    struct Frail;

    #[async_trait::async_trait]
    impl Controller for Frail {
        const NAME: &'static str = "frail";
        const ABOUT: &'static str = "";
        const ENVIRONMENT: &'static str = "KARRI_FRAIL";
        type Config = ControllerConfig;

        fn controller(config: &ControllerConfig) -> &ControllerConfig {
            config
        }

        fn check(_: &ControllerConfig) -> Result<(), String> {
            Ok(())
        }

        async fn start(config: ControllerConfig, base: Base) -> anyhow::Result<Endpoint> {
            let endpoint = base.serve(&config, Router::new()).await?;
            base.spawn(async { panic!("the keeper broke") });
            Ok(endpoint)
        }
    }

    #[tokio::test]
    async fn a_controller_one_of_whose_tasks_panics_ends_with_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&directory.path().join("ca")).unwrap();
        let identity = Identity::new(Role::Clc, "", "clc");
        let state_dir = directory.path().join("state");
        let config = ControllerConfig {
            state_dir: state_dir.clone(),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: None,
            observe: None,
            log: "info".into(),
            tls: authority.issue_files(&directory.path().join("tls"), &identity).unwrap(),
        };
        let lived = tokio::time::timeout(Duration::from_secs(30), live::<Frail>(config)).await;
        let error = lived.expect("it ends").unwrap_err().to_string();
        assert!(error.contains("process.rs") && error.contains("panicked: the keeper broke"), "{error}");
        assert!(Endpoint::read(&state_dir).is_none(), "nobody is sent there any more");
    }
}
