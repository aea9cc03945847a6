//! Controllers that outlived a supervisor which was killed: written down while they run, stopped by the
//! next one before it starts its own.

use super::child::send;
use anyhow::{Context, bail};
use karri_proto::runtime::endpoint::write_durably;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, interval};

const STOP_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A process, told from a later one with the same pid by when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub name: String,
    pub pid: u32,
    /// Clock ticks since the machine booted.
    begun: u64,
}

impl Process {
    pub fn of(name: &str, pid: u32) -> Option<Self> {
        Some(Self { name: name.to_owned(), pid, begun: begun(pid)? })
    }

    fn is_alive(&self) -> bool {
        begun(self.pid) == Some(self.begun)
    }
}

/// Field 22 of `/proc/PID/stat`, counted behind the command's closing bracket. A zombie counts as gone.
fn begun(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    (fields.next()? != "Z").then_some(())?;
    fields.nth(18)?.parse().ok()
}

pub fn write(path: &Path, processes: &[Process]) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    Ok(write_durably(path, &serde_json::to_vec_pretty(processes)?)?)
}

fn read(path: &Path) -> Vec<Process> {
    std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Stops what is still alive of an earlier supervisor; returns their names.
pub async fn stop(path: &Path) -> anyhow::Result<Vec<String>> {
    let alive: Vec<Process> = read(path).into_iter().filter(Process::is_alive).collect();
    for (signal, last) in [(Signal::TERM, false), (Signal::KILL, true)] {
        for process in alive.iter().filter(|process| process.is_alive()) {
            send(process.pid, signal);
        }
        let deadline = Instant::now() + STOP_WITHIN;
        let mut look = interval(LOOK_EVERY);
        while alive.iter().any(Process::is_alive) && Instant::now() < deadline {
            look.tick().await;
        }
        if let Some(stubborn) = alive.iter().find(|process| last && process.is_alive()) {
            bail!("{} (pid {}) cannot be stopped", stubborn.name, stubborn.pid);
        }
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(alive.into_iter().map(|process| process.name).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_very_process_that_was_written_down_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/children.json");
        assert!(stop(&path).await.unwrap().is_empty());
        let mut ours = tokio::process::Command::new("sleep").arg("600").spawn().unwrap();
        let mut later = tokio::process::Command::new("sleep").arg("600").spawn().unwrap();
        let known = Process::of("clc", ours.id().unwrap()).unwrap();
        let reused = Process { begun: 1, ..Process::of("cc", later.id().unwrap()).unwrap() };
        write(&path, &[known, reused]).unwrap();
        assert_eq!(stop(&path).await.unwrap(), ["clc"]);
        assert!(ours.wait().await.unwrap().code().is_none(), "ended by a signal");
        assert!(later.try_wait().unwrap().is_none(), "still runs");
        later.kill().await.unwrap();
        assert!(!path.exists());
    }
}
