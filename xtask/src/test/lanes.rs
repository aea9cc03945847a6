//! Suites side by side: many of them wait more than they work.
//!
//! Each has directories, ports, bridges and ranges of its own, so that they can. Reports keep the
//! order of the suites, whatever ends first.

use anyhow::Result;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// For suites that wait two thirds of their time.
pub fn many() -> usize {
    2 * cores()
}

/// For suites with guests, which share what the machine has room for; a guest that is emulated takes a core while it boots.
pub fn few() -> usize {
    cores() + 1
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 4)
}

/// Runs `run` for every item, `lanes` at a time. The first error ends it, once what has begun is done.
pub fn side_by_side<T: Sync, R: Send>(
    lanes: usize,
    items: &[T],
    run: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<R>)>> = Mutex::default();
    let lane = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let result = run(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            done.lock().expect("no lane panics").push((at, result));
        }
    };
    std::thread::scope(|scope| (0..lanes).for_each(|_| drop(scope.spawn(lane))));
    let mut done = done.into_inner().expect("no lane panics");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn items_run_at_the_same_time_and_their_results_keep_their_order() {
        let both = Barrier::new(2);
        let results = side_by_side(2, &[1, 2], |item| {
            both.wait(); // ends only if the other runs too
            Ok(item * 10)
        });
        assert_eq!(results.unwrap(), [10, 20]);
    }

    #[test]
    fn an_error_ends_it_and_is_told() {
        let run = |item: &u32| -> Result<u32> {
            if *item == 1 { anyhow::bail!("one is wrong") } else { Ok(*item) }
        };
        assert_eq!(side_by_side(1, &[0, 1, 2], run).unwrap_err().to_string(), "one is wrong");
        assert!(side_by_side(3, &[], run).unwrap().is_empty());
    }
}
