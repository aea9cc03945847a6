//! Walrus' configuration: `deploy/config/walrus.toml` explains every key.

mod s3;
mod store;

pub use s3::S3Config;
pub use store::{Backend, StoreConfig};

use crate::app::import::Limits;
use crate::drive::qemu_img::ToolLimits;
use karri_proto::runtime::process::ControllerConfig;
use serde::Deserialize;
use std::time::Duration;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// More gibibytes than this no file system holds, and the sum in bytes still fits.
const GIB_MAX: u64 = 1 << 32;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub controller: ControllerConfig,
    #[serde(default)]
    pub blobs: BlobsConfig,
    /// Absent: S3 is not served.
    #[serde(default)]
    pub s3: Option<S3Config>,
    #[serde(default)]
    pub store: StoreConfig,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlobsConfig {
    pub max_gib: u64,
    pub import_max_gib: u64,
    pub virtual_max_gib: u64,
    pub imports_at_once: usize,
    pub reads_at_once: usize,
    pub bundle_cache_max_gib: u64,
    pub idle_secs: u64,
    pub tool_timeout_secs: u64,
    pub tool_memory_mib: u64,
}

impl Default for BlobsConfig {
    fn default() -> Self {
        Self {
            max_gib: 200,
            import_max_gib: 64,
            virtual_max_gib: 16_384,
            imports_at_once: 4,
            reads_at_once: 512,
            bundle_cache_max_gib: 40,
            idle_secs: 30,
            tool_timeout_secs: 900,
            tool_memory_mib: 2048,
        }
    }
}

impl Config {
    pub fn check(&self) -> Result<(), String> {
        let b = &self.blobs;
        let ranges = [
            ("max_gib", b.max_gib, GIB_MAX),
            ("import_max_gib", b.import_max_gib, b.max_gib),
            ("virtual_max_gib", b.virtual_max_gib, GIB_MAX),
            ("imports_at_once", b.imports_at_once as u64, 64),
            ("reads_at_once", b.reads_at_once as u64, 4096),
            ("bundle_cache_max_gib", b.bundle_cache_max_gib, GIB_MAX),
            ("idle_secs", b.idle_secs, 3600),
            ("tool_timeout_secs", b.tool_timeout_secs, 6 * 3600),
            ("tool_memory_mib", b.tool_memory_mib, 1 << 20),
        ];
        let wrong = ranges.into_iter().find(|(_, value, max)| *value == 0 || value > max);
        wrong.map_or(Ok(()), |(key, value, max)| {
            Err(format!("blobs.{key} = {value}: expecting a number from 1 to {max}"))
        })?;
        self.store.check()?;
        self.s3.as_ref().map_or(Ok(()), |s3| s3.check(&self.controller.state_dir))
    }
}

impl BlobsConfig {
    pub fn limits(&self) -> Limits {
        Limits {
            store_bytes_max: self.max_gib * GIB,
            import_bytes_max: self.import_max_gib * GIB,
            virtual_bytes_max: self.virtual_max_gib * GIB,
            imports_at_once: self.imports_at_once,
            reads_at_once: self.reads_at_once,
            bundle_cache_bytes_max: self.bundle_cache_max_gib * GIB,
            idle: Duration::from_secs(self.idle_secs),
        }
    }

    pub fn tool_limits(&self) -> ToolLimits {
        ToolLimits {
            timeout: Duration::from_secs(self.tool_timeout_secs),
            memory_bytes: self.tool_memory_mib * MIB,
        }
    }
}

/// Letters, digits and dashes.
fn is_region(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../deploy/config/walrus.toml");

    #[test]
    fn the_example_file_is_right_and_shows_the_defaults() {
        let config: Config = toml::from_str(EXAMPLE).unwrap();
        config.check().unwrap();
        assert_eq!(format!("{:?}", config.blobs), format!("{:?}", BlobsConfig::default()));
    }

    #[test]
    fn an_unknown_key_and_a_senseless_limit_are_named() {
        let unknown = EXAMPLE.replace("max_gib = 200", "maxgib = 200");
        assert!(toml::from_str::<Config>(&unknown).unwrap_err().to_string().contains("maxgib"));
        let zero = EXAMPLE.replace("imports_at_once = 4", "imports_at_once = 0");
        let error = toml::from_str::<Config>(&zero).unwrap().check().unwrap_err();
        assert!(error.contains("blobs.imports_at_once"), "{error}");
        let more = EXAMPLE.replace("import_max_gib = 64", "import_max_gib = 201");
        assert!(toml::from_str::<Config>(&more).unwrap().check().is_err());
    }
}
