//! `lab_nc`: karri-nc whose guests are network namespaces, for `deploy/lab`: an emulated machine is too slow for machines
//! inside of it. All else is the node controller's own: its ports with their rules, its facts, its metadata.
//!
//! A guest asks DHCP for its address, and does nothing more by itself; a proof runs what it likes in the namespace
//! `guest-ID`.

use async_trait::async_trait;
use karri_nc::app::domain_xml::{GuestPort, GuestSpec};
use karri_nc::app::plan::Guest;
use karri_nc::drive::hypervisor::sim::SimHypervisor;
use karri_nc::drive::hypervisor::{Found, GuestChange, Hypervisor, HypervisorError, HypervisorFacts};
use karri_nc::drive::storage::sim::SimStorage;
use karri_nc::{Config, Nc, start_with};
use karri_proto::ids::InstanceId;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::process::{Base, Controller, ControllerConfig, main as run};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::broadcast;

/// What udhcpc calls.
const LEASED: &str = "/run/lab_nc-leased";
const LEASED_SCRIPT: &str = "#!/bin/sh\n\
     [ \"$1\" = bound ] || exit 0\n\
     ip address replace \"$ip/$mask\" dev \"$interface\"\n\
     [ -z \"$mtu\" ] || ip link set \"$interface\" mtu \"$mtu\"\n\
     for gateway in $router; do ip route replace default via \"$gateway\"; break; done\n";

/// What is known of guests is what a simulated node knows.
struct Namespaces(SimHypervisor);

fn namespace(id: &InstanceId) -> String {
    format!("guest-{id}")
}

async fn shell(script: &str) -> Result<(), HypervisorError> {
    let refused = |why: &dyn std::fmt::Display| HypervisorError::Refused(format!("{script}: {why}"));
    let output = Command::new("sh").args(["-ec", script]).output().await.map_err(|error| refused(&error))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(refused(&String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// As libvirt does it: a tap that is a port of its bridge, and a machine behind it.
fn device(id: &InstanceId, number: usize, port: &GuestPort) -> String {
    let (inside, GuestPort { tap, mac, bridge, .. }) = (namespace(id), port);
    let mtu = port.mtu.unwrap_or(1500);
    format!(
        "ip link add {tap} mtu {mtu} type veth peer name eth{number} netns {inside} address {mac}; \
         ip link set {tap} master {bridge} up; ip -n {inside} link set eth{number} up; \
         ip netns exec {inside} udhcpc -i eth{number} -b -O mtu -s {LEASED} >/dev/null 2>&1 </dev/null & "
    )
}

async fn remove(id: &InstanceId) -> Result<(), HypervisorError> {
    let name = namespace(id);
    let end = format!(
        "ip netns pids {name} 2>/dev/null | xargs -r kill -9; ip netns delete {name} 2>/dev/null || true"
    );
    shell(&end).await
}

#[async_trait]
impl Hypervisor for Namespaces {
    async fn facts(&self) -> Result<HypervisorFacts, HypervisorError> {
        Ok(HypervisorFacts { accelerator: "none".to_owned(), hypervisor: "network namespaces".to_owned() })
    }

    async fn found(&self) -> Result<Found, HypervisorError> {
        self.0.found().await
    }

    async fn guest(&self, id: &InstanceId) -> Result<Guest, HypervisorError> {
        self.0.guest(id).await
    }

    async fn start(&self, spec: &GuestSpec) -> Result<(), HypervisorError> {
        let name = namespace(spec.id());
        remove(spec.id()).await?;
        shell(&format!("ip netns add {name}; ip -n {name} link set lo up")).await?;
        for (number, port) in spec.ports.iter().enumerate() {
            shell(&device(spec.id(), number, port)).await?;
        }
        self.0.start(spec).await
    }

    async fn ask_shutdown(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        remove(id).await?;
        self.0.ask_shutdown(id).await
    }

    async fn force_off(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        remove(id).await?;
        self.0.force_off(id).await
    }

    async fn ask_reboot(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.0.ask_reboot(id).await
    }

    async fn reset(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.0.reset(id).await
    }

    async fn interfaces(&self, id: &InstanceId) -> Result<Vec<String>, HypervisorError> {
        self.0.interfaces(id).await
    }

    async fn plug(&self, id: &InstanceId, port: &GuestPort) -> Result<(), HypervisorError> {
        let number = self.0.interfaces(id).await?.len();
        shell(&device(id, number, port)).await?;
        self.0.plug(id, port).await
    }

    async fn unplug(&self, id: &InstanceId, tap: &str) -> Result<(), HypervisorError> {
        shell(&format!("ip link delete {tap} 2>/dev/null || true")).await?;
        self.0.unplug(id, tap).await
    }

    async fn undefine(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.0.undefine(id).await
    }

    fn changes(&self) -> broadcast::Receiver<GuestChange> {
        self.0.changes()
    }

    fn polled(&self) -> bool {
        false
    }
}

struct LabNc;

#[async_trait]
impl Controller for LabNc {
    const NAME: &'static str = Nc::NAME;
    const ABOUT: &'static str = "Karri's node controller, with network namespaces as guests";
    const ENVIRONMENT: &'static str = Nc::ENVIRONMENT;
    type Config = Config;

    fn controller(config: &Config) -> &ControllerConfig {
        Nc::controller(config)
    }

    fn check(config: &Config) -> Result<(), String> {
        Nc::check(config)
    }

    async fn start(config: Config, base: Base) -> anyhow::Result<Endpoint> {
        std::fs::write(LEASED, LEASED_SCRIPT)?;
        std::fs::set_permissions(LEASED, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let hypervisor = Namespaces(SimHypervisor::new(Duration::ZERO));
        start_with(config, base, Some((Arc::new(hypervisor), Arc::new(SimStorage::default())))).await
    }
}

fn main() -> ExitCode {
    run::<LabNc>()
}
