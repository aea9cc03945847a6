//! Suites side by side: many of them wait more than they work.
//!
//! Each has directories, ports, bridges and ranges of its own, so that they can. Reports keep the
//! order of the suites, whatever ends first.

use anyhow::Result;
use std::collections::VecDeque;
use std::sync::Mutex;

/// How many run at a time: they wait half of their time.
pub fn lanes() -> usize {
    2 * cores()
}

/// How many of them may be such that start guests: these share what the machine has room for, and a guest that is emulated
/// takes a core while it boots.
pub fn lanes_with_guests() -> usize {
    cores() + 1
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 4)
}

/// What waits for a lane, and how many lanes have something heavy.
struct Queue {
    waiting: VecDeque<usize>,
    heavy: usize,
}

/// Runs `run` for every item, `lanes` at a time, of which `heavy_max` may be heavy. The first error ends it, once what has
/// begun is done.
pub fn side_by_side<T: Sync, R: Send>(
    (lanes, heavy_max): (usize, usize),
    items: &[T],
    is_heavy: impl Fn(&T) -> bool + Sync,
    run: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let queue = Mutex::new(Queue { waiting: (0..items.len()).collect(), heavy: 0 });
    let done: Mutex<Vec<(usize, Result<R>)>> = Mutex::default();
    let next = || {
        let queue = &mut *queue.lock().expect("no lane panics");
        let may_run = |at: &usize| queue.heavy < heavy_max || !is_heavy(&items[*at]);
        // When there is none, lanes with something heavy do what is left.
        let at = queue.waiting.remove(queue.waiting.iter().position(may_run)?)?;
        queue.heavy += usize::from(is_heavy(&items[at]));
        Some(at)
    };
    let lane = || {
        while let Some(at) = next() {
            let result = run(&items[at]);
            let mut queue = queue.lock().expect("no lane panics");
            queue.heavy -= usize::from(is_heavy(&items[at]));
            if result.is_err() {
                queue.waiting.clear();
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn items_run_at_the_same_time_and_their_results_keep_their_order() {
        let both = Barrier::new(2);
        let run = |item: &i32| {
            both.wait(); // ends only if the other runs too
            Ok(item * 10)
        };
        assert_eq!(side_by_side((2, 2), &[1, 2], |_| true, run).unwrap(), [10, 20]);
    }

    #[test]
    fn what_is_heavy_waits_for_others_of_its_kind_and_holds_up_nothing_else() {
        let (heavy, both) = (AtomicUsize::new(0), Barrier::new(2));
        let run = |item: &u32| {
            if *item < 10 {
                both.wait(); // beside something heavy
                return Ok(*item);
            }
            assert_eq!(heavy.fetch_add(1, Ordering::SeqCst), 0);
            both.wait();
            heavy.fetch_sub(1, Ordering::SeqCst);
            Ok(*item)
        };
        let items = [10, 11, 12, 1, 2, 3];
        assert_eq!(side_by_side((2, 1), &items, |item| *item >= 10, run).unwrap(), items);
    }

    #[test]
    fn an_error_ends_it_and_is_told() {
        let run = |item: &u32| -> Result<u32> {
            if *item == 1 { anyhow::bail!("one is wrong") } else { Ok(*item) }
        };
        let light = |_: &u32| false;
        assert_eq!(side_by_side((1, 1), &[0, 1, 2], light, run).unwrap_err().to_string(), "one is wrong");
        assert!(side_by_side((3, 1), &[], light, run).unwrap().is_empty());
    }
}
