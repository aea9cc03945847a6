//! Tells the book the time, and the metrics what the book holds.

use crate::app::book::Book;
use crate::app::facts::Counts;
use crate::keeper::Keeper;
use karri_proto::runtime::process::Base;
use std::collections::BTreeMap;
use std::time::Duration;

const TICK_EVERY: Duration = Duration::from_millis(500);
const TICKS_PER_MEASURE: u32 = 20;
/// Rounds are short; one that takes longer than this does not end.
const ROUND_MAX: Duration = Duration::from_secs(60);

pub async fn run(base: Base, keeper: Keeper) {
    let mut shutdown = base.shutdown.clone();
    let pulse = base.health.pulse("book", ROUND_MAX);
    let mut timer = tokio::time::interval(TICK_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for count in 0u32.. {
        tokio::select! {
            _ = timer.tick() => {}
            () = shutdown.wait() => return,
        }
        // A failure has been logged by the keeper; the next tick is the retry.
        pulse.told(keeper.ask(|book, now_ms| book.tick(now_ms)).await);
        if count % TICKS_PER_MEASURE == 0
            && let Ok(measured) = keeper.ask(|book, _| measure(book)).await
        {
            for (phase, count) in measured.instances {
                base.metrics.gauge("karri_cc_instances", &[("phase", phase)], count);
            }
            base.metrics.gauge("karri_cc_nodes", &[("state", "alive")], measured.alive);
            base.metrics.gauge("karri_cc_nodes", &[("state", "silent")], measured.silent);
            base.metrics.gauge("karri_cc_strangers", &[], measured.strangers);
            let facts = measured.facts;
            base.metrics.gauge("karri_cc_facts", &[("kind", "rule")], facts.rules as f64);
            base.metrics.gauge("karri_cc_facts", &[("kind", "port")], facts.ports as f64);
            base.metrics.gauge("karri_cc_facts_nodes_behind", &[], facts.nodes_behind as f64);
        }
    }
}

struct Measured {
    instances: BTreeMap<&'static str, f64>,
    alive: f64,
    silent: f64,
    strangers: f64,
    facts: Counts,
}

fn measure(book: &Book) -> Measured {
    use karri_proto::instance::Phase;
    let name = |phase| match phase {
        Phase::Preparing => "preparing",
        Phase::Running => "running",
        Phase::Stopping => "stopping",
        Phase::Stopped => "stopped",
        Phase::Terminating => "terminating",
        Phase::Gone => "gone",
        Phase::Failed => "failed",
    };
    let all = ["preparing", "running", "stopping", "stopped", "terminating", "gone", "failed"];
    let mut instances: BTreeMap<&'static str, f64> = all.into_iter().map(|phase| (phase, 0.0)).collect();
    for row in book.rows() {
        *instances.entry(name(row.phase)).or_default() += 1.0;
    }
    let (mut alive, mut silent) = (0.0, 0.0);
    for node in book.nodes() {
        *if node.alive { &mut alive } else { &mut silent } += 1.0;
    }
    Measured {
        instances,
        alive,
        silent,
        strangers: book.strangers_count() as f64,
        facts: book.facts_counts(),
    }
}
