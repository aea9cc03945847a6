//! What `up` says while it works: one line per step with the time it took.

use std::fmt::Display;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Progress {
    begun: Instant,
}

impl Progress {
    pub fn begin() -> Self {
        Self { begun: Instant::now() }
    }

    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Runs one step. `describe` says what came of it, in a few words.
    pub async fn step<T, D: Display>(
        &self,
        name: &str,
        work: impl Future<Output = anyhow::Result<T>>,
        describe: impl FnOnce(&T) -> D,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        match work.await {
            Ok(done) => {
                line(name, &describe(&done).to_string(), begun.elapsed());
                Ok(done)
            }
            Err(error) => {
                line(name, "failed", begun.elapsed());
                Err(error.context(name.to_owned()))
            }
        }
    }
}

/// To standard error: standard output is for what programs read.
fn line(name: &str, outcome: &str, took: Duration) {
    eprintln!("{}", format_line(name, outcome, took));
}

fn format_line(name: &str, outcome: &str, took: Duration) -> String {
    format!("  {name:<18} {outcome:<48} {:>6.2} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_line_with_its_time() {
        let line = format_line("cloud CA", "made", Duration::from_millis(1234));
        assert!(line.starts_with("  cloud CA           made"), "{line}");
        assert!(line.ends_with("  1.23 s"), "{line}");
    }
}
