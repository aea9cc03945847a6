//! Suites side by side: many of them wait more than they work.
//!
//! Each has directories, ports, bridges and ranges of its own, so that they can. Reports keep the
//! order of the suites, whatever ends first.

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

/// Runs `run` for every item, `lanes` at a time, of which `heavy_max` may be heavy.
pub fn side_by_side<T: Sync, R: Send>(
    (lanes, heavy_max): (usize, usize),
    items: &[T],
    is_heavy: impl Fn(&T) -> bool + Sync,
    run: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let queue = Mutex::new(Queue { waiting: (0..items.len()).collect(), heavy: 0 });
    let done: Mutex<Vec<(usize, R)>> = Mutex::default();
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
            queue.lock().expect("no lane panics").heavy -= usize::from(is_heavy(&items[at]));
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
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Where two meet, if both come.
    #[derive(Default)]
    struct Meeting {
        came: Mutex<usize>,
        comes: Condvar,
    }

    impl Meeting {
        /// Whether another one was there, too, or came in time.
        fn meets(&self) -> bool {
            let mut came = self.came.lock().unwrap();
            *came += 1;
            let both = came.next_multiple_of(2);
            self.comes.notify_all();
            !self.comes.wait_timeout_while(came, PATIENCE, |came| *came < both).unwrap().1.timed_out()
        }
    }

    #[test]
    fn items_run_at_the_same_time_and_their_results_keep_their_order() {
        let both = Meeting::default();
        let run = |item: &i32| (item * 10, both.meets());
        assert_eq!(side_by_side((2, 2), &[1, 2], |_| true, run), [(10, true), (20, true)]);
        assert!(side_by_side((3, 1), &[], |_: &i32| false, run).is_empty());
    }

    #[test]
    fn what_is_heavy_waits_for_others_of_its_kind_and_holds_up_nothing_else() {
        let (heavy, most, both) = (AtomicUsize::new(0), AtomicUsize::new(0), Meeting::default());
        let run = |item: &u32| {
            if *item < 10 {
                return (*item, both.meets()); // beside something heavy
            }
            most.fetch_max(heavy.fetch_add(1, SeqCst) + 1, SeqCst);
            let met = both.meets();
            heavy.fetch_sub(1, SeqCst);
            (*item, met)
        };
        let items = [10, 11, 12, 1, 2, 3];
        let done = side_by_side((2, 1), &items, |item| *item >= 10, run);
        assert_eq!(done, items.map(|item| (item, true)));
        assert_eq!(most.into_inner(), 1, "heavy ones at a time");
    }
}
