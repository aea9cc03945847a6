//! Rules of the bridge tables, and where metadata requests go: put, and put right.

use super::{BridgePorts, Port, PortError, Rules, blocking};
use crate::drive::ports::{dnat, ebtables};
use std::net::SocketAddrV4;

impl BridgePorts {
    /// Sends guests' metadata requests to `listener`.
    pub async fn serve_metadata(&self, listener: SocketAddrV4) -> Result<(), PortError> {
        let mut rules = self.rules.lock().await;
        self.notes.note(|made| made.metadata_port = Some(listener.port()))?;
        let (bridge, tag) = (self.bridge.clone(), self.tag());
        let printed = blocking(move || dnat::install(&bridge, &tag, listener)).await?;
        rules.metadata = Some((listener, printed));
        Ok(())
    }

    /// Where guests' metadata requests were last sent, if ever.
    pub fn metadata_port(&self) -> Option<u16> {
        self.notes.made().metadata_port
    }

    /// True: it had to be put again.
    pub(super) async fn metadata_mend(&self, rules: &mut Rules) -> Result<bool, PortError> {
        let Some((listener, wanted)) = rules.metadata.clone() else { return Ok(false) };
        let tag = self.tag();
        if blocking(move || dnat::printed(&tag)).await? == wanted {
            return Ok(false);
        }
        let (bridge, tag) = (self.bridge.clone(), self.tag());
        let printed = blocking(move || dnat::install(&bridge, &tag, listener)).await?;
        rules.metadata = Some((listener, printed));
        Ok(true)
    }

    /// Of bridge tables and of the way to metadata, what was not as it was put.
    pub(super) async fn tables_mend(
        &self,
        rules: &mut Rules,
        ports: &[Port],
    ) -> Result<Vec<String>, PortError> {
        let mut mended = Vec::new();
        if self.metadata_mend(rules).await? {
            mended.push("the way to metadata".to_owned());
        }
        let knew_the_wire = rules.wire;
        if self.wire_ensure(rules).await? && knew_the_wire {
            mended.push("what keeps the wire to guests clean".to_owned());
        }
        let taps = self.rules_mend(rules, ports).await?;
        mended.extend(taps.into_iter().map(|tap| format!("rules of {tap}")));
        Ok(mended)
    }

    /// True: what keeps from guests what nobody looks at had to be put.
    pub(super) async fn wire_ensure(&self, rules: &mut Rules) -> Result<bool, PortError> {
        let saved = ebtables::Saved::parse(&ebtables::save().await?);
        let script = ebtables::wire_script(self.names.prefix(), &saved);
        rules.wire = true;
        match script {
            Some(script) => ebtables::restore(script).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Of `ports`, those whose rules had to be put again.
    pub(super) async fn rules_mend(
        &self,
        rules: &mut Rules,
        ports: &[Port],
    ) -> Result<Vec<String>, PortError> {
        let saved = ebtables::Saved::parse(&ebtables::save().await?);
        // One that was unplugged since it was listed is not in the set.
        let plugged = ports.iter().filter(|port| rules.chains.contains(&port.tap));
        let broken = plugged.filter(|port| {
            let now = saved.of(&port.tap);
            match rules.printed.get(&port.tap) {
                Some(before) => now != *before,
                None => !ebtables::is_whole(port, &now),
            }
        });
        let broken: Vec<Port> = broken.cloned().collect();
        if !broken.is_empty() {
            ebtables::restore(ebtables::plug_script(&broken, |tap| saved.jumps_to(tap))).await?;
        }
        let saved = match broken.is_empty() {
            true => saved,
            false => ebtables::Saved::parse(&ebtables::save().await?),
        };
        for port in ports.iter().filter(|port| rules.chains.contains(&port.tap)) {
            rules.printed.insert(port.tap.clone(), saved.of(&port.tap));
        }
        Ok(broken.into_iter().map(|port| port.tap).collect())
    }
}
