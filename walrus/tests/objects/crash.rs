//! A process that writes with 32 tasks is killed at random moments; in the second form the power goes with it:
//! everything that was not synced is lost. Whatever was acknowledged is there afterwards, bit for bit, and
//! nothing else is half there.

use crate::harness::*;
use crate::house::check_dir;
use karri_walrus::store::objects::*;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const TASKS: usize = 32;
const KEYS_PER_TASK: usize = 3;
const ROUNDS: usize = 20;
const CHILD_DIR: &str = "KARRI_CRASH_CHILD_DIR";
const CHILD_ROUND: &str = "KARRI_CRASH_CHILD_ROUND";

/// What a key holds: the number that its content is made from, or nothing.
type State = Option<usize>;

#[derive(Debug, Default, Clone, Copy)]
struct Known {
    acknowledged: State,
    /// Asked for and not answered.
    pending: Option<State>,
}

fn content(number: usize) -> Vec<u8> {
    let size = match number % 64 {
        // Written past the page cache.
        8 => (4 << 20) + number % 300_000,
        rest if rest % 8 == 0 => 40_000 + number % 200_000,
        rest if rest % 8 == 1 => 0,
        _ => number % 20_000,
    };
    pattern(size, number)
}

fn key(task: usize, nth: usize) -> String {
    format!("task{task}/{nth}")
}

/// The process that is killed. By itself, as an ordinary test, it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let round: usize = std::env::var(CHILD_ROUND).unwrap().parse().unwrap();
    let objects = open(config(Path::new(&dir))).await.unwrap();
    let store = std::sync::Arc::new(Store { objects, dir: tempfile::tempdir().unwrap() });
    let _house = store.objects.keep_house(HousekeepingConfig::default());
    let bucket = match store.objects.bucket_fetch("b").await {
        Ok(bucket) => bucket.id,
        Err(_) => store.bucket("b", Versioning::Off).await,
    };
    say("ready".to_owned());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut last = [None; KEYS_PER_TASK];
                for n in 0.. {
                    let number = (round * 1_000_000 + n) * TASKS + task;
                    write_one(&store, bucket, task, number, &mut last).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn say(line: String) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// `last` is what this process has put, by key of the task.
async fn write_one(
    store: &Store,
    bucket: BucketId,
    task: usize,
    number: usize,
    last: &mut [Option<usize>; KEYS_PER_TASK],
) {
    let nth = number / 7 % KEYS_PER_TASK;
    let key = key(task, nth);
    let source = (nth + 1) % KEYS_PER_TASK;
    if let (Some(copied), 3) = (last[source], number % 5) {
        say(format!("begin {task} {nth} {copied}"));
        copy(store, bucket, &self::key(task, source), &key, copied).await;
        last[nth] = Some(copied);
    } else if number % 5 == 4 {
        last[nth] = None;
        say(format!("begin {task} {nth} -"));
        store.delete(bucket, &key, None).await;
    } else {
        say(format!("begin {task} {nth} {number}"));
        store.put(bucket, &key, &content(number)).await;
        last[nth] = Some(number);
    }
    say(format!("end {task} {nth}"));
}

/// Without copying bytes, where the object has a file of its own.
async fn copy(store: &Store, bucket: BucketId, from: &str, to: &str, number: usize) {
    let object = store.objects.object_fetch(bucket, from, None).await.unwrap();
    let shared = store.objects.content_share(&object).await.unwrap().unwrap();
    store.objects.object_put(new_object(bucket, to, shared, &content(number))).await.unwrap();
}

struct Crash {
    root: PathBuf,
    shim: Option<PathBuf>,
    known: BTreeMap<(usize, usize), Known>,
}

impl Crash {
    /// Runs the child on `root` for a while and kills it.
    fn round(&mut self, round: usize) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "crash::child_that_writes_until_it_is_killed", "--nocapture"]);
        command.env(CHILD_DIR, &self.root).env(CHILD_ROUND, round.to_string());
        if let Some(shim) = &self.shim {
            command.env("LD_PRELOAD", shim).env("POWERCUT_ROOT", &self.root);
            command.env("POWERCUT_SHADOW", shadow(&self.root));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut killer = None;
        let pid = rustix::process::Pid::from_child(&child);
        for line in lines {
            let Ok(line) = line else { break };
            if line == "ready" {
                let after = Duration::from_millis(rand::thread_rng().gen_range(20..300));
                killer = Some(std::thread::spawn(move || {
                    std::thread::sleep(after);
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                }));
            }
            self.hear(&line);
        }
        killer.expect("the child became ready").join().unwrap();
        child.wait().unwrap();
    }

    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["begin", task, nth, state] => {
                let known = self.known.entry((task.parse().unwrap(), nth.parse().unwrap())).or_default();
                known.pending = Some(state.parse().ok());
            }
            ["end", task, nth] => {
                let known = self.known.entry((task.parse().unwrap(), nth.parse().unwrap())).or_default();
                known.acknowledged = known.pending.take().unwrap();
            }
            _ => {}
        }
    }

    async fn verify(&mut self) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store { objects: open(config(&self.root)).await.unwrap(), dir };
        store.objects.remove_leftovers().await.unwrap();
        let bucket = store.objects.bucket_fetch("b").await.unwrap().id;
        let mut there = BTreeSet::new();
        for ((task, nth), known) in &mut self.known {
            let key = key(*task, *nth);
            let found = match store.get(bucket, &key).await {
                Ok(bytes) => Some(bytes),
                Err(StoreError::NoSuchKey { .. }) => None,
                Err(error) => panic!("{key}: {error}"),
            };
            let possible = [Some(known.acknowledged), known.pending].into_iter().flatten();
            let state = possible.into_iter().find(|state| found == state.map(content));
            let state = state
                .unwrap_or_else(|| panic!("{key} holds {:?} bytes; {known:?}", found.as_ref().map(Vec::len)));
            *known = Known { acknowledged: state, pending: None };
            there.extend(found.map(|_| key));
        }
        let (keys, _, _) = store.list(bucket, ListQuery { limit: 10_000, ..ListQuery::default() }).await;
        assert_eq!(keys, there.into_iter().collect::<Vec<_>>());
        while store.objects.sweep().await.unwrap().blobs > 0 {}
        store.objects.close().await;
        let report = check_dir(&self.root).await;
        assert!(report.is_clean() && report.leftovers == 0, "{report}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut crash = Crash { root: dir.path().join("store"), shim: None, known: BTreeMap::new() };
    for round in 0..rounds(ROUNDS) {
        crash.round(round);
        crash.verify().await;
    }
    assert!(crash.known.len() > TASKS, "it has written");
}

/// Or more of them.
fn rounds(few: usize) -> usize {
    std::env::var("KARRI_CRASH_ROUNDS").map_or(few, |rounds| rounds.parse().unwrap())
}

fn shadow(root: &Path) -> PathBuf {
    root.with_extension("shadow")
}

fn build_shim(dir: &Path) -> PathBuf {
    let (source, shim) = (dir.join("powercut.c"), dir.join("powercut.so"));
    std::fs::write(&source, include_str!("powercut.c")).unwrap();
    let mut cc = Command::new("cc");
    let status =
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).arg(&source).args(["-ldl", "-lpthread"]);
    assert!(status.status().unwrap().success());
    shim
}

/// What a disk holds after the power has gone: what was synced, under the names that were synced.
fn rebuild(shadow: &Path, id: &str, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let Ok(names) = std::fs::read_to_string(shadow.join("directories").join(id)) else { return };
    for line in names.lines() {
        let (kind, rest) = line.split_once(' ').unwrap();
        let (id, name) = rest.split_once(' ').unwrap();
        if kind == "d" {
            rebuild(shadow, id, &to.join(name));
        } else if std::fs::copy(shadow.join("files").join(id), to.join(name)).is_err() {
            std::fs::write(to.join(name), "").unwrap(); // its name was synced, nothing in it
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_loss_of_power() {
    const POWER_ROUNDS: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let shim = Some(build_shim(dir.path()));
    let mut crash = Crash { root: PathBuf::new(), shim, known: BTreeMap::new() };
    for round in 0..rounds(POWER_ROUNDS) {
        crash.root = dir.path().join(format!("run{round}"));
        std::fs::create_dir_all(&crash.root).unwrap();
        for part in ["files", "directories"] {
            std::fs::create_dir_all(shadow(&crash.root).join(part)).unwrap();
        }
        crash.known.clear();
        crash.round(round);
        let run = crash.root.clone();
        let root = std::fs::read_to_string(shadow(&crash.root).join("root")).unwrap();
        let after = dir.path().join(format!("after{round}"));
        rebuild(&shadow(&crash.root), root.trim(), &after);
        crash.root = after;
        crash.verify().await;
        assert!(!crash.known.is_empty());
        for gone in [shadow(&run), run, crash.root.clone()] {
            std::fs::remove_dir_all(gone).unwrap();
        }
    }
}
