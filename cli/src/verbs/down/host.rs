//! What the cloud made on the host outside its state directory. How it is found and removed is the
//! controllers' own knowledge; here is only which of them were configured on this machine.

use crate::facts::Facts;
use crate::home::Home;
use crate::up::libvirt;
use crate::up::overrides;
use crate::up::trust::{cc_name, nc_name};
use anyhow::{Context, bail};
use karri_cc::config::NetworkMode;
use karri_cc::drive::flat::{Forwarding, remove};
use karri_nc::config::Driver;
use karri_nc::host::{Traces, survey};
use karri_proto::runtime::config;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::process::Controller;
use karri_proto::runtime::state_lock::StateLock;
use std::path::Path;

/// A line for each thing.
pub struct Outcome {
    pub removed: Vec<String>,
    pub left: Vec<String>,
}

pub struct Host {
    nodes: Vec<Traces>,
    clusters: Vec<karri_cc::Config>,
}

impl Host {
    /// Looks, by the controllers' configuration and what an operator has changed in it.
    pub async fn survey(home: &Home, facts: Option<&Facts>) -> anyhow::Result<Self> {
        let zones = facts.map(|facts| facts.zones.as_slice()).unwrap_or_default();
        let mut host = Self { nodes: Vec::new(), clusters: Vec::new() };
        // Here and now wins over then.
        let environment: Vec<(String, String)> =
            overrides::kept(home)?.into_iter().chain(overrides::current()).collect();
        for name in zones.iter().map(nc_name).chain([crate::up::join::NAME.to_owned()]) {
            if let Some(node) = load::<karri_nc::Nc>(&home.config(&name), &environment)? {
                refuse_running(&name, &node.controller.state_dir)?;
                if node.hypervisor.driver == Driver::Libvirt {
                    let session = node.hypervisor.uri == libvirt::SESSION;
                    libvirt::establish(session).await.context("guests are found through libvirt")?;
                }
                host.nodes.push(survey(&node).await.context("guests")?);
            }
        }
        for zone in zones {
            host.clusters.extend(load::<karri_cc::Cc>(&home.config(&cc_name(zone)), &environment)?);
        }
        Ok(host)
    }

    /// A line per thing that `remove` takes away.
    pub fn describe(&self) -> Vec<String> {
        let network = |cluster: &karri_cc::Config| {
            let bridge = &cluster.network.bridge;
            format!(
                "bridge {bridge} if it was made here, its dnsmasq, chains KARRI-*-{bridge}, routers of VPCs: \
                 namespaces karri-{bridge}-*"
            )
        };
        self.nodes.iter().flat_map(Traces::describe).chain(self.bridged().map(network)).collect()
    }

    /// Those that make something on this host.
    fn bridged(&self) -> impl Iterator<Item = &karri_cc::Config> {
        let bridged = |mode| matches!(mode, NetworkMode::Managed | NetworkMode::Static);
        self.clusters.iter().filter(move |cluster| bridged(cluster.network.mode))
    }

    /// Ports first: a bridge with ports stays.
    pub async fn remove(mut self) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome { removed: self.describe(), left: Vec::new() };
        for node in std::mem::take(&mut self.nodes) {
            node.remove().await.context("guests")?;
        }
        for cluster in self.bridged() {
            let forwarding = remove(&cluster.network).await.context("network")?;
            if forwarding == Forwarding::LeftOn {
                outcome.left.push("net.ipv4.ip_forward at 1: others forward here too".to_owned());
            }
        }
        Ok(outcome)
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
    if StateLock::is_held(state_dir).with_context(|| state_dir.display().to_string())? {
        let pid = Endpoint::read(state_dir).map(|endpoint| format!(" (pid {})", endpoint.pid));
        bail!("karri-{name} still runs{}; stop it first", pid.unwrap_or_default());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_got_the_number_of_a_dead_controller_is_not_taken_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let stale = Endpoint {
            pid: std::process::id(),
            version: String::new(),
            url: String::new(),
            public_url: None,
            observe_url: None,
        };
        stale.write(directory.path()).unwrap();
        refuse_running("nc", directory.path()).unwrap();
        let _running = StateLock::take(directory.path()).unwrap();
        assert!(refuse_running("nc", directory.path()).unwrap_err().to_string().contains("still runs"));
    }
}
