//! When routers are looked at that are wanted as they were brought to, and which: changes of others wait for none of it.

use super::running::Due;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// However fast changes come, these looks come no faster.
const APART: Duration = Duration::from_secs(1);
/// Of routers that nothing has happened to, one in so many is looked at at a time.
const SURE_SHARE: usize = 16;

#[derive(Debug, Default)]
pub struct Pace {
    looked: Option<Instant>,
}

impl Pace {
    pub fn is_time(&self, now: Instant) -> bool {
        self.looked.is_none_or(|looked| now.duration_since(looked) >= APART)
    }

    /// The looks are done.
    pub fn looked(&mut self, now: Instant) {
        self.looked = Some(now);
    }
}

/// Those to look at: what something has happened to, and then what is only looked at to be sure. `all`: how many routers
/// there are.
pub fn choose<K: Ord>(all: usize, dues: impl Iterator<Item = (K, Due)>) -> [BTreeSet<K>; 2] {
    let (mut stirred, mut sure) = (BTreeSet::new(), BTreeSet::new());
    for (key, due) in dues {
        match due {
            Due::Stirred => _ = stirred.insert(key),
            Due::Sure if sure.len() <= all / SURE_SHARE => _ = sure.insert(key),
            Due::Sure | Due::No => {}
        }
    }
    [stirred, sure]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_changes_come_in_a_burst_looks_come_a_second_apart() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let mut looks = Vec::new();
        for ms in (0..4000).step_by(10) {
            let now = began + Duration::from_millis(ms);
            if pace.is_time(now) {
                looks.push(ms);
                pace.looked(now + Duration::from_millis(5));
            }
        }
        assert_eq!(looks, [0, 1010, 2020, 3030]);
    }

    #[test]
    fn all_that_something_has_happened_to_are_chosen_and_few_of_the_others() {
        let due = |number: u32| match number % 3 {
            0 => Due::Stirred,
            1 => Due::Sure,
            _ => Due::No,
        };
        let [stirred, sure] = choose(32, (0..32).map(|number| (number, due(number))));
        assert_eq!(stirred, (0..32).step_by(3).collect());
        assert_eq!(sure, BTreeSet::from([1, 4, 7]));
        let [_, sure] = choose(1, std::iter::once((1, Due::Sure)));
        assert_eq!(sure.len(), 1, "one that is alone");
    }
}
