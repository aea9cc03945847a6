//! The cloud around the node: its CA, the real karri-walrus, and a cluster controller that hears nodes.

use crate::{Arguments, eventually};
use anyhow::Context;
use async_trait::async_trait;
use karri_proto::instance::BlobRef;
use karri_proto::internal::blobs::BlobPurpose;
use karri_proto::internal::nodes::{self, NodeHello, NodeService, NodeWelcome};
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::pki::Authority;
use karri_proto::runtime::server::{ShutdownTrigger, serve, shutdown_pair};
use karri_proto::runtime::tls::{self, TlsFiles};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

pub const CLUSTER: &str = "lab";
pub const SUBNET: &str = "172.31.0.0/20";
pub const GATEWAY: &str = "172.31.0.1";

pub struct Cloud {
    pub authority: Authority,
    pub work: PathBuf,
    pub cc_url: String,
    pub walrus_url: String,
    pub kernel: BlobRef,
    pub ramdisk: BlobRef,
    pub root: BlobRef,
    hello: Arc<Mutex<Option<NodeHello>>>,
    _cc: ShutdownTrigger,
    /// Killed when this is dropped.
    _walrus: Child,
}

struct LabCc(Arc<Mutex<Option<NodeHello>>>);

#[async_trait]
impl NodeService for LabCc {
    async fn node_hello(&self, caller: &Caller, hello: NodeHello) -> Result<NodeWelcome, ApiError> {
        if !nodes::may_be_called(&caller.identity, &hello.facts.name) {
            return Err(ApiError::invalid("the node is not the one of its certificate"));
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(hello);
        let gateway = GATEWAY.parse().map_err(ApiError::internal)?;
        Ok(NodeWelcome { zone: CLUSTER.into(), subnet_cidr: SUBNET.into(), gateway, tunnels: Vec::new() })
    }
}

pub fn files(authority: &Authority, work: &Path, identity: &Identity) -> anyhow::Result<TlsFiles> {
    let directory = work.join("tls").join(identity.role.as_str());
    Ok(authority.issue_files(&directory, identity)?)
}

/// The two sections of a config file that every controller has.
pub fn controller_section(state_dir: &Path, files: &TlsFiles) -> String {
    format!(
        "[controller]\nstate_dir = {state_dir:?}\nlisten = \"127.0.0.1:0\"\n\
         [controller.tls]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
        files.ca, files.certificate, files.key
    )
}

/// Starts a controller's binary; its log goes to `NAME.log` in the work directory.
pub async fn child(arguments: &Arguments, name: &str, config: &str) -> anyhow::Result<Child> {
    let file = arguments.work.join(format!("{name}.toml"));
    tokio::fs::write(&file, config).await?;
    let open = || {
        std::fs::OpenOptions::new().create(true).append(true).open(arguments.work.join(format!("{name}.log")))
    };
    let mut command = Command::new(arguments.binaries.join(name));
    command.arg("--config").arg(&file).stdout(open()?).stderr(open()?).kill_on_drop(true);
    command.spawn().with_context(|| format!("{name} cannot be started"))
}

/// Where a child answers, once it does.
pub async fn endpoint(state_dir: &Path, child: &mut Child) -> anyhow::Result<Endpoint> {
    let pid = child.id();
    loop_until_up(state_dir, child, pid).await
}

async fn loop_until_up(state_dir: &Path, child: &mut Child, pid: Option<u32>) -> anyhow::Result<Endpoint> {
    let ended = child.wait();
    let up =
        eventually(|| async { Ok(Endpoint::read(state_dir).filter(|endpoint| Some(endpoint.pid) == pid)) });
    tokio::select! {
        status = ended => anyhow::bail!("it ended with {}", status?),
        up = up => up,
    }
}

impl Cloud {
    pub async fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        let work = arguments.work.clone();
        std::fs::create_dir_all(&work)?;
        let authority = Authority::load_or_create(&work.join("ca"))?;
        let hello = Arc::default();
        let (cc_url, cc) = serve_cc(&authority, &work, Arc::clone(&hello)).await?;

        let state_dir = work.join("walrus");
        let walrus_files = files(&authority, &work, &Identity::new(Role::Walrus, "", "walrus"))?;
        let config = controller_section(&state_dir, &walrus_files);
        let mut walrus = child(arguments, "karri-walrus", &config).await?;
        let walrus_url = endpoint(&state_dir, &mut walrus).await?.url;
        let importer = Importer::new(&authority, &work, &walrus_url)?;
        Ok(Self {
            kernel: importer.import(&arguments.images.join("tiny.vmlinuz"), false).await?,
            ramdisk: importer.import(&arguments.images.join("tiny.initrd"), true).await?,
            root: importer.import(&arguments.images.join("tiny.root.img"), false).await?,
            authority,
            work,
            cc_url,
            walrus_url,
            hello,
            _cc: cc,
            _walrus: walrus,
        })
    }

    pub fn hello_forget(&self) {
        *self.hello.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub async fn hello(&self) -> anyhow::Result<NodeHello> {
        eventually(|| async { Ok(self.hello.lock().unwrap_or_else(PoisonError::into_inner).clone()) }).await
    }
}

async fn serve_cc(
    authority: &Authority,
    work: &Path,
    hello: Arc<Mutex<Option<NodeHello>>>,
) -> anyhow::Result<(String, ShutdownTrigger)> {
    let files = files(authority, work, &Identity::new(Role::Cc, CLUSTER, "cc"))?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://{}", listener.local_addr()?);
    let (trigger, shutdown) = shutdown_pair();
    let router = nodes::router(Arc::new(LabCc(hello)));
    tokio::spawn(serve(listener, Some(tls::server_config(&files)?), router, shutdown));
    Ok((url, trigger))
}

struct Importer {
    client: InternalClient,
    caller: Caller,
}

impl Importer {
    fn new(authority: &Authority, work: &Path, url: &str) -> anyhow::Result<Self> {
        let identity = Identity::new(Role::Clc, "", "clc");
        let client = InternalClient::new(url, Role::Walrus, &files(authority, work, &identity)?)?;
        Ok(Self { client, caller: Caller { identity, request_id: "lab-import".into() } })
    }

    async fn import(&self, file: &Path, ramdisk: bool) -> anyhow::Result<BlobRef> {
        let bytes = tokio::fs::read(file).await.with_context(|| file.display().to_string())?;
        let imported = if ramdisk {
            self.client.blob_import_as(&self.caller, BlobPurpose::Ramdisk, bytes.into()).await?
        } else {
            self.client.blob_import(&self.caller, bytes.into()).await?
        };
        Ok(imported.blob)
    }
}
