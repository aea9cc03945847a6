//! The flat network: one bridge with gateway, DHCP, DNS and masquerading for all instances of a cluster.
//!
//! What was made on the host is written down in `made.json` before it is made, so that [`remove`] takes away
//! exactly that, also after a crash. The file is in the run directory, which a reboot empties as it
//! empties the kernel.

use super::answering::Answering;
use super::dnsmasq::{Dnsmasq, LEASE_TIME};
use super::firewall::Firewall;
use super::router::{HostEyes, Routers, flows};
use super::{DriveError, Driver, Eyes, Wanted, bridge, naming, router};
use crate::app::router::{Naming, Outside};
use crate::config::NetworkConfig;
use async_trait::async_trait;
use karri_proto::network::Net4;
use karri_proto::runtime::endpoint::write_durably;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looking costs a few processes, so it is done less often than the rest where the kernel does not tell that rules have
/// changed.
const FIREWALL_EVERY: Duration = Duration::from_secs(3);
const FIREWALL_TIMEOUT: Duration = Duration::from_secs(30);
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Made {
    bridge: bool,
    /// The host did not forward before.
    forwarding: bool,
}

#[derive(Debug)]
pub struct Flat {
    network: NetworkConfig,
    firewall: Option<Firewall>,
    /// When the rules were right, and what the kernel's number for changes was then.
    firewall_checked: Option<(Instant, Option<u32>)>,
    dnsmasq: Dnsmasq,
    routers: Routers,
    answering: Answering,
    /// What the rules and the connections are of.
    outside: Option<Outside>,
    made: Option<Made>,
}

impl Flat {
    pub fn new(network: &NetworkConfig) -> Self {
        Self {
            network: network.clone(),
            firewall: Some(Firewall::new(network)),
            firewall_checked: None,
            dnsmasq: Dnsmasq::new(&network.run_dir, None, serving(network, &Naming::default())),
            routers: Routers::new(network),
            answering: Answering::new(network.public_interface.as_deref(), &network.run_dir),
            outside: None,
            made: None,
        }
    }

    fn made_file(&self) -> PathBuf {
        self.network.run_dir.join("made.json")
    }

    fn made(&mut self) -> Made {
        let file = self.made_file();
        let read = || std::fs::read(file).ok().and_then(|json| serde_json::from_slice(&json).ok());
        self.made.get_or_insert_with(|| read().unwrap_or_default()).clone()
    }

    fn note(&mut self, change: impl FnOnce(&mut Made)) -> Result<(), DriveError> {
        let mut made = self.made();
        change(&mut made);
        if self.made() == made {
            return Ok(());
        }
        let file = self.made_file();
        let json = serde_json::to_vec(&made).map_err(|cause| DriveError::new("made.json", cause))?;
        write_durably(&file, &json).map_err(|cause| DriveError::new(file.display().to_string(), cause))?;
        self.made = Some(made);
        Ok(())
    }

    async fn bridge(&mut self) -> Result<(), DriveError> {
        let NetworkConfig { bridge: name, gateway, subnet, .. } = self.network.clone();
        if !self.made().bridge && !bridge::link_exists(&name).await? {
            self.note(|made| made.bridge = true)?;
        }
        if bridge::put(&name, gateway, subnet.prefix).await? {
            tracing::info!(bridge = name, %gateway, "bridge is ready");
            self.firewall_checked = None;
            // Its sockets are bound to a bridge that may be no more.
            self.dnsmasq.restart_next();
        }
        // Guests have IPv4 only; a link-local address would be a way around the firewall.
        set_kernel(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1")?;
        if kernel(FORWARDING)?.trim() != "1" {
            self.note(|made| made.forwarding = true)?;
            set_kernel(FORWARDING, "1")?;
        }
        Ok(())
    }

    async fn rules(&mut self, outside: &Outside) -> Result<(), DriveError> {
        let moved = self.outside.as_ref() != Some(outside);
        let generation = router::generation().await;
        let is_fresh = self.firewall_checked.is_some_and(|(when, known)| match (known, generation) {
            (Some(known), Some(now)) => known == now,
            _ => when.elapsed() < FIREWALL_EVERY,
        });
        if !moved && is_fresh {
            return Ok(());
        }
        let wanted = outside.clone();
        let work = move |firewall: &mut Firewall| {
            let before = if moved { firewall.public()? } else { Vec::new() };
            firewall.want(&wanted);
            Ok((before, firewall.apply()?))
        };
        let (before, changed) = self.firewall(work).await?;
        if changed {
            tracing::info!(bridge = self.network.bridge, "firewall rules put");
        }
        if moved {
            cut_stale(before, outside).await?;
            self.outside = Some(outside.clone());
        }
        self.firewall_checked = Some((Instant::now(), generation));
        Ok(())
    }

    async fn serve(&mut self, wanted: &Wanted) -> Result<(), DriveError> {
        let arguments = serving(&self.network, &wanted.naming);
        if !self.dnsmasq.has(&arguments) {
            self.dnsmasq.become_another(Dnsmasq::new(&self.network.run_dir, None, arguments));
        }
        self.dnsmasq.apply(&wanted.hosts, naming::file(&wanted.naming)).await
    }

    /// iptables is run off the async threads.
    async fn firewall<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Firewall) -> Result<T, DriveError> + Send + 'static,
    ) -> Result<T, DriveError> {
        let mut firewall = self.firewall.take().unwrap_or_else(|| Firewall::new(&self.network));
        let task = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut firewall);
            (firewall, outcome)
        });
        let done = tokio::time::timeout(FIREWALL_TIMEOUT, task).await;
        let done = done.map_err(|_| DriveError::new("iptables", "no answer in time"))?;
        let (firewall, outcome) = done.map_err(|cause| DriveError::new("iptables", cause))?;
        self.firewall = Some(firewall);
        outcome
    }
}

/// What guests are told on the flat network.
fn serving(network: &NetworkConfig, naming: &Naming) -> Vec<String> {
    let NetworkConfig { bridge, subnet, gateway, dns, .. } = network;
    let mut arguments = vec![
        format!("--interface={bridge}"),
        // Only hosts that we name are served.
        format!("--dhcp-range={},static,{},{LEASE_TIME}", subnet.first, subnet.mask()),
        format!("--dhcp-option=option:router,{gateway}"),
        format!("--dhcp-option=option:dns-server,{gateway}"),
        "--dhcp-option=option:mtu,1500".to_owned(),
        // Clients that take classless routes ignore the router: it says both.
        format!("--dhcp-option=121,169.254.169.254/32,{gateway},0.0.0.0/0,{gateway}"),
    ];
    let domain = naming::domain(naming);
    arguments.extend(domain.map(|domain| format!("--dhcp-option=option:domain-name,{domain}")));
    let mut naming = naming.clone();
    naming.ranges.insert(Net4 { address: subnet.first, prefix: subnet.prefix });
    arguments.extend(naming::arguments(&naming));
    if !dns.is_empty() {
        arguments.push("--no-resolv".to_owned());
        arguments.extend(dns.iter().map(|server| format!("--server={server}")));
    }
    arguments
}

/// Connections by public addresses that lead elsewhere now end. `before`: addresses that led to the flat network.
async fn cut_stale(before: Vec<Ipv4Addr>, outside: &Outside) -> Result<(), DriveError> {
    let flat = outside.flat.clone();
    let gone: Vec<Ipv4Addr> = before.into_iter().filter(|public| !flat.contains_key(public)).collect();
    if flat.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let failed = |cause: String| DriveError::new("connections by public addresses", cause);
    let work = move || flows::cut(|flow| flows::is_stale_among_others(flow, &flat, &gone));
    let cut = tokio::task::spawn_blocking(work).await.map_err(|cause| failed(cause.to_string()))?;
    let cut = cut.map_err(|cause| failed(cause.to_string()))?;
    if cut > 0 {
        tracing::info!(cut, "connections by addresses that lead elsewhere now have ended");
    }
    Ok(())
}

#[async_trait]
impl Driver for Flat {
    async fn apply(&mut self, wanted: &Wanted) -> Result<(), DriveError> {
        make_directory(&self.network.run_dir)?;
        self.bridge().await?;
        self.rules(&wanted.outside).await?;
        self.serve(wanted).await?;
        let routed = self.routers.apply(wanted).await;
        self.answering.apply(&wanted.outside).await.and(routed)
    }

    fn eyes(&self) -> Arc<dyn Eyes> {
        Arc::new(HostEyes(self.network.clone()))
    }
}

/// What of the host's setting for forwarding became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding {
    /// As it was before the cluster came.
    AsBefore,
    /// It was off before, and stays on: somebody else may have come to rely on it.
    LeftOn,
}

/// Takes away everything that a cluster with this configuration made on the host, and nothing else. Safe to
/// repeat; the cluster controller must not be running.
pub async fn remove(network: &NetworkConfig) -> Result<Forwarding, DriveError> {
    let mut flat = Flat::new(network);
    flat.answering.remove().await?;
    flat.routers.remove().await?;
    flat.dnsmasq.remove().await?;
    flat.firewall(Firewall::remove).await?;
    let made = flat.made();
    if made.bridge {
        bridge::delete(&network.bridge).await?;
    }
    let mut forwarding = Forwarding::AsBefore;
    if made.forwarding {
        if flat.firewall(Firewall::others_forward).await? || bridge::other_is_up(&network.bridge).await? {
            forwarding = Forwarding::LeftOn;
        } else {
            set_kernel(FORWARDING, "0")?;
        }
    }
    let _ = std::fs::remove_file(flat.made_file());
    let _ = std::fs::remove_dir(&network.run_dir); // only if nobody else keeps files there
    Ok(forwarding)
}

/// dnsmasq reads its files as a user without rights.
pub(super) fn make_directory(path: &Path) -> Result<(), DriveError> {
    let failed = |cause: std::io::Error| DriveError::new(path.display().to_string(), cause);
    let missing: Vec<&Path> = path.ancestors().take_while(|directory| !directory.exists()).collect();
    for directory in missing.into_iter().rev() {
        std::fs::create_dir(directory).map_err(failed)?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    Ok(())
}

fn kernel(path: &str) -> Result<String, DriveError> {
    std::fs::read_to_string(path).map_err(|cause| DriveError::new(path, cause))
}

/// A kernel without IPv6 has no such file, which is as good.
fn set_kernel(path: &str, value: &str) -> Result<(), DriveError> {
    match std::fs::read_to_string(path) {
        Ok(present) if present.trim() == value => Ok(()),
        Ok(_) => std::fs::write(path, value).map_err(|cause| DriveError::new(path, cause)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(DriveError::new(path, cause)),
    }
}
