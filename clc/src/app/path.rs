//! `karri net show`: what becomes of a packet, station by station, and by what.
//!
//! The verdicts are of what was decided, which clusters and nodes bring into their kernels. Beside them stands what kernels
//! have at each station and have counted there, as clusters and nodes see it now, and what of it is not as is wanted.

mod asked;
mod kernel;
mod network;
mod place;
mod way;

use super::App;
use asked::{About, Asked, asked};
use karri_proto::internal::path::{PathAsked, Station};
use karri_proto::internal::{ApiError, Caller};
use karri_proto::network::FactTable;
use network::Network;
use place::Shown;

impl App {
    pub async fn packet_path(&self, caller: &Caller, wanted: &PathAsked) -> Result<Vec<Station>, ApiError> {
        let asked = asked(wanted)?;
        // What other controllers have changed, too.
        self.rules_follow().await?;
        self.networks_follow().await?;
        let abouts = self.abouts(&asked)?;
        let shown = self.facts.look(|facts| {
            let shown =
                abouts.iter().map(|about| shown(facts, about, &asked)).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, ApiError>(shown.concat())
        })?;
        Ok(self.with_kernels(caller, shown).await)
    }

    /// In place of an instance its interfaces.
    fn abouts(&self, asked: &Asked) -> Result<Vec<About>, ApiError> {
        let About::Instance(id) = &asked.about else { return Ok(vec![asked.about.clone()]) };
        let instance = self.instances.get(id);
        let instance = instance.ok_or_else(|| ApiError::not_found(format!("{id}: there is none")))?;
        let most = if asked.packet.is_some() { 1 } else { usize::MAX };
        Ok(instance.spec.ports.iter().take(most).map(|port| About::Port(port.id.clone())).collect())
    }
}

fn shown(facts: &FactTable, about: &About, asked: &Asked) -> Result<Vec<Shown>, ApiError> {
    let network = Network::of(facts, about)?;
    Ok(match &asked.packet {
        Some(packet) => way::of_packet(&network, packet),
        None => place::of_network(&network, about),
    })
}

#[cfg(test)]
mod tests;
