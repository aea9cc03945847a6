//! What links of guests are like on their bridges, and who hears of it.

use super::{BridgePorts, PortError, Rules};
use crate::drive::ports::filtering;
use crate::drive::ports::strays::loose;
use karri_net::{Link, announce};
use karri_proto::network::SegmentTag;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A tap that is just being made is joined to its bridge sooner.
const LOOSE_FOR: Duration = Duration::from_millis(300);

impl BridgePorts {
    /// Puts back on their bridges the taps that are on none: a bridge was taken away with somebody's help, whoever
    /// has made it again. Rules and filtering are there before.
    pub(super) async fn rejoin(
        &self,
        taps: &BTreeMap<String, SegmentTag>,
        links: &[Link],
    ) -> Result<Vec<String>, PortError> {
        if loose(taps, links).is_empty() {
            return Ok(Vec::new());
        }
        tokio::time::sleep(LOOSE_FOR).await;
        let loose = loose(&loose(taps, links), &self.netlink.links().await?);
        for (tap, segment) in &loose {
            let bridge = self.bridge_of(*segment);
            let index = self.netlink.index(&bridge).await?;
            let index = index.ok_or_else(|| PortError::Later(format!("{bridge} has vanished")))?;
            self.netlink.join(tap, index).await?;
            if *segment == 0 {
                self.netlink.set_hairpin(tap).await?;
            }
        }
        Ok(loose.into_keys().map(|tap| format!("where {tap} is joined")).collect())
    }

    /// On the flat network a guest's own public address is translated on the bridge: what it sends there comes back to
    /// it by its own port, which a bridge does only where it is told to. Tells which ports others had set otherwise.
    pub(super) async fn hairpins_ensure(
        &self,
        rules: &mut Rules,
        taps: &BTreeMap<String, SegmentTag>,
        links: &[Link],
    ) -> Result<Vec<String>, PortError> {
        let is_flat = |link: &&Link| link.controller.is_some() && taps.get(&link.name) == Some(&0);
        let mut mended = Vec::new();
        for link in links.iter().filter(is_flat) {
            if !link.hairpin {
                self.netlink.set_hairpin(&link.name).await?;
            }
            let was_so = rules.hairpins.insert(link.name.clone(), link.index) == Some(link.index);
            if was_so && !link.hairpin {
                mended.push(format!("that {} hears itself", link.name));
            }
        }
        Ok(mended)
    }

    /// Brings the shortcut to these taps and to what joins their segments to other hosts, and away from others.
    pub(super) async fn shortcut_ensure(
        &self,
        taps: &BTreeMap<String, SegmentTag>,
        links: &[Link],
    ) -> Result<Vec<String>, PortError> {
        let segments: BTreeSet<SegmentTag> = taps.values().copied().filter(|segment| *segment != 0).collect();
        let devices: Vec<String> =
            segments.iter().filter_map(|segment| self.segments.device(*segment)).collect();
        let wanted = taps.keys().chain(&devices).map(String::as_str).collect();
        self.shortcut.ensure(&self.notes, &wanted, links).await
    }

    /// Lets iptables see what the bridge carries, without which no port is guarded. True: it did not.
    pub(super) async fn filtering_ensure(&self) -> Result<bool, PortError> {
        filtering::ensure().await?;
        if self.netlink.is_filtered(&self.bridge).await? {
            return Ok(false);
        }
        self.notes.note(|made| made.filtered = true)?;
        self.netlink.set_filtered(&self.bridge, true).await?;
        Ok(true)
    }

    /// Where addresses are that ports have gained. A network that cannot be told is no reason to leave a guest without its
    /// port: who asks for the address hears where it is.
    pub(super) async fn announce(&self, rules: &mut Rules, again: bool) -> Result<(), PortError> {
        let ports = self.guard.ports().await.unwrap_or_default();
        for word in rules.announcing.words(&ports, again) {
            let bridge = self.bridge_of(ports.get(&word.tap).map_or(0, |port| port.segment));
            let Some(index) = self.netlink.index(&bridge).await? else { continue };
            if let Err(error) = announce(index, word.mac, word.address) {
                tracing::warn!(address = %word.address, bridge, %error, "cannot say where an address is");
            }
        }
        Ok(())
    }
}
