//! The seeded simulation of the three reconcilers.
//!
//! `KARRI_SIM_SCHEDULES=1000000` runs that many schedules, `KARRI_SIM_SEED=N` runs one and prints what happens.

use karri_tests::simulation::{Failure, run};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const SCHEDULES: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn tell(failure: &Failure) -> String {
    format!(
        "seed {}: {}\n(again, with what happened: KARRI_SIM_SEED={} cargo test -p karri-tests --test simulation)",
        failure.seed, failure.what, failure.seed
    )
}

/// The failure with the smallest seed, of all that ran.
fn first_failure(schedules: u64) -> Option<Failure> {
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= schedules {
                break;
            }
            if let Err(failure) = run(seed, false) {
                failed.store(true, Ordering::Relaxed);
                return Some(failure);
            }
        }
        None
    };
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let failures = workers.into_iter().filter_map(|worker| worker.join().expect("no schedule panics"));
        failures.min_by_key(|failure| failure.seed)
    })
}

#[test]
fn nothing_is_lost_doubled_or_leaked_in_any_schedule() {
    if let Some(seed) = number("KARRI_SIM_SEED") {
        let outcome = run(seed, true);
        if let Err(failure) = outcome {
            println!("{}", failure.trace.join("\n"));
            panic!("{}", tell(&failure));
        }
        return;
    }
    let (schedules, began) = (number("KARRI_SIM_SCHEDULES").unwrap_or(SCHEDULES), Instant::now());
    if let Some(failure) = first_failure(schedules) {
        panic!("{}", tell(&failure));
    }
    println!("{schedules} schedules in {:.1} s", began.elapsed().as_secs_f64());
}

#[test]
fn a_seed_is_a_schedule() {
    let trace = |seed| run(seed, true).unwrap_or_else(|failure| failure.trace);
    let traces: Vec<_> = (0..10).map(trace).collect();
    assert!(traces.iter().any(|trace| trace.len() > 100), "nothing much happens");
    assert_eq!(traces, (0..10).map(trace).collect::<Vec<_>>());
}
