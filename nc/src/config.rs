//! `nc.toml`: see `deploy/config/nc.toml` for what each key means.

use crate::app::domain_xml::Platform;
use karri_proto::network::SegmentDriver;
use karri_proto::resources::Need;
use karri_proto::runtime::process::ControllerConfig;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub controller: ControllerConfig,
    pub node: NodeConfig,
    #[serde(default)]
    pub hypervisor: HypervisorConfig,
    #[serde(default)]
    pub network: NetworkConfig,
    #[serde(default)]
    pub images: ImagesConfig,
    #[serde(default)]
    pub guest: GuestConfig,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    pub cc_url: String,
    pub walrus_url: String,
    #[serde(default)]
    pub vcpus: Amount,
    #[serde(default)]
    pub memory_mib: Amount,
    #[serde(default)]
    pub disk_gib: Amount,
    /// Virtual processors given out per processor, when `vcpus = "auto"`.
    #[serde(default = "default_overcommit")]
    pub vcpu_overcommit: f64,
}

fn default_overcommit() -> f64 {
    8.0
}

/// `"auto"`, a number, or a number as text (which is what the environment gives).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Amount {
    #[default]
    Auto,
    Fixed(u64),
}

impl Amount {
    pub fn or(self, automatic: u64) -> u64 {
        match self {
            Amount::Auto => automatic,
            Amount::Fixed(amount) => amount,
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;

        impl Visitor<'_> for AmountVisitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a number")
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Amount, E> {
                u64::try_from(value).map(Amount::Fixed).map_err(|_| E::custom("a negative amount"))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Amount, E> {
                Ok(Amount::Fixed(value))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
                match text {
                    "auto" => Ok(Amount::Auto),
                    _ => text
                        .parse()
                        .map(Amount::Fixed)
                        .map_err(|_| E::custom(format!("\"{text}\" is neither \"auto\" nor a number"))),
                }
            }
        }

        deserializer.deserialize_any(AmountVisitor)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    Libvirt,
    Sim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    Auto,
    Kvm,
    Tcg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum XenGuest {
    Auto,
    Pv,
    Pvh,
    Hvm,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HypervisorConfig {
    pub driver: Driver,
    pub uri: String,
    pub accel: Accelerator,
    pub xen_guest: XenGuest,
    pub sim_nodes: u32,
    /// How long a simulated guest takes to start.
    pub sim_start_ms: u64,
    /// Simulated nodes write no files: a restart has forgotten all guests.
    pub sim_in_memory: bool,
}

impl Default for HypervisorConfig {
    fn default() -> Self {
        Self {
            driver: Driver::Libvirt,
            uri: "qemu:///system".to_owned(),
            accel: Accelerator::Auto,
            xen_guest: XenGuest::Auto,
            sim_nodes: 1,
            sim_start_ms: 20,
            sim_in_memory: false,
        }
    }
}

impl HypervisorConfig {
    pub fn is_xen(&self) -> bool {
        self.uri.starts_with("xen")
    }

    pub fn xen_platform(&self) -> Option<Platform> {
        match self.xen_guest {
            XenGuest::Auto => None,
            XenGuest::Pv => Some(Platform::XenPv),
            XenGuest::Pvh => Some(Platform::XenPvh),
            XenGuest::Hvm => Some(Platform::XenHvm),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// Taps on bridges of this host.
    Bridge,
    /// QEMU's user networking, for clusters of that mode.
    User,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortcut {
    /// Where the kernel can.
    Auto,
    Off,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    pub mode: NetworkMode,
    pub bridge: String,
    /// The interface that joins the bridge to the other nodes; none on a single machine.
    pub uplink: Option<String>,
    /// Where guests' metadata requests are sent to: an address of our own on the bridge.
    pub metadata: SocketAddrV4,
    /// How segments reach other hosts: the cluster's.
    pub driver: SegmentDriver,
    /// Driver `vlan`: the interface to which the tagged frames go.
    pub trunk: Option<String>,
    /// Where frames of segments come in from other hosts: an address of this one.
    pub tunnel_address: Option<Ipv4Addr>,
    /// Bytes of a packet that the network between the hosts carries.
    pub tunnel_mtu: u32,
    /// The UDP port of those frames, the same on all hosts.
    pub vxlan_port: u16,
    /// Whether packets of open flows pass from port to port beside the rules, which are asked now and then.
    pub shortcut: Shortcut,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let metadata = SocketAddrV4::new(Ipv4Addr::new(169, 254, 87, 1), 0);
        Self {
            mode: NetworkMode::Bridge,
            bridge: "karri0".to_owned(),
            uplink: None,
            metadata,
            driver: SegmentDriver::Vxlan,
            trunk: None,
            tunnel_address: None,
            tunnel_mtu: 1500,
            vxlan_port: 4789,
            shortcut: Shortcut::Auto,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImagesConfig {
    pub cache_gib: u64,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self { cache_gib: 20 }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuestConfig {
    pub prepare_secs_max: u64,
    pub stop_secs_max: u64,
    pub terminate_secs_max: u64,
    pub reboot_secs_max: u64,
    pub capture_secs_max: u64,
}

impl Default for GuestConfig {
    fn default() -> Self {
        Self {
            prepare_secs_max: 1800,
            stop_secs_max: 60,
            terminate_secs_max: 10,
            reboot_secs_max: 60,
            capture_secs_max: 7200,
        }
    }
}

/// A year.
const SECS_MOST: u64 = 366 * 24 * 3600;
/// More gibibytes than this no file system holds, and the sum in bytes still fits.
const GIB_MOST: u64 = 1 << 32;

/// Everything a parsed file can still have wrong.
pub fn check(config: &Config) -> Result<(), String> {
    let bridge = &config.network.bridge;
    if !is_interface(bridge) {
        return Err(format!("network.bridge = \"{bridge}\" is not the name of an interface"));
    }
    check_tunnel(&config.network)?;
    check_driver(config)?;
    if config.network.mode == NetworkMode::User && config.hypervisor.is_xen() {
        return Err("network.mode = \"user\": it is QEMU's, and hypervisor.uri is Xen's".to_owned());
    }
    for (key, url) in [("cc_url", &config.node.cc_url), ("walrus_url", &config.node.walrus_url)] {
        if !url.starts_with("https://") {
            return Err(format!("node.{key} = \"{url}\" is not an https URL"));
        }
    }
    if !(config.node.vcpu_overcommit > 0.0 && config.node.vcpu_overcommit.is_finite()) {
        return Err(format!("node.vcpu_overcommit = {} is not positive", config.node.vcpu_overcommit));
    }
    check_ranges(config)
}

fn is_interface(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=15).contains(&name.len()) && name.chars().all(valid)
}

/// A simulated node makes nothing, and needs nothing for it.
fn check_driver(config: &Config) -> Result<(), String> {
    let NetworkConfig { driver, trunk, bridge, tunnel_address, .. } = &config.network;
    let is_vlan = *driver == SegmentDriver::Vlan;
    match trunk {
        None if is_vlan && config.hypervisor.driver == Driver::Libvirt => {
            Err("network.trunk: with driver = \"vlan\" the interface is expected that tagged frames go to"
                .to_owned())
        }
        Some(trunk) if !is_vlan => Err(format!("network.trunk = \"{trunk}\": it is for driver = \"vlan\"")),
        Some(trunk) if !is_interface(trunk) || trunk == bridge => {
            Err(format!("network.trunk = \"{trunk}\": expecting the name of an interface beside the bridge"))
        }
        _ if is_vlan && config.network.mode == NetworkMode::User => {
            Err("network.driver = \"vlan\": there are no segments in network.mode = \"user\"".to_owned())
        }
        _ => match tunnel_address.filter(|_| is_vlan) {
            Some(address) => {
                Err(format!("network.tunnel_address = \"{address}\": it is for driver = \"vxlan\""))
            }
            None => Ok(()),
        },
    }
}

fn check_tunnel(network: &NetworkConfig) -> Result<(), String> {
    let no_hosts =
        |address: &Ipv4Addr| address.is_unspecified() || address.is_multicast() || address.is_broadcast();
    match network.tunnel_address.filter(no_hosts) {
        Some(address) => Err(format!("network.tunnel_address = \"{address}\" is no host's address")),
        None => Ok(()),
    }
}

fn check_ranges(config: &Config) -> Result<(), String> {
    let guest = &config.guest;
    let ranges = [
        ("hypervisor.sim_nodes", u64::from(config.hypervisor.sim_nodes), 1, 10_000),
        ("hypervisor.sim_start_ms", config.hypervisor.sim_start_ms, 0, SECS_MOST * 1000),
        // What is left in a segment is enough for IPv4, and an IPv4 packet is no longer.
        ("network.tunnel_mtu", u64::from(config.network.tunnel_mtu), 630, 65_535),
        ("network.vxlan_port", u64::from(config.network.vxlan_port), 1, 65_535),
        // A node cannot work without its image cache.
        ("images.cache_gib", config.images.cache_gib, 1, GIB_MOST),
        ("guest.prepare_secs_max", guest.prepare_secs_max, 1, SECS_MOST),
        ("guest.stop_secs_max", guest.stop_secs_max, 1, SECS_MOST),
        ("guest.terminate_secs_max", guest.terminate_secs_max, 1, SECS_MOST),
        ("guest.reboot_secs_max", guest.reboot_secs_max, 1, SECS_MOST),
        ("guest.capture_secs_max", guest.capture_secs_max, 1, SECS_MOST),
    ];
    let wrong = ranges.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
    wrong.map_or(Ok(()), |(key, value, least, most)| {
        Err(format!("{key} = {value}: expecting a number from {least} to {most}"))
    })
}

/// What one simulated node has to give, unless the file says otherwise.
const SIM_TOTAL: Need = Need { vcpus: 64, memory_mib: 256 * 1024, disk_gib: 4096 };
/// Left to the host itself.
const HOST_MEMORY_MIB: u64 = 512;

impl NodeConfig {
    pub fn total(&self, driver: Driver, state_dir: &Path) -> Need {
        let automatic = match driver {
            Driver::Sim => SIM_TOTAL,
            Driver::Libvirt => host_total(state_dir, self.vcpu_overcommit),
        };
        Need {
            vcpus: u32::try_from(self.vcpus.or(u64::from(automatic.vcpus))).unwrap_or(u32::MAX),
            memory_mib: self.memory_mib.or(automatic.memory_mib),
            disk_gib: self.disk_gib.or(automatic.disk_gib),
        }
    }
}

fn host_total(state_dir: &Path, overcommit: f64) -> Need {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Never more than a float holds exactly, and never less than one.
    let vcpus = (f64::from(u32::try_from(processors).unwrap_or(1)) * overcommit).clamp(1.0, 1e6);
    let memory = rustix::system::sysinfo();
    let memory_mib = (memory.totalram as u64).saturating_mul(u64::from(memory.mem_unit)) >> 20;
    let disk_gib = rustix::fs::statvfs(state_dir).map_or(0, |facts| (facts.f_blocks * facts.f_frsize) >> 30);
    Need {
        vcpus: vcpus as u32,
        memory_mib: memory_mib.saturating_sub(HOST_MEMORY_MIB),
        // A tenth is for the host, its logs and the records.
        disk_gib: disk_gib - disk_gib / 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::runtime::config::load;

    #[test]
    fn the_example_file_is_right() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config/nc.toml");
        let config: Config = load(&path, "KARRI_NC_EXAMPLE").unwrap();
        check(&config).unwrap();
    }

    #[test]
    fn a_number_that_nothing_could_work_with_is_refused_by_its_key() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config/nc.toml");
        let wrong = |change: fn(&mut Config), key: &str| {
            let mut config: Config = load(&path, "KARRI_NC_EXAMPLE").unwrap();
            change(&mut config);
            let message = check(&config).unwrap_err();
            assert!(message.starts_with(key), "{message}");
        };
        wrong(|c| c.hypervisor.sim_nodes = 0, "hypervisor.sim_nodes");
        wrong(|c| c.hypervisor.sim_nodes = 10_001, "hypervisor.sim_nodes");
        wrong(|c| c.images.cache_gib = 0, "images.cache_gib");
        wrong(|c| c.network.tunnel_mtu = 600, "network.tunnel_mtu");
        wrong(|c| c.network.vxlan_port = 0, "network.vxlan_port");
        wrong(|c| c.network.tunnel_address = Some(Ipv4Addr::UNSPECIFIED), "network.tunnel_address");
        wrong(|c| c.network.tunnel_address = Some(Ipv4Addr::new(239, 1, 1, 1)), "network.tunnel_address");
        fn vlan(trunk: Option<&str>, c: &mut Config) {
            (c.network.driver, c.network.trunk) = (SegmentDriver::Vlan, trunk.map(str::to_owned));
        }
        wrong(|c| c.network.trunk = Some("eth1".to_owned()), "network.trunk");
        wrong(|c| vlan(None, c), "network.trunk");
        wrong(|c| vlan(Some("eth 1"), c), "network.trunk");
        wrong(|c| vlan(Some("karri0"), c), "network.trunk");
        let tunnel = |c: &mut Config| {
            vlan(Some("eth1"), c);
            c.network.tunnel_address = Some([192, 0, 2, 11].into());
        };
        wrong(tunnel, "network.tunnel_address");
        let user = |c: &mut Config| {
            vlan(Some("eth1"), c);
            c.network.mode = NetworkMode::User;
        };
        wrong(user, "network.driver");
        let user_of_xen = |c: &mut Config| {
            c.network.mode = NetworkMode::User;
            c.hypervisor.uri = "xen:///system".to_owned();
        };
        wrong(user_of_xen, "network.mode");
        wrong(|c| c.guest.prepare_secs_max = 0, "guest.prepare_secs_max");
        wrong(|c| c.guest.stop_secs_max = u64::MAX, "guest.stop_secs_max");
    }

    #[test]
    fn the_shortcut_is_auto_or_off() {
        let parse = |text: &str| text.parse::<toml::Table>().unwrap().try_into::<NetworkConfig>();
        assert_eq!(parse("").unwrap().shortcut, Shortcut::Auto);
        assert_eq!(parse("shortcut = \"off\"").unwrap().shortcut, Shortcut::Off);
        assert!(parse("shortcut = \"on\"").unwrap_err().to_string().contains("`auto` or `off`"));
    }

    #[test]
    fn amounts_are_auto_or_numbers_in_either_form() {
        #[derive(Deserialize)]
        struct Holder {
            x: Amount,
        }
        let parse = |text: &str| text.parse::<toml::Table>().unwrap().try_into::<Holder>().map(|h| h.x);
        assert_eq!(parse("x = \"auto\"").unwrap(), Amount::Auto);
        assert_eq!(parse("x = 5").unwrap(), Amount::Fixed(5));
        assert_eq!(parse("x = \"5\"").unwrap(), Amount::Fixed(5));
        assert!(parse("x = -1").is_err());
        assert!(parse("x = \"much\"").is_err());
    }
}
