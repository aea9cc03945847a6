//! How far long work is: a bar on a terminal, lines elsewhere. On standard error.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const LINE_EVERY: Duration = Duration::from_secs(5);
const MIB: u64 = 1 << 20;

/// Ends when it is dropped.
pub struct Meter {
    label: String,
    /// What becomes of the bytes: `sent`.
    done: &'static str,
    total: Option<u64>,
    bytes: u64,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Meter {
    pub fn new(label: &str, done: &'static str, total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(label, total));
        Self { label: label.to_owned(), done, total, bytes: 0, bar, said: Instant::now() }
    }

    pub fn advance(&mut self, bytes: u64) {
        self.reach(self.bytes + bytes);
    }

    pub fn reach(&mut self, bytes: u64) {
        self.bytes = bytes;
        match &self.bar {
            Some(bar) => bar.set_position(bytes),
            None if self.said.elapsed() > LINE_EVERY => {
                self.said = Instant::now();
                eprintln!("{}", self.line());
            }
            None => {}
        }
    }

    fn line(&self) -> String {
        line(&self.label, self.done, self.bytes, self.total)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        match &self.bar {
            Some(bar) => bar.finish(),
            None => eprintln!("{}", self.line()),
        }
    }
}

fn bar(label: &str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{msg} {spinner} {bytes} {bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.with_style(style).with_message(crate::output::printable(label))
}

fn line(label: &str, done: &str, bytes: u64, total: Option<u64>) -> String {
    let label = crate::output::printable(label);
    match total {
        Some(total) if total > 0 => {
            let (unit, name) = unit(total);
            format!("{label}: {} of {} {name} {done} ({} %)", bytes / unit, total / unit, bytes * 100 / total)
        }
        _ => {
            let (unit, name) = unit(bytes);
            format!("{label}: {} {name} {done}", bytes / unit)
        }
    }
}

/// The largest unit that the amount is several of.
fn unit(bytes: u64) -> (u64, &'static str) {
    [(MIB, "MiB"), (1 << 10, "KiB")].into_iter().find(|(unit, _)| bytes >= 2 * unit).unwrap_or((1, "bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_far_it_is() {
        assert_eq!(line("x", "sent", 5 * MIB, Some(20 * MIB)), "x: 5 of 20 MiB sent (25 %)");
        assert_eq!(line("x", "sent", 5 * MIB, None), "x: 5 MiB sent");
        assert_eq!(line("x", "sent", 0, Some(0)), "x: 0 bytes sent");
        assert_eq!(line("x", "sent", 700, Some(1400)), "x: 700 of 1400 bytes sent (50 %)");
        assert_eq!(line("x", "sent", MIB, Some(MIB)), "x: 1024 of 1024 KiB sent (100 %)");
    }
}
