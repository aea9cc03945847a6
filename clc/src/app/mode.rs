//! What the network mode of a cluster means for what is asked of it (docs/networks.md).
//!
//! Only a managed cluster has all that EC2 has. What another one cannot do is refused where it is asked for, never
//! taken and left undone.

use super::App;
use super::address::{mac_of, network_name};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::NetworkInterfaceId;
use karri_proto::internal::ApiError;
use karri_proto::internal::clusters::ClusterHello;
use karri_proto::network::{NetworkMode, SegmentDriver};
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;

fn unsupported(what: &str, zone: &str, mode: &NetworkMode) -> Fault {
    let sentence =
        format!("{what} not supported in Availability Zone '{zone}', whose network mode is '{mode}'.");
    Fault::new(FaultCode::UnsupportedOperation, sentence)
}

fn driver(hello: &ClusterHello) -> &'static str {
    let driver = if hello.vlans.is_some() { SegmentDriver::Vlan } else { SegmentDriver::Vxlan };
    driver.name()
}

/// The MAC of a port with that address on a cluster's flat network.
pub fn flat_mac(mode: &NetworkMode, port: &NetworkInterfaceId, address: Ipv4Addr) -> String {
    match mode {
        NetworkMode::System => mac_of_port(port),
        NetworkMode::Static { pairs } => {
            let listed = pairs.iter().find(|pair| pair.address == address);
            listed.map_or_else(|| mac_of(address), |pair| pair.mac.clone())
        }
        NetworkMode::Managed | NetworkMode::User { .. } => mac_of(address),
    }
}

/// Where addresses say nothing: unique by chance, 1 to 10^9 for a pair.
fn mac_of_port(port: &NetworkInterfaceId) -> String {
    let sum = Sha256::digest(port.as_str());
    let bytes: Vec<String> = sum[..5].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("02:{}", bytes.join(":"))
}

impl App {
    pub fn mode_of(&self, zone: &str) -> NetworkMode {
        self.clusters.by_zone(zone).map(|link| link.hello().mode).unwrap_or_default()
    }

    /// For what only a managed network has. `what` is a noun with its verb: "Elastic IP addresses are".
    pub fn needs_managed(&self, zone: &str, what: &str) -> Result<(), Fault> {
        match self.mode_of(zone) {
            NetworkMode::Managed => Ok(()),
            mode => Err(unsupported(what, zone, &mode)),
        }
    }

    /// The same of what is not in a zone yet: none of them has it.
    pub fn needs_a_managed_zone(&self, what: &str) -> Result<(), Fault> {
        let modes: Vec<(String, NetworkMode)> =
            self.clusters.zones().iter().map(|link| (link.hello().zone, link.hello().mode)).collect();
        match modes.first() {
            Some((zone, mode)) if modes.iter().all(|(_, mode)| *mode != NetworkMode::Managed) => {
                Err(unsupported(what, zone, mode))
            }
            _ => Ok(()),
        }
    }

    /// Nobody filters what goes to guests of user networking and comes from them, so no group may seem to. The default
    /// one is taken: who says nothing has it.
    pub fn check_groups_of_mode<'a>(
        &self,
        zone: &str,
        mut groups: impl Iterator<Item = &'a str>,
    ) -> Result<(), Fault> {
        let mode = self.mode_of(zone);
        let filters = !matches!(mode, NetworkMode::User { .. });
        if filters || groups.all(|name| name == super::security_group::DEFAULT) {
            return Ok(());
        }
        Err(unsupported("Security groups other than the default one are", zone, &mode))
    }

    /// What instances were made under stays while there are any.
    pub fn check_mode(&self, name: &str, hello: &ClusterHello) -> Result<(), ApiError> {
        let Some(known) = self.clusters.get(name).map(|link| link.hello()) else { return Ok(()) };
        let (key, is, was) = if known.mode.name() != hello.mode.name() {
            ("mode", hello.mode.name(), known.mode.name())
        } else if known.vlans.is_some() != hello.vlans.is_some() {
            ("driver", driver(hello), driver(&known))
        } else {
            return Ok(());
        };
        let living = self.living_of(name, &known);
        if living == 0 {
            return Ok(());
        }
        Err(ApiError::conflict(format!(
            "network.{key} = \"{is}\": zone {} has {living} instances that were made under \"{was}\"; terminate them before \
             it is changed, or set it back",
            hello.zone
        )))
    }

    /// The addresses of its flat network that there are to give out.
    pub fn addresses_follow(&self, name: &str, mode: &NetworkMode) {
        let listed = match mode {
            NetworkMode::Static { pairs } => Some(pairs.iter().map(|pair| pair.address).collect()),
            NetworkMode::Managed | NetworkMode::System | NetworkMode::User { .. } => None,
        };
        self.book().addresses.list(&network_name(0, "", name), listed);
    }
}
