//! Instance types: the catalogue that an operator writes, read and checked once at start.
//!
//! Values only; the file is read by `Catalogue::load`, nothing else here touches the outside.

use karri_proto::fault::Fault;
use karri_proto::resources::Need;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

const VCPUS_MAX: u32 = 1024;
const MEMORY_MIB_MAX: u64 = 64 << 20;
const DISK_GIB_MAX: u64 = 64 << 10;
const DISK_GIB_DEFAULT: u64 = 8;
const INTERFACES_MAX: u32 = 128;

#[derive(Debug, Clone, PartialEq)]
pub struct InstanceType {
    pub name: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// The root disk when neither image nor launch asks for more.
    pub disk_gib: u64,
    pub interfaces: u32,
    pub addresses_per_interface: u32,
    pub network_performance: String,
    pub free_tier: bool,
    pub hypervisor: Hypervisor,
    pub architectures: Vec<String>,
    pub current_generation: bool,
    /// The default credit mode of a burstable type.
    pub credits: Option<Credits>,
    pub threads_per_core: u32,
    pub clock_ghz: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hypervisor {
    Xen,
    Nitro,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Credits {
    Standard,
    Unlimited,
}

impl Credits {
    pub fn as_str(self) -> &'static str {
        match self {
            Credits::Standard => "standard",
            Credits::Unlimited => "unlimited",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Standard, Self::Unlimited].into_iter().find(|mode| mode.as_str() == text)
    }
}

impl InstanceType {
    /// What a node gives to one instance of it that asks for no larger root disk.
    pub fn need(&self) -> Need {
        Need { vcpus: self.vcpus, memory_mib: self.memory_mib, disk_gib: self.disk_gib }
    }

    /// AWS's words for an image that its machines cannot run.
    pub fn check_architecture(&self, of_image: &str) -> Result<(), Fault> {
        if self.architectures.iter().any(|known| known == of_image) {
            return Ok(());
        }
        let own = self.architectures.join(", ");
        Err(Fault::invalid_parameter(format!(
            "The architecture '{own}' of the specified instance type does not match the architecture '{of_image}' \
             of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try \
             again. You can use 'describe-instance-types' or 'describe-images' to discover the architecture of \
             the instance type or AMI."
        )))
    }

    /// A single vCPU is a whole core, however many threads its siblings' cores have.
    pub fn threads(&self) -> u32 {
        if self.vcpus.is_multiple_of(self.threads_per_core) { self.threads_per_core } else { 1 }
    }

    pub fn cores(&self) -> u32 {
        self.vcpus / self.threads()
    }
}

/// Sorted by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalogue {
    types: BTreeMap<String, InstanceType>,
}

#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("{path}")]
    Read { path: String, source: std::io::Error },
    #[error("{0}")]
    Toml(Box<toml::de::Error>),
    #[error("[{family}]: {cause}")]
    Family { family: String, cause: String },
    #[error("instance type {name}: {cause}")]
    Type { name: String, cause: String },
    #[error("the catalogue has no instance type")]
    Empty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FamilyLines {
    hypervisor: Hypervisor,
    architectures: Vec<String>,
    #[serde(default = "yes")]
    current: bool,
    #[serde(default)]
    burstable: bool,
    credits: Option<Credits>,
    #[serde(default = "one")]
    threads_per_core: u32,
    clock_ghz: Option<f64>,
    network: String,
    sizes: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SizeLine {
    vcpus: u32,
    memory_mib: u64,
    #[serde(default = "disk_default")]
    disk_gib: u64,
    interfaces: u32,
    addresses: u32,
    network: Option<String>,
    #[serde(default)]
    free_tier: bool,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn disk_default() -> u64 {
    DISK_GIB_DEFAULT
}

impl Catalogue {
    pub fn load(path: &Path) -> Result<Self, CatalogueError> {
        let failed = |source| CatalogueError::Read { path: path.display().to_string(), source };
        Self::parse(&std::fs::read_to_string(path).map_err(failed)?)
    }

    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let families: toml::Table = text.parse().map_err(|e| CatalogueError::Toml(Box::new(e)))?;
        let mut types = BTreeMap::new();
        for (family, lines) in families {
            for instance_type in read_family(&family, lines)? {
                types.insert(instance_type.name.clone(), instance_type);
            }
        }
        if types.is_empty() { Err(CatalogueError::Empty) } else { Ok(Self { types }) }
    }

    pub fn get(&self, name: &str) -> Option<&InstanceType> {
        self.types.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &InstanceType> {
        self.types.values()
    }
}

fn read_family(family: &str, lines: toml::Value) -> Result<Vec<InstanceType>, CatalogueError> {
    let failed = |cause: String| CatalogueError::Family { family: family.to_owned(), cause };
    if !is_name(family) {
        return Err(failed("a name has lower-case letters, digits and dashes only".to_owned()));
    }
    let lines: FamilyLines = lines.try_into().map_err(|e: toml::de::Error| failed(e.message().to_owned()))?;
    check_family(&lines).map_err(failed)?;
    let mut types = Vec::with_capacity(lines.sizes.len());
    for (size, line) in &lines.sizes {
        let name = format!("{family}.{size}");
        let failed = |cause: String| CatalogueError::Type { name: name.clone(), cause };
        if !is_name(size) {
            return Err(failed("a size has lower-case letters, digits and dashes only".to_owned()));
        }
        let line: Result<SizeLine, toml::de::Error> = line.clone().try_into();
        let line = line.map_err(|e| failed(e.message().to_owned()))?;
        check_size(&line).map_err(failed)?;
        types.push(instance_type(name, &lines, line));
    }
    Ok(types)
}

fn instance_type(name: String, family: &FamilyLines, size: SizeLine) -> InstanceType {
    InstanceType {
        name,
        vcpus: size.vcpus,
        memory_mib: size.memory_mib,
        disk_gib: size.disk_gib,
        interfaces: size.interfaces,
        addresses_per_interface: size.addresses,
        network_performance: size.network.unwrap_or_else(|| family.network.clone()),
        free_tier: size.free_tier,
        hypervisor: family.hypervisor,
        architectures: family.architectures.clone(),
        current_generation: family.current,
        credits: family.credits,
        threads_per_core: family.threads_per_core,
        clock_ghz: family.clock_ghz,
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 32
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn check_family(family: &FamilyLines) -> Result<(), String> {
    if family.architectures.is_empty() {
        return Err("architectures: at least one".to_owned());
    }
    if let Some(unknown) =
        family.architectures.iter().find(|a| !["i386", "x86_64", "arm64"].contains(&a.as_str()))
    {
        return Err(format!("architectures: \"{unknown}\" is not one of i386, x86_64, arm64"));
    }
    if family.burstable != family.credits.is_some() {
        return Err("credits: to be given when, and only when, burstable = true".to_owned());
    }
    if !(1..=8).contains(&family.threads_per_core) {
        return Err("threads_per_core: 1 to 8".to_owned());
    }
    match family.clock_ghz {
        Some(clock) if !(0.1..=20.0).contains(&clock) => Err("clock_ghz: 0.1 to 20".to_owned()),
        _ => Ok(()),
    }
}

fn check_size(size: &SizeLine) -> Result<(), String> {
    let within = |key: &str, value: u64, max: u64| match value {
        0 => Err(format!("{key}: at least 1")),
        value if value > max => Err(format!("{key}: at most {max}")),
        _ => Ok(()),
    };
    within("vcpus", size.vcpus.into(), VCPUS_MAX.into())?;
    within("memory_mib", size.memory_mib, MEMORY_MIB_MAX)?;
    within("disk_gib", size.disk_gib, DISK_GIB_MAX)?;
    within("interfaces", size.interfaces.into(), INTERFACES_MAX.into())?;
    within("addresses", size.addresses.into(), INTERFACES_MAX.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../deploy/config/instance-types.toml");

    #[test]
    fn the_shipped_catalogue_holds_the_familiar_names() {
        let catalogue = Catalogue::parse(SHIPPED).unwrap();
        for (name, vcpus, memory_mib, cores) in [
            ("t2.nano", 1, 512, 1),
            ("t2.2xlarge", 8, 32_768, 8),
            ("t3.micro", 2, 1024, 1),
            ("m5.large", 2, 8192, 1),
            ("c5.9xlarge", 36, 73_728, 18),
            ("r5.24xlarge", 96, 786_432, 48),
            ("m1.small", 1, 1740, 1),
            ("c1.medium", 2, 1740, 2),
        ] {
            let found = catalogue.get(name).unwrap();
            assert_eq!((found.vcpus, found.memory_mib, found.cores()), (vcpus, memory_mib, cores), "{name}");
        }
        assert_eq!(catalogue.get("t3.micro").unwrap().disk_gib, 8);
        assert!(catalogue.get("t9.huge").is_none());
    }

    fn refusal(text: &str) -> String {
        Catalogue::parse(text).unwrap_err().to_string()
    }

    const FAMILY: &str =
        "[x1]\nhypervisor = \"xen\"\narchitectures = [\"x86_64\"]\nnetwork = \"Low\"\n[x1.sizes]\n";

    #[test]
    fn a_wrong_line_is_refused_by_the_name_of_its_type() {
        let line = |line: &str| refusal(&format!("{FAMILY}big = {{ {line} }}\n"));
        assert!(
            line("vcpus = 1, interfaces = 1, addresses = 1").contains("instance type x1.big: missing field")
        );
        let all = "memory_mib = 1, interfaces = 1, addresses = 1";
        assert_eq!(line(&format!("vcpus = 0, {all}")), "instance type x1.big: vcpus: at least 1");
        assert!(line(&format!("vcpus = 1, {all}, colour = 1")).contains("x1.big: unknown field `colour`"));
        assert!(line(&format!("vcpus = \"2\", {all}")).contains("x1.big"));
        assert!(line(&format!("vcpus = -1, {all}")).contains("x1.big"));
    }

    #[test]
    fn a_wrong_family_is_refused_by_its_name_and_an_empty_catalogue_too() {
        assert!(refusal("[x1]\nhypervisor = \"vmware\"\n").contains("[x1]"));
        assert!(refusal(&FAMILY.replace("x86_64", "z80")).contains("[x1]: architectures"));
        assert!(refusal(&FAMILY.replace("network", "burstable = true\nnetwork")).contains("[x1]: credits"));
        assert!(refusal(&FAMILY.replace("x1", "X1")).contains("[X1]"));
        assert_eq!(refusal(FAMILY), "the catalogue has no instance type");
        assert!(refusal("[x1\n").contains("line 1"));
    }
}
