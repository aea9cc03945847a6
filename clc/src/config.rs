//! `clc.toml`: the cloud controller's configuration. Only values; reading it touches no file but itself.

use karri_proto::runtime::process::ControllerConfig;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub controller: ControllerConfig,
    pub api: ApiConfig,
    pub database: DatabaseConfig,
    pub secrets: SecretsConfig,
    #[serde(default)]
    pub limits: Limits,
    pub catalogue: CatalogueConfig,
    pub pki: PkiConfig,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    pub region: String,
    #[serde(default)]
    pub also_accept_regions: Vec<String>,
    #[serde(default = "default_body_bytes_max")]
    pub body_bytes_max: usize,
    #[serde(default = "default_answer_cache_mib")]
    pub answer_cache_mib: usize,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8773))
}

fn default_body_bytes_max() -> usize {
    1 << 20
}

fn default_answer_cache_mib() -> usize {
    32
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:///path/file` or `postgres://…`.
    pub url: String,
    #[serde(default = "default_connections")]
    pub connections: u32,
}

fn default_connections() -> u32 {
    4
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsConfig {
    pub key_file: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub instances_per_account: usize,
    pub instances_per_request: i32,
    pub pending_secs: u64,
    pub stopping_secs: u64,
    pub shutting_down_secs: u64,
    pub terminated_visible_secs: u64,
    pub cluster_silent_secs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances_per_account: 20_000,
            instances_per_request: 1000,
            pending_secs: 600,
            stopping_secs: 600,
            shutting_down_secs: 600,
            terminated_visible_secs: 3600,
            cluster_silent_secs: 10,
        }
    }
}

impl Limits {
    pub fn cluster_silent(&self) -> Duration {
        Duration::from_secs(self.cluster_silent_secs)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueConfig {
    pub instance_types: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PkiConfig {
    pub ca_dir: PathBuf,
    pub walrus_url: String,
}

impl Config {
    /// What parsing cannot see. Each message names its key.
    pub fn check(&self) -> Result<(), String> {
        let region = &self.api.region;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if region.is_empty() || !region.bytes().all(plain) {
            return Err(format!("api.region = \"{region}\": lower-case letters, digits and dashes only"));
        }
        if !["sqlite:", "postgres:", "postgresql:"].iter().any(|s| self.database.url.starts_with(s)) {
            return Err("database.url: expecting sqlite:///… or postgres://…".to_owned());
        }
        if self.database.connections == 0 {
            return Err("database.connections: at least 1".to_owned());
        }
        if self.limits.instances_per_request < 1 {
            return Err("limits.instances_per_request: at least 1".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../deploy/config/clc.toml");

    #[test]
    fn the_example_file_is_right() {
        let config: Config = toml::from_str(EXAMPLE).unwrap();
        config.check().unwrap();
    }

    #[test]
    fn a_region_with_a_slash_is_refused_by_its_key() {
        let mut config: Config = toml::from_str(EXAMPLE).unwrap();
        config.api.region = "a/b".to_owned();
        assert!(config.check().unwrap_err().contains("api.region"));
    }
}
