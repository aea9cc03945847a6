//! How segments reach other hosts, and what is needed for it.

use super::{NetworkConfig, NetworkMode, is_interface};
use karri_proto::network::{SegmentDriver, VLANS, VlanRange};

impl NetworkConfig {
    /// What the clc is told: the tags that segments of this cluster can have, where not any will do.
    pub fn vlans(&self) -> Option<VlanRange> {
        match (self.driver, self.vlan_first, self.vlan_last) {
            (SegmentDriver::Vlan, Some(first), Some(last)) => Some(VlanRange { first, last }),
            _ => None,
        }
    }

    /// Whether nodes need addresses of their own for segments that are on several hosts. Simulated ones have no packets.
    pub fn has_tunnels(&self) -> bool {
        self.mode == NetworkMode::Managed && self.driver == SegmentDriver::Vxlan
    }

    pub(super) fn check_driver(&self) -> Result<(), String> {
        match self.driver {
            SegmentDriver::Vlan => self.check_vlan(),
            SegmentDriver::Vxlan => self.check_vxlan(),
        }
    }

    fn check_vxlan(&self) -> Result<(), String> {
        let of_vlan = "it is for driver = \"vlan\"";
        if let Some(trunk) = &self.trunk {
            return Err(format!("network.trunk = {trunk:?}: {of_vlan}"));
        }
        for (key, value) in [("vlan_first", self.vlan_first), ("vlan_last", self.vlan_last)] {
            if let Some(value) = value {
                return Err(format!("network.{key} = {value}: {of_vlan}"));
            }
        }
        Ok(())
    }

    fn check_vlan(&self) -> Result<(), String> {
        match self.mode {
            NetworkMode::Managed | NetworkMode::None => {}
            NetworkMode::Static | NetworkMode::System | NetworkMode::User => {
                return Err(
                    "network.driver = \"vlan\": only network.mode = \"managed\" has segments".to_owned()
                );
            }
        }
        if let Some(address) = self.tunnel_address {
            return Err(format!("network.tunnel_address = {address}: it is for driver = \"vxlan\""));
        }
        let is_usable = |trunk: &String| is_interface(trunk) && *trunk != self.bridge;
        match &self.trunk {
            Some(trunk) if !is_usable(trunk) => {
                return Err(format!(
                    "network.trunk = {trunk:?}: expecting the name of this host's interface beside the bridge to which \
                     tagged frames go"
                ));
            }
            None if self.mode == NetworkMode::Managed => {
                return Err(
                    "network.trunk: with driver = \"vlan\" this host's interface is expected to which tagged frames go"
                        .to_owned(),
                );
            }
            _ => {}
        }
        self.check_vlans()
    }

    fn check_vlans(&self) -> Result<(), String> {
        for (key, value) in [("vlan_first", self.vlan_first), ("vlan_last", self.vlan_last)] {
            let told = value.map_or_else(String::new, |value| format!(" = {value}"));
            if !value.is_some_and(|value| VLANS.contains(&value)) {
                let (first, last) = (VLANS.start(), VLANS.end());
                return Err(format!("network.{key}{told}: expecting a VLAN from {first} to {last}"));
            }
        }
        match self.vlans() {
            Some(VlanRange { first, last }) if last < first => {
                Err(format!("network.vlan_last = {last}: is below vlan_first, {first}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    /// The example with these lines in its section `network`.
    fn with(mode: &str, lines: &str) -> Result<Config, String> {
        let example = include_str!("../../../deploy/config/cc.toml");
        let text = example.replace("mode = \"managed\"", &format!("mode = \"{mode}\"\n{lines}"));
        let text = text.replace("driver = \"vxlan\"\n", "");
        let config: Config = toml::from_str(&text).map_err(|error| error.to_string())?;
        config.check().map(|()| config)
    }

    const VLAN: &str = "driver = \"vlan\"\ntrunk = \"eth1\"\nvlan_first = 100\nvlan_last = 199";

    #[test]
    fn vlans_are_told_as_they_are_configured() {
        let config = with("managed", VLAN).unwrap();
        assert_eq!(config.network.vlans(), Some(VlanRange { first: 100, last: 199 }));
        let one = with("managed", &VLAN.replace("199", "100")).unwrap();
        assert_eq!(one.network.vlans(), Some(VlanRange { first: 100, last: 100 }));
        let all = with("managed", &VLAN.replace("100", "1").replace("199", "4094")).unwrap();
        assert_eq!(all.network.vlans(), Some(VlanRange { first: 1, last: 4094 }));
        // Simulated: nothing is made, and there are VLANs all the same.
        let simulated = with("none", &VLAN.replace("trunk = \"eth1\"\n", "")).unwrap();
        assert_eq!(simulated.network.vlans(), config.network.vlans());
        assert_eq!(with("managed", "").unwrap().network.vlans(), None);
    }

    #[test]
    fn what_is_wrong_with_a_driver_is_named() {
        let wrong = |mode: &str, lines: &str, key: &str| {
            let message = with(mode, lines).unwrap_err();
            assert!(message.starts_with(key), "{lines}: {message}");
        };
        for (from, to, key) in [
            ("vlan_first = 100\n", "", "network.vlan_first: expecting a VLAN from 1 to 4094"),
            ("\nvlan_last = 199", "", "network.vlan_last: expecting a VLAN from 1 to 4094"),
            ("100", "0", "network.vlan_first = 0"),
            ("199", "4095", "network.vlan_last = 4095"),
            ("199", "99", "network.vlan_last = 99: is below vlan_first, 100"),
            ("trunk = \"eth1\"\n", "", "network.trunk"),
            ("eth1", "eth1/2", "network.trunk"),
            ("eth1", "karri0", "network.trunk"),
            ("199", "199\ntunnel_address = \"192.0.2.1\"", "network.tunnel_address"),
        ] {
            wrong("managed", &VLAN.replace(from, to), key);
        }
        for mode in ["system", "static"] {
            let pairs = "pairs = [{ mac = \"02:00:5e:10:00:01\", address = \"172.31.0.10\" }]";
            wrong(mode, &format!("{VLAN}\n{pairs}"), "network.driver");
        }
        for line in ["trunk = \"eth1\"", "vlan_first = 1", "vlan_last = 1"] {
            wrong("managed", line, &format!("network.{}", line.split(' ').next().unwrap_or_default()));
        }
        assert!(with("managed", "driver = \"vlans\"").unwrap_err().contains("vlans"));
        assert!(with("managed", &VLAN.replace("199", "70000")).unwrap_err().contains("70000"));
    }
}
