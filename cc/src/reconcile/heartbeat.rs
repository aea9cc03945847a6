//! Makes the cluster known to the cloud controller, again and again.

use crate::keeper::Keeper;
use karri_proto::internal::clusters::{ClusterHello, ClusterService};
use karri_proto::internal::nodes::HEARTBEAT_EVERY;
use karri_proto::network::PUBLIC_RANGES_MAX;
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::outage::Outage;
use karri_proto::runtime::process::Base;
use std::time::Instant;

pub async fn run(base: Base, keeper: Keeper, clc: InternalClient, hello: ClusterHello) {
    let mut shutdown = base.shutdown.clone();
    let mut timer = tokio::time::interval(HEARTBEAT_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known = false;
    let mut silence = Outage::default();
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = shutdown.wait() => return,
        }
        let caller = base.caller("heartbeat");
        let answer = tokio::select! {
            answer = clc.cluster_hello(&caller, hello.clone()) => answer,
            () = shutdown.wait() => return,
        };
        match &answer {
            Ok(welcome) => {
                silence.ends();
                base.revoked.told(welcome.revoked.clone()).await;
                let names = welcome.names.clone().filter(|names| names.public.len() <= PUBLIC_RANGES_MAX);
                if let Some(names) = names {
                    // A failure has been logged by the keeper; the next heartbeat is the retry.
                    let _ = keeper.ask(move |book, _| book.names_told(names)).await;
                }
                if !known {
                    tracing::info!(
                        clc = clc.base(),
                        region = welcome.region,
                        "known to the cloud controller"
                    );
                }
            }
            Err(error) if silence.goes_on(Instant::now()) => {
                tracing::warn!(clc = clc.base(), %error, "the cloud controller does not answer");
            }
            Err(_) => {}
        }
        known = answer.is_ok();
    }
}
