//! How long each program took: told for who wants the whole to be faster, and what takes long begins first the next time.

use anyhow::Result;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// Among the logs.
const FILE: &str = "times";

pub struct Times {
    before: HashMap<String, Duration>,
    now: Mutex<Vec<(Duration, String)>>,
}

impl Times {
    /// Takes over what the run before has written there, if there was one.
    pub fn after(logs: &Path) -> Self {
        let text = std::fs::read_to_string(logs.join(FILE)).unwrap_or_default();
        Self { before: text.lines().filter_map(line).collect(), now: Mutex::default() }
    }

    pub fn took(&self, name: &str, time: Duration) {
        self.now.lock().expect("no lane panics").push((time, name.to_owned()));
    }

    /// Every program and the seconds it took when it ran last, the slowest first, a line each.
    pub fn write(&self, logs: &Path) -> Result<()> {
        let mut times = self.now.lock().expect("no lane panics").clone();
        let rerun: HashSet<String> = times.iter().map(|(_, name)| name.clone()).collect();
        let kept = self.before.iter().filter(|(name, _)| !rerun.contains(*name));
        times.extend(kept.map(|(name, time)| (*time, name.clone())));
        times.sort_by(|a, b| b.cmp(a));
        let lines: Vec<String> =
            times.iter().map(|(time, name)| format!("{:7.1} {name}\n", time.as_secs_f64())).collect();
        Ok(std::fs::write(logs.join(FILE), lines.concat())?)
    }

    /// So that the last to end is not one that began last. What is new may take any time.
    pub fn longest_first<T>(&self, items: &mut [T], name: impl Fn(&T) -> String) {
        items.sort_by_cached_key(|item| {
            Reverse(self.before.get(&name(item)).copied().unwrap_or(Duration::MAX))
        });
    }
}

fn line(line: &str) -> Option<(String, Duration)> {
    let (secs, name) = line.trim_start().split_once(' ')?;
    Some((name.to_owned(), Duration::try_from_secs_f64(secs.parse().ok()?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_longest_begins_first_and_what_is_new_before_it() {
        let logs = tempfile::tempdir().unwrap();
        let mut names = ["short", "long one", "new"].map(str::to_owned);
        Times::after(logs.path()).longest_first(&mut names, Clone::clone);
        assert_eq!(names, ["short", "long one", "new"], "nothing is known yet");
        let first = Times::after(logs.path());
        first.took("short", Duration::from_millis(1_200));
        first.took("long one", Duration::from_secs(10));
        first.write(logs.path()).unwrap();
        Times::after(logs.path()).longest_first(&mut names, Clone::clone);
        assert_eq!(names, ["new", "long one", "short"]);
        let of_a_part = Times::after(logs.path());
        of_a_part.took("short", Duration::from_secs(20));
        of_a_part.write(logs.path()).unwrap();
        Times::after(logs.path()).longest_first(&mut names, Clone::clone);
        assert_eq!(names, ["new", "short", "long one"], "what was not run is still known");
        std::fs::write(logs.path().join(FILE), "x y\n\n-1 short\n").unwrap();
        Times::after(logs.path()).longest_first(&mut names, Clone::clone);
        assert_eq!(names, ["new", "short", "long one"], "nonsense tells nothing");
    }
}
