//! `karri down`: stops the supervisor; with `--terminate` removes everything the cloud made on this
//! machine, after showing it.

mod files;
mod host;

use crate::args::{Down, Usage};
use crate::facts::Facts;
use crate::home::Home;
use crate::output::printable;
use crate::up::{child::send, join::NAME, leftovers, lock::Lock};
use anyhow::{Context, bail};
use rustix::process::Signal;
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;
use tokio::time::{Instant, interval};

/// Longer than the supervisor gives its children, all stages together.
const STOP_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub async fn run(home: &Home, wanted: &Down) -> anyhow::Result<()> {
    let facts = Facts::read(&home.facts_file())?;
    if facts.is_none() && !home.config(NAME).exists() {
        home.facts()?; // says that there is nothing
    }
    if wanted.terminate && !wanted.yes && !std::io::stdin().is_terminal() {
        return Err(Usage(
            "--terminate asks before it removes anything; without a terminal add --yes".into(),
        )
        .into());
    }
    let stopped = stop_supervisor(home).await?;
    // Until the end: no `up` may start what is being removed.
    let lock = Lock::take(&home.lock_file())?;
    let orphans = leftovers::stop(&home.children_file()).await?;
    match (stopped, orphans.as_slice()) {
        (Some(pid), _) => eprintln!("stopped karri (pid {pid})"),
        (None, []) => eprintln!("karri was not running in {}", home.root().display()),
        (None, orphans) => eprintln!("stopped {}", orphans.join(", ")),
    }
    if !wanted.terminate {
        return Ok(());
    }
    let host = host::Host::survey(home, facts.as_ref()).await?;
    if !wanted.yes && !confirmed(home, &host)? {
        bail!("nothing was removed");
    }
    let outcome = host.remove().await?;
    for line in outcome.removed {
        eprintln!("removed {}", printable(&line));
    }
    for line in outcome.left {
        eprintln!("left {}", printable(&line));
    }
    for path in files::remove(home, facts.as_ref())? {
        eprintln!("removed {}", path.display());
    }
    drop(lock);
    Ok(())
}

/// The pid of the supervisor that was stopped.
async fn stop_supervisor(home: &Home) -> anyhow::Result<Option<u32>> {
    let path = home.lock_file();
    let Some(pid) = Lock::holder(&path)?.filter(|pid| *pid != 0) else { return Ok(None) };
    send(pid, Signal::TERM);
    let deadline = Instant::now() + STOP_WITHIN;
    let mut look = interval(LOOK_EVERY);
    while Lock::holder(&path)?.is_some() {
        if Instant::now() > deadline {
            bail!("karri (pid {pid}) does not stop");
        }
        look.tick().await;
    }
    Ok(Some(pid))
}

fn confirmed(home: &Home, host: &host::Host) -> anyhow::Result<bool> {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "This removes for good:")?;
    for line in host.describe() {
        writeln!(stderr, "  {}", printable(&line))?;
    }
    writeln!(stderr, "  all state in {} (objects, images, accounts, keys, logs)", home.root().display())?;
    write!(stderr, "Type yes to go on: ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("standard input")?;
    Ok(answer.trim() == "yes")
}
