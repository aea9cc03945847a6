//! How the cluster's instances are joined to networks, and what each way needs to be told.

use super::{Cidr, NetworkConfig};
use karri_proto::network::{self, AddressPair, forwarded_port};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::Ipv4Addr;

/// One range of DHCP hosts is no longer, and the clc is told all of it with each greeting that changes.
const PAIRS_MAX: usize = 4096;
/// As many as the value of one tag tells.
const FORWARDED_MAX: usize = 8;
/// QEMU's user networking answers for 169.254.169.254 only within the guest's own network.
pub const USER_NETWORK: Cidr = Cidr { first: Ipv4Addr::new(169, 254, 0, 0), prefix: 16 };
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// A bridge with gateway, DHCP and masquerading for default VPCs, and segments for the others.
    #[serde(alias = "flat")]
    Managed,
    /// The same bridge, by addresses of a list; nothing beside it.
    Static,
    /// A bridge of the site's network, and the site's own DHCP.
    System,
    /// QEMU's user networking: nothing is made on this host.
    User,
    /// Addresses are given out, and nothing is made on this host: for simulated nodes.
    None,
}

impl NetworkConfig {
    /// What the clc is told.
    pub fn told(&self) -> network::NetworkMode {
        match self.mode {
            NetworkMode::Managed | NetworkMode::None => network::NetworkMode::Managed,
            NetworkMode::Static => network::NetworkMode::Static { pairs: self.pairs.clone() },
            NetworkMode::System => network::NetworkMode::System,
            NetworkMode::User => network::NetworkMode::User { forwarded: self.forwarded.clone() },
        }
    }

    pub(super) fn check_mode(&self) -> Result<(), String> {
        match self.mode {
            NetworkMode::Managed | NetworkMode::System | NetworkMode::None => Ok(()),
            NetworkMode::Static => self.check_pairs(),
            NetworkMode::User => self.check_user(),
        }
    }

    fn check_pairs(&self) -> Result<(), String> {
        let count = self.pairs.len();
        if !(1..=PAIRS_MAX).contains(&count) {
            return Err(format!(
                "network.pairs: {count} of them; mode \"static\" takes from 1 to {PAIRS_MAX}"
            ));
        }
        let (mut macs, mut addresses) = (HashSet::new(), HashSet::new());
        for (number, AddressPair { mac, address }) in self.pairs.iter().enumerate() {
            let wrong = |field: &str, value: &dyn std::fmt::Display, why: &str| {
                Err(format!("network.pairs[{number}].{field} = \"{value}\": {why}"))
            };
            if !is_unicast_mac(mac) {
                return wrong(
                    "mac",
                    mac,
                    "expecting one interface's MAC such as 02:00:5e:10:00:01, in lower case",
                );
            }
            if !self.subnet.has_host(*address) {
                return wrong("address", address, &format!("not a host in network.subnet, {}", self.subnet));
            }
            if *address == self.gateway {
                return wrong("address", address, "it is network.gateway");
            }
            if !macs.insert(mac) {
                return wrong("mac", mac, "another pair has it");
            }
            if !addresses.insert(address) {
                return wrong("address", address, "another pair has it");
            }
        }
        Ok(())
    }

    fn check_user(&self) -> Result<(), String> {
        let within = USER_NETWORK.has_host(self.gateway) && self.subnet.prefix > USER_NETWORK.prefix;
        if !within || self.subnet.has_host(METADATA) {
            return Err(format!(
                "network.subnet = {}: mode \"user\" takes a part of {USER_NETWORK} without {METADATA}",
                self.subnet
            ));
        }
        if self.forwarded.len() > FORWARDED_MAX {
            return Err(format!("network.forwarded: more than {FORWARDED_MAX} ports"));
        }
        let mut hosts = HashSet::new();
        match self.forwarded.iter().find(|port| **port == 0 || !hosts.insert(forwarded_port(**port))) {
            Some(port) => {
                let host = forwarded_port(*port);
                Err(format!("network.forwarded: {port}: no TCP port, or another one is led to from {host}"))
            }
            None => Ok(()),
        }
    }
}

fn is_unicast_mac(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let parts: Vec<&str> = text.split(':').collect();
    let formed = parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && part.bytes().all(digit));
    let first = parts.first().and_then(|part| u8::from_str_radix(part, 16).ok());
    formed && text != "00:00:00:00:00:00" && first.is_some_and(|first| first & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn of_mode(mode: &str, more: &str) -> Result<Config, String> {
        let example = include_str!("../../../deploy/config/cc.toml");
        let text = example.replace("mode = \"managed\"", &format!("mode = \"{mode}\"\n{more}"));
        let config: Config = toml::from_str(&text).map_err(|error| error.to_string())?;
        config.check().map(|()| config)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let one = |(mac, address): &(&str, &str)| format!("{{ mac = \"{mac}\", address = \"{address}\" }}");
        let all: Vec<String> = pairs.iter().map(one).collect();
        of_mode("static", &format!("pairs = [{}]", all.join(", ")))
    }

    #[test]
    fn what_older_files_call_flat_is_managed() {
        let config = of_mode("flat", "").unwrap();
        assert_eq!(config.network.mode, NetworkMode::Managed);
        assert_eq!(config.network.told(), network::NetworkMode::Managed);
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_named_with_its_place() {
        let good = ("02:00:5e:10:00:01", "172.31.0.10");
        assert_eq!(pairs(&[good]).unwrap().network.told().name(), "static");
        for (list, key) in [
            (&[][..], "network.pairs: 0"),
            (&[("02:00:5e:10:00", "172.31.0.10")], "network.pairs[0].mac"),
            (&[("02:00:5E:10:00:01", "172.31.0.10")], "network.pairs[0].mac"),
            (&[("01:00:5e:10:00:01", "172.31.0.10")], "network.pairs[0].mac"),
            (&[("00:00:00:00:00:00", "172.31.0.10")], "network.pairs[0].mac"),
            (&[good, ("02:00:5e:10:00:02", "10.0.0.1")], "network.pairs[1].address"),
            (&[good, ("02:00:5e:10:00:02", "172.31.0.0")], "network.pairs[1].address"),
            (&[good, ("02:00:5e:10:00:02", "172.31.0.1")], "network.pairs[1].address"),
            (&[good, ("02:00:5e:10:00:02", "172.31.0.10")], "network.pairs[1].address"),
            (&[good, ("02:00:5e:10:00:01", "172.31.0.11")], "network.pairs[1].mac"),
        ] {
            let message = pairs(list).unwrap_err();
            assert!(message.starts_with(key), "{list:?}: {message}");
        }
        assert!(pairs(&[("02:00:5e:10:00:01", "nowhere")]).unwrap_err().contains("address"));
    }

    #[test]
    fn guests_of_user_networking_are_where_they_find_their_metadata() {
        let within = |subnet: &str, gateway: &str, forwarded: &str| {
            let (example, key) = (include_str!("../../../deploy/config/cc.toml"), "mode = \"managed\"");
            let text = example
                .replace(key, &format!("mode = \"user\"\nforwarded = {forwarded}"))
                .replace("\"172.31.0.0/20\"", &format!("\"{subnet}\""))
                .replace("\"172.31.0.1\"", &format!("\"{gateway}\""));
            toml::from_str::<Config>(&text).unwrap().check()
        };
        within("169.254.64.0/22", "169.254.64.1", "[22, 80, 8080]").unwrap();
        for (subnet, gateway) in [
            ("172.31.0.0/20", "172.31.0.1"),
            ("169.254.0.0/16", "169.254.0.1"),
            ("169.254.160.0/19", "169.254.160.1"),
        ] {
            let message = within(subnet, gateway, "[22]").unwrap_err();
            assert!(message.starts_with("network.subnet"), "{message}");
        }
        for ports in ["[0]", "[22, 22]", "[22, 2022]"] {
            let message = within("169.254.64.0/22", "169.254.64.1", ports).unwrap_err();
            assert!(message.starts_with("network.forwarded"), "{message}");
        }
    }
}
