//! Keeps the cluster's network as its instances want it: a function of the rows, carried out by a driver.

use crate::app::book::Book;
use crate::drive::{Driver, Host};
use crate::keeper::Keeper;
use karri_proto::runtime::process::Base;
use std::time::Duration;

/// A service that died is mended within this; what others changed, too.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// Programs that the driver calls have time limits of their own; together they stay below this.
const ROUND_MAX: Duration = Duration::from_secs(120);
/// Launches come in bursts; one writing of the file serves a burst.
const GATHER: Duration = Duration::from_millis(100);

/// Who may lease which address, in a fixed order. Wanted state, from nothing but rows.
pub fn hosts(book: &Book) -> Vec<Host> {
    let living = book.rows().filter(|row| !row.phase.is_final());
    let mut hosts: Vec<Host> = living
        .flat_map(|row| {
            row.leases.iter().map(|lease| Host {
                mac: lease.mac.clone(),
                address: lease.address,
                hostname: row.hostname.clone(),
            })
        })
        .collect();
    hosts.sort();
    hosts
}

pub async fn run(base: Base, keeper: Keeper, mut driver: Box<dyn Driver>) {
    let mut shutdown = base.shutdown.clone();
    let mut leases = keeper.leases();
    let mut wanted: Vec<Host> = Vec::new();
    let mut known: Option<u64> = None;
    let mut failing = false;
    let pulse = base.health.pulse("network", ROUND_MAX);
    loop {
        let version = *leases.borrow_and_update();
        if known != Some(version)
            && let Ok(hosts) = keeper.ask(|book, _| hosts(book)).await
        {
            (wanted, known) = (hosts, Some(version));
        }
        let outcome = driver.apply(&wanted).await;
        match &outcome {
            Err(error) if !failing => tracing::warn!(%error, "the network is not as it should be"),
            Ok(()) if failing => tracing::info!("the network is as it should be again"),
            _ => {}
        }
        failing = outcome.is_err();
        pulse.told(outcome);
        base.metrics.gauge("karri_cc_network_ok", &[], if failing { 0.0 } else { 1.0 });
        tokio::select! {
            () = tokio::time::sleep(CHECK_EVERY) => {}
            changed = leases.changed() => match changed {
                Ok(()) => tokio::time::sleep(GATHER).await,
                Err(_) => return,
            },
            () = shutdown.wait() => return,
        }
    }
}
