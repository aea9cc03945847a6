//! `karri net show`: what becomes of a packet, station by station, and by what.
//!
//! Told from what was decided, which clusters and nodes bring into their kernels: nobody is asked here. What a kernel
//! counts says whether it has got that far (docs/kernel.md); its names are told with each station.

mod asked;
mod network;
mod place;
mod way;

use super::App;
use asked::asked;
use karri_proto::internal::ApiError;
use karri_proto::internal::path::{PathAsked, Station};
use network::Network;

impl App {
    pub async fn packet_path(&self, wanted: &PathAsked) -> Result<Vec<Station>, ApiError> {
        let asked = asked(wanted)?;
        // What other controllers have changed, too.
        self.rules_follow().await?;
        self.networks_follow().await?;
        self.facts.look(|facts| {
            let network = Network::of(facts, &asked.about)?;
            Ok(match &asked.packet {
                Some(packet) => way::of_packet(&network, packet),
                None => place::of_network(&network, &asked.about),
            })
        })
    }
}

#[cfg(test)]
mod tests;
