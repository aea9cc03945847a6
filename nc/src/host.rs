//! Finds everything of a node on its host, and takes it away: what `karri down --terminate` asks for.
//!
//! The controller must not be running. Guests, ports and rules go, and what the node itself has made of address,
//! bridge and uplink (the bridge unless others use it); so do the instances' files, but not the image cache, which
//! belongs to no instance. Only what carries this node's own mark is touched.

use crate::app::domain_xml::Platform;
use crate::app::owner_tag::domain_name;
use crate::config::{Config, Driver, NetworkMode};
use crate::drive::hypervisor::Hypervisor;
use crate::drive::hypervisor::libvirt::{Libvirt, PlatformChoice};
use crate::drive::ports::{BridgePorts, Ports, TapNames};
use crate::start::{boot_id, owner, place};
use karri_proto::ids::InstanceId;
use karri_proto::runtime::tls;
use std::path::PathBuf;

pub struct Traces {
    host: Option<HostTraces>,
    /// Directories and files.
    kept: Vec<PathBuf>,
}

struct HostTraces {
    hypervisor: Libvirt,
    guests: Vec<InstanceId>,
    /// None: guests are on no bridge of the host.
    ports: Option<BridgePorts>,
    taps: Vec<String>,
}

/// Looks and changes nothing.
pub async fn survey(config: &Config) -> anyhow::Result<Traces> {
    let host = match config.hypervisor.driver {
        Driver::Libvirt => Some(HostTraces::survey(config).await?),
        Driver::Sim => None,
    };
    let state_dir = &config.controller.state_dir;
    let kept = ["instances", "tombstones", "nodes", "facts"].map(|name| state_dir.join(name));
    Ok(Traces { host, kept: kept.into_iter().filter(|path| path.exists()).collect() })
}

impl HostTraces {
    async fn survey(config: &Config) -> anyhow::Result<Self> {
        let identity = tls::own_identity(&config.controller.tls)?;
        let owner = owner(config, &identity.name)?;
        // Which one matters only to guests that are started, but that it is Xen also to what they leave.
        let xen = config.hypervisor.is_xen();
        let platform = if xen { PlatformChoice::XenAny } else { PlatformChoice::Qemu(Platform::Tcg) };
        let instances = config.controller.state_dir.join("instances");
        let hypervisor = Libvirt::visiting(&config.hypervisor.uri, owner.clone(), platform, &instances);
        let guests = hypervisor.found().await?.own.into_iter().map(|guest| guest.tag.id).collect();
        let ports = match config.network.mode {
            NetworkMode::Bridge => {
                Some(BridgePorts::attach(place(config, &boot_id()?), TapNames::new(&owner)).await?)
            }
            NetworkMode::User => None,
        };
        let plugged = match &ports {
            Some(ports) => ports.plugged().await?,
            None => Vec::new(),
        };
        let taps = plugged.into_iter().filter(|port| port.rules).map(|port| port.tap).collect();
        Ok(Self { hypervisor, guests, ports, taps })
    }
}

impl Traces {
    /// A line per thing that [`Traces::remove`] takes away.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(host) = &self.host {
            lines.extend(host.guests.iter().map(|id| format!("guest {}", domain_name(id))));
            lines.extend(host.taps.iter().map(|tap| format!("port {tap} and its rules")));
        }
        if let Some(ports) = self.host.as_ref().and_then(|host| host.ports.as_ref()) {
            let segments = ports.segments();
            lines.extend(segments.iter().map(|bridge| format!("segment {bridge} unless others use it")));
            lines.push(format!("rules and address for metadata on {}", ports.bridge()));
            lines.push(format!("chains and sets {}-*", ports.chains()));
        }
        lines.extend(self.kept.iter().map(|path| path.display().to_string()));
        lines
    }

    /// Returns what was removed.
    pub async fn remove(self) -> anyhow::Result<Vec<String>> {
        let removed = self.describe();
        if let Some(host) = &self.host {
            for id in &host.guests {
                host.hypervisor.force_off(id).await?;
                host.hypervisor.undefine(id).await?;
                host.hypervisor.console_remove(id).await?;
            }
            if let Some(ports) = &host.ports {
                ports.clean().await?;
            }
        }
        for path in &self.kept {
            match path.is_dir() {
                true => tokio::fs::remove_dir_all(path).await?,
                false => tokio::fs::remove_file(path).await?,
            }
        }
        Ok(removed)
    }
}
