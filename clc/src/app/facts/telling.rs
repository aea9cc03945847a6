//! What one receiver is told, numbered. Pure.
//!
//! Each key stands at the number of its newest change, so that whoever is behind hears of each key once, as it is
//! now. A key that is gone stays until the receiver has heard of it.

use karri_proto::network::FactKey;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Gone keys that are kept for a receiver that is away. With more it is told everything when it is back.
const GONE_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct Telling {
    /// The newest number.
    at: u64,
    /// Who stands before this number has missed something that is not here any more.
    floor: u64,
    by_number: BTreeMap<u64, FactKey>,
    numbers: HashMap<FactKey, u64>,
    gone: BTreeSet<u64>,
}

/// What is on a page is with whoever took it.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub to: u64,
    pub caught_up: bool,
}

impl Telling {
    pub fn tells(&self, key: &FactKey) -> bool {
        self.numbers.get(key).is_some_and(|number| !self.gone.contains(number))
    }

    /// What is told and not gone, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &FactKey> {
        self.numbers.iter().filter(|(_, number)| !self.gone.contains(number)).map(|(key, _)| key)
    }

    pub fn put(&mut self, key: FactKey) {
        self.renumber(key);
    }

    /// Nothing where the key is not told.
    pub fn remove(&mut self, key: &FactKey) {
        if self.tells(key) {
            let number = self.renumber(key.clone());
            self.gone.insert(number);
            while self.gone.len() > GONE_MAX {
                self.forget_oldest();
            }
        }
    }

    fn renumber(&mut self, key: FactKey) -> u64 {
        if let Some(before) = self.numbers.get(&key) {
            self.by_number.remove(before);
            self.gone.remove(before);
        }
        self.at += 1;
        self.by_number.insert(self.at, key.clone());
        self.numbers.insert(key, self.at);
        self.at
    }

    fn forget_oldest(&mut self) {
        let Some(number) = self.gone.pop_first() else { return };
        if let Some(key) = self.by_number.remove(&number) {
            self.numbers.remove(&key);
        }
        self.floor = self.floor.max(number);
    }

    /// The receiver has everything up to there.
    pub fn heard(&mut self, at: u64) {
        while self.gone.first().is_some_and(|number| *number <= at) {
            self.forget_oldest();
        }
    }

    pub fn reaches(&self, at: u64) -> bool {
        (self.floor..=self.at).contains(&at)
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    /// The keys after `from`, in the order of their changes; None: from the beginning, to one who is to have nothing yet.
    /// `fits` takes a key, false beside it: gone; or says that it is for another page.
    pub fn page(&self, from: Option<u64>, mut fits: impl FnMut(&FactKey, bool) -> bool) -> Page {
        let after = from.unwrap_or(0);
        let mut news = self.by_number.range(after.saturating_add(1)..);
        let mut to = after;
        for (number, key) in news.by_ref() {
            let gone = self.gone.contains(number);
            if gone && from.is_none() {
                continue;
            }
            if !fits(key, !gone) {
                return Page { to, caught_up: false };
            }
            to = *number;
        }
        Page { to: self.at.max(after), caught_up: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> FactKey {
        FactKey::Port(format!("eni-{number:08x}").parse().unwrap())
    }

    fn told(telling: &Telling, from: Option<u64>, most: usize) -> (u64, bool, Vec<(FactKey, bool)>) {
        let mut keys = Vec::new();
        let Page { to, caught_up } = telling.page(from, |key, there| {
            let fits = keys.len() < most;
            keys.extend(fits.then(|| (key.clone(), there)));
            fits
        });
        (to, caught_up, keys)
    }

    #[test]
    fn each_key_is_told_once_as_it_is_now() {
        let mut telling = Telling::default();
        telling.put(key(1));
        telling.put(key(2));
        telling.put(key(1));
        assert_eq!(told(&telling, None, 10), (3, true, vec![(key(2), true), (key(1), true)]));
        assert_eq!(told(&telling, Some(2), 10), (3, true, vec![(key(1), true)]));
        assert_eq!(told(&telling, Some(3), 10), (3, true, vec![]));
    }

    #[test]
    fn pages_end_where_the_next_begins() {
        let mut telling = Telling::default();
        (1..=5).for_each(|number| telling.put(key(number)));
        let (to, caught_up, first) = told(&telling, None, 2);
        assert_eq!((to, caught_up, first), (2, false, vec![(key(1), true), (key(2), true)]));
        assert_eq!(told(&telling, Some(2), 2).0, 4);
        assert_eq!(told(&telling, Some(4), 2), (5, true, vec![(key(5), true)]));
    }

    #[test]
    fn a_key_that_goes_is_told_to_who_had_it_and_to_nobody_else() {
        let mut telling = Telling::default();
        telling.put(key(1));
        telling.remove(&key(1));
        telling.remove(&key(2));
        assert_eq!(told(&telling, Some(1), 10), (2, true, vec![(key(1), false)]));
        assert_eq!(told(&telling, None, 10), (2, true, vec![]));
        telling.heard(2);
        assert!(!telling.reaches(1) && telling.reaches(2));
        assert!(telling.numbers.is_empty() && telling.by_number.is_empty(), "nothing is kept for ever");
    }

    #[test]
    fn a_receiver_that_was_away_for_too_long_is_told_everything() {
        let mut telling = Telling::default();
        let many = u32::try_from(GONE_MAX).unwrap() + 1;
        (0..many).for_each(|number| telling.put(key(number)));
        let stands = telling.at();
        (0..many).for_each(|number| telling.remove(&key(number)));
        assert!(!telling.reaches(stands) && telling.reaches(telling.at()));
        assert_eq!(telling.gone.len(), GONE_MAX);
    }
}
