//! Takes everything of a node off its host: what `karri down --terminate` asks for.
//!
//! The controller must not be running. Guests, ports, rules, the bridge (unless others use it) and
//! the instances' files go; the image cache stays, for it costs time and belongs to nobody. Only what
//! carries this node's own mark is touched.

use crate::app::domain_xml::Platform;
use crate::config::{Config, Driver};
use crate::drive::hypervisor::Hypervisor;
use crate::drive::hypervisor::libvirt::{Libvirt, PlatformChoice};
use crate::drive::ports::{BridgePorts, TapNames};
use crate::start::owner;
use karri_proto::runtime::tls;

pub async fn clean(config: &Config) -> anyhow::Result<()> {
    if config.hypervisor.driver == Driver::Libvirt {
        clean_host(config).await?;
    }
    for name in ["instances", "tombstones", "nodes"] {
        match tokio::fs::remove_dir_all(config.controller.state_dir.join(name)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

async fn clean_host(config: &Config) -> anyhow::Result<()> {
    let identity = tls::own_identity(&config.controller.tls)?;
    let owner = owner(config, &identity.name)?;
    // The platform matters only to guests that are started.
    let platform = PlatformChoice::Qemu(Platform::Tcg);
    let hypervisor = Libvirt::new(&config.hypervisor.uri, owner.clone(), platform);
    for guest in hypervisor.found().await?.own {
        hypervisor.force_off(&guest.tag.id).await?;
        hypervisor.undefine(&guest.tag.id).await?;
    }
    let network = &config.network;
    let ports =
        BridgePorts::open(&network.bridge, None, TapNames::new(&owner), *network.metadata.ip()).await?;
    Ok(ports.clean().await?)
}
