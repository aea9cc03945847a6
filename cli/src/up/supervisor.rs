//! Keeps the controllers running: starts them together, restarts one that dies, stops them in order.
//!
//! ```text
//!   spawned ──► ready ──► (ends by itself) ──► pause ──► spawned …
//!      └─ ends before it was ever ready: `up` fails and shows its last words
//! ```

use super::child::{ChildSpec, Running, describe, send};
use super::leftovers::{self, Process};
use super::progress::Progress;
use karri_proto::runtime::endpoint::Endpoint;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Short enough that nobody who waits for a controller gives up, long enough to cost nothing.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// One that ran this long before it died starts again without delay.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// In which order controllers are stopped: first who gives orders, last who is asked by all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Clc,
    Cc,
    Nc,
    Walrus,
}

#[derive(Debug)]
pub struct Supervisor {
    roll: Roll,
    stop: watch::Sender<Option<Stage>>,
    keepers: Vec<(Stage, String, JoinHandle<bool>)>,
}

/// Who runs, on disk for the next supervisor.
#[derive(Debug, Clone)]
struct Roll {
    path: PathBuf,
    processes: Arc<Mutex<BTreeMap<String, Process>>>,
}

impl Roll {
    /// A child that cannot be written down (the disk is full) is kept all the same: it is needed, and only a
    /// supervisor that is killed would leave it behind. It is written down with the next one.
    fn spawned(&self, name: &str, pid: u32) {
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.extend(Process::of(name, pid).map(|process| (name.to_owned(), process)));
        let written = leftovers::write(&self.path, &processes.values().cloned().collect::<Vec<_>>());
        if let Err(error) = written {
            say(&format!("karri-{name} (pid {pid}) runs, but cannot be written down: {error:#}"));
        }
    }

    fn pids(&self) -> Vec<u32> {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.values().map(|process| process.pid).collect()
    }
}

impl Supervisor {
    pub fn new(children_file: PathBuf) -> Self {
        let roll = Roll { path: children_file, processes: Arc::default() };
        Self { roll, stop: watch::channel(None).0, keepers: Vec::new() }
    }

    /// Starts these at once and waits for each. After an error, `stop` still stops the others.
    pub async fn start(
        &mut self,
        specs: Vec<(Stage, ChildSpec)>,
        progress: &Progress,
    ) -> anyhow::Result<BTreeMap<String, Endpoint>> {
        let mut waiting = Vec::new();
        for (stage, spec) in specs {
            let running = spec.spawn()?;
            self.roll.spawned(&spec.name, running.pid);
            let (ready, told) = tokio::sync::oneshot::channel();
            let name = spec.name.clone();
            let keeper = Keeper { spec, roll: self.roll.clone(), stage, stop: self.stop.subscribe() };
            self.keepers.push((stage, name.clone(), tokio::spawn(keeper.keep(running, ready))));
            waiting.push((name, told));
        }
        let mut endpoints = BTreeMap::new();
        for (name, told) in waiting {
            let outcome = async { told.await?.map_err(advise) };
            let step = format!("karri-{name}");
            let endpoint = progress.step(&step, outcome, |e: &Endpoint| e.url.clone()).await?;
            endpoints.insert(name, endpoint);
        }
        Ok(endpoints)
    }

    /// Stops all, stage by stage. Returns the names of those that had to be killed.
    pub async fn stop(mut self) -> Vec<String> {
        let mut killed = Vec::new();
        for stage in [Stage::Clc, Stage::Cc, Stage::Nc, Stage::Walrus] {
            self.stop.send_replace(Some(stage));
            let (these, others) = self.keepers.into_iter().partition(|(at, ..)| *at <= stage);
            self.keepers = others;
            for (_, name, task) in these {
                if !task.await.unwrap_or(false) {
                    killed.push(name);
                }
            }
        }
        let _ = std::fs::remove_file(&self.roll.path);
        killed
    }

    /// For an operator who will not wait.
    pub fn killer(&self) -> impl Fn() + use<> {
        let roll = self.roll.clone();
        move || roll.pids().into_iter().for_each(|pid| send(pid, Signal::KILL))
    }
}

/// What can be done about the commonest reason for a controller not to start.
fn advise(error: anyhow::Error) -> anyhow::Error {
    if format!("{error:#}").contains("Address already in use") {
        return anyhow::anyhow!(
            "{error:#}\nanother program has that port: stop it, or take others (karri up --port-base PORT)"
        );
    }
    error
}

struct Keeper {
    spec: ChildSpec,
    roll: Roll,
    stage: Stage,
    stop: watch::Receiver<Option<Stage>>,
}

type FirstReady = tokio::sync::oneshot::Sender<anyhow::Result<Endpoint>>;

impl Keeper {
    /// True: it stopped by itself or when asked. False: it had to be killed.
    async fn keep(mut self, mut running: Running, first: FirstReady) -> bool {
        let told = tokio::select! {
            () = stopping(&mut self.stop, self.stage) => return running.stop().await,
            outcome = self.spec.ready(&mut running) => outcome,
        };
        let failed = told.is_err();
        let _ = first.send(told);
        if failed {
            return running.stop().await;
        }
        let mut pause = PAUSE_MIN;
        loop {
            let begun = Instant::now();
            tokio::select! {
                () = stopping(&mut self.stop, self.stage) => return running.stop().await,
                status = running.ended(&self.spec) => {
                    let how = status.map_or_else(|e| e.to_string(), |s| describe(&s));
                    if begun.elapsed() > STEADY_AFTER {
                        pause = PAUSE_MIN;
                    }
                    say(&format!("karri-{} ended ({how}); starting it again in {:.1} s", self.spec.name, pause.as_secs_f64()));
                }
            }
            running = tokio::select! {
                () = stopping(&mut self.stop, self.stage) => return true,
                again = start_again(&self.spec, &self.roll, &mut pause) => again,
            };
            tokio::select! {
                () = stopping(&mut self.stop, self.stage) => return running.stop().await,
                ready = self.spec.ready(&mut running) => match ready {
                    Ok(_) => say(&format!("karri-{} is back", self.spec.name)),
                    Err(error) => say(&format!("{error:#}")),
                }
            }
        }
    }
}

async fn start_again(spec: &ChildSpec, roll: &Roll, pause: &mut Duration) -> Running {
    loop {
        tokio::time::sleep(*pause).await; // the back-off
        *pause = (*pause * 2).min(PAUSE_MAX);
        match spec.spawn() {
            Ok(running) => {
                roll.spawned(&spec.name, running.pid);
                return running;
            }
            Err(error) => say(&format!("{error:#}; trying again in {:.1} s", pause.as_secs_f64())),
        }
    }
}

/// Completes once `stage` is to stop.
async fn stopping(stop: &mut watch::Receiver<Option<Stage>>, stage: Stage) {
    // An error means that the supervisor is gone, which is a stop as well.
    let _ = stop.wait_for(|now| now.is_some_and(|now| now >= stage)).await;
}

fn say(what: &str) {
    eprintln!("karri: {what}");
}

#[cfg(test)]
mod tests {
    use super::super::child::tests::write_program;
    use super::*;
    use std::path::Path;

    /// A child that counts its starts, is ready, and then does `then`.
    fn spec(directory: &Path, name: &str, then: &str) -> ChildSpec {
        spec_of(directory, name, "", then)
    }

    /// `first`: before it is ready.
    fn spec_of(directory: &Path, name: &str, first: &str, then: &str) -> ChildSpec {
        let home = directory.join(name);
        std::fs::create_dir_all(&home).unwrap();
        let program = home.join("program");
        let script = format!(
            r#"#!/bin/sh
cd {home}
echo x >> starts
{first}
printf '{{"pid":%d,"version":"1","url":"x","public_url":null,"observe_url":null}}' $$ > new
mv new endpoint.json
{then}
"#,
            home = home.display()
        );
        write_program(&program, &script);
        let log = home.join("log");
        ChildSpec { name: name.into(), program, config: home.join("c.toml"), state_dir: home, log }
    }

    async fn eventually(what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "never: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await; // a poll with a deadline
        }
    }

    fn starts(directory: &Path, name: &str) -> usize {
        std::fs::read_to_string(directory.join(name).join("starts")).map_or(0, |text| text.lines().count())
    }

    #[tokio::test]
    async fn one_that_dies_is_started_again_and_all_stop_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let order = directory.path().join("order");
        let live = |name: &str| {
            let order = order.display();
            let first = format!("trap 'echo {name} >> {order}; exit 0' TERM");
            spec_of(directory.path(), name, &first, "while :; do sleep 0.05; done")
        };
        let specs = vec![(Stage::Walrus, live("walrus")), (Stage::Clc, live("clc")), (Stage::Nc, live("nc"))];
        let roll = directory.path().join("children.json");
        let mut supervisor = Supervisor::new(roll.clone());
        supervisor.start(specs, &Progress::begin()).await.unwrap();
        let pid = Endpoint::read(&directory.path().join("nc")).unwrap().pid;
        send(pid, Signal::KILL);
        eventually("a new nc", || starts(directory.path(), "nc") == 2).await;
        eventually("the new nc is ready", || {
            Endpoint::read(&directory.path().join("nc")).is_some_and(|e| e.pid != pid)
        })
        .await;
        assert!(supervisor.stop().await.is_empty());
        assert_eq!(std::fs::read_to_string(order).unwrap(), "clc\nnc\nwalrus\n");
        assert!(!roll.exists());
    }

    #[tokio::test]
    async fn one_that_cannot_be_written_down_is_kept_and_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let in_the_way = directory.path().join("run");
        std::fs::write(&in_the_way, "").unwrap();
        let mut supervisor = Supervisor::new(in_the_way.join("children.json"));
        let specs = vec![(Stage::Nc, spec(directory.path(), "nc", "exec sleep 600"))];
        let endpoints = supervisor.start(specs, &Progress::begin()).await.unwrap();
        let pid = endpoints["nc"].pid;
        assert!(Process::of("nc", pid).is_some());
        send(pid, Signal::KILL);
        let again = || Endpoint::read(&directory.path().join("nc")).filter(|endpoint| endpoint.pid != pid);
        eventually("it is started again", || again().is_some()).await;
        let pid = again().unwrap().pid;
        supervisor.stop().await;
        assert!(Process::of("nc", pid).is_none(), "no process is left");
    }

    #[test]
    fn who_meets_a_taken_port_is_told_what_to_do() {
        let taken =
            advise(anyhow::anyhow!("s3.listen: 127.0.0.1:8774: Address already in use (os error 98)"));
        let said = taken.to_string();
        assert!(said.contains("127.0.0.1:8774") && said.ends_with("(karri up --port-base PORT)"), "{said}");
    }

    #[tokio::test]
    async fn one_that_never_gets_ready_fails_the_start_and_the_others_stop() {
        let directory = tempfile::tempdir().unwrap();
        let mut broken = spec(directory.path(), "clc", "");
        broken.program = directory.path().join("broken");
        write_program(&broken.program, "#!/bin/sh\necho no such region; exit 1\n");
        let good = spec(directory.path(), "walrus", "exec sleep 600");
        let mut supervisor = Supervisor::new(directory.path().join("children.json"));
        let specs = vec![(Stage::Walrus, good), (Stage::Clc, broken)];
        let error = supervisor.start(specs, &Progress::begin()).await.unwrap_err();
        assert!(format!("{error:#}").contains("no such region"), "{error:#}");
        assert!(!format!("{error:#}").contains("--port-base"), "{error:#}");
        let pid = Endpoint::read(&directory.path().join("walrus")).unwrap().pid;
        supervisor.stop().await;
        assert!(Process::of("walrus", pid).is_none(), "no process is left");
    }
}
