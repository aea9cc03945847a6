//! The seeded simulation of the three reconcilers.
//!
//! `KARRI_SIM_SCHEDULES=1000000` runs that many schedules, `KARRI_SIM_DEPTH=5` makes each five times as long,
//! `KARRI_SIM_FIRST=N` begins at that seed. `KARRI_SIM_SEED=N` runs one and prints what happens.

use karri_tests::simulation::{Failure, run};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const SCHEDULES: u64 = 10_000;
/// Every so many-th schedule is a deep one.
const DEEP_EVERY: u64 = 20;
const DEEP: u32 = 5;
/// So that who waits for a million sees it move.
const TOLD_EVERY: u64 = 50_000;
/// Told at once: two failures say more about the fault than one.
const FAILURES_MAX: usize = 5;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn depth(seed: u64) -> u32 {
    let asked = number("KARRI_SIM_DEPTH").and_then(|depth| u32::try_from(depth).ok());
    asked.unwrap_or(if seed % DEEP_EVERY == 1 { DEEP } else { 1 })
}

fn tell(failures: &[Failure]) -> String {
    let line = |failure: &Failure| {
        format!("seed {}, depth {}: {}\n", failure.seed, depth(failure.seed), failure.what)
    };
    let lines = failures.iter().map(line);
    let again = "again, with what happened: KARRI_SIM_SEED=… KARRI_SIM_DEPTH=… cargo test --workspace --test simulation";
    format!("{}({again})", lines.collect::<String>())
}

/// The first failures, by seed, of all that ran.
fn failures(first: u64, schedules: u64, failures_max: usize) -> Vec<Failure> {
    let (next, failed) = (AtomicU64::new(first), AtomicU64::new(0));
    let work = || {
        let mut failures = Vec::new();
        while failed.load(Ordering::Relaxed) < failures_max as u64 {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + schedules {
                break;
            }
            if seed > first && (seed - first).is_multiple_of(TOLD_EVERY) {
                println!("{} of {schedules} schedules", seed - first);
            }
            if let Err(failure) = run(seed, depth(seed), false) {
                failed.fetch_add(1, Ordering::Relaxed);
                println!("seed {seed}, depth {}: {}", depth(seed), failure.what); // long runs may be ended
                failures.push(failure);
            }
        }
        failures
    };
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut failures: Vec<Failure> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no schedule panics")).collect()
    });
    failures.sort_by_key(|failure| failure.seed);
    failures
}

#[test]
fn nothing_is_lost_doubled_or_leaked_in_any_schedule() {
    if let Some(seed) = number("KARRI_SIM_SEED") {
        if let Err(failure) = run(seed, depth(seed), true) {
            println!("{}", failure.trace.join("\n"));
            panic!("{}", tell(&[failure]));
        }
        return;
    }
    let first = number("KARRI_SIM_FIRST").unwrap_or(0);
    let (schedules, began) = (number("KARRI_SIM_SCHEDULES").unwrap_or(SCHEDULES), Instant::now());
    let failures = failures(first, schedules, FAILURES_MAX);
    assert!(failures.is_empty(), "{}", tell(&failures));
    println!("{schedules} schedules in {:.1} s", began.elapsed().as_secs_f64());
}

#[test]
fn a_seed_is_a_schedule() {
    let trace = |seed| run(seed, depth(seed), true).unwrap_or_else(|failure| failure.trace);
    let traces: Vec<_> = (0..10).map(trace).collect();
    assert!(traces.iter().any(|trace| trace.len() > 100), "nothing much happens");
    assert_eq!(traces, (0..10).map(trace).collect::<Vec<_>>());
}
