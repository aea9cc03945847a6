//! What the kernel has of one port, beside what is wanted: who it may be, what its groups let through, where it is joined.

use super::{BridgePorts, Port, PortError, ebtables};
use crate::drive::ports::program::run;
use karri_proto::ids::NetworkInterfaceId;
use karri_proto::internal::kernel::KernelLook;

/// Said where it is so, for else the counters beside it are read wrongly.
const SHORTCUT: &str = "open flows take the shortcut: rules see and count a packet of each a second";

impl BridgePorts {
    pub(super) async fn look_at(&self, id: &NetworkInterfaceId) -> Result<Option<KernelLook>, PortError> {
        let ports = self.guard.ports().await.unwrap_or_default();
        let Some(port) = ports.into_values().find(|port| port.id == *id) else { return Ok(None) };
        let Some(of_groups) = self.guard.look_at(&port).await? else { return Ok(None) };
        let mut look = KernelLook::default();
        self.look_at_identity(&mut look, &port).await?;
        look.lines.extend(of_groups.lines);
        look.differs.extend(of_groups.differs);
        self.look_at_place(&mut look, &port).await?;
        Ok(Some(look))
    }

    async fn look_at_identity(&self, look: &mut KernelLook, port: &Port) -> Result<(), PortError> {
        let tap = &port.tap;
        let place = format!("ebtables nat {tap}");
        let rules = self.rules.lock().await;
        let saved = ebtables::Saved::parse(&ebtables::save().await?);
        let now = saved.of(tap);
        match rules.printed.get(tap) {
            Some(before) => look.compare(&place, Some(&now), before),
            None if ebtables::is_whole(port, &now) => {}
            None => look.differs(format!("{place} is not as it was put")),
        }
        drop(rules);
        if saved.has(tap) {
            let listed = run("ebtables", &["-t", "nat", "-L", tap, "--Lc"], String::new()).await?;
            for (rule, packets) in listed.lines().filter_map(counted) {
                look.line(&place, rule, Some(packets));
            }
        }
        Ok(())
    }

    async fn look_at_place(&self, look: &mut KernelLook, port: &Port) -> Result<(), PortError> {
        let bridge = self.bridge_of(port.segment);
        let links = self.netlink.links().await?;
        let find = |name: &str| links.iter().find(|link| link.name == name);
        match (find(&port.tap), find(&bridge)) {
            (Some(tap), Some(on)) if tap.controller == Some(on.index) => {
                let (up, hears) =
                    (if tap.up { "up" } else { "down" }, if tap.hairpin { ", hairpin" } else { "" });
                look.line(
                    format!("bridge {bridge}"),
                    format!("port {}: {up}, mtu {}{hears}", tap.name, tap.mtu),
                    None,
                );
                if self.shortcut.is_at(tap.index).await {
                    look.line(format!("tc {}", tap.name), SHORTCUT, None);
                }
                if !tap.up {
                    look.differs(format!("{} is down", tap.name));
                }
            }
            (Some(_), Some(_)) => look.differs(format!("{} is no port of bridge {bridge}", port.tap)),
            (Some(_), None) => look.differs(format!("bridge {bridge} is missing")),
            (None, _) => look.differs(format!("there is no {}: the guest does not run", port.tap)),
        }
        if port.segment != 0 {
            self.segments.look_at(look, port.segment).await?;
        }
        Ok(())
    }
}

/// A line of `ebtables -L --Lc`: the rule, and its packets.
fn counted(line: &str) -> Option<(&str, u64)> {
    let (rule, counters) = line.split_once(", pcnt = ")?;
    Some((rule.trim_end(), counters.split(' ').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_taken_from_what_ebtables_lists() {
        let line = "-p IPv4 -s 02:00:00:00:00:05 --ip-src 172.31.0.5 -j ACCEPT , pcnt = 7 -- bcnt = 420";
        assert_eq!(counted(line), Some(("-p IPv4 -s 02:00:00:00:00:05 --ip-src 172.31.0.5 -j ACCEPT", 7)));
        assert_eq!(counted("Bridge chain: k1, entries: 9, policy: RETURN"), None);
    }
}
