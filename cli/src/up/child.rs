//! One controller as a child process: started, found ready, stopped.
//!
//! Each has its own process group, so that Ctrl-C at the terminal reaches only the supervisor, which
//! stops them in order.

use anyhow::{Context, bail};
use karri_proto::runtime::endpoint::Endpoint;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, timeout};

/// How often a file or port that will appear is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const READY_WITHIN: Duration = Duration::from_secs(60);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Of a controller that failed, how much of its log is shown.
const LOG_TAIL_BYTES: u64 = 2_000;
/// A log is put aside when it is larger, at a start or while its writer runs; one older log is kept.
const LOG_BYTES_MAX: u64 = 32 * 1024 * 1024;
const LOG_LOOK_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct ChildSpec {
    /// `clc`, `cc-ZONE` …: names its files too.
    pub name: String,
    pub program: PathBuf,
    pub config: PathBuf,
    pub state_dir: PathBuf,
    pub log: PathBuf,
}

#[derive(Debug)]
pub struct Running {
    pub pid: u32,
    child: Child,
    /// Where its own words begin in the log; before them are those of earlier lives.
    log_from: u64,
}

impl ChildSpec {
    pub fn spawn(&self) -> anyhow::Result<Running> {
        // The endpoint of an earlier life would look ready.
        Endpoint::remove(&self.state_dir);
        let log = self.open_log()?;
        let log_from = log.metadata()?.len();
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let pid = child.id().context("the child ended before it began")?;
        Ok(Running { pid, child, log_from })
    }

    fn open_log(&self) -> anyhow::Result<File> {
        if let Some(directory) = self.log.parent() {
            std::fs::create_dir_all(directory)?;
        }
        if self.log.metadata().is_ok_and(|m| m.len() > LOG_BYTES_MAX) {
            std::fs::rename(&self.log, self.log.with_extension("log.1"))?;
        }
        File::options()
            .append(true)
            .create(true)
            .open(&self.log)
            .with_context(|| self.log.display().to_string())
    }

    /// The writer keeps its file, so what it holds is copied and the file begins anew. A line that is written
    /// in between is lost; `log.jsonl` in the state directory has it.
    fn bound_log(&self, bytes_max: u64) -> std::io::Result<()> {
        if self.log.metadata()?.len() <= bytes_max {
            return Ok(());
        }
        let older = self.log.with_extension("log.1");
        let copied = std::fs::copy(&self.log, &older);
        // On a full disk the room is worth more than the older lines.
        let emptied = File::options().write(true).open(&self.log)?.set_len(0);
        if copied.is_err() {
            let _ = std::fs::remove_file(&older);
        }
        emptied
    }

    /// Waits until this very process has written its endpoint and calls itself healthy. A child that
    /// ends instead is an error that shows its last words.
    pub async fn ready(&self, running: &mut Running) -> anyhow::Result<Endpoint> {
        let deadline = Instant::now() + READY_WITHIN;
        let http = crate::http::local()?.timeout(HEALTH_TIMEOUT).build()?;
        let mut look = interval(LOOK_EVERY);
        loop {
            tokio::select! {
                status = running.child.wait() => {
                    bail!("{} ended ({}):\n{}", self.name, describe(&status?), self.last_words(running.log_from));
                }
                _ = look.tick() => {}
            }
            if let Some(endpoint) = self.healthy(&http, running.pid).await {
                return Ok(endpoint);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready after {} s:\n{}",
                    self.name,
                    READY_WITHIN.as_secs(),
                    self.last_words(running.log_from)
                );
            }
        }
    }

    async fn healthy(&self, http: &reqwest::Client, pid: u32) -> Option<Endpoint> {
        let endpoint = Endpoint::read(&self.state_dir).filter(|endpoint| endpoint.pid == pid)?;
        // Without a plain listener the endpoint file itself, written when serving has begun, must do.
        if let Some(url) = &endpoint.observe_url {
            let answer = http.get(format!("{url}/healthz")).send().await.ok()?;
            // One that serves and is ill is `karri status`'s to tell: starting it again would not cure it.
            let ill = answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE;
            (ill || answer.status().is_success()).then_some(())?;
        }
        Some(endpoint)
    }

    fn last_words(&self, from: u64) -> String {
        tail(&self.log, from).unwrap_or_else(|error| format!("({}: {error})", self.log.display()))
    }
}

impl Running {
    /// Waits for its end, and keeps its log within bounds until then.
    pub async fn ended(&mut self, spec: &ChildSpec) -> std::io::Result<ExitStatus> {
        let mut look = interval(LOG_LOOK_EVERY);
        loop {
            tokio::select! {
                status = self.child.wait() => return status,
                _ = look.tick() => {
                    let _ = spec.bound_log(LOG_BYTES_MAX); // the next look is the retry
                }
            }
        }
    }

    /// SIGTERM, and SIGKILL for one that does not heed it in time. False: it had to be killed.
    pub async fn stop(mut self) -> bool {
        send(self.pid, Signal::TERM);
        if timeout(STOP_WITHIN, self.child.wait()).await.is_ok() {
            return true;
        }
        send(self.pid, Signal::KILL);
        let _ = self.child.wait().await;
        false
    }
}

/// The process may be gone already, which is what was wanted.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

pub fn describe(status: &ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "for an unknown reason".to_owned(),
    }
}

/// The end of what was written after `begin`.
fn tail(path: &Path, begin: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // One that was put aside meanwhile is shorter than that.
    let begin = if begin > length { 0 } else { begin };
    let from = length.saturating_sub(LOG_TAIL_BYTES).max(begin);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // The first line may be cut.
    Ok(if from == begin {
        text
    } else {
        text.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or(text)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A program that was never open for writing in this process: another test's fork might hold it, and
    /// it could not be executed ("text file busy").
    pub fn write_program(path: &Path, text: &str) {
        let source = path.with_extension("source");
        std::fs::write(&source, text).unwrap();
        let status =
            std::process::Command::new("install").args(["-m", "755"]).arg(source).arg(path).status().unwrap();
        assert!(status.success());
    }

    fn spec(directory: &Path, script: &str) -> ChildSpec {
        let program = directory.join("program");
        write_program(&program, &format!("#!/bin/sh\n{script}\n"));
        ChildSpec {
            name: "clc".into(),
            program,
            config: directory.join("clc.toml"),
            state_dir: directory.to_owned(),
            log: directory.join("logs/clc.log"),
        }
    }

    const READY: &str = r#"printf '{"pid":%d,"version":"1","url":"x","public_url":null,"observe_url":null}' $$ \
        > "$(dirname "$0")/new" && mv "$(dirname "$0")/new" "$(dirname "$0")/endpoint.json""#;

    #[tokio::test]
    async fn a_child_is_ready_when_its_own_endpoint_appears_and_stops_when_told() {
        let directory = tempfile::tempdir().unwrap();
        let stale = r#"{"pid":1,"version":"0","url":"stale","public_url":null,"observe_url":null}"#;
        std::fs::write(directory.path().join("endpoint.json"), stale).unwrap();
        let spec = spec(directory.path(), &format!("{READY}\nexec sleep 600"));
        let mut running = spec.spawn().unwrap();
        assert_eq!(spec.ready(&mut running).await.unwrap().url, "x");
        assert!(running.stop().await);
    }

    #[tokio::test]
    async fn a_child_that_ends_is_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let spec = spec(directory.path(), "echo the port is taken; exit 3");
        std::fs::create_dir_all(spec.log.parent().unwrap()).unwrap();
        std::fs::write(&spec.log, "all is well\n").unwrap();
        let mut running = spec.spawn().unwrap();
        let error = spec.ready(&mut running).await.unwrap_err().to_string();
        assert!(error.contains("exit code 3") && error.contains("the port is taken"), "{error}");
        assert!(!error.contains("all is well"), "words of an earlier life: {error}");
    }

    #[tokio::test]
    async fn a_log_is_bounded_while_its_writer_runs() {
        let directory = tempfile::tempdir().unwrap();
        let loud = "echo first; while [ ! -e \"$(dirname \"$0\")/go\" ]; do sleep 0.01; done; echo second";
        let spec = spec(directory.path(), &format!("{loud}\n{READY}\nexec sleep 600"));
        let mut running = spec.spawn().unwrap();
        while !std::fs::read_to_string(&spec.log).unwrap().contains("first") {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        spec.bound_log(3).unwrap();
        std::fs::write(directory.path().join("go"), "").unwrap();
        spec.ready(&mut running).await.unwrap();
        spec.bound_log(1_000).unwrap();
        assert_eq!(std::fs::read_to_string(&spec.log).unwrap(), "second\n");
        assert_eq!(std::fs::read_to_string(spec.log.with_extension("log.1")).unwrap(), "first\n");
        assert!(running.stop().await);
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let spec = ChildSpec { program: "/nonexistent/karri-clc".into(), ..spec(directory.path(), "") };
        assert!(spec.spawn().unwrap_err().to_string().contains("/nonexistent/karri-clc"));
    }
}
