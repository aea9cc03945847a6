//! When a peer that does not answer is worth a warning: once, and not before it has had the time to be
//! started anew. Controllers are started together and again, in any order; that is no trouble.

use std::time::{Duration, Instant};

const BRIEF: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct Outage {
    since: Option<Instant>,
    told: bool,
}

impl Outage {
    /// It did not answer. True: now is the time to say so.
    pub fn goes_on(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let tell = !self.told && now.duration_since(since) >= BRIEF;
        self.told |= tell;
        tell
    }

    /// It answered. True: that it did not had been said.
    pub fn ends(&mut self) -> bool {
        std::mem::take(self).told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_is_told_and_once() {
        let mut outage = Outage::default();
        let start = Instant::now();
        assert!(!outage.goes_on(start));
        assert!(!outage.ends(), "nobody noticed");
        assert!(!outage.goes_on(start + BRIEF), "another one begins");
        assert!(outage.goes_on(start + BRIEF * 2));
        assert!(!outage.goes_on(start + BRIEF * 3));
        assert!(outage.ends());
        assert!(!outage.ends());
    }
}
