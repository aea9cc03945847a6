//! Keeps the cluster's network as its instances want it: a function of the rows, carried out by a driver.

use crate::app::book::{Book, RouterNews};
use crate::app::router::{FlatPart, Site, flat_naming, outside, router};
use crate::drive::{Driver, Host, Wanted};
use crate::keeper::Keeper;
use karri_proto::ids::VpcId;
use karri_proto::runtime::process::Base;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A service that died is mended within this; what others changed, too.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// Programs that the driver calls have time limits of their own; together they stay below this.
const ROUND_MAX: Duration = Duration::from_secs(120);
/// Launches come in bursts; one writing of the file serves a burst.
const GATHER: Duration = Duration::from_millis(100);

/// Who may lease which address on the flat network, in a fixed order. Wanted state, from nothing but rows.
pub fn hosts(book: &Book) -> Vec<Host> {
    let living = book.rows().filter(|row| !row.phase.is_final());
    let mut hosts: Vec<Host> = living
        .flat_map(|row| {
            row.leases.iter().filter(|lease| lease.segment.is_none()).map(|lease| Host {
                mac: lease.mac.clone(),
                address: lease.address,
                hostname: row.name_of(lease).split('.').next().unwrap_or_default().to_owned(),
            })
        })
        .collect();
    hosts.sort();
    hosts
}

/// What is known of the network, brought up to date by what has changed.
struct Known {
    site: Site,
    wanted: Wanted,
    /// Of VPCs with subnets on the flat network.
    flat: BTreeMap<VpcId, FlatPart>,
}

/// All of it at once, but for what is served on the flat network.
pub fn wanted(news: RouterNews, site: Site) -> Wanted {
    let mut known = Known::new(site);
    known.take(news);
    known.wanted
}

impl Known {
    fn new(site: Site) -> Self {
        Self { site, wanted: Wanted::default(), flat: BTreeMap::new() }
    }

    fn take(&mut self, news: RouterNews) {
        if news.everything {
            self.wanted.routers.clear();
            self.flat.clear();
        }
        for (vpc, news) in news.vpcs {
            match news.input.as_ref().and_then(|input| router(input, &self.site)) {
                Some(router) => drop(self.wanted.routers.insert(vpc.clone(), Arc::new(router))),
                None => drop(self.wanted.routers.remove(&vpc)),
            }
            // The same for all VPCs. Without any it stays: who serves names does not start anew for that.
            if let Some(region) = news.input.as_ref().and_then(|input| input.names.clone()) {
                self.wanted.naming.region = Some(region);
            }
            self.flat.insert(vpc, FlatPart::new(news.flat, news.input.as_ref()));
        }
        self.flat.retain(|_, part| !part.is_empty());
        let flat = self.flat.values().flat_map(FlatPart::addresses);
        let routers = self.wanted.routers.values().map(Arc::as_ref);
        self.wanted.outside = outside(&self.site, flat, routers);
        let region = self.wanted.naming.region.take();
        self.wanted.naming = flat_naming(&self.site, region, self.flat.values());
        self.wanted.tunnels = news.tunnels;
    }
}

pub async fn run(base: Base, keeper: Keeper, site: Site, mut driver: Box<dyn Driver>) {
    let mut shutdown = base.shutdown.clone();
    let mut leases = keeper.leases();
    let mut routers = keeper.routers();
    let mut known = Known::new(site);
    let mut leases_known: Option<u64> = None;
    let mut routers_known: Option<u64> = None;
    let mut failing = false;
    let pulse = base.health.pulse("network", ROUND_MAX);
    loop {
        let version = *leases.borrow_and_update();
        if leases_known != Some(version)
            && let Ok(hosts) = keeper.ask(|book, _| hosts(book)).await
        {
            (known.wanted.hosts, leases_known) = (hosts, Some(version));
        }
        let version = *routers.borrow_and_update();
        if routers_known != Some(version)
            && let Ok(news) = keeper.ask(|book, _| book.take_router_news()).await
        {
            known.take(news);
            routers_known = Some(version);
        }
        let outcome = driver.apply(&known.wanted).await;
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
            changed = routers.changed() => match changed {
                Ok(()) => tokio::time::sleep(GATHER).await,
                Err(_) => return,
            },
            changed = leases.changed() => match changed {
                Ok(()) => tokio::time::sleep(GATHER).await,
                Err(_) => return,
            },
            () = shutdown.wait() => return,
        }
    }
}
