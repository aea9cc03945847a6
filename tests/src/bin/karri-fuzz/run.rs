//! The parent that starts a child per target and keeps what breaks it; the child's loop.

use crate::mutate::{Random, mutate};
use crate::{Arguments, Target};
use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One input may take this long.
const INPUT_TIME_MAX: Duration = Duration::from_secs(1);
/// A child that has not ended by then hangs.
const CHILD_GRACE: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(20);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn kept(name: &str) -> PathBuf {
    root().join("target/fuzz").join(name)
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Every target in a process of its own, as many at a time as there are cores; true when none broke.
pub fn all(targets: &[&Target], arguments: &Arguments) -> Result<bool, String> {
    std::fs::create_dir_all(kept("")).map_err(said)?;
    println!("running {} tests", targets.len());
    let waiting = Mutex::new(targets.iter());
    let lane = || {
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        let outcome = |target: &&Target| {
            let outcome = one(target, arguments);
            let word = if matches!(outcome, Ok(None)) { "ok" } else { "FAILED" };
            println!("test fuzz::{} ... {word}", target.name);
            outcome
        };
        std::iter::from_fn(next).map(outcome).collect::<Result<Vec<_>, String>>()
    };
    let lanes = std::thread::available_parallelism().map_or(1, NonZero::get);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().map(|lane| lane.join().map_err(|_| "a lane panicked".to_owned())).collect()
    });
    let mut failures = Vec::new();
    for outcomes in outcomes {
        failures.extend(outcomes??.into_iter().flatten());
    }
    if !failures.is_empty() {
        println!("\nfailures:\n\n{}\n", failures.join("\n"));
    }
    let (passed, failed) = (targets.len() - failures.len(), failures.len());
    println!(
        "\ntest result: {}. {passed} passed; {failed} failed; 0 ignored",
        if failed == 0 { "ok" } else { "FAILED" }
    );
    Ok(failed == 0)
}

fn one(target: &Target, arguments: &Arguments) -> Result<Option<String>, String> {
    let numbers = [arguments.seconds.to_string(), arguments.seed.to_string()];
    let child = Command::new(std::env::current_exe().map_err(said)?)
        .args(["--child", "--target", target.name, "--seconds", &numbers[0], "--seed", &numbers[1]])
        .spawn();
    let status = wait(child.map_err(said)?, Duration::from_secs(arguments.seconds) + CHILD_GRACE)?;
    let how = match status {
        Some(status) if status.success() => return Ok(None),
        Some(status) => status.to_string(),
        None => "it hangs".to_owned(),
    };
    let file = kept(&format!("{}-{}-{}", target.name, arguments.seed, std::process::id()));
    std::fs::write(&file, current(target)?).map_err(said)?;
    Ok(Some(format!("{}: {how}; again: karri-fuzz --target {0} --input {}", target.name, file.display())))
}

fn wait(mut child: Child, time_max: Duration) -> Result<Option<ExitStatus>, String> {
    let deadline = Instant::now() + time_max;
    loop {
        if let Some(status) = child.try_wait().map_err(said)? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            child.kill().and_then(|()| child.wait()).map_err(said)?;
            return Ok(None);
        }
        std::thread::sleep(POLL_EVERY); // std has no wait with a deadline
    }
}

/// The file of the input under way: its length, then its bytes.
fn current_file(target: &Target) -> PathBuf {
    kept(&format!("{}.current", target.name))
}

fn current(target: &Target) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(current_file(target)).map_err(said)?;
    let (length, rest) = bytes.split_at_checked(8).ok_or("no input was begun")?;
    let length = u64::from_le_bytes(length.try_into().map_err(said)?) as usize;
    Ok(rest[..length.min(rest.len())].to_vec())
}

pub fn child(target: &Target, arguments: &Arguments) -> Result<bool, String> {
    let corpus = corpus(target)?;
    let file = File::create(current_file(target)).map_err(said)?;
    let mut random = Random::new(arguments.seed);
    let began = Instant::now();
    let mut inputs = 0u64;
    let mut written = Vec::new();
    while began.elapsed() < Duration::from_secs(arguments.seconds) {
        let input = match corpus.get(inputs as usize) {
            Some(seed) => seed.clone(), // each as it is first
            None => mutate(&corpus, &mut random),
        };
        written.clear();
        written.extend_from_slice(&(input.len() as u64).to_le_bytes());
        written.extend_from_slice(&input);
        file.write_all_at(&written, 0).map_err(said)?;
        // Once more before it counts as slow: the machine may have been busy with others.
        if !is_quick(target, &input) && !is_quick(target, &input) && !is_quick(target, &input) {
            eprintln!(
                "{}: an input of {} bytes takes more than {INPUT_TIME_MAX:?}",
                target.name,
                input.len()
            );
            return Ok(false);
        }
        inputs += 1;
    }
    eprintln!("{}: {inputs} inputs in {} s, seed {}", target.name, arguments.seconds, arguments.seed);
    Ok(true)
}

fn is_quick(target: &Target, input: &[u8]) -> bool {
    let began = Instant::now();
    (target.entry)(input);
    began.elapsed() < INPUT_TIME_MAX
}

fn corpus(target: &Target) -> Result<Vec<Vec<u8>>, String> {
    let folder = root().join("tests/fuzz").join(target.name);
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort(); // the same order on every machine
    files.iter().map(|file| std::fs::read(file).map_err(said)).collect()
}

/// One kept input, in this process.
pub fn again(target: &Target, file: &Path) -> Result<bool, String> {
    let input = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let began = Instant::now();
    (target.entry)(&input);
    println!("{}: {} bytes in {:?}", target.name, input.len(), began.elapsed());
    Ok(began.elapsed() < INPUT_TIME_MAX)
}
