//! The loops: intent and observation in, idempotent steps out. They re-read what is, are woken by a
//! signal or a timer, and do not retry inside: the next round is the retry.
//!
//! ```text
//!   push    one per cluster   tells it what it does not know, makes it forget what is over
//!   listen  one per cluster   hears its reports and resources
//!   facts   one per cluster   tells it what its networks let through
//!   tend    one               deadlines, purging, which clusters are silent
//!   images  one               makes images of objects, carries imports and exports on
//!   follow  one, PostgreSQL   what other controllers on the same database do
//! ```
//!
//! On PostgreSQL only one controller runs push, listen, facts, tend and images: the holder of an advisory lock.

mod calls;
mod facts;
mod follow;
mod images;
mod listen;
mod push;
mod tend;

use crate::app::App;
use crate::store::Engine;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use karri_proto::runtime::server::{Shutdown, shutdown_pair};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// A round of a cluster's loops is over by then: at most a long poll, a call that nobody answers, and a write.
const ROUND_WITHIN: Duration = Duration::from_secs(120);
/// How often a controller tries to become the one that reconciles, and checks that it still is.
const LEAD_EVERY: Duration = Duration::from_secs(1);

/// Starts every loop; they end with the controller.
pub fn start(app: &Arc<App>) {
    let base = app.base.clone();
    match app.store.engine() {
        Engine::Sqlite => {
            app.leads_set(true);
            base.spawn(tend::run(app.clone(), base.shutdown.clone()));
            base.spawn(images::run(app.clone(), base.shutdown.clone()));
            base.spawn(clusters(app.clone(), base.shutdown.clone()));
        }
        Engine::Postgres => {
            base.spawn(follow::run(app.clone(), base.shutdown.clone()));
            base.spawn(lead(app.clone(), base.shutdown.clone()));
        }
    }
}

/// Starts a push, a listen and a facts loop for each cluster that comes.
async fn clusters(app: Arc<App>, mut shutdown: Shutdown) {
    let mut started = HashSet::new();
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        for link in app.clusters.list() {
            if started.insert(link.name.clone()) {
                let name = format!("push to {}", link.name);
                let pulse = app.base.health.pulse(&name, ROUND_WITHIN);
                let push = push::run(app.clone(), link.clone(), pulse, shutdown.clone());
                tasks.spawn(app.base.lasting(&name, &shutdown, push));
                let name = format!("listen to {}", link.name);
                let pulse = app.base.health.pulse(&name, ROUND_WITHIN);
                let listen = listen::run(app.clone(), link.clone(), pulse, shutdown.clone());
                tasks.spawn(app.base.lasting(&name, &shutdown, listen));
                let name = format!("networks of {}", link.name);
                let pulse = app.base.health.pulse(&name, ROUND_WITHIN);
                let facts = facts::run(app.clone(), link, pulse, shutdown.clone());
                tasks.spawn(app.base.lasting(&name, &shutdown, facts));
            }
        }
        tokio::select! {
            _ = shutdown.wait() => break,
            _ = app.clusters.arrived.notified() => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Reconciles while it holds the lock. A lost connection loses the lock, so it is asked every round.
async fn lead(app: Arc<App>, mut shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        match app.store.leadership_take().await {
            Ok(Some(mut leadership)) => {
                tracing::info!("this controller reconciles");
                app.leads_set(true);
                let (trigger, term) = shutdown_pair();
                let lasting = |name, task: BoxFuture<'static, ()>| app.base.lasting(name, &term, task);
                let loops = clusters(app.clone(), term.clone()).boxed();
                let loops = tokio::spawn(lasting("clusters", loops));
                let tending = tend::run(app.clone(), term.clone()).boxed();
                let tending = tokio::spawn(lasting("tend", tending));
                let making = images::run(app.clone(), term.clone()).boxed();
                let making = tokio::spawn(lasting("images", making));
                while !shutdown.is_stopping() && leadership.holds().await {
                    pause(&mut shutdown, LEAD_EVERY).await;
                }
                trigger.fire();
                let _ = tokio::join!(loops, tending, making);
                app.leads_set(false);
                tracing::info!("this controller no longer reconciles");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot ask who reconciles"),
        }
        pause(&mut shutdown, LEAD_EVERY).await;
    }
}

/// Waits, but not for longer than the controller lives.
async fn pause(shutdown: &mut Shutdown, time: Duration) {
    tokio::select! {
        _ = shutdown.wait() => {}
        _ = tokio::time::sleep(time) => {}
    }
}
