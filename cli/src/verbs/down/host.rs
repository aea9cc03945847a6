//! What the cloud made on the host outside its state directory. How it is found and removed is the
//! controllers' own knowledge; here is only which of them were configured on this machine.

use crate::facts::Facts;
use crate::home::Home;
use crate::up::libvirt;
use crate::up::overrides;
use crate::up::trust::{cc_name, nc_name};
use anyhow::{Context, bail};
use karri_cc::config::NetworkMode;
use karri_nc::config::Driver;
use karri_proto::runtime::config;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::process::Controller;
use std::path::Path;

pub struct Host {
    nodes: Vec<karri_nc::Config>,
    clusters: Vec<karri_cc::Config>,
}

impl Host {
    /// Reads the controllers' configuration, with what an operator has changed in it.
    pub fn survey(home: &Home, facts: Option<&Facts>) -> anyhow::Result<Self> {
        let zones = facts.map(|facts| facts.zones.as_slice()).unwrap_or_default();
        let mut host = Self { nodes: Vec::new(), clusters: Vec::new() };
        // Here and now wins over then.
        let environment: Vec<(String, String)> =
            overrides::kept(home)?.into_iter().chain(overrides::current()).collect();
        for name in zones.iter().map(nc_name).chain([crate::up::join::NAME.to_owned()]) {
            if let Some(node) = load::<karri_nc::Nc>(&home.config(&name), &environment)? {
                refuse_running(&name, &node.controller.state_dir)?;
                host.nodes.push(node);
            }
        }
        for zone in zones {
            host.clusters.extend(load::<karri_cc::Cc>(&home.config(&cc_name(zone)), &environment)?);
        }
        Ok(host)
    }

    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for node in &self.nodes {
            let directory = node.controller.state_dir.join("instances");
            let guests = instances(&directory);
            lines.push(match guests.as_slice() {
                [] => "no guests".to_owned(),
                guests => format!("{} guests with their disks: {}", guests.len(), guests.join(" ")),
            });
            if node.hypervisor.driver == Driver::Libvirt {
                lines.push(format!("taps and rules of guests on {}", node.network.bridge));
            }
        }
        for cluster in self.clusters.iter().filter(|cluster| cluster.network.mode == NetworkMode::Flat) {
            let bridge = &cluster.network.bridge;
            lines.push(format!("bridge {bridge}, its dnsmasq, chains KARRI-*-{bridge}"));
        }
        lines
    }

    pub async fn remove(&self) -> anyhow::Result<()> {
        if self.nodes.iter().any(|node| node.hypervisor.driver == Driver::Libvirt) {
            libvirt::establish().await.context("guests are removed through libvirt")?;
        }
        for node in &self.nodes {
            let traces = karri_nc::host::survey(node).await.context("guests")?;
            traces.remove().await.context("guests")?;
        }
        for cluster in self.clusters.iter().filter(|cluster| cluster.network.mode == NetworkMode::Flat) {
            karri_cc::drive::flat::remove(&cluster.network).await.context("network")?;
        }
        Ok(())
    }
}

/// None: it was never written.
fn load<C: Controller>(path: &Path, environment: &[(String, String)]) -> anyhow::Result<Option<C::Config>> {
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(config::load_with(path, C::ENVIRONMENT, environment.iter().cloned())?))
}

/// A joined node's controller is not the supervisor's child, so nobody has stopped it.
fn refuse_running(name: &str, state_dir: &Path) -> anyhow::Result<()> {
    if let Some(endpoint) = Endpoint::read(state_dir)
        && Path::new("/proc").join(endpoint.pid.to_string()).exists()
    {
        bail!("karri-{name} still runs (pid {}); stop it first", endpoint.pid);
    }
    Ok(())
}

fn instances(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("i-")).collect();
    names.sort();
    names
}
