//! The catalogue of instance types, from a file.

use karri_proto::resources::Need;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceType {
    pub name: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// The root disk of an instance whose launch names no size.
    pub disk_gib: u64,
}

impl InstanceType {
    pub fn need(&self) -> Need {
        Need { vcpus: self.vcpus, memory_mib: self.memory_mib, disk_gib: self.disk_gib }
    }
}

/// By name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue(BTreeMap<String, InstanceType>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    instance_type: Vec<InstanceType>,
}

impl Catalogue {
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut types = BTreeMap::new();
        for one in file.instance_type {
            if one.vcpus == 0 || one.memory_mib == 0 {
                return Err(format!("{}: vcpus and memory_mib must be greater than 0", one.name));
            }
            if let Some(double) = types.insert(one.name.clone(), one) {
                return Err(format!("{}: named twice", double.name));
            }
        }
        Ok(Self(types))
    }

    pub fn get(&self, name: &str) -> Option<&InstanceType> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &InstanceType> {
        self.0.values()
    }
}
