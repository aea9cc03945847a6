//! The state directory: where everything of one cloud on this machine lives, and which one is meant.
//!
//! ```text
//!   lock            held by the running supervisor; names its pid
//!   cloud.json      what the first `up` decided (see `facts`)
//!   ca/             the cloud's CA
//!   tls/NAME/       key, certificate and CA of each controller and of the operator (`admin`)
//!   config/NAME.toml  the controllers' configuration; the operator's to edit
//!   NAME/           a controller's own state
//!   logs/NAME.log   what a controller says
//!   run/            the running children, for the next supervisor should this one be killed; what the
//!                   environment overrode, for `down`
//!   keys/           what Walrus encrypts objects with, and the cloud's key for image bundles
//!   credentials     endpoints and keys of the account `admin`, as shell variables
//!   s3cfg           the same for s3cmd
//!   *.pem           what the operator bundles images with, and the cloud's certificate
//! ```

use crate::facts::Facts;
use karri_proto::runtime::tls::TlsFiles;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

pub const RUN: &str = "/run/karri";
const ROOTS_DATA: &str = "/var/lib";

#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where `up` puts a new cloud.
    pub fn for_up(given: Option<PathBuf>, simulated: bool) -> anyhow::Result<Self> {
        let root = match given {
            Some(root) => std::path::absolute(root)?,
            None => default_root(simulated)?,
        };
        Ok(Self::at(root))
    }

    /// The cloud that a verb speaks of: the given one, else a running default, else one that exists.
    pub fn for_verb(given: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(root) = given {
            return Ok(Self::at(std::path::absolute(root)?));
        }
        let homes = [Self::at(default_root(false)?), Self::at(default_root(true)?)];
        let chosen = homes
            .iter()
            .find(|home| home.controller_runs("clc"))
            .or_else(|| homes.iter().find(|home| home.facts_file().exists()))
            .unwrap_or(&homes[0]);
        Ok(chosen.clone())
    }

    fn controller_runs(&self, name: &str) -> bool {
        karri_proto::runtime::endpoint::Endpoint::path(&self.controller(name)).exists()
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub fn facts_file(&self) -> PathBuf {
        self.root.join("cloud.json")
    }

    pub fn facts(&self) -> anyhow::Result<Facts> {
        Facts::read(&self.facts_file())?.ok_or_else(|| {
            anyhow::anyhow!(
                "there is no cloud in {} (karri up makes one; --state-dir names another place{})",
                self.root.display(),
                roots_cloud()
            )
        })
    }

    pub fn ca(&self) -> PathBuf {
        self.root.join("ca")
    }

    pub fn tls_directory(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(name)
    }

    pub fn tls(&self, name: &str) -> TlsFiles {
        TlsFiles::in_directory(&self.tls_directory(name))
    }

    pub fn config(&self, name: &str) -> PathBuf {
        self.root.join("config").join(format!("{name}.toml"))
    }

    pub fn controller(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    pub fn children_file(&self) -> PathBuf {
        self.root.join("run").join("children.json")
    }

    pub fn overrides_file(&self) -> PathBuf {
        self.root.join("run").join("environment.json")
    }

    /// For files that a process without our rights reads, which it could not below a home directory. Two
    /// clouds of one machine have two.
    pub fn run_directory(&self) -> PathBuf {
        let name = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        Path::new(RUN).join(&hex::encode(name)[..8])
    }

    pub fn credentials(&self) -> PathBuf {
        self.root.join("credentials")
    }

    pub fn s3cfg(&self) -> PathBuf {
        self.root.join("s3cfg")
    }

    /// Of Walrus; apart from the objects that they encrypt.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub fn master_keys(&self) -> PathBuf {
        self.keys().join("s3-master.keys")
    }

    pub fn cloud_key(&self) -> PathBuf {
        self.keys().join("cloud-pk.pem")
    }

    /// Where Walrus puts the cloud's certificate.
    pub fn cloud_certificate_made(&self) -> PathBuf {
        self.keys().join("cloud-cert.pem")
    }

    /// For users.
    pub fn cloud_certificate(&self) -> PathBuf {
        self.root.join("cloud-cert.pem")
    }

    pub fn user_certificate(&self) -> PathBuf {
        self.root.join("euca-user-cert.pem")
    }

    pub fn user_key(&self) -> PathBuf {
        self.root.join("euca-user-pk.pem")
    }
}

/// What somebody else may have been looking for.
fn roots_cloud() -> String {
    let clouds = ["karri", "karri-sim"].map(|name| Path::new(ROOTS_DATA).join(name));
    let there = clouds.iter().find(|cloud| !is_root() && cloud.join("cloud.json").exists());
    there.map(|cloud| format!("; the one in {} is root's: sudo karri", cloud.display())).unwrap_or_default()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn default_root(simulated: bool) -> anyhow::Result<PathBuf> {
    let base = if is_root() { PathBuf::from(ROOTS_DATA) } else { user_data_directory()? };
    Ok(base.join(if simulated { "karri-sim" } else { "karri" }))
}

fn user_data_directory() -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .ok_or_else(|| anyhow::anyhow!("neither XDG_DATA_HOME nor HOME is set; use --state-dir"))
}
