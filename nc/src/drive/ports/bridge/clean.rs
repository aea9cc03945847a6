//! Nothing of this node is left on its host.

use super::{BridgePorts, PortError, blocking};
use crate::drive::ports::{Ports, dnat, ebtables};
use karri_net::Link;
use std::collections::BTreeSet;

impl BridgePorts {
    /// Takes away everything that this node has made: ports, rules, the address, the bridge if nobody else has
    /// a port on it. A bridge that was there before stays, without the uplink that was joined to it.
    pub async fn clean(&self) -> Result<(), PortError> {
        let ours = self.plugged().await?.into_iter().filter(|port| port.rules).map(|port| port.tap);
        self.unplug(&ours.collect::<Vec<_>>()).await?;
        self.segments.leave_others(&self.notes, &self.guard, &BTreeSet::new()).await?;
        self.segments.forget()?;
        self.guard.clean().await?;
        let is_own = |link: &Link| self.names.owns(&link.name) || self.segments.is_device(&link.name);
        let links: Vec<Link> = self.netlink.links().await?.into_iter().filter(is_own).collect();
        self.shortcut.clean(&self.notes, &links).await?;
        let saved = ebtables::Saved::parse(&ebtables::save().await?);
        if let Some(script) = ebtables::wire_removal(self.names.prefix(), &saved) {
            ebtables::restore(script).await?;
        }
        let tag = self.tag();
        blocking(move || dnat::remove(&tag)).await?;
        let made = self.notes.made();
        if let Some(uplink) = &made.uplink {
            self.netlink.leave(uplink).await?;
        }
        if let Some(index) = self.netlink.index(&self.bridge).await? {
            if made.bridge && !self.netlink.has_ports(index).await? {
                self.netlink.link_delete(&self.bridge).await?;
            } else {
                if made.address {
                    self.netlink.address_delete(index, self.metadata_address).await?;
                }
                if made.filtered && !self.guard.others_guard_the_bridge().await? {
                    self.netlink.set_filtered(&self.bridge, false).await?;
                }
            }
        }
        self.notes.forget();
        Ok(())
    }
}
