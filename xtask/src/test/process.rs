//! Running a program with its output in files and an end to its time.
//!
//! Output goes to files and not through pipes: a daemon that a test leaves running would hold a pipe
//! open, and we would wait for it for ever.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const POLL_EVERY: Duration = Duration::from_millis(20);
/// Between asking a program that ran too long to stop, and killing it.
const STOP_GRACE: Duration = Duration::from_secs(10);
const SHOWN_LINES_MAX: usize = 150;

#[derive(Debug)]
pub struct Outcome {
    /// Nothing when it was stopped for taking too long.
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Why it did not succeed, in a word or two.
    pub fn end(&self) -> String {
        self.status.map_or("it was stopped: it took too long".to_owned(), |status| status.to_string())
    }

    /// The end of what it printed.
    pub fn tail(&self) -> String {
        let both = format!("{}{}", self.stdout, self.stderr);
        format!("{}\n({})", last_lines(&both), self.end())
    }
}

pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES_MAX)..].join("\n")
}

/// Runs `command`; its output is kept as `logs/NAME.out` and `.err`.
pub fn run(command: &mut Command, logs: &Path, name: &str, time_max: Duration) -> Result<Outcome> {
    let file = |kind: &str| logs.join(format!("{}.{kind}", name.replace(['/', ' '], "-")));
    let (out, err) = (file("out"), file("err"));
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let status = wait(&mut child, time_max)?;
    let read = |path| -> Result<String> { Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned()) };
    Ok(Outcome { status, stdout: read(out)?, stderr: read(err)? })
}

fn wait(child: &mut Child, time_max: Duration) -> Result<Option<ExitStatus>> {
    if let Some(status) = wait_until(child, Instant::now() + time_max)? {
        return Ok(Some(status));
    }
    // It and all that it started: what it leaves would disturb the next part.
    let family = family(child.id());
    family.iter().for_each(|pid| signal(*pid, Signal::TERM));
    // Who cleans up after others ends later than they do.
    let deadline = Instant::now() + STOP_GRACE;
    wait_until(child, deadline)?;
    while family.iter().any(|pid| lives(*pid)) && Instant::now() < deadline {
        std::thread::sleep(POLL_EVERY); // they are not our children: nothing tells when they end
    }
    family.iter().for_each(|pid| signal(*pid, Signal::KILL));
    child.wait()?;
    Ok(None)
}

fn wait_until(child: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        std::thread::sleep(POLL_EVERY); // std has no wait with a deadline
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// A process and its living descendants.
fn family(ancestor: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut family = vec![ancestor];
    let mut at = 0;
    while at < family.len() {
        let children = parents.iter().filter(|(_, parent)| *parent == family[at]);
        let children: Vec<u32> = children.map(|(pid, _)| *pid).collect();
        family.extend(children);
        at += 1;
    }
    family
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.1.parse().ok()
}

/// It has not ended, whether or not anybody has asked how it did.
fn lives(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z")
}

/// A process's state and its parent.
fn stat(pid: u32) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    Some((words.next()?, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_are_kept() {
        let logs = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let outcome = run(&mut command, logs.path(), "a/b", Duration::from_secs(10)).unwrap();
        assert!(!outcome.success());
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
        assert!(outcome.tail().contains("exit status: 3"));
        assert!(logs.path().join("a-b.out").exists());
    }

    #[test]
    fn what_takes_too_long_is_stopped_with_all_it_started() {
        let logs = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $!; wait"]);
        let outcome = run(&mut command, logs.path(), "slow", Duration::from_millis(200)).unwrap();
        assert_eq!(outcome.status, None);
        let grandchild: u32 = outcome.stdout.trim().parse().unwrap();
        let began = Instant::now();
        while lives(grandchild) {
            assert!(began.elapsed() < Duration::from_secs(5), "{grandchild} still lives");
            std::thread::sleep(POLL_EVERY);
        }
    }

    #[test]
    fn who_cleans_up_after_one_that_was_stopped_is_let_do_it() {
        let logs = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // It ends once its parent has, and takes a little longer.
        let cleaner = "trap '' TERM; while kill -0 $PARENT; do sleep 0.05; done; sleep 0.3; echo cleaned";
        command.args(["-c", r#"PARENT=$$ sh -c "$CLEANER" & exec sleep 600"#]).env("CLEANER", cleaner);
        let outcome = run(&mut command, logs.path(), "kept", Duration::from_millis(300)).unwrap();
        assert_eq!((outcome.status, outcome.stdout.as_str()), (None, "cleaned\n"));
    }

    #[test]
    fn a_daemon_that_stays_does_not_hold_us() {
        let logs = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 5 & echo done"]);
        let began = Instant::now();
        assert!(run(&mut command, logs.path(), "daemon", Duration::from_secs(10)).unwrap().success());
        assert!(began.elapsed() < Duration::from_secs(4));
    }
}
